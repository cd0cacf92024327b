//! What Go source says around a line: the conditions that led there, the expressions that they read, and the call whose
//! error they look at.
//!
//! A name that was given a value before stands for that value; a call stands for what the function returns, and for
//! the conditions in it, with its parameters replaced by the arguments. So a condition on `got` after
//! `got := c.phase()` reads `c.state.phase`.

mod follow;

use std::fs;
use std::path::{Path, PathBuf};

use follow::{Follow, parameters};
use tree_sitter::{Node, Parser, Point, Tree};

use crate::cause::credentials;

/// How many names and calls deep is looked.
const DEPTH: usize = 4;

/// More expressions than this are not followed.
const MOST: usize = 16;

struct File {
    path: String,
    text: String,
    tree: Tree,
}

/// The files of one package, and of the packages of its module that it imports.
pub struct Sources {
    files: Vec<File>,
}

/// A call, with the line that it stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub line: u64,
    pub text: String,
}

/// What a line depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// The line of the condition, and its text.
    pub line: u64,
    pub condition: String,
    /// What the condition reads: expressions that can be evaluated in the frame of the line.
    pub reads: Vec<String>,
    /// The call whose error or result the condition looks at.
    pub call: Option<Call>,
    /// The `return` statements, by file and line, that may have given the condition its value.
    pub returns: Vec<(String, u64)>,
    /// Whether what it read came through a channel: then another goroutine returned it.
    pub received: bool,
    /// Whether the condition reads only parameters: then the caller decided it.
    pub only_parameters: bool,
}

/// More `return` statements than this are not looked at.
const RETURNS: usize = 24;

/// More files than this are not read.
const FILES: usize = 300;

impl Sources {
    /// The package of a file and the packages of its module that it imports, as far as their sources are here.
    pub fn around(file: &str) -> Option<Self> {
        let folder = Path::new(file).parent()?;
        let mut sources = Self { files: Vec::new() };
        sources.add(folder);
        let text = fs::read_to_string(file).unwrap_or_default();
        if let Some((root, module)) = module_of(folder) {
            let quoted = text.lines().take_while(|line| !line.starts_with("func ")).filter_map(|line| {
                let line = line.trim().strip_prefix("import").unwrap_or(line).trim();
                line.split('"').nth(1)?.strip_prefix(&module)?.strip_prefix('/')
            });
            quoted.for_each(|package| sources.add(&root.join(package)));
        }
        Some(sources).filter(|sources| !sources.files.is_empty())
    }

