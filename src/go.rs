//! Go source as bytes with a tree: the only module that knows tree-sitter.
//!
//! tree-sitter reads CRLF and invalid UTF-8 without complaint, and its ranges are byte ranges, so
//! nothing here ever needs the source as text.

use std::ops::Range;
use std::str;

use anyhow::Result;
use tree_sitter::{InputEdit, Node, Parser, Point, Query, QueryCursor, StreamingIterator, Tree};

use crate::edit::Edit;
use crate::error::Error;

/// A Go file: its path for messages, its bytes, its tree.
pub struct GoFile {
    path: String,
    bytes: Vec<u8>,
    tree: Tree,
    /// The names of all functions and methods, and the numbers of their nodes under the root.
    functions: Vec<(String, u32)>,
    imports: Vec<Import>,
}

/// One import: the name that it is given, and its path.
struct Import {
    name: Option<String>,
    path: String,
}

impl Import {
    /// What the file calls the package.
    fn qualifier(&self) -> &str {
        self.name.as_deref().or(self.path.rsplit('/').next()).unwrap_or_default()
    }
}

/// A query over Go source: patterns with the `#set!` properties of each.
pub struct Pattern {
    query: Query,
    properties: Vec<Vec<(String, String)>>,
}

/// One match of one pattern.
pub struct Match<'file> {
    /// The pattern's number in its query.
    pub pattern: usize,
    /// Captured nodes by capture name, in the order of the source, an outer one before those in it.
    pub captures: Vec<(&'file str, Piece<'file>)>,
}

/// A node of the tree: a piece of the source that has a meaning of its own.
#[derive(Clone, Copy)]
pub struct Piece<'file> {
    node: Node<'file>,
    file: &'file GoFile,
}

impl GoFile {
    /// Parses `bytes`; `path` is for messages.
    ///
    /// # Errors
    /// Source that does not parse, with line and column of the first place.
    pub fn parse(path: &str, bytes: Vec<u8>) -> Result<Self> {
        Self::parse_from(path, bytes, None)
    }

    /// Parses what `edits` made of this file: only what they touched is read again.
    pub fn parse_edited(&self, bytes: Vec<u8>, edits: &[Edit]) -> Result<Self> {
        let mut tree = self.tree.clone();
        let mut order: Vec<&Edit> = edits.iter().collect();
        // From the last to the first, so that no edit moves the places of those that follow. At one
        // place the insertion given last comes first.
        order.reverse();
        order.sort_by_key(|edit| std::cmp::Reverse((edit.range.start, edit.range.end)));
        for Edit { range, text } in order {
            let (start, old_end) = (point(&self.bytes[..range.start]), point(&self.bytes[..range.end]));
            let grown = point(text);
            let column = if grown.row == 0 { start.column + grown.column } else { grown.column };
            tree.edit(&InputEdit {
                start_byte: range.start,
                old_end_byte: range.end,
                new_end_byte: range.start + text.len(),
                start_position: start,
                old_end_position: old_end,
                new_end_position: Point { row: start.row + grown.row, column },
            });
        }
        Self::parse_from(&self.path, bytes, Some(&tree))
    }

    fn parse_from(path: &str, bytes: Vec<u8>, old: Option<&Tree>) -> Result<Self> {
        let mut parser = Parser::new();
        parser.set_language(&tree_sitter_go::LANGUAGE.into())?;
        let tree = parser.parse(&bytes, old).ok_or_else(|| Error::failed(format!("`{path}` could not be parsed")))?;
        let mut file = Self { path: path.to_owned(), bytes, tree, functions: Vec::new(), imports: Vec::new() };
        file.functions = file.find_functions();
        file.imports = file.find_imports();
        match file.first_error() {
            None => Ok(file),
            Some((line, column, found)) => Err(Error::refused(format!("`{path}:{line}:{column}` is not valid Go"))
                .detail(format!("found: {found}"))
                .hint(format!(
                    "`gofmt -l {path}` says more; mend the file, or get it back with `git checkout -- {path}`"
                ))
                .into()),
        }
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// What ends most of the file's lines.
    pub fn line_end(&self) -> &'static str {
        let lines = self.bytes.iter().filter(|&&b| b == b'\n').count();
        let crlf = self.bytes.windows(2).filter(|pair| pair == b"\r\n").count();
        if crlf * 2 > lines { "\r\n" } else { "\n" }
    }

