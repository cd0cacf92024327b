//! Errors: their exit code, their details, and hints for the user.
//!
//! Most failures are plain `anyhow` errors and result in [`Exit::Failed`]. An [`Error`] is used where the exit code
//! matters, mainly for refusals before anything was written.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

/// The exit codes of all commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Success, or nothing to do.
    Done = 0,
    /// A failure: an I/O error, a missing program, a failed build.
    Failed = 1,
    /// An invalid command line.
    Usage = 2,
    /// The tree is not as expected; nothing was written.
    Refused = 3,
    /// The command ran and found a problem.
    Found = 4,
    /// Ended by Ctrl-C or SIGTERM, after unfinished work was completed or rolled back. The number is the shell's code
    /// for SIGINT.
    Interrupted = 130,
}

/// A failure: the message, details such as the place, and hints that say what to type.
#[derive(Debug)]
pub struct Error {
    pub exit: Exit,
    message: String,
    details: Vec<String>,
    hints: Vec<String>,
}

impl Error {
    /// A refusal: nothing was written.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(Exit::Refused, message)
    }

    /// A failure of an operation that was started.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// An end requested by a signal. The message names the signal and the outcome of the interrupted work.
    pub fn interrupted(message: impl Into<String>) -> Self {
        Self::new(Exit::Interrupted, message)
    }

    /// A command line that cannot be executed.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), details: Vec::new(), hints: Vec::new() }
    }

    /// Converts the error to a refusal, if nothing was written yet.
    pub fn as_refusal(self) -> Self {
        Self { exit: Exit::Refused, ..self }
    }

    /// Converts the error to a failure, if something was written. An interruption is not converted.
    pub fn as_failure(self) -> Self {
        let exit = if self.exit == Exit::Interrupted { self.exit } else { Exit::Failed };
        Self { exit, ..self }
    }

    /// Adds an indented line under the message: the place, the expected value, the found value.
    pub fn detail(mut self, line: impl Into<String>) -> Self {
        self.details.push(line.into());
        self
    }

    /// Suggests the name in `names` that is nearest to `word`, if it looks like a typing error.
    pub fn did_you_mean<'a>(self, word: &str, names: impl IntoIterator<Item = &'a str>) -> Self {
        match similar(word, names) {
            Some(name) => self.hint(format!("did you mean `{name}`?")),
            None => self,
        }
    }

    /// Adds a hint: what the user can do.
    pub fn hint(mut self, line: impl Into<String>) -> Self {
        self.hints.push(line.into());
        self
    }

    /// The hints.
    pub fn hints(&self) -> &[String] {
        &self.hints
    }

    /// The lines under the message.
    pub fn details(&self) -> &[String] {
        &self.details
    }
}

/// The name that is nearest to a word, if few letters differ: at most one in three, and at most three. Two transposed
/// letters count as one difference, as in `asw`.
fn similar<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let measured = names.into_iter().map(|name| (strsim::damerau_levenshtein(word, name), name));
    let near = measured.filter(|(distance, name)| *distance <= (name.chars().count() / 3).clamp(1, 3));
    near.min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// The whole error as it is printed: `error:`, details, `hint:`, and whether anything was written. An interruption is
/// not printed as an error.
pub fn render(error: &anyhow::Error) -> String {
    let heading = if exit(error) == Exit::Interrupted { "" } else { "error: " };
    let mut text = format!("{heading}{error:#}\n");
    if let Some(known) = error.downcast_ref::<Error>() {
        for line in &known.details {
            for (n, part) in line.lines().enumerate() {
                text.push_str(if n == 0 { "  " } else { "    " });
                text.push_str(part);
                text.push('\n');
            }
        }
        for line in &known.hints {
            text.push_str(&format!("hint: {line}\n"));
        }
        if known.exit == Exit::Refused {
            text.push_str("nothing was written\n");
        }
    }
    // Names are already escaped when a message is made. Quoted lines of a patch may keep characters that only affect
    // text direction.
    escaped(&text, |c| c.is_control() && !['\n', '\t'].contains(&c))
}

/// Escapes the characters that move a terminal's cursor, change its colours or change the text direction. The text
/// may contain lines of patches.
pub fn plain(text: &str) -> String {
    escaped(text, |c| is_active(c) && !['\n', '\t'].contains(&c))
}

/// Escapes a name, so that it is on one line and has no characters that a terminal interprets.
pub fn plain_name(name: &str) -> String {
    escaped(name, is_active)
}

fn escaped(text: &str, escape: impl Fn(char) -> bool) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match escape(c) {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
        out
    })
}

/// Whether a terminal interprets a character: C0, DEL, C1, and characters that set the text direction.
pub fn is_active(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Like [`plain`], for text with bytes that are not UTF-8; such a byte becomes `\xff`.
pub fn plain_bytes(text: &[u8]) -> String {
    plain(&with_escaped_bytes(text))
}

fn with_escaped_bytes(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        out.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| out.push_str(&format!("\\x{byte:02x}")));
    }
    out
}

/// Formats a path or another name of the system for output. It is unchanged if it is UTF-8 without characters that a
/// terminal interprets. Otherwise those bytes are escaped; the result is for reading only and does not work as a
/// path.
pub trait Shown {
    /// On one line: a byte that is not UTF-8 becomes `\xff`, a character that a terminal interprets becomes `\n` or
    /// `\u{1b}`.
    fn shown(&self) -> String;

    /// For JSON, which escapes characters itself: only a byte that is not UTF-8 is escaped, as `\xff`.
    fn in_json(&self) -> String;
}

impl<T: AsRef<OsStr> + ?Sized> Shown for T {
    fn shown(&self) -> String {
        plain_name(&self.in_json())
    }

    fn in_json(&self) -> String {
        with_escaped_bytes(self.as_ref().as_bytes())
    }
}

/// The exit code for an error.
pub fn exit(error: &anyhow::Error) -> Exit {
    error.downcast_ref::<Error>().map_or(Exit::Failed, |known| known.exit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_name_is_asked_for_and_another_one_is_not() {
        let known = ["aws", "azure", "ibmcloud", "nutanix", "vsphere"];
        let meant = ["asw", "awz", "azrue", "vsfere", "ibm-cloud"].map(|word| similar(word, known));
        assert_eq!(meant, [Some("aws"), Some("aws"), Some("azure"), Some("vsphere"), Some("ibmcloud")]);
        assert_eq!(["gcp", "none", "baremetal", ""].map(|word| similar(word, known)), [None; 4]);
        assert_eq!(similar("cluster-api-provider-nutanix", ["cluster-api-provider-aws"]), None);
    }
}
