//! Go source as bytes with a tree: the only module that knows tree-sitter. Rules are matched by ast-grep, which sees a
//! file through [`GoSource`].
//!
//! tree-sitter reads CRLF and invalid UTF-8 without complaint, and its ranges are byte ranges, so
//! nothing here ever needs the source as text.

pub use grep::{GoLanguage, GoSource};
pub use literal::{quote, strings};
pub use query::{Match, Pattern};

mod brackets;
mod builtins;
mod grep;
mod literal;
mod query;

use std::ops::Range;
use std::sync::Arc;

use anyhow::Result;
use ast_grep_core::AstGrep;
use tree_sitter::{InputEdit, Node, Parser, Point, Tree};

use grep::Bytes;

use crate::error::Error;
use crate::patch::edit::Edit;

/// A Go file: its path for messages, its bytes, its tree.
pub struct GoFile {
    path: String,
    bytes: Arc<Vec<u8>>,
    tree: Tree,
    /// The same bytes and the same tree, for ast-grep.
    grep: AstGrep<GoSource>,
    /// Whether the tree is of these bytes and not of [`builtins::respelled`] ones.
    tree_of_bytes: bool,
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

/// The uses of a name within its scope.
#[derive(Debug, Default)]
pub struct Uses {
    pub places: Vec<Range<usize>>,
    /// Each `case` that receives from the name, and each `if` that tests it and only calls.
    pub tests: Vec<Range<usize>>,
}

/// A node of the tree: a piece of the source that has a meaning of its own.
#[derive(Clone, Copy)]
pub struct SyntaxNode<'file> {
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
        Self::parse_from(&self.path, bytes, Some(&tree).filter(|_| self.tree_of_bytes))
    }

    fn parse_from(path: &str, bytes: Vec<u8>, old: Option<&Tree>) -> Result<Self> {
        let mut parser = Parser::new();
        parser.set_language(&tree_sitter_go::LANGUAGE.into())?;
        let mut tree = parser.parse(&bytes, old);
        let has_error = tree.as_ref().is_some_and(|tree| tree.root_node().has_error());
        let respelled = if has_error { builtins::respelled(&mut parser, &bytes) } else { None };
        let tree_of_bytes = respelled.is_none();
        if let Some(other) = respelled {
            tree = parser.parse(&other, None);
        }
        let tree = tree.ok_or_else(|| Error::failed(format!("`{path}` could not be parsed")))?;
        let bytes = Arc::new(bytes);
        let grep = AstGrep::doc(GoSource { bytes: Bytes(Arc::clone(&bytes)), tree: tree.clone() });
        let (functions, imports) = (Vec::new(), Vec::new());
        let mut file = Self { path: path.to_owned(), bytes, tree, grep, tree_of_bytes, functions, imports };
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
        drop(self.grep);
        Arc::unwrap_or_clone(self.bytes)
    }

    /// What ends most of the file's lines.
    pub fn line_end(&self) -> &'static str {
        let (mut lines, mut crlf) = (0, 0);
        for end in memchr::memchr_iter(b'\n', &self.bytes) {
            lines += 1;
            crlf += usize::from(self.bytes[..end].ends_with(b"\r"));
        }
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

    /// The file as ast-grep takes it.
    pub fn grep(&self) -> ast_grep_core::Node<'_, GoSource> {
        self.grep.root()
    }

    /// A node that ast-grep found in this file.
    pub fn piece<'file>(&'file self, node: &ast_grep_core::Node<'file, GoSource>) -> SyntaxNode<'file> {
        SyntaxNode { node: node.get_inner_node().0, file: self }
    }

    /// The string literals that a function is called with, without their quotes, in the order of the source.
    pub fn strings_given_to(&self, function: &str) -> Vec<String> {
        let mut found = Vec::new();
        self.root().visit(&mut |piece| {
            let called = piece.node.kind() == "call_expression"
                && piece.field("function").is_some_and(|name| name.bytes() == function.as_bytes());
            if let Some(arguments) = piece.field("arguments").filter(|_| called) {
                let literals = arguments.named_children().filter(|one| one.node.kind() == "interpreted_string_literal");
                found.extend(literals.map(|one| one.text().trim_matches('"').to_owned()));
            }
            true
        });
        found
    }

    /// The whole of it.
    pub fn root(&self) -> SyntaxNode<'_> {
        SyntaxNode { node: self.tree.root_node(), file: self }
    }

    /// The function or method of that name: `Name`, or `Type.Name` whatever the case of the type's
    /// first letter, since one type was exported once and is no longer.
    pub fn function(&self, name: &str) -> Option<SyntaxNode<'_>> {
        let (_, number) = self.functions.iter().find(|(found, _)| found.eq_ignore_ascii_case(name))?;
        Some(SyntaxNode { node: self.root().node.child(*number)?, file: self })
    }

    fn find_functions(&self) -> Vec<(String, u32)> {
        let children = self.root().children().into_iter().zip(0..);
        let functions = children.filter(|(piece, _)| piece.is_function());
        functions.filter_map(|(piece, number)| Some((piece.name_as_function()?, number))).collect()
    }

    /// Whether `path` is imported under its own last element as a name.
    pub fn imports(&self, path: &str) -> bool {
        self.imports.iter().any(|one| one.path == path && Some(one.qualifier()) == path.rsplit('/').next())
    }

    fn find_imports(&self) -> Vec<Import> {
        let mut imports = Vec::new();
        let children = self.root().children().into_iter();
        for declaration in children.filter(|piece| piece.node.kind() == "import_declaration") {
            declaration.visit(&mut |piece| {
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
        // Each side of a conflict may open the same bracket.
        let mut lines = self.bytes.split(|&byte| byte == b'\n').zip(1..);
        if let Some((_, number)) = lines.find(|(line, _)| line.starts_with(b"<<<<<<< ")) {
            return Some((number, 1, format!("`{}`, a conflict of a merge that is not resolved", self.line(number))));
        }
        if let Some(at) = brackets::unbalanced(&self.bytes) {
            let Point { row, column } = point(&self.bytes[..at]);
            let bracket = char::from(self.bytes[at]);
            let lacks = if "([{".contains(bracket) { "is not closed" } else { "closes nothing" };
            return Some((
                row + 1,
                column + 1,
                format!("`{}`, of which a `{bracket}` {lacks}", self.line(row + 1).trim()),
            ));
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

impl<'file> SyntaxNode<'file> {
    /// Calls `see` for each node of it before those within; those are left out where it says false.
    fn visit(self, see: &mut dyn FnMut(Self) -> bool) {
        let mut cursor = self.node.walk();
        loop {
            count_visits(1);
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
        self.function()?.name_as_function()
    }

    fn is_function(&self) -> bool {
        matches!(self.node.kind(), "function_declaration" | "method_declaration")
    }

    /// The name of a function, `Type.Name` for a method.
    fn name_as_function(&self) -> Option<String> {
        let name = self.field("name")?.text();
        Some(match self.field("receiver") {
            None => name,
            Some(receiver) => {
                let receiver = receiver.text();
                format!("{}.{name}", receiver.trim_matches(['(', ')']).rsplit([' ', '*']).next()?)
            }
        })
    }

    /// The function or method that it lies in.
    pub fn function(&self) -> Option<Self> {
        if self.is_function() {
            return Some(*self);
        }
        self.ancestors().into_iter().find(Self::is_function)
    }

    /// The nodes that hold it, the innermost first.
    ///
    /// tree-sitter keeps no parents: `Node::parent` searches from the root, and passes all siblings on its way.
    /// Asked of every ancestor, or of every child of a long list, that takes quadratic time. So does
    /// `Node::prev_sibling`. This is one search.
    fn ancestors(&self) -> Vec<Self> {
        let mut found = vec![self.file.root()];
        while let Some(node) = found.last().and_then(|last| last.node.child_with_descendant(self.node)) {
            count_visits(1);
            if node.id() == self.node.id() {
                break;
            }
            found.push(Self { node, ..*self });
        }
        found.retain(|piece| piece.node.id() != self.node.id());
        found.reverse();
        found
    }

    fn children(&self) -> Vec<Self> {
        let mut cursor = self.node.walk();
        let children: Vec<Self> = self.node.children(&mut cursor).map(|node| Self { node, ..*self }).collect();
        count_visits(children.len());
        children
    }

    fn named_children(&self) -> impl Iterator<Item = Self> {
        self.children().into_iter().filter(|piece| piece.node.is_named())
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
                list.named_children().all(|one| matches!(one.node.kind(), "expression_statement" | "comment"))
            })
    }

    /// The statement or field that it is or lies in: what stands in a list of those, or at the top of the file.
    pub fn statement(&self) -> Self {
        let mut here = *self;
        for around in self.ancestors() {
            if matches!(around.node.kind(), "statement_list" | "block" | "field_declaration_list" | "source_file") {
                break;
            }
            here = around;
        }
        here
    }

    /// The declaration at the top of the file that it is or lies in.
    pub fn declaration(&self) -> Self {
        self.ancestors().into_iter().rev().nth(1).unwrap_or(*self)
    }

    /// Where else this identifier's name stands within its scope: the `if` whose header declares it, or else
    /// the block. Other nodes of that name count too, since nothing here knows types.
    pub fn uses_in_scope(&self) -> Uses {
        let is_scope = |piece: &Self| matches!(piece.node.kind(), "if_statement" | "block" | "source_file");
        let scope = self.ancestors().into_iter().find(is_scope).unwrap_or(*self);
        let (own, name) = (self.range(), self.bytes());
        let mut uses = Uses::default();
        let mut cursor = scope.node.walk();
        // For each node around the current one: itself, the statement that tests what stands in it, and the part of it
        // that it tests itself.
        let mut around: Vec<(Self, Option<Self>, Option<&str>)> = Vec::new();
        loop {
            count_visits(1);
            let here = Self { node: cursor.node(), ..*self };
            let test = around.last().and_then(|(parent, test, tested)| match cursor.field_name() {
                field if field.is_some() && field == *tested => Some(*parent),
                _ if parent.node.kind() == "block" => None,
                _ => *test,
            });
            if here.node.kind() == "identifier" && here.bytes() == name && here.range() != own {
                uses.places.push(here.range());
                uses.tests.extend(test.map(|test| test.range()));
            }
            if cursor.goto_first_child() {
                around.push((here, test, here.tested_part().filter(|_| !here.range().contains(&own.start))));
                continue;
            }
            while !cursor.goto_next_sibling() {
                if !cursor.goto_parent() {
                    uses.tests.dedup();
                    return uses;
                }
                around.pop();
            }
        }
    }

    /// The field whose value decides whether the statement does more than to log.
    fn tested_part(&self) -> Option<&'static str> {
        match self.node.kind() {
            "communication_case" => Some("communication"),
            "if_statement" if self.only_calls() => Some("condition"),
            _ => None,
        }
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

    /// As [`SyntaxNode::whole_lines`], and the comments that stand on the lines directly above.
    pub fn whole_lines_with_comments_above(&self) -> Option<Range<usize>> {
        let lines = self.whole_lines()?;
        let mut first = *self;
        for comment in self.before() {
            let above = comment.node.kind() == "comment" && comment.last_line() + 1 == first.line();
            let Some(whole) = comment.whole_lines().filter(|_| above) else { break };
            if whole.end > lines.start {
                break;
            }
            first = comment;
        }
        Some(first.line_start()..lines.end)
    }

    /// What stands before it, the nearest first. The comments above the first statement of a block stand
    /// before the list of statements, not in it.
    fn before(&self) -> Vec<Self> {
        let (mut found, mut here) = (Vec::new(), *self);
        for (level, parent) in self.ancestors().into_iter().enumerate() {
            let siblings = parent.children();
            let first = siblings.first().map(|piece| piece.range().start);
            let known = found.len();
            found.extend(siblings.into_iter().take_while(|piece| piece.node.id() != here.node.id()));
            found[known..].reverse();
            if first != Some(parent.range().start) || (level > 0 && found.len() == known) {
                break;
            }
            here = parent;
        }
        found
    }

    fn line_start(&self) -> usize {
        self.file.bytes[..self.range().start].iter().rposition(|&b| b == b'\n').map_or(0, |n| n + 1)
    }
}

#[cfg(test)]
thread_local! {
    /// How many nodes were looked at, so that tests can show that it grows no faster than the source.
    pub static VISITS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[cfg_attr(not(test), expect(clippy::missing_const_for_fn, unused_variables, reason = "only tests count"))]
fn count_visits(number: usize) {
    #[cfg(test)]
    VISITS.set(VISITS.get() + number);
}

/// Where `needle` begins in `bytes`, each time. An empty one stands nowhere.
pub fn occurrences<'a>(bytes: &'a [u8], needle: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    // Unlike memmem's, these may overlap.
    let starts = needle.first().into_iter().flat_map(|&first| memchr::memchr_iter(first, bytes));
    starts.filter(move |&start| bytes[start..].starts_with(needle))
}

/// Whether `needle` stands in `bytes`.
pub fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    occurrences(bytes, needle).next().is_some()
}

/// Where `bytes` end, as tree-sitter counts: rows and columns from 0, columns in bytes.
fn point(bytes: &[u8]) -> Point {
    let line = memchr::memrchr(b'\n', bytes).map_or(0, |n| n + 1);
    Point { row: line_of(bytes, bytes.len()) - 1, column: bytes.len() - line }
}

/// The number, from 1, of the line of `bytes` that holds `byte`.
pub fn line_of(bytes: &[u8], byte: usize) -> usize {
    1 + memchr::memchr_iter(b'\n', &bytes[..byte.min(bytes.len())]).count()
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
    fn uses_in_scope_tells_the_statements_that_only_test_a_name() {
        let source = "package p\nfunc f() {\n\tt := g()\n\tif t != nil {\n\t\tlog(t)\n\t}\n\tselect {\n\tcase <-t:\n\t\treturn\n\t}\n\tif t {\n\t\treturn\n\t}\n}\n";
        let file = file(source);
        let start = source.find("t := ").unwrap();
        let node = file.tree.root_node().descendant_for_byte_range(start, start + 1).unwrap();
        let uses = SyntaxNode { node, file: &file }.uses_in_scope();
        let lines = |ranges: &[Range<usize>]| ranges.iter().map(|range| file.line_of(range.start)).collect::<Vec<_>>();
        assert_eq!((lines(&uses.places), lines(&uses.tests)), (vec![4, 5, 8, 11], vec![4, 8]));
    }

    #[test]
    fn parse_takes_expressions_of_any_depth() {
        for (open, close, depth) in [("(", ")", 80_000), ("-", "", 80_000), ("[]T{", "}", 80_000), ("new(", ")", 4_000)]
        {
            let source = format!("package p\nvar x = {}1{}\n", open.repeat(depth), close.repeat(depth));
            assert_eq!(file(&source).root().range().end, source.len());
        }
    }
}