    /// The number, from 1, of the line that holds `byte`.
    pub fn line_of(&self, byte: usize) -> usize {
        line_of(&self.bytes, byte)
    }

    /// The text of a line, from 1, without what ends it.
    pub fn line(&self, number: usize) -> String {
        let line = self.bytes.split(|&b| b == b'\n').nth(number - 1).unwrap_or_default();
        String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned()
    }

    /// All matches of `pattern` in a piece of the file that touch a range, in the order of the source.
    pub fn matches<'file>(
        &'file self,
        pattern: &'file Pattern,
        within: Piece<'file>,
        touching: Range<usize>,
    ) -> Vec<Match<'file>> {
        let names = pattern.query.capture_names();
        let mut cursor = QueryCursor::new();
        cursor.set_byte_range(touching);
        let mut found = cursor.matches(&pattern.query, within.node, self.bytes.as_slice());
        let mut all = Vec::new();
        while let Some(one) = found.next() {
            let captures =
                one.captures().iter().map(|c| (names[c.index as usize], Piece { node: c.node, file: self })).collect();
            all.push(Match { pattern: one.pattern_index, captures });
        }
        all
    }

    /// The whole of it.
    pub fn root(&self) -> Piece<'_> {
        Piece { node: self.tree.root_node(), file: self }
    }

    /// The function or method of that name: `Name`, or `Type.Name` whatever the case of the type's
    /// first letter, since one type was exported once and is no longer.
    pub fn function(&self, name: &str) -> Option<Piece<'_>> {
        let (_, number) = self.functions.iter().find(|(found, _)| found.eq_ignore_ascii_case(name))?;
        Some(Piece { node: self.root().node.child(*number)?, file: self })
    }

    fn find_functions(&self) -> Vec<(String, u32)> {
        let root = self.tree.root_node();
        let mut cursor = root.walk();
        let named = |node| Piece { node, file: self }.function_name();
        root.children(&mut cursor).zip(0..).filter_map(|(node, number)| Some((named(node)?, number))).collect()
    }

    /// Whether `path` is imported under its own last element as a name.
    pub fn imports(&self, path: &str) -> bool {
        self.imports.iter().any(|one| one.path == path && Some(one.qualifier()) == path.rsplit('/').next())
    }

    fn find_imports(&self) -> Vec<Import> {
        let mut imports = Vec::new();
        let root = self.root();
        let mut cursor = root.node.walk();
        for node in root.node.children(&mut cursor).filter(|node| node.kind() == "import_declaration") {
            Piece { node, ..root }.visit(&mut |piece| {
                let spec = piece.node.kind() == "import_spec";
                if spec {
                    let text = |name| piece.field(name).map(|field| field.text());
                    let path = text("path").unwrap_or_default().trim_matches(['"', '`']).to_owned();
                    imports.push(Import { name: text("name"), path });
                }
                !spec
            });
        }
        imports
    }

    fn first_error(&self) -> Option<(usize, usize, String)> {
        if !self.tree.root_node().has_error() {
            return None;
        }
        let mut first = None;
        self.root().visit(&mut |piece| {
            let node = piece.node;
            if first.is_none() && (node.is_error() || node.is_missing()) {
                let at = node.start_position();
                let found = match node.is_missing() {
                    true => format!("`{}` is missing", node.kind()),
                    false => format!("`{}`", self.line(at.row + 1).trim()),
                };
                first = Some((at.row + 1, at.column + 1, found));
            }
            first.is_none() && node.has_error()
        });
        first.or(Some((1, 1, "a syntax error".into())))
    }
}

