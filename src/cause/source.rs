//! What Go source says around a line: the conditions that led there, the expressions that they read, and the call whose
//! error they look at.
//!
//! A name that was given a value before stands for that value; a call stands for what the function returns, and for
//! the conditions in it, with its parameters replaced by the arguments. So a condition on `got` after
//! `got := c.phase()` reads `c.state.phase`.

use std::fs;
use std::path::{Path, PathBuf};

use tree_sitter::{Node, Parser, Point, Tree};

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
        let mut pending = vec![outermost];
        while let Some(node) = pending.pop() {
            if node.kind() == "call_expression" {
                let arguments = node.child_by_field_name("arguments")?;
                return Some(self.guard_of(source, File::function_of(node), arguments, None));
            }
            let mut cursor = node.walk();
            let children: Vec<Node> = node.named_children(&mut cursor).collect();
            pending.extend(children.into_iter().rev());
        }
        None
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
            condition: source.text(condition).to_owned(),
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
        let mut pending = vec![function];
        while let Some(node) = pending.pop() {
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
            let mut cursor = node.walk();
            pending.extend(node.named_children(&mut cursor));
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
        let mut pending: Vec<Node> =
            function.and_then(|function| function.child_by_field_name("body")).into_iter().collect();
        while let Some(node) = pending.pop() {
            let row = node.start_position().row as u64 + 1;
            if row >= line || ["func_literal", "defer_statement", "go_statement"].contains(&node.kind()) {
                continue;
            }
            let callee = node.child_by_field_name("function").filter(|_| node.kind() == "call_expression");
            if let Some(callee) = callee
                && let (Some(lock), Some(method)) =
                    (callee.child_by_field_name("operand"), callee.child_by_field_name("field"))
            {
                let lock = source.text(lock).to_owned();
                match source.text(method) {
                    "Lock" | "RLock" => taken.push((lock, row)),
                    "Unlock" | "RUnlock" => taken.retain(|(known, _)| *known != lock),
                    _ => {}
                }
            }
            let mut cursor = node.walk();
            let children: Vec<Node> = node.named_children(&mut cursor).collect();
            pending.extend(children.into_iter().rev());
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

/// The root of the module that a folder belongs to, and the module's path.
fn module_of(folder: &Path) -> Option<(PathBuf, String)> {
    let root = folder.ancestors().find(|folder| folder.join("go.mod").is_file())?;
    let text = fs::read_to_string(root.join("go.mod")).ok()?;
    let module = text.lines().find_map(|line| line.trim().strip_prefix("module "))?;
    Some((root.to_owned(), module.trim().trim_matches('"').to_owned()))
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

/// What an expression reads, as it is gathered.
struct Follow<'a> {
    sources: &'a Sources,
    reads: Vec<String>,
    call: Option<Call>,
    returns: Vec<(String, u64)>,
    received: bool,
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
            "unary_expression" if file.text(node).starts_with("<-") => self.sent(file, node, depth),
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
        let found = self.sources.callees(file, name, receiver.is_some());
        for (other, declaration) in &found {
            self.returned(other, *declaration, depth);
        }
        // Which of several methods is meant only types tell.
        if let [(other, declaration)] = found.as_slice() {
            let mut inner: Vec<(String, String)> = Vec::new();
            let own = parameters(other, *declaration, "receiver");
            if let (Some(own), Some(receiver)) = (own.first(), receiver.and_then(|node| replaced(file, node, names))) {
                inner.push((own.clone(), receiver));
            }
            for (own, argument) in parameters(other, *declaration, "parameters").into_iter().zip(&given) {
                inner.extend(replaced(file, *argument, names).map(|argument| (own, argument)));
            }
            // A marker for a function without parameters: its own names mean nothing in the frame of the line.
            inner.push((String::new(), String::new()));
            if let Some(body) = declaration.child_by_field_name("body") {
                self.results(other, *declaration, body, &inner, depth - 1);
            }
        }
        for argument in given {
            self.read(file, function, argument, names, depth - 1);
        }
    }

    /// Adds the `return` statements of what is called for a value that the package sends to a channel of that name.
    fn sent(&mut self, file: &'a File, node: Node<'a>, depth: usize) {
        let last = |text: &str| text.rsplit(['.', ' ', '-']).next().unwrap_or_default().to_owned();
        let channel = last(file.text(node));
        let mut pending = vec![file.tree.root_node()];
        while let Some(node) = pending.pop() {
            if node.kind() == "send_statement"
                && node.child_by_field_name("channel").is_some_and(|sent| last(file.text(sent)) == channel)
                && let Some(value) = node.child_by_field_name("value")
            {
                self.received = true;
                let value = match value.kind() {
                    "identifier" => File::function_of(node)
                        .and_then(|function| file.given(function, file.text(value), node.start_byte()))
                        .map_or(value, |(value, ..)| value),
                    _ => value,
                };
                self.calls(file, value, depth);
            }
            let mut cursor = node.walk();
            pending.extend(node.named_children(&mut cursor));
        }
    }

    /// Adds the `return` statements of all functions that are called in a node.
    fn calls(&mut self, file: &'a File, node: Node<'a>, depth: usize) {
        let mut pending = vec![node];
        while let Some(node) = pending.pop() {
            if let Some(callee) =
                node.child_by_field_name("function").filter(|_| node.kind() == "call_expression" && depth > 0)
            {
                let field = callee.child_by_field_name("field");
                for (other, declaration) in
                    self.sources.callees(file, file.text(field.unwrap_or(callee)), field.is_some())
                {
                    self.returned(other, declaration, depth - 1);
                }
            }
            let mut cursor = node.walk();
            pending.extend(node.named_children(&mut cursor));
        }
    }

    /// Adds the `return` statements of a function, but for those that return no error, and those of what it calls.
    fn returned(&mut self, file: &'a File, declaration: Node<'a>, depth: usize) {
        let Some(body) = declaration.child_by_field_name("body").filter(|_| depth > 0) else { return };
        let fails = declaration
            .child_by_field_name("result")
            .is_some_and(|result| file.text(result).trim_end_matches(')').ends_with("error"));
        let mut pending = vec![body];
        while let Some(node) = pending.pop() {
            match node.kind() {
                "func_literal" => continue,
                "return_statement" if !(fails && file.text(node).ends_with("nil")) => {
                    let place = (file.path.clone(), node.start_position().row as u64 + 1);
                    if self.returns.contains(&place) || self.returns.len() == RETURNS {
                        return;
                    }
                    self.returns.push(place);
                }
                _ => {}
            }
            let mut cursor = node.walk();
            let children: Vec<Node> = node.named_children(&mut cursor).collect();
            pending.extend(children.into_iter().rev());
        }
        self.calls(file, body, depth);
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
