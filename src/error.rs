//! What went wrong, as a kind with an exit code, and what to do about it.
//!
//! Most failures travel as plain `anyhow` errors and end with [`Exit::Failed`]. An [`Error`] is
//! made where the code matters: above all where something is refused before anything was written.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

/// The exit codes of every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or nothing to do.
    Done = 0,
    /// Could not: io, a missing program, a failed build.
    Failed = 1,
    /// The command line is not understood.
    Usage = 2,
    /// The tree is not as expected; nothing was written.
    Refused = 3,
    /// Ran, and found something that is not in order.
    Found = 4,
    /// Ended by Ctrl-C or SIGTERM, after what was begun was closed or taken back. As a shell says it of SIGINT.
    Interrupted = 130,
}

/// One failure: a line of what, where it was seen, and what to type.
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

    /// A failure of something that was tried.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// An end that was asked for by a signal: the message says by which, and what became of what was begun.
    pub fn interrupted(message: impl Into<String>) -> Self {
        Self::new(Exit::Interrupted, message)
    }

    /// A command line that says what cannot be done.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), details: Vec::new(), hints: Vec::new() }
    }

    /// The same as a refusal, where nothing was written yet.
    pub fn as_refusal(self) -> Self {
        Self { exit: Exit::Refused, ..self }
    }

    /// The same as a failure, where something was written after all. An interruption stays one.
    pub fn as_failure(self) -> Self {
        let exit = if self.exit == Exit::Interrupted { self.exit } else { Exit::Failed };
        Self { exit, ..self }
    }

    /// Adds an indented line under the message: where, what was expected, what was found.
    pub fn detail(mut self, line: impl Into<String>) -> Self {
        self.details.push(line.into());
        self
    }

    /// Asks whether another name was meant, if one is a typing error away.
    pub fn did_you_mean<'a>(self, word: &str, names: impl IntoIterator<Item = &'a str>) -> Self {
        match similar(word, names) {
            Some(name) => self.hint(format!("did you mean `{name}`?")),
            None => self,
        }
    }

    /// Adds a line of what to do.
    pub fn hint(mut self, line: impl Into<String>) -> Self {
        self.hints.push(line.into());
        self
    }

    /// The lines of what to do.
    pub fn hints(&self) -> &[String] {
        &self.hints
    }

    /// The lines under the message.
    pub fn details(&self) -> &[String] {
        &self.details
    }
}

/// The name that is nearest to a word, if few letters differ: one in three, and no more than three. Two letters
/// that changed places count once: `asw`.
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

/// The whole failure as it is printed: `error:`, details, `hint:`, and whether anything was written. An end
/// that was asked for is none.
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
    // Names in a message are escaped where it is made; quoted lines of a patch keep what only turns text.
    escaped(&text, |c| c.is_control() && !['\n', '\t'].contains(&c))
}

/// A text without what would move a terminal's cursor, colour what follows, or turn its direction: lines of patches
/// are in it.
pub fn plain(text: &str) -> String {
    escaped(text, |c| is_active(c) && !['\n', '\t'].contains(&c))
}

/// A name on one line, without anything that a terminal would act on.
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

/// Whether a terminal acts on a character: C0, DEL, C1, and what sets the direction of text.
pub fn is_active(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text with bytes that are not UTF-8 as [`plain`] has it; such a byte is `\xff`.
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

/// A path, or another name of the system, as we print it. A path that is text and holds nothing that a terminal acts on is printed as it is. In any
/// other the odd bytes are escaped, for the reader: no program finds the file by it.
pub trait Shown {
    /// On one line: a byte that is not UTF-8 as `\xff`, what a terminal acts on as `\n` or `\u{1b}`.
    fn shown(&self) -> String;

    /// For JSON, which escapes characters by itself: only a byte that is not UTF-8 is escaped, as `\xff`.
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

/// The exit code that an error asks for.
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