impl Pattern {
    /// Compiles a query; `name` is for messages.
    pub fn compile(name: &str, source: &str) -> Result<Self> {
        let query = Query::new(&tree_sitter_go::LANGUAGE.into(), source)
            .map_err(|error| Error::failed(format!("the query of `{name}` is not valid: {error}")))?;
        let properties = (0..query.pattern_count())
            .map(|n| {
                let settings = query.property_settings(n).iter();
                settings.map(|p| (p.key.to_string(), p.value.as_deref().unwrap_or_default().to_owned())).collect()
            })
            .collect();
        Ok(Self { query, properties })
    }

    /// How many patterns the query holds.
    pub fn count(&self) -> usize {
        self.properties.len()
    }

    /// What `(#set! key value)` says in a pattern.
    pub fn property(&self, pattern: usize, key: &str) -> Option<&str> {
        self.properties[pattern].iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }
}

impl<'file> Piece<'file> {
    /// Calls `see` for each node of it before those within; those are left out where it says false.
    fn visit(self, see: &mut dyn FnMut(Self) -> bool) {
        let mut cursor = self.node.walk();
        loop {
            let inside = see(Self { node: cursor.node(), ..self });
            if inside && cursor.goto_first_child() {
                continue;
            }
            while !cursor.goto_next_sibling() {
                if !cursor.goto_parent() {
                    return;
                }
            }
        }
    }

    pub fn range(&self) -> Range<usize> {
        self.node.byte_range()
    }

    /// The number of its first line, from 1.
    pub fn line(&self) -> usize {
        self.node.start_position().row + 1
    }

    /// The number of its last line, from 1.
    pub fn last_line(&self) -> usize {
        self.node.end_position().row + 1
    }

    pub fn bytes(&self) -> &'file [u8] {
        &self.file.bytes[self.range()]
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    /// The name of the function it lies in, `Type.Name` for a method.
    pub fn function_name(&self) -> Option<String> {
        let function = self.function()?;
        let name = function.field("name")?.text();
        Some(match function.field("receiver") {
            None => name,
            Some(receiver) => {
                let receiver = receiver.text();
                format!("{}.{name}", receiver.trim_matches(['(', ')']).rsplit([' ', '*']).next()?)
            }
        })
    }

    /// What the function that it lies in calls its receiver, or else its first parameter.
    pub fn receiver_name(&self) -> Option<String> {
        let function = self.function()?;
        let list = function.field("receiver").or_else(|| function.field("parameters"))?;
        let first = list.node.named_child(0).map(|node| Self { node, ..*self })?;
        Some(first.field("name")?.text())
    }

    /// What the function that it lies in calls its parameter of type `*of_type`.
    pub fn parameter_name(&self, of_type: &str) -> Option<String> {
        let list = self.function()?.field("parameters")?;
        let mut cursor = list.node.walk();
        let mut parameters = list.node.named_children(&mut cursor).map(|node| Self { node, ..*self });
        let found = parameters
            .find(|one| one.field("type").is_some_and(|field| field.text().strip_prefix('*') == Some(of_type)));
        Some(found?.field("name")?.text())
    }

    /// The function or method that it lies in.
    pub fn function(&self) -> Option<Self> {
        let mut here = *self;
        while !matches!(here.node.kind(), "function_declaration" | "method_declaration") {
            here = Self { node: here.node.parent()?, ..here };
        }
        Some(here)
    }

    fn field(&self, name: &str) -> Option<Self> {
        self.node.child_by_field_name(name).map(|node| Self { node, ..*self })
    }

    /// Whether an `if` has no `else`, and nothing in it but calls: it may log, but does not return,
    /// assign, or decide.
    fn only_calls(&self) -> bool {
        let list =
            self.field("consequence").and_then(|block| block.node.named_child(0)).map(|node| Self { node, ..*self });
        self.field("alternative").is_none()
            && list.is_some_and(|list| {
                let mut cursor = list.node.walk();
                let mut statements = list.node.named_children(&mut cursor);
                statements.all(|one| matches!(one.kind(), "expression_statement" | "comment"))
            })
    }

