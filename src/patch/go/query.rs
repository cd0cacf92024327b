//! tree-sitter's own queries, for what is read of a source and never changed.

use anyhow::Result;
use tree_sitter::{Query, QueryCursor, StreamingIterator};

use super::{GoFile, SyntaxNode};
use crate::error::Error;

/// A query over Go source.
pub struct Pattern(Query);

/// One match: captured nodes by capture name, in the order of the source, an outer one before those in it.
pub struct Match<'file> {
    pub captures: Vec<(&'file str, SyntaxNode<'file>)>,
}

impl Pattern {
    /// Compiles a query; `name` is for messages.
    pub fn compile(name: &str, source: &str) -> Result<Self> {
        let query = Query::new(&tree_sitter_go::LANGUAGE.into(), source);
        Ok(Self(query.map_err(|error| Error::failed(format!("the query of `{name}` is not valid: {error}")))?))
    }
}

impl GoFile {
    /// All matches of `pattern` in a piece of the file, in the order of the source.
    pub fn matches<'file>(&'file self, pattern: &'file Pattern, within: SyntaxNode<'file>) -> Vec<Match<'file>> {
        let names = pattern.0.capture_names();
        let mut cursor = QueryCursor::new();
        let mut found = cursor.matches(&pattern.0, within.node, self.bytes.as_slice());
        let mut all = Vec::new();
        while let Some(one) = found.next() {
            let captures = one
                .captures()
                .iter()
                .map(|c| (names[c.index as usize], SyntaxNode { node: c.node, file: self }))
                .collect();
            all.push(Match { captures });
        }
        all
    }
}
