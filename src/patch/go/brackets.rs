//! Brackets that are not balanced. The parser reports such a source as one error that begins at its first line.

use super::builtins::tokens;

/// Where a bracket stands that is not closed, or that closes none.
pub fn unbalanced(bytes: &[u8]) -> Option<usize> {
    let mut open: Vec<(usize, &[u8])> = Vec::new();
    for (at, token) in tokens(bytes) {
        let opening: &[u8] = match token {
            b"(" | b"[" | b"{" => {
                open.push((at, token));
                continue;
            }
            b")" => b"(",
            b"]" => b"[",
            b"}" => b"{",
            _ => continue,
        };
        match open.pop() {
            Some((_, last)) if last == opening => {}
            // A block holds whole statements, so a parenthesis that ends in it also begins in it.
            Some((last_at, last)) if last != b"{" => return Some(last_at),
            _ => return Some(at),
        }
    }
    // A brace that lacks its other half takes that of the one around it, up to the declaration.
    open.first().map(|&(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unbalanced_finds_the_bracket_that_lacks_its_other_half() {
        for (source, found) in [
            ("func f() {\n\tg([]int{1})\n}\n", None),
            ("// (\nvar s = \"{\" + `[` + string('(') /* { */\n", None),
            ("func f() {\n\tif x {\n}\n\nfunc g() {}\n", Some("{\n\tif x {\n}\n\nfunc g() {}\n")),
            ("func f() {\n\tg(1\n}\n", Some("(1\n}\n")),
            ("func f() {\n\tg(1]\n}\n", Some("(1]\n}\n")),
            ("func f() {}}\n", Some("}\n")),
            ("func f() {\n\tg())\n}\n", Some(")\n}\n")),
        ] {
            assert_eq!(unbalanced(source.as_bytes()).map(|at| &source[at..]), found, "{source}");
        }
    }
}