    /// Each `case` that receives from this name, and each `if` that tests it and only calls, among
    /// the `uses` that [`Piece::same_name_in_scope`] gives.
    pub fn statements_that_test(&self, uses: &[Range<usize>]) -> Vec<Range<usize>> {
        let root = self.file.tree.root_node();
        let mut found: Vec<Range<usize>> = Vec::new();
        for range in uses {
            let mut here = root.descendant_for_byte_range(range.start, range.end);
            while let Some(node) = here.filter(|node| node.kind() != "block") {
                let piece = Self { node, ..*self };
                let holds = |field| piece.field(field).is_some_and(|part| part.range().contains(&range.start));
                let tests = match node.kind() {
                    "communication_case" => holds("communication"),
                    "if_statement" => holds("condition") && piece.only_calls(),
                    _ => false,
                };
                if tests && !piece.range().contains(&self.range().start) {
                    found.push(piece.range());
                    break;
                }
                here = node.parent();
            }
        }
        found
    }

    /// For a `case` with one other beside it, which receives from a channel that its function closes:
    /// the `select`, and that channel.
    pub fn only_other_case(&self) -> Option<(Self, String)> {
        let select = self.node.parent().map(|node| Self { node, ..*self })?;
        let mut cursor = select.node.walk();
        let cases = select.node.named_children(&mut cursor).filter(|node| node.kind() != "comment");
        let mut others = cases.filter(|node| node.id() != self.node.id());
        let other = others.next().map(|node| Self { node, ..*self })?;
        let channel = other.field("communication")?.text().strip_prefix("<-")?.trim().to_owned();
        let closed = holds(self.function()?.bytes(), format!("close({channel})").as_bytes());
        (others.next().is_none() && closed).then_some((select, channel))
    }

    /// The ranges of all identifiers of this one's name within its scope: the `if` whose header
    /// declares it, or else the block.
    pub fn same_name_in_scope(&self) -> Vec<Range<usize>> {
        let mut scope = self.node;

        while let Some(parent) = scope.parent() {
            scope = parent;
            if matches!(scope.kind(), "if_statement" | "block" | "source_file") {
                break;
            }
        }
        let mut ranges = Vec::new();
        let name = &self.file.bytes[self.range()];
        Self { node: scope, ..*self }.visit(&mut |piece| {
            let range = piece.range();
            if piece.node.kind() == "identifier" && self.file.bytes[range.clone()] == *name {
                ranges.push(range);
            }
            true
        });
        ranges
    }

    /// The white space before its first line.
    pub fn indentation(&self) -> Vec<u8> {
        let start = self.line_start();
        let line = &self.file.bytes[start..];
        line[..line.iter().take_while(|b| matches!(b, b' ' | b'\t')).count()].to_vec()
    }

    /// Its lines from the first to the last, with what ends the last one; nothing if it shares a
    /// line with other code.
    pub fn whole_lines(&self) -> Option<Range<usize>> {
        let bytes = &self.file.bytes;
        let Range { start, end } = self.range();
        // A `case` node ends where the next one begins, after the white space between them.
        let end = start + bytes[start..end].trim_ascii_end().len();
        let first = self.line_start();
        let after = bytes[end..].iter().position(|&b| b == b'\n').map_or(bytes.len(), |n| end + n + 1);
        let rest = bytes[end..after].trim_ascii();
        let alone = bytes[first..start].trim_ascii().is_empty()
            && (rest.is_empty() || rest.starts_with(b"//") || (rest.starts_with(b"/*") && rest.ends_with(b"*/")));
        alone.then_some(first..after)
    }

    /// As [`Piece::whole_lines`], and the comments that stand on the lines directly above.
    pub fn whole_lines_with_comments_above(&self) -> Option<Range<usize>> {
        let lines = self.whole_lines()?;
        let mut first = *self;
        while let Some(comment) = first.sibling(before) {
            let above = comment.node.kind() == "comment" && comment.last_line() + 1 == first.line();
            let Some(whole) = comment.whole_lines().filter(|_| above) else { break };
            if whole.end > lines.start {
                break;
            }
            first = comment;
        }
        Some(first.line_start()..lines.end)
    }

