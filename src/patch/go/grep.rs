//! A Go file as ast-grep sees it: the bytes and the tree that [`GoFile`](super::GoFile) has, without a second parse.
//!
//! ast-grep's own documents hold a `String`. Sources may hold any bytes, so this one holds bytes; a text that is
//! compared with a pattern is decoded with replacement characters, which no pattern contains.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use ast_grep_core::language::Language;
use ast_grep_core::matcher::PatternBuilder;
use ast_grep_core::source::{Content, Doc, Edit, SgNode};
use ast_grep_core::{Pattern, PatternError, Position};
use serde::Deserialize;
use tree_sitter::{Node, Parser, Tree};

use super::count_visits;

/// What the name of a metavariable begins with once a pattern is parsed: `$` is no letter of Go. ast-grep uses the
/// same one.
const EXPANDO: char = 'µ';

/// The language of rules: Go, and no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum GoLanguage {
    #[serde(alias = "go", alias = "golang")]
    Go,
}

impl Language for GoLanguage {
    fn expando_char(&self) -> char {
        EXPANDO
    }

    /// Replaces the `$` of each metavariable, as ast-grep does it: those before a capital letter or `_`, and `$$$`.
    fn pre_process_pattern<'q>(&self, pattern: &'q str) -> Cow<'q, str> {
        let mut text = String::with_capacity(pattern.len());
        let mut dollars = 0;
        for c in pattern.chars().map(Some).chain([None]) {
            if c == Some('$') {
                dollars += 1;
                continue;
            }
            let is_variable = matches!(c, Some('A'..='Z' | '_')) || dollars == 3;
            text.extend(std::iter::repeat_n(if is_variable { EXPANDO } else { '$' }, dollars));
            text.extend(c);
            dollars = 0;
        }
        text.into()
    }

    fn kind_to_id(&self, kind: &str) -> u16 {
        tree_sitter::Language::from(tree_sitter_go::LANGUAGE).id_for_node_kind(kind, true)
    }

    fn field_to_id(&self, field: &str) -> Option<u16> {
        tree_sitter::Language::from(tree_sitter_go::LANGUAGE).field_id_for_name(field).map(std::num::NonZero::get)
    }

    fn build_pattern(&self, builder: &PatternBuilder) -> Result<Pattern, PatternError> {
        builder.build(|source| {
            let mut parser = Parser::new();
            parser.set_language(&tree_sitter_go::LANGUAGE.into()).map_err(|error| error.to_string())?;
            let tree = parser.parse(source, None).ok_or("the pattern could not be parsed")?;
            Ok(GoSource { bytes: Bytes(Arc::new(source.as_bytes().to_vec())), tree })
        })
    }
}

/// The bytes of a source.
#[derive(Clone, Debug)]
pub struct Bytes(pub Arc<Vec<u8>>);

impl Content for Bytes {
    type Underlying = u8;

    fn get_range(&self, range: Range<usize>) -> &[u8] {
        &self.0[range]
    }

    fn decode_str(text: &str) -> Cow<'_, [u8]> {
        text.as_bytes().into()
    }

    fn encode_bytes(bytes: &[u8]) -> Cow<'_, str> {
        String::from_utf8_lossy(bytes)
    }

    fn get_char_column(&self, column: usize, offset: usize) -> usize {
        String::from_utf8_lossy(&self.0[offset - column..offset]).chars().count()
    }
}

/// A source with its tree.
#[derive(Clone)]
pub struct GoSource {
    pub bytes: Bytes,
    pub tree: Tree,
}

impl Doc for GoSource {
    type Source = Bytes;
    type Lang = GoLanguage;
    type Node<'r> = GoNode<'r>;

    fn get_lang(&self) -> &GoLanguage {
        &GoLanguage::Go
    }

    fn get_source(&self) -> &Bytes {
        &self.bytes
    }

