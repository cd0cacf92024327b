//! What Go source says around a line: the conditions that led there, the expressions that they read, and the call whose
//! error they look at.
//!
//! A name that was given a value before stands for that value; a call stands for what the function returns, and for
//! the conditions in it, with its parameters replaced by the arguments. So a condition on `got` after
//! `got := c.phase()` reads `c.state.phase`.

use std::fs;
use std::path::Path;

use tree_sitter::{Node, Parser, Point, Tree};

/// How many names and calls deep is looked.
const DEPTH: usize = 4;

/// More expressions than this are not followed.
const MOST: usize = 16;

struct File {
    text: String,
    tree: Tree,
}

/// The files of one package.
pub struct Sources {
    files: Vec<(String, File)>,
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
}

impl Sources {
    /// The package of a file, as far as its sources are here.
    pub fn around(file: &str) -> Option<Self> {
        let folder = Path::new(file).parent()?;
        let mut files = Vec::new();
        for entry in fs::read_dir(folder).ok()?.flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|ending| ending == "go") && files.len() < 200 {
                let name = path.to_string_lossy().into_owned();
                files.extend(fs::read_to_string(&path).ok().and_then(|text| Some((name, File::of(text)?))));
            }
        }
        Some(Self { files }).filter(|sources| !sources.files.is_empty())
    }

    #[cfg(test)]
    fn of(text: &str) -> Self {
        Self { files: vec![("main.go".into(), File::of(text.into()).unwrap())] }
    }

    fn file(&self, name: &str) -> Option<&File> {
        self.files.iter().find(|(path, _)| path == name).map(|(_, file)| file)
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
                let mut guard = Guard {
                    line: condition.start_position().row as u64 + 1,
                    condition: source.text(condition).to_owned(),
                    ..Guard::default()
                };
                let mut follow = Follow { sources: self, reads: Vec::new(), call: None };
                follow.read(source, function, condition, &[], DEPTH);
                if parent.kind() == "expression_case"
                    && let Some(value) = parent.parent().and_then(|switch| switch.child_by_field_name("value"))
                {
                    follow.read(source, function, value, &[], DEPTH);
                }
                (guard.reads, guard.call) = (follow.reads, follow.call);
                return Some(guard);
            }
            node = parent;
        }
        None
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

    fn callee(&self, name: &str, method: bool) -> Option<(&File, Node<'_>)> {
        let kind = if method { "method_declaration" } else { "function_declaration" };
        let mut found = Vec::new();
        for (_, file) in &self.files {
            let root = file.tree.root_node();
            let mut cursor = root.walk();
            for node in root.children(&mut cursor).filter(|node| node.kind() == kind) {
                if node.child_by_field_name("name").is_some_and(|own| file.text(own) == name) {
                    found.push((file, node));
                }
            }
        }
        // Which of several methods is meant only types tell.
        if found.len() == 1 { found.pop() } else { None }
    }
}

fn is_function(kind: &str) -> bool {
    ["function_declaration", "method_declaration", "func_literal"].contains(&kind)
}

impl File {
    fn of(text: String) -> Option<Self> {
        let mut parser = Parser::new();
        parser.set_language(&tree_sitter_go::LANGUAGE.into()).ok()?;
        let tree = parser.parse(&text, None)?;
        Some(Self { text, tree })
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

/// What an expression reads, as it is gathered.
struct Follow<'a> {
    sources: &'a Sources,
    reads: Vec<String>,
    call: Option<Call>,
}

impl<'a> Follow<'a> {
    fn add(&mut self, text: String) {
        if self.reads.len() < MOST && !self.reads.contains(&text) {
            self.reads.push(text);
        }
    }

    /// Adds what a node reads. `names` are the parameters of the function that it stands in, with their arguments; in
    /// the function of the line itself there are none.
    fn read(
        &mut self,
        file: &'a File,
        function: Option<Node<'a>>,
        node: Node<'a>,
        names: &[(String, String)],
        depth: usize,
    ) {
        if depth == 0 {
            return;
        }
        match node.kind() {
            "identifier" => self.name(file, function, node, names, depth),
            "selector_expression" | "index_expression" => {
                if let Some(text) = replaced(file, node, names) {
                    self.add(text);
                }
                // The place of an element, and what leads to it, may be what is wrong.
                if let Some(index) = node.child_by_field_name("index") {
                    self.read(file, function, index, names, depth - 1);
                }
                if let Some(operand) =
                    node.child_by_field_name("operand").filter(|operand| operand.kind() != "identifier")
                {
                    self.read(file, function, operand, names, depth - 1);
                } else if let Some(operand) = node.child_by_field_name("operand") {
                    self.name(file, function, operand, names, depth - 1);
                }
            }
            "unary_expression" if file.text(node).starts_with('*') => {
                if let Some(text) = replaced(file, node, names) {
                    self.add(text);
                }
            }
            "call_expression" => self.called(file, function, node, names, depth),
            "func_literal" => {}
            _ => {
                let mut cursor = node.walk();
                for child in node.named_children(&mut cursor) {
                    self.read(file, function, child, names, depth);
                }
            }
        }
    }