    fn add(&mut self, folder: &Path) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|ending| ending == "go") && self.files.len() < FILES {
                let name = path.to_string_lossy().into_owned();
                self.files.extend(fs::read_to_string(&path).ok().and_then(|text| File::of(name, text)));
            }
        }
    }

    #[cfg(test)]
    fn of(text: &str) -> Self {
        Self { files: vec![File::of("main.go".into(), text.into()).unwrap()] }
    }

    fn file(&self, name: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == name)
    }

    /// The text of a line, without the blanks around it.
    pub fn line(&self, file: &str, line: u64) -> Option<&str> {
        self.file(file)?.text.lines().nth(usize::try_from(line).ok()?.checked_sub(1)?).map(str::trim)
    }

    /// The innermost condition that a line depends on, within its function.
    pub fn guard(&self, file: &str, line: u64) -> Option<Guard> {
        let source = self.file(file)?;
        let mut node = source.at(line)?;
        let function = File::function_of(node);
        while let Some(parent) = node.parent() {
            if is_function(parent.kind()) {
                break;
            }
            let taken =
                ["consequence", "alternative"].iter().any(|field| parent.child_by_field_name(field) == Some(node));
            let condition = match parent.kind() {
                "if_statement" if taken => parent.child_by_field_name("condition"),
                "expression_case" => parent.child_by_field_name("value"),
                _ => None,
            };
            if let Some(condition) = condition {
                let switch = (parent.kind() == "expression_case").then(|| parent.parent()).flatten();
                let value = switch.and_then(|switch| switch.child_by_field_name("value"));
                return Some(self.guard_of(source, function, condition, value));
            }
            node = parent;
        }
        None
    }

    /// The condition of the innermost loop around a line that has one.
    pub fn loop_guard(&self, file: &str, line: u64) -> Option<Guard> {
        let source = self.file(file)?;
        let mut node = source.at(line)?;
        let function = File::function_of(node);
        while let Some(parent) = node.parent().filter(|parent| !is_function(parent.kind())) {
            if parent.kind() == "for_statement" {
                let mut cursor = parent.walk();
                let body = parent.child_by_field_name("body");
                let head = parent.named_children(&mut cursor).find(|child| Some(*child) != body)?;
                let condition = match head.kind() {
                    "for_clause" => head.child_by_field_name("condition"),
                    "range_clause" => None,
                    _ => Some(head),
                };
                if let Some(condition) = condition {
                    return Some(self.guard_of(source, function, condition, None));
                }
            }
            node = parent;
        }
        None
    }

    /// What the call in a line is given, as if that were a condition.
    pub fn arguments(&self, file: &str, line: u64) -> Option<Guard> {
        let source = self.file(file)?;
        let first = source.at(line)?;
        let in_line = |node: &Node| {
            !is_function(node.kind())
                && node.kind() != "block"
                && node.start_position().row == first.start_position().row
        };
        let outermost = std::iter::successors(Some(first), |node| node.parent().filter(in_line)).last()?;
        let call = nodes(outermost, |_| true).find(|node| node.kind() == "call_expression")?;
        let arguments = call.child_by_field_name("arguments")?;
        let called = call.child_by_field_name("function").map(|callee| source.text(callee)).unwrap_or_default();
        // What is written in the arguments may be long, and secret.
        let condition = format!("{called}(…)");
        Some(Guard { condition, ..self.guard_of(source, File::function_of(call), arguments, None) })
    }

    fn guard_of<'a>(
        &'a self,
        source: &'a File,
        function: Option<Node<'a>>,
        condition: Node<'a>,
        also: Option<Node<'a>>,
    ) -> Guard {
        let mut follow = Follow { sources: self, reads: Vec::new(), call: None, returns: Vec::new(), received: false };
        for node in [Some(condition), also].into_iter().flatten() {
            follow.read(source, function, node, &[], DEPTH);
        }
        let own = function.map_or_else(Vec::new, |function| parameters(source, function, "parameters"));
        let words = follow.reads.iter().map(|read| read.split(['.', '[']).next().unwrap_or_default());
        let only_parameters = follow.call.is_none()
            && !follow.reads.is_empty()
            && words.into_iter().all(|word| own.iter().any(|own| own == word));
        Guard {
            line: condition.start_position().row as u64 + 1,
            condition: without_secrets(source.text(condition)),
            reads: follow.reads,
            call: follow.call,
            returns: follow.returns,
            received: follow.received,
            only_parameters,
        }
    }

    /// The line of the `defer` that runs when a function returns in a line: of those that undo what `makers` made, the
    /// last one. Nothing where the line itself holds such a call.
    pub fn deferred(&self, file: &str, line: u64, makers: &str) -> Option<u64> {
        let source = self.file(file)?;
        let node = source.at(line)?;
        let function = std::iter::successors(Some(node), Node::parent).find(|node| is_function(node.kind()))?;
        let mut last = None;
        for node in nodes(function, |_| true) {
            if node.kind() == "defer_statement"
                && let Some(callee) = node.named_child(0).and_then(|call| call.child_by_field_name("function"))
            {
                let name = source.text(callee);
                if self.line(file, line)?.contains(&format!("{name}(")) {
                    return None;
                }
                let outer = File::function_of(node)?;
                let made = source.given(outer, name, node.start_byte());
                if made.is_some_and(|(right, ..)| source.text(right).contains(makers)) {
                    last = last.max(Some(node.start_position().row as u64 + 1));
                }
            }
        }
        last
    }

    /// The locks that a function has taken before a line and not given back, each with the line that took it. What is
    /// deferred is still to come.
    pub fn taken(&self, file: &str, line: u64) -> Vec<(String, u64)> {
        let Some(source) = self.file(file) else { return Vec::new() };
        let function = source
            .at(line)
            .and_then(|node| std::iter::successors(Some(node), Node::parent).find(|node| is_function(node.kind())));
        let mut taken: Vec<(String, u64)> = Vec::new();
        let Some(body) = function.and_then(|function| function.child_by_field_name("body")) else { return taken };
        let row = |node: Node| node.start_position().row as u64 + 1;
        let runs = |node: Node| {
            row(node) < line && !["func_literal", "defer_statement", "go_statement"].contains(&node.kind())
        };
        for node in nodes(body, runs) {
            let callee = node.child_by_field_name("function").filter(|_| node.kind() == "call_expression");
            if let Some(callee) = callee
                && let (Some(lock), Some(method)) =
                    (callee.child_by_field_name("operand"), callee.child_by_field_name("field"))
            {
                let lock = source.text(lock).to_owned();
                match source.text(method) {
                    "Lock" | "RLock" => taken.push((lock, row(node))),
                    "Unlock" | "RUnlock" => taken.retain(|(known, _)| *known != lock),
                    _ => {}
                }
            }
        }
        taken
    }

    /// Whether a line stands in a loop of its function.
    pub fn in_loop(&self, file: &str, line: u64) -> bool {
        let Some(mut node) = self.file(file).and_then(|source| source.at(line)) else { return false };
        while let Some(parent) = node.parent() {
            if is_function(parent.kind()) {
                return false;
            }
            if parent.kind() == "for_statement" {
                return true;
            }
            node = parent;
        }
        false
    }

    /// The declarations that a name may mean in a file: functions of its own package, or methods and functions of all.
    fn callees(&self, from: &File, name: &str, selected: bool) -> Vec<(&File, Node<'_>)> {
        let folder = |file: &File| Path::new(&file.path).parent().map(Path::to_owned);
        let mut found = Vec::new();
        for file in &self.files {
            let same = folder(file) == folder(from);
            let root = file.tree.root_node();
            let mut cursor = root.walk();
            for node in root.children(&mut cursor) {
                let meant = match node.kind() {
                    "function_declaration" => same != selected,
                    "method_declaration" => selected,
                    _ => false,
                };
                if meant && node.child_by_field_name("name").is_some_and(|own| file.text(own) == name) {
                    found.push((file, node));
                }
            }
        }
        found
    }
}