    fn sibling(&self, step: impl Fn(&Node<'file>) -> Option<Node<'file>>) -> Option<Self> {
        step(&self.node).map(|node| Self { node, ..*self })
    }

    fn line_start(&self) -> usize {
        self.file.bytes[..self.range().start].iter().rposition(|&b| b == b'\n').map_or(0, |n| n + 1)
    }
}

/// What stands before a node. The comments above the first statement of a block stand before the
/// list of statements, not in it.
fn before<'file>(node: &Node<'file>) -> Option<Node<'file>> {
    node.prev_sibling().or_else(|| {
        let parent = node.parent().filter(|parent| parent.start_byte() == node.start_byte())?;
        parent.prev_sibling()
    })
}

/// Where `needle` begins in `bytes`, each time. An empty one stands nowhere.
pub fn occurrences<'a>(bytes: &'a [u8], needle: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let first = needle.first();
    let starts = bytes.iter().enumerate().filter(move |(_, byte)| Some(*byte) == first);
    starts.map(|(start, _)| start).filter(move |&start| bytes[start..].starts_with(needle))
}

/// Whether `needle` stands in `bytes`.
pub fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    occurrences(bytes, needle).next().is_some()
}

/// Whether `text` is like `glob`, in which `*` stands for any bytes of a line, and at the end for all
/// the rest.
pub fn like(text: &[u8], glob: &[u8]) -> bool {
    match glob {
        [] => text.is_empty(),
        b"*" => true,
        [b'*', rest @ ..] => {
            let line = text.iter().position(|&b| b == b'\n').unwrap_or(text.len());
            (0..=line).any(|n| like(&text[n..], rest))
        }
        [first, rest @ ..] => text.first() == Some(first) && like(&text[1..], rest),
    }
}

/// Where `bytes` end, as tree-sitter counts: rows and columns from 0, columns in bytes.
fn point(bytes: &[u8]) -> Point {
    let line = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |n| n + 1);
    Point { row: line_of(bytes, bytes.len()) - 1, column: bytes.len() - line }
}

/// The number, from 1, of the line of `bytes` that holds `byte`.
pub fn line_of(bytes: &[u8], byte: usize) -> usize {
    1 + bytes[..byte.min(bytes.len())].iter().filter(|&&b| b == b'\n').count()
}

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

    fn file(source: &str) -> GoFile {
        GoFile::parse("t.go", source.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn parse_names_line_and_column_of_the_first_error() {
        let error = GoFile::parse("t.go", b"package p\n\nfunc f() {\n\tx := = 1\n}\n".to_vec()).err().unwrap();
        assert!(error.to_string().starts_with("`t.go:4:"), "{error}");
    }

    #[test]
    fn parse_takes_crlf_and_invalid_utf8() {
        let file = GoFile::parse("t.go", b"package p\r\n\r\n// \xff\r\nvar x = 1\r\n".to_vec()).unwrap();
        assert_eq!(file.line_end(), "\r\n");
        assert_eq!(file.bytes().len(), 30);
    }

    #[test]
    fn function_ignores_the_case_of_the_receiver_and_finds_methods_of_the_right_type() {
        let file = file("package p\nfunc (a A) Run() {}\nfunc (c *System) Run() {\n}\nfunc free() {}\n");
        assert_eq!(file.function("system.Run").unwrap().line(), 3);
        assert_eq!(file.function("free").unwrap().line(), 5);
        assert!(file.function("B.Run").is_none());
    }

    #[test]
    fn imports_knows_a_renamed_one() {
        let file = file("package p\n\nimport (\n\t\"os\"\n\n\tl \"x/log\"\n)\n\nvar _ = os.Args\nvar e l.E\n");
        assert!(file.imports("os") && !file.imports("x/log"));
    }

    #[test]
    fn like_keeps_a_star_within_its_line_but_for_the_last() {
        assert!(like(b"err := ps.Cmd.Wait()", b"* := *.Cmd.Wait()"));
        assert!(like(b"pr := &process.State{\n\tPath: x,\n}", b"* := &process.State{*"));
        assert!(!like(b"x := f(\n\ty := ps.Cmd.Wait()", b"* := *.Cmd.Wait()"));
        assert!(!like(b"ps.Cmd.Wait()", b"* := *.Cmd.Wait()"));
    }

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