    fn name(
        &mut self,
        file: &'a File,
        function: Option<Node<'a>>,
        node: Node<'a>,
        names: &[(String, String)],
        depth: usize,
    ) {
        let name = file.text(node);
        if ["nil", "true", "false", "_"].contains(&name) {
            return;
        }
        let given = function.and_then(|function| file.given(function, name, node.start_byte()));
        if let Some((right, place, range)) = given {
            let mut cursor = right.walk();
            let all: Vec<Node> = match right.kind() {
                "expression_list" => right.named_children(&mut cursor).collect(),
                _ => vec![right],
            };
            let right = if range { None } else { all.get(place).or(all.first()).copied() };
            if let Some(right) = right {
                self.read(file, function, right, names, depth);
            } else if let Some(over) = all.first() {
                if let Some(text) = replaced(file, *over, names) {
                    self.add(format!("{text}[…]{name}"));
                }
                self.read(file, function, *over, names, depth);
            }
        }
        if let Some((_, argument)) = names.iter().find(|(own, _)| own == name) {
            self.add(argument.clone());
        } else if names.is_empty() {
            self.add(name.to_owned());
        }
    }

    fn called(
        &mut self,
        file: &'a File,
        function: Option<Node<'a>>,
        node: Node<'a>,
        names: &[(String, String)],
        depth: usize,
    ) {
        let (Some(callee), Some(arguments)) =
            (node.child_by_field_name("function"), node.child_by_field_name("arguments"))
        else {
            return;
        };
        if self.call.is_none() && names.is_empty() && !["len", "cap"].contains(&file.text(callee)) {
            self.call = Some(Call {
                line: node.start_position().row as u64 + 1,
                text: file.text(node).lines().next().unwrap_or_default().to_owned(),
            });
        }
        let mut cursor = arguments.walk();
        let given: Vec<Node> = arguments.named_children(&mut cursor).collect();
        let (name, receiver) = match callee.kind() {
            "selector_expression" => {
                let field = callee.child_by_field_name("field").map(|field| file.text(field)).unwrap_or_default();
                (field, callee.child_by_field_name("operand"))
            }
            _ => (file.text(callee), None),
        };
        if let Some((other, declaration)) = self.sources.callee(name, receiver.is_some()) {
            let mut inner: Vec<(String, String)> = Vec::new();
            let own = parameters(other, declaration, "receiver");
            if let (Some(own), Some(receiver)) = (own.first(), receiver.and_then(|node| replaced(file, node, names))) {
                inner.push((own.clone(), receiver));
            }
            for (own, argument) in parameters(other, declaration, "parameters").into_iter().zip(&given) {
                inner.extend(replaced(file, *argument, names).map(|argument| (own, argument)));
            }
            // A marker for a function without parameters: its own names mean nothing in the frame of the line.
            inner.push((String::new(), String::new()));
            if let Some(body) = declaration.child_by_field_name("body") {
                self.results(other, declaration, body, &inner, depth - 1);
            }
        }
        for argument in given {
            self.read(file, function, argument, names, depth - 1);
        }
    }

    /// What a function returns, and on what conditions.
    fn results(
        &mut self,
        file: &'a File,
        function: Node<'a>,
        body: Node<'a>,
        names: &[(String, String)],
        depth: usize,
    ) {
        let mut pending = vec![body];
        while let Some(node) = pending.pop() {
            match node.kind() {
                "func_literal" => continue,
                "return_statement" => self.read(file, Some(function), node, names, depth),
                "if_statement" => {
                    if let Some(condition) = node.child_by_field_name("condition") {
                        self.read(file, Some(function), condition, names, depth);
                    }
                }
                _ => {}
            }
            let mut cursor = node.walk();
            let children: Vec<Node> = node.named_children(&mut cursor).collect();
            pending.extend(children.into_iter().rev());
        }
    }
}

/// The names of a function's parameters, in order.
fn parameters(file: &File, declaration: Node, field: &str) -> Vec<String> {
    let Some(list) = declaration.child_by_field_name(field) else { return Vec::new() };
    let mut cursor = list.walk();
    let mut names = Vec::new();
    for parameter in list.named_children(&mut cursor) {
        let mut cursor = parameter.walk();
        names.extend(parameter.children_by_field_name("name", &mut cursor).map(|name| file.text(name).to_owned()));
    }
    names
}

/// The text of an expression with parameters replaced by arguments; nothing where it names something else of its
/// function.
fn replaced(file: &File, node: Node, names: &[(String, String)]) -> Option<String> {
    if names.is_empty() {
        return Some(file.text(node).to_owned());
    }
    let mut text = String::new();
    let mut at = node.start_byte();
    let mut pending = vec![node];
    while let Some(node) = pending.pop() {
        if node.kind() == "identifier" {
            let name = file.text(node);
            let (_, argument) = names.iter().find(|(own, _)| own == name)?;
            text.push_str(file.text.get(at..node.start_byte())?);
            text.push_str(argument);
            at = node.end_byte();
        } else {
            let mut cursor = node.walk();
            let children: Vec<Node> = node.named_children(&mut cursor).collect();
            pending.extend(children.into_iter().rev());
        }
    }
    text.push_str(file.text.get(at..node.end_byte())?);
    Some(text)
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
    fn loops_are_known_by_their_lines() {
        let sources = Sources::of(PROGRAM);
        assert_eq!((sources.in_loop("main.go", 26), sources.in_loop("main.go", 29)), (true, false));
    }
}
