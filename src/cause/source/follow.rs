//! What an expression reads: through the names that were given values, the functions that are called, and the channels
//! that are received from.

use tree_sitter::Node;

use super::{Call, File, MOST, RETURNS, Sources, nodes};

/// What an expression reads, as it is gathered.
pub(super) struct Follow<'a> {
    pub sources: &'a Sources,
    pub reads: Vec<String>,
    pub call: Option<Call>,
    pub returns: Vec<(String, u64)>,
    pub received: bool,
}

impl<'a> Follow<'a> {
    fn add(&mut self, text: String) {
        if self.reads.len() < MOST && !self.reads.contains(&text) {
            self.reads.push(text);
        }
    }

    /// Adds what a node reads. `names` are the parameters of the function that it stands in, with their arguments; in
    /// the function of the line itself there are none.
    pub fn read(
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
        for node in nodes(body, |node| node.kind() != "func_literal") {
            if node.kind() == "return_statement" && !(fails && file.text(node).ends_with("nil")) {
                let place = (file.path.clone(), node.start_position().row as u64 + 1);
                if self.returns.contains(&place) || self.returns.len() == RETURNS {
                    return;
                }
                self.returns.push(place);
            }
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
        for node in nodes(body, |node| node.kind() != "func_literal") {
            match node.kind() {
                "return_statement" => self.read(file, Some(function), node, names, depth),
                "if_statement" => {
                    if let Some(condition) = node.child_by_field_name("condition") {
                        self.read(file, Some(function), condition, names, depth);
                    }
                }
                _ => {}
            }
        }
    }
}

/// The names of a function's parameters, in order.
pub(super) fn parameters(file: &File, declaration: Node, field: &str) -> Vec<String> {
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
    for node in nodes(node, |_| true).filter(|node| node.kind() == "identifier") {
        let name = file.text(node);
        let (_, argument) = names.iter().find(|(own, _)| own == name)?;
        text.push_str(file.text.get(at..node.start_byte())?);
        text.push_str(argument);
        at = node.end_byte();
    }
    text.push_str(file.text.get(at..node.end_byte())?);
    Some(text)
}
