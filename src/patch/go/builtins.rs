//! `new` and `make` called with a value, which tree-sitter-go's grammar does not know.
//!
//! The grammar wants a type first in a call of either name. Since Go 1.26 `new` takes a value too, and a function
//! or parameter may have one of these names. Such a name is spelled differently for the parser, with as many
//! bytes, so that every range of the tree stays a range of the source.

use std::iter;

use tree_sitter::Parser;

/// A call of `new` or `make` whose closing parenthesis is not reached yet.
struct Call {
    name: usize,
    /// How many other parentheses are open in it.
    inner: usize,
    /// The call so far. Calls of the two names in it are replaced by [`OPERAND`]: each call is parsed by itself, and
    /// what is nested would be parsed again for every level.
    text: Vec<u8>,
}

/// An expression that is no type.
const OPERAND: &[u8] = b"f()";

/// A source that the parser takes in place of `bytes`; nothing where no such call is in it.
pub fn respelled(parser: &mut Parser, bytes: &[u8]) -> Option<Vec<u8>> {
    let names = calls_with_values(parser, bytes);
    let mut other = bytes.to_vec();
    names.iter().for_each(|&name| other[name] = other[name].to_ascii_uppercase());
    (!names.is_empty()).then_some(other)
}

/// Where the names of such calls begin.
fn calls_with_values(parser: &mut Parser, bytes: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut open: Vec<Call> = Vec::new();
    // The start of a name in the source and in the text of the call around it, while nothing but blanks follow.
    let mut name: Option<(usize, usize)> = None;
    for (at, token) in tokens(bytes) {
        let around = open.last().map_or(0, |call| call.text.len());
        match token {
            b"(" if name.is_some() => {
                let (name, around) = name.take().unwrap_or_default();
                if let Some(call) = open.last_mut() {
                    call.text.truncate(around);
                }
                open.push(Call { name, inner: 0, text: b"(".to_vec() });
            }
            b")" if open.last().is_some_and(|call| call.inner == 0) => {
                if let Some(mut call) = open.pop() {
                    call.text.push(b')');
                    let spelled = |word: &[u8]| [b"package p\nvar _ = ", word, &call.text, b"\n"].concat();
                    if !parses(parser, &spelled(b"new")) && parses(parser, &spelled(b"New")) {
                        found.push(call.name);
                    }
                }
                if let Some(call) = open.last_mut() {
                    call.text.extend_from_slice(OPERAND);
                }
                name = None;
            }
            _ => {
                if let Some(call) = open.last_mut() {
                    call.text.extend_from_slice(token);
                    match token {
                        b"(" => call.inner += 1,
                        b")" => call.inner -= 1,
                        _ => {}
                    }
                }
                let blank = token.starts_with(b"/*") || token.trim_ascii().is_empty();
                name = match token {
                    b"new" | b"make" => Some((at, around)),
                    // A line's end ends the statement, also one in a comment.
                    _ if blank && !token.contains(&b'\n') => name,
                    _ => None,
                };
            }
        }
    }
    found
}

fn parses(parser: &mut Parser, source: &[u8]) -> bool {
    parser.parse(source, None).is_some_and(|tree| !tree.root_node().has_error())
}

/// The tokens of a source, each with where it begins.
pub fn tokens(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    iter::from_fn(move || {
        let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
        let token = (at, &rest[..token_length(rest)]);
        at += token.1.len();
        Some(token)
    })
}

/// The length of the token at the start of `rest`, as far as it matters here: a comment, a literal, a word, or a byte.
fn token_length(rest: &[u8]) -> usize {
    let word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || !byte.is_ascii();
    let find = |from: usize, end: &[u8]| {
        let found = rest[from..].windows(end.len()).position(|part| part == end);
        found.map_or(rest.len(), |n| from + n + end.len())
    };
    match rest {
        [b'/', b'/', ..] => rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => find(2, b"*/"),
        [b'`', ..] => find(1, b"`"),
        [quote @ (b'"' | b'\''), ..] => {
            let mut escaped = false;
            let end = rest.iter().skip(1).position(|byte| {
                let end = !escaped && byte == quote || *byte == b'\n';
                escaped = !escaped && *byte == b'\\';
                end
            });
            end.map_or(rest.len(), |n| n + 2)
        }
        [first, ..] if word(first) => rest.iter().position(|byte| !word(byte)).unwrap_or(rest.len()),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The source with the calls that were found in capitals.
    fn shown(source: &str) -> String {
        let mut parser = Parser::new();
        parser.set_language(&tree_sitter_go::LANGUAGE.into()).unwrap();
        let other = respelled(&mut parser, source.as_bytes());
        other.map_or_else(|| "none".into(), |other| String::from_utf8(other).unwrap())
    }

    #[test]
    fn calls_with_values_are_told_from_calls_with_types() {
        assert_eq!(shown("new(T); new([]int); make(map[string]int, 3); new(*a.T); make()"), "none");
        assert_eq!(shown("new(3); new([]int{1}); new(T)"), "New(3); New([]int{1}); new(T)");
        assert_eq!(shown("new(new(new(3))); make([]int, *new(3))"), "New(New(New(3))); make([]int, *New(3))");
        assert_eq!(shown("make(args...); new /* a */ (\"(\"); new(func() int { return *new(')') }())"), {
            "Make(args...); New /* a */ (\"(\"); New(func() int { return *New(')') }())"
        });
    }

    #[test]
    fn what_only_looks_like_a_call_with_a_value_is_left() {
        assert_eq!(shown("// new(3)\n\"new(3)\" `new(3)` /* new(3) */ renew(3) new\n(3)"), "none");
        assert_eq!(shown("new(3; new(3 +); new(= 3); make(3"), "none");
    }
}
