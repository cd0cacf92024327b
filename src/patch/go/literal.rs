//! String literals of Go, and lists of them.

/// A Go string literal.
pub fn quote(text: &str) -> String {
    let mut literal = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => literal.push_str("\\\""),
            '\\' => literal.push_str("\\\\"),
            '\n' => literal.push_str("\\n"),
            '\t' => literal.push_str("\\t"),
            c if c.is_control() => literal.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => literal.push(c),
        }
    }
    literal.push('"');
    literal
}

/// The texts of a list of string literals that [`quote`] made; nothing if it is another list.
pub fn strings(list: &str) -> Option<Vec<String>> {
    let mut texts = Vec::new();
    let mut rest = list;
    while !rest.is_empty() {
        let mut text = String::new();
        let mut chars = rest.strip_prefix('"')?.chars();
        loop {
            match chars.next()? {
                '"' => break,
                '\\' => text.push(match chars.next()? {
                    'n' => '\n',
                    't' => '\t',
                    'u' => {
                        let digits = chars.as_str().get(..4)?;
                        chars = chars.as_str()[4..].chars();
                        char::from_u32(u32::from_str_radix(digits, 16).ok()?)?
                    }
                    c @ ('"' | '\\') => c,
                    _ => return None,
                }),
                c => text.push(c),
            }
        }
        texts.push(text);
        rest = chars.as_str();
        if !rest.is_empty() {
            rest = rest.strip_prefix(", ")?;
        }
    }
    Some(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quote_escapes_what_go_escapes() {
        assert_eq!(quote("a \"b\" \\ \u{1} é"), "\"a \\\"b\\\" \\\\ \\u0001 é\"");
    }

    #[test]
    fn strings_reads_what_quote_writes() {
        let texts = ["a \"b\" \\ \u{1} é", "", "\n\t, \"", "--x=1"].map(str::to_owned);
        let list = texts.each_ref().map(|text| quote(text)).join(", ");
        assert_eq!(strings(&list), Some(texts.to_vec()));
        assert_eq!(strings(""), Some(Vec::new()));
        for other in ["a", "\"a", "\"a\" \"b\"", "\"\\x\"", "\"\\u12\""] {
            assert_eq!(strings(other), None, "{other}");
        }
    }
}
