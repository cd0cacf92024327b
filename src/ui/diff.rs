//! What `apply` would do or has done, as a patch.

use std::fmt;
use std::io::{self, IsTerminal};

use schemars::JsonSchema;
use serde::Serialize;

use super::document::Document;
use super::manners::colours_on_stdout;
use crate::error::plain_bytes;

/// A patch.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Patch {
    /// Whether the checkout carries it.
    applied: bool,
    /// How the sources look, in the rules' words, or the name of a patch.
    shape: String,
    /// Bytes that are not UTF-8 are replaced here; the text has them.
    #[serde(rename = "patch")]
    lossy: String,
    #[serde(skip)]
    bytes: Vec<u8>,
}

impl Patch {
    pub fn new(bytes: Vec<u8>, shape: &str, applied: bool) -> Self {
        Self { applied, shape: shape.to_owned(), lossy: String::from_utf8_lossy(&bytes).into_owned(), bytes }
    }
}

impl Document for Patch {
    const SCHEMA: &'static str = "rr-patch/diff/1";
    const EXACT: bool = true;

    /// To the byte, so that `git apply` takes it; on a terminal escaped and coloured.
    fn text(&self) -> Vec<u8> {
        match (io::stdout().is_terminal(), colours_on_stdout()) {
            (false, false) => self.bytes.clone(),
            (_, colour) => for_terminal(&self.bytes, colour),
        }
    }
}

impl fmt::Display for Patch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lossy)
    }
}

/// A patch to be read at a terminal: what the terminal would act on is escaped, so that it fits no file that holds such
/// bytes. The colours are git's own: bold for the head of a file, cyan for that of a hunk.
fn for_terminal(patch: &[u8], colour: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(patch.len());
    for line in patch.split_inclusive(|&b| b == b'\n') {
        let end = if line.ends_with(b"\r\n") { 2 } else { usize::from(line.ends_with(b"\n")) };
        let (body, end) = line.split_at(line.len() - end);
        let body = plain_bytes(body);
        let code = match line {
            _ if !colour => None,
            [b'-', b'-', b'-', b' ', ..] | [b'+', b'+', b'+', b' ', ..] => Some("1"),
            [b'@', ..] => Some("36"),
            [b'-', ..] => Some("31"),
            [b'+', ..] => Some("32"),
            [b' ' | b'\\', ..] => None,
            _ => Some("1"),
        };
        match code {
            None => out.extend_from_slice(body.as_bytes()),
            Some(code) => out.extend_from_slice(format!("\x1b[{code}m{body}\x1b[m").as_bytes()),
        }
        out.extend_from_slice(end);
    }
    out
}