/// A node and the named ones in it, in the order of the text. What does not satisfy `enter` is left out, with all that is
/// in it.
fn nodes<'tree>(root: Node<'tree>, enter: impl Fn(Node<'tree>) -> bool) -> impl Iterator<Item = Node<'tree>> {
    let mut pending = vec![root];
    std::iter::from_fn(move || {
        let node = std::iter::from_fn(|| pending.pop()).find(|node| enter(*node))?;
        let mut cursor = node.walk();
        let children: Vec<Node> = node.named_children(&mut cursor).collect();
        pending.extend(children.into_iter().rev());
        Some(node)
    })
}

/// The root of the module that a folder belongs to, and the module's path.
fn module_of(folder: &Path) -> Option<(PathBuf, String)> {
    let root = folder.ancestors().find(|folder| folder.join("go.mod").is_file())?;
    let text = fs::read_to_string(root.join("go.mod")).ok()?;
    let module = text.lines().find_map(|line| line.trim().strip_prefix("module "))?;
    Some((root.to_owned(), module.trim().trim_matches('"').to_owned()))
}

/// A condition without its texts in quotes, where a name in it tells that they are credentials.
fn without_secrets(condition: &str) -> String {
    if !credentials::is_telling(condition) {
        return condition.to_owned();
    }
    let parts = condition.split('"').enumerate();
    parts.map(|(n, part)| if n % 2 == 1 { credentials::CUT } else { part }).collect::<Vec<_>>().join("\"")
}

fn is_function(kind: &str) -> bool {
    ["function_declaration", "method_declaration", "func_literal"].contains(&kind)
}

impl File {
    fn of(path: String, text: String) -> Option<Self> {
        let mut parser = Parser::new();
        parser.set_language(&tree_sitter_go::LANGUAGE.into()).ok()?;
        let tree = parser.parse(&text, None)?;
        Some(Self { path, text, tree })
    }

    fn text(&self, node: Node) -> &str {
        self.text.get(node.byte_range()).unwrap_or_default()
    }

    /// The statement that begins in a line, or what stands first in it.
    fn at(&self, line: u64) -> Option<Node<'_>> {
        let row = usize::try_from(line).ok()?.checked_sub(1)?;
        let text = self.text.lines().nth(row)?;
        let column = text.len() - text.trim_start().len();
        self.tree.root_node().descendant_for_point_range(Point::new(row, column), Point::new(row, column + 1))
    }

    fn function_of(node: Node<'_>) -> Option<Node<'_>> {
        std::iter::successors(Some(node), Node::parent).find(|node| {
            // A closure sees the names of the function around it.
            ["function_declaration", "method_declaration"].contains(&node.kind())
        })
    }

    /// What a name was given last before a node: the expression, and its place among the names on the left.
    fn given<'a>(&self, function: Node<'a>, name: &str, before: usize) -> Option<(Node<'a>, usize, bool)> {
        let mut last: Option<(usize, Node<'a>, usize, bool)> = None;
        let mut pending = vec![function];
        while let Some(node) = pending.pop() {
            let mut cursor = node.walk();
            pending.extend(node.named_children(&mut cursor).filter(|child| child.start_byte() < before));
            let range = node.kind() == "range_clause";
            if !range && !["short_var_declaration", "assignment_statement"].contains(&node.kind()) {
                continue;
            }
            let Some(left) = node.child_by_field_name("left") else { continue };
            let mut cursor = left.walk();
            let Some(place) = left.named_children(&mut cursor).position(|left| self.text(left) == name) else {
                continue;
            };
            let Some(right) = node.child_by_field_name("right") else { continue };
            if node.end_byte() <= before && last.is_none_or(|(at, ..)| at < node.start_byte()) {
                last = Some((node.start_byte(), right, place, range));
            }
        }
        last.map(|(_, right, place, range)| (right, place, range))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: &str = r#"package main

func (c *cluster) current() int { return c.state.phase }

func (c *cluster) valid(limit int) error {
	if c.count > limit {
		return errTooMany
	}
	return nil
}

func verify(c *cluster, key string) {
	phase := c.current()
	if phase != done {
		log.Print("phase")
	}
	value, ok := c.entries[key]
	if !ok {
		log.Print(value)
	}
	if err := c.valid(c.limit); err != nil {
		log.Print(err)
	}
	for _, route := range c.routes {
		if route.cost > 9 {
			log.Print(route)
		}
	}
	log.Print("end")
}
"#;

    fn reads(line: u64) -> Vec<String> {
        Sources::of(PROGRAM).guard("main.go", line).map(|guard| guard.reads).unwrap_or_default()
    }

    #[test]
    fn a_condition_reads_what_its_names_and_calls_stand_for() {
        assert!(reads(15).contains(&"c.state.phase".to_owned()), "{:?}", reads(15));
        assert!(reads(19).contains(&"c.entries[key]".to_owned()), "{:?}", reads(19));
        assert!(
            reads(22).contains(&"c.count".to_owned()) && reads(22).contains(&"c.limit".to_owned()),
            "{:?}",
            reads(22)
        );
        assert!(reads(26).contains(&"route.cost".to_owned()), "{:?}", reads(26));
        assert_eq!(reads(29), [""; 0]);
    }

    #[test]
    fn a_condition_on_an_error_names_the_call_that_returned_it() {
        let guard = Sources::of(PROGRAM).guard("main.go", 22).unwrap();
        assert_eq!(guard.call, Some(Call { line: 21, text: "c.valid(c.limit)".into() }));
        assert_eq!((guard.line, guard.condition.as_str()), (21, "err != nil"));
    }

    #[test]
    fn a_condition_shows_no_text_that_a_name_in_it_calls_secret() {
        assert_eq!(
            without_secrets(r#"password == "hunter2" && user != "me""#),
            r#"password == "[cut]" && user != "[cut]""#
        );
        assert_eq!(without_secrets(r#"phase == "Running""#), r#"phase == "Running""#);
    }

    #[test]
    fn loops_are_known_by_their_lines() {
        let sources = Sources::of(PROGRAM);
        assert_eq!((sources.in_loop("main.go", 26), sources.in_loop("main.go", 29)), (true, false));
    }
}