    /// Changes are made by [`splice`](crate::patch::edit::splice), all at once.
    fn do_edit(&mut self, _: &Edit<Bytes>) -> Result<(), String> {
        Err("a source is not edited in place".into())
    }

    fn root_node(&self) -> GoNode<'_> {
        GoNode(self.tree.root_node())
    }

    fn get_node_text<'a>(&'a self, node: &GoNode<'a>) -> Cow<'a, str> {
        String::from_utf8_lossy(&self.bytes.0[node.0.byte_range()])
    }
}

/// A node of the tree. It counts how many nodes a search passes, so that tests can show that the cost grows no
/// faster than the source.
#[derive(Clone, Copy)]
pub struct GoNode<'r>(pub Node<'r>);

fn counted(node: Node) -> GoNode {
    count_visits(1);
    GoNode(node)
}

// tree-sitter's own type has all of these; what is added is the count.
impl<'r> SgNode<'r> for GoNode<'r> {
    fn parent(&self) -> Option<Self> {
        SgNode::parent(&self.0).map(counted)
    }

    fn ancestors(&self, root: Self) -> impl Iterator<Item = Self> {
        SgNode::ancestors(&self.0, root.0).map(counted)
    }

    fn dfs(&self) -> impl Iterator<Item = Self> {
        SgNode::dfs(&self.0).map(counted)
    }

    fn child(&self, nth: usize) -> Option<Self> {
        SgNode::child(&self.0, nth).map(counted)
    }

    fn children(&self) -> impl ExactSizeIterator<Item = Self> {
        SgNode::children(&self.0).map(counted)
    }

    fn child_by_field_id(&self, field_id: u16) -> Option<Self> {
        SgNode::child_by_field_id(&self.0, field_id).map(counted)
    }

    fn next(&self) -> Option<Self> {
        SgNode::next(&self.0).map(counted)
    }

    fn prev(&self) -> Option<Self> {
        SgNode::prev(&self.0).map(counted)
    }

    fn next_all(&self) -> impl Iterator<Item = Self> {
        SgNode::next_all(&self.0).map(counted)
    }

    fn prev_all(&self) -> impl Iterator<Item = Self> {
        SgNode::prev_all(&self.0).map(counted)
    }

    fn is_named(&self) -> bool {
        self.0.is_named()
    }

    fn is_named_leaf(&self) -> bool {
        self.0.named_child_count() == 0
    }

    fn is_leaf(&self) -> bool {
        self.0.child_count() == 0
    }

    fn kind(&self) -> Cow<'_, str> {
        self.0.kind().into()
    }

    fn kind_id(&self) -> u16 {
        self.0.kind_id()
    }

    fn node_id(&self) -> usize {
        self.0.id()
    }

    fn range(&self) -> Range<usize> {
        self.0.byte_range()
    }

    fn start_pos(&self) -> Position {
        SgNode::start_pos(&self.0)
    }

    fn end_pos(&self) -> Position {
        SgNode::end_pos(&self.0)
    }

    fn is_missing(&self) -> bool {
        self.0.is_missing()
    }

    fn is_error(&self) -> bool {
        self.0.is_error()
    }

    fn is_extra(&self) -> bool {
        self.0.is_extra()
    }

    fn field(&self, name: &str) -> Option<Self> {
        self.0.child_by_field_name(name).map(counted)
    }

    fn field_children(&self, field_id: Option<u16>) -> impl Iterator<Item = Self> {
        SgNode::field_children(&self.0, field_id).map(counted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metavariables_are_spelled_as_names_of_go() {
        let spelled = |pattern| GoLanguage::Go.pre_process_pattern(pattern).into_owned();
        assert_eq!(spelled("$A := f($$$ARGS, $_x, $$$)"), "µA := f(µµµARGS, µ_x, µµµ)");
        assert_eq!(spelled("\"$5\" $a $"), "\"$5\" $a $");
        assert_eq!(spelled("f($$$"), "f(µµµ");
    }
}
