//! Parses the build information in `.go.buildinfo`, which Go's linker writes.
//!
//! The format since Go 1.18: a header of 32 bytes, which begins with a magic value and has a flag in byte 15, then
//! two strings, each with its length as a varint before it. The first is the toolchain; the second is the module
//! information, between two markers of 16 bytes. (Go's own reader is `debug/buildinfo`.) There is no widely used
//! package for it.

use std::collections::BTreeMap;

/// The first bytes of the section.
const MAGIC: &[u8] = b"\xff Go buildinf:";
const HEADER: usize = 32;
const INLINE: u8 = 2;
const MARK: usize = 16;

#[derive(Debug, Default, PartialEq, Eq)]
pub struct GoInfo {
    pub go: String,
    pub package: Option<String>,
    pub module: Option<String>,
    pub version: Option<String>,
    pub settings: BTreeMap<String, String>,
}

impl GoInfo {
    /// Parses a `.go.buildinfo` section.
    pub fn parse(section: &[u8]) -> Option<Self> {
        if !section.starts_with(MAGIC) || section.get(15)? & INLINE == 0 {
            return None;
        }
        let (go, rest) = text(section.get(HEADER..)?)?;
        let (lines, _) = text(rest)?;
        let mut info = Self { go: String::from_utf8_lossy(go).into_owned(), ..Self::default() };
        // The markers around the text let a debugger find it in memory.
        let lines = match lines.len().checked_sub(MARK) {
            Some(end) if end > MARK && lines[end - 1] == b'\n' => &lines[MARK..end],
            _ => return Some(info),
        };
        for line in String::from_utf8_lossy(lines).lines() {
            let mut fields = line.splitn(2, '\t');
            match (fields.next().unwrap_or_default(), fields.next().unwrap_or_default()) {
                ("path", package) => info.package = Some(package.to_owned()),
                ("mod", module) => {
                    let mut fields = module.split('\t').map(str::to_owned);
                    (info.module, info.version) = (fields.next(), fields.next());
                }
                ("build", setting) => info.settings.extend(key_and_value(setting)),
                _ => {}
            }
        }
        Some(info)
    }
}

/// Reads a string with its length before it.
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut length, mut at) = (0_u64, 0);
    loop {
        let byte = *bytes.get(at)?;
        length |= u64::from(byte & 0x7f).checked_shl(7 * u32::try_from(at).ok()?)?;
        at += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    bytes.get(at..)?.split_at_checked(usize::try_from(length).ok()?)
}

/// Splits `key=value`. Both can be in Go's quotes if they contain blanks.
fn key_and_value(setting: &str) -> Option<(String, String)> {
    let (key, value) = match setting.strip_prefix('"') {
        None => setting.split_once('=')?,
        Some(quoted) => quoted.split_once("\"=")?,
    };
    Some((key.to_owned(), unquoted(value)))
}

/// Removes Go's quotes. Go's escapes equal those of JSON, except the escapes for bytes that are not text.
fn unquoted(value: &str) -> String {
    match value.strip_prefix(['"', '`']).and_then(|inner| inner.strip_suffix(['"', '`'])) {
        None => value.to_owned(),
        Some(inner) => serde_json::from_str(value).unwrap_or_else(|_| inner.to_owned()),
    }
}

/// The value that `-X package.variable=value` in the linker's flags gives to a variable. `variable` is the end of its
/// path.
pub fn linked(flags: &str, variable: &str) -> Option<String> {
    let mut words = flags.split_whitespace().map(|word| word.trim_matches(['"', '\'']));
    let mut found = None;
    while let Some(word) = words.next() {
        let set = match word {
            "-X" | "--X" => words.next(),
            _ => word.strip_prefix("-X="),
        };
        let Some((name, value)) = set.and_then(|set| set.split_once('=')) else { continue };
        if name.strip_suffix(variable).is_some_and(|before| before.is_empty() || before.ends_with('/')) {
            // The last one takes effect.
            found = Some(value.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(go: &str, lines: &str) -> Vec<u8> {
        let mut bytes = [MAGIC, &[8, INLINE], &[0; 16]].concat();
        let marked = [&[1; MARK], lines.as_bytes(), &[2; MARK]].concat();
        for text in [go.as_bytes(), &marked] {
            let mut length = text.len();
            while length >= 0x80 {
                bytes.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
                length >>= 7;
            }
            bytes.push(u8::try_from(length).unwrap());
            bytes.extend_from_slice(text);
        }
        bytes
    }

    #[test]
    fn parse_reads_module_and_settings_with_their_quotes() {
        let lines = "path\texample.com/a/cmd/b\nmod\texample.com/a\tv1.2.3\th1:x\ndep\texample.com/c\tv1\n\
                     build\t-gcflags=\" all=-N -l\"\nbuild\tCGO_ENABLED=0\nbuild\t\"-x y\"=1\n";
        let info = GoInfo::parse(&section("go1.26.8", lines)).unwrap();
        assert_eq!(info.go, "go1.26.8");
        assert_eq!(info.package.as_deref(), Some("example.com/a/cmd/b"));
        assert_eq!((info.module.as_deref(), info.version.as_deref()), (Some("example.com/a"), Some("v1.2.3")));
        let settings: Vec<(&str, &str)> = info.settings.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(settings, [("-gcflags", " all=-N -l"), ("-x y", "1"), ("CGO_ENABLED", "0")]);
    }

    #[test]
    fn parse_takes_no_other_section_and_no_half_one() {
        let whole = section("go1.26.8", "path\tx\n");
        assert!(GoInfo::parse(&whole).is_some());
        assert_eq!((0..whole.len()).find(|&end| GoInfo::parse(&whole[..end]).is_some()), None);
        assert_eq!(GoInfo::parse(b"\xff Go buildinf:\x08\x00 and pointers, as before Go 1.18"), None);
        let endless = [&whole[..HEADER], &[0xff; 20]].concat();
        assert_eq!(GoInfo::parse(&endless), None);
    }

    #[test]
    fn linked_finds_what_the_linker_was_told_by_the_end_of_its_name() {
        let flags = " -s -X example.com/pkg/version.Raw=v4-dirty -X 'example.com/pkg/version.Commit=abc' -X=a/b.C=d";
        assert_eq!(linked(flags, "version.Raw").as_deref(), Some("v4-dirty"));
        assert_eq!(linked(flags, "version.Commit").as_deref(), Some("abc"));
        assert_eq!(linked(flags, "b.C").as_deref(), Some("d"));
        assert_eq!(linked(flags, "sion.Raw"), None);
    }
}
