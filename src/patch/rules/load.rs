//! Reads rules: YAML in ast-grep's rule language, and what that language does not say as `metadata`.
//!
//! ast-grep decides what a document means. It gets the values of the one tree that is read here with the place of each,
//! for what ast-grep leaves open or says without a place: unknown keys, patterns and replacements that are not Go,
//! metavariables that nothing captures. (Reading the YAML twice took a sixth of an apply.)

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use ast_grep_config::{
    DeserializeEnv, GlobalRules, RuleConfig, RuleCore, SerializableRuleConfig, SerializableRuleCore,
};
use ast_grep_core::{Language, Matcher, Pattern};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, json};
use serde_saphyr::{Location, Spanned};

use super::substitute;
use crate::error::Error;
use crate::patch::go::{GoFile, GoLanguage};

/// One rule: what is looked for, where, how often, and what becomes of it.
pub struct Rule {
    pub id: String,
    /// The change that it belongs to.
    pub change: String,
    /// The files that it is for, from the top of the tree that is patched.
    pub files: Vec<String>,
    /// What the matched text is replaced by.
    pub fix: Option<String>,
    pub add: Option<Addition>,
    pub times: Times,
    /// A metavariable whose value never comes any more: a `case` that receives from it is dead from then on, and so is
    /// an `if` that tests it and only calls. Any other use is not understood.
    pub never: Option<String>,
    /// A metavariable that stands for code which can no longer be reached.
    pub dead: Option<String>,
    /// Only where that other rule fits.
    pub with: Option<String>,
    /// The packages that its text needs, under their own names.
    pub imports: Vec<String>,
    /// A word of the lines that a refusal shows: those that come nearest to what was looked for.
    pub near: String,
    /// What is looked for, in words: `note`, or else `message`.
    pub looked_for: String,
    pub message: String,
    /// What must fit, but for the function that it lies in.
    pub core: RuleCore,
    /// Fits the functions and types that are searched; nothing where the whole file is. Rules that name the same ones
    /// share it.
    pub scope: Option<Scope>,
    /// Their names, for a refusal.
    pub functions: String,
}

/// The scopes that were compiled, by what was read. Most rules are for one of a few functions, and the regular
/// expressions of their names take longer to compile than all else of a rule.
pub type Scopes = HashMap<String, Scope>;

/// What the functions or types that are searched must fit.
pub type Scope = Arc<RuleCore>;

/// Text that is added.
pub struct Addition {
    pub place: Place,
    pub text: String,
}

/// Where a text is added, as seen from the match or the statement that it lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On lines of its own, above the comments that stand above it.
    Before,
    /// On lines of its own.
    After,
    /// On its first line, as a statement before it: no line of the file gets another number.
    Ahead,
    /// On its last line, as a statement after it.
    Behind,
}

/// How often a rule must fit in the function that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// Must not be left once all changes are made.
    Never,
    Once,
    AtMostOnce,
}

/// What a document may hold at its top: ast-grep's own keys but for those that change a text in ways that are not
/// understood here.
const KEYS: [&str; 11] =
    ["id", "language", "message", "note", "severity", "url", "rule", "constraints", "utils", "fix", "metadata"];

const METADATA: [&str; 9] = ["change", "file", "add", "times", "never", "dead", "with", "imports", "near"];

const RULE: [&str; 13] = [
    "pattern", "kind", "regex", "nthChild", "range", "inside", "has", "precedes", "follows", "all", "any", "not",
    "matches",
];

/// Reads the rules of a file. `changes` are the names that `metadata.change` may have. Rules that are `tried` are those
/// that this build carries: a test reads them with every check, which takes longer than all the rest of an apply.
///
/// # Errors
/// A document that is no rule: file, line, column, and what is wrong with it.
pub fn rules(file: &str, text: &str, changes: &[&str], tried: bool, scopes: &mut Scopes) -> Result<Vec<Rule>, Error> {
    let wrong = |error: serde_saphyr::Error| {
        let at = error.location().map(|at| (at.line(), at.column()));
        at_place(file, at, error.without_snippet().to_string())
    };
    let trees: Vec<Spanned<Yaml>> = match tried {
        true => {
            let bare: Vec<Bare> = serde_saphyr::from_multiple(text).map_err(wrong)?;
            bare.into_iter().map(Reading::value).collect()
        }
        false => serde_saphyr::from_multiple(text).map_err(wrong)?,
    };
    let documents: Vec<Document> = trees
        .into_iter()
        .filter(|one| one.value.text() != Some(""))
        .map(|tree| Document { file, tree, tried })
        .collect();
    documents.iter().filter(|_| !tried).try_for_each(Document::check)?;
    documents.iter().map(|document| document.rule(document.config()?, changes, scopes)).collect()
}

fn at_place(file: &str, at: Option<(u64, u64)>, what: String) -> Error {
    let place = at.map_or_else(|| file.to_owned(), |(line, column)| format!("{file}:{line}:{column}"));
    Error::refused(format!("`{place}` is no rule: {what}"))
}

/// A document of YAML with the place of every value.
struct Document<'a> {
    file: &'a str,
    tree: Spanned<Yaml>,
    tried: bool,
}

enum Yaml {
    Text(String),
    /// A number, a truth value or nothing, and how it is written.
    Plain(Value, String),
    List(Vec<Spanned<Yaml>>),
    Map(Vec<(Spanned<String>, Spanned<Yaml>)>),
}

impl Yaml {
    fn entries(&self) -> &[(Spanned<String>, Spanned<Self>)] {
        match self {
            Self::Map(entries) => entries,
            _ => &[],
        }
    }

    fn get(&self, key: &str) -> Option<&Spanned<Self>> {
        self.entries().iter().find(|(name, _)| name.value == key).map(|(_, value)| value)
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Plain(_, text) => Some(text),
            _ => None,
        }
    }

    /// The values without their places, as ast-grep reads them.
    fn plain(&self) -> Value {
        match self {
            Self::Text(text) => Value::String(text.clone()),
            Self::Plain(value, _) => value.clone(),
            Self::List(all) => all.iter().map(|one| one.value.plain()).collect(),
            Self::Map(entries) => entries.iter().map(|(key, value)| (key.value.clone(), value.value.plain())).collect(),
        }
    }

    /// A list, or one value that stands for a list of one.
    fn list(&self) -> Vec<&str> {
        match self {
            Self::List(all) => all.iter().filter_map(|one| one.value.text()).collect(),
            other => other.text().into_iter().collect(),
        }
    }
}

/// How values are read: each with its place, or [`Bare`].
trait Reading<'de>: Deserialize<'de> {
    type Key: Deserialize<'de>;

    fn value(self) -> Spanned<Yaml>;
    fn key(key: Self::Key) -> Spanned<String>;
}

impl Reading<'_> for Spanned<Yaml> {
    type Key = Spanned<String>;

    fn value(self) -> Spanned<Yaml> {
        self
    }

    fn key(key: Spanned<String>) -> Spanned<String> {
        key
    }
}

/// A value whose place nobody asks for. Places are most of what reading costs, and the rules that this build carries are
/// right.
struct Bare(Yaml);

impl Reading<'_> for Bare {
    type Key = String;

    fn value(self) -> Spanned<Yaml> {
        Spanned::new(self.0, Location::UNKNOWN, Location::UNKNOWN)
    }

    fn key(key: String) -> Spanned<String> {
        Spanned::new(key, Location::UNKNOWN, Location::UNKNOWN)
    }
}

impl<'de> Deserialize<'de> for Bare {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Yaml::read::<D, Self>(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for Yaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::read::<D, Spanned<Self>>(deserializer)
    }
}

impl Yaml {
    fn read<'de, D: Deserializer<'de>, R: Reading<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any<R>(PhantomData<R>);
        impl<'de, R: Reading<'de>> Visitor<'de> for Any<R> {
            type Value = Yaml;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a rule")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Yaml, E> {
                Ok(Yaml::Plain(value.into(), value.to_string()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Yaml, E> {
                Ok(Yaml::Plain(value.into(), value.to_string()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Yaml, E> {
                Ok(Yaml::Plain(value.into(), value.to_string()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Yaml, E> {
                Ok(Yaml::Plain(value.into(), value.to_string()))
            }

            fn visit_str<E>(self, value: &str) -> Result<Yaml, E> {
                Ok(Yaml::Text(value.to_owned()))
            }

            fn visit_unit<E>(self) -> Result<Yaml, E> {
                Ok(Yaml::Plain(Value::Null, String::new()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Yaml, A::Error> {
                let mut all = Vec::new();
                while let Some(one) = list.next_element::<R>()? {
                    all.push(one.value());
                }
                Ok(Yaml::List(all))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Yaml, A::Error> {
                let mut all = Vec::new();
                while let Some((key, value)) = map.next_entry::<R::Key, R>()? {
                    all.push((R::key(key), value.value()));
                }
                Ok(Yaml::Map(all))
            }
        }
        deserializer.deserialize_any(Any::<R>(PhantomData))
    }
}

impl Document<'_> {
    fn wrong<T>(&self, at: &Spanned<T>, what: impl Into<String>) -> Error {
        at_place(self.file, Some((at.referenced.line(), at.referenced.column())), what.into())
    }

    /// The document as ast-grep means it. Where it means nothing, the place is that of the part without which it would.
    fn config(&self) -> Result<SerializableRuleConfig<GoLanguage>, Error> {
        let whole = self.tree.value.plain();
        let read = |value: &Value| SerializableRuleConfig::<GoLanguage>::deserialize(value);
        read(&whole).map_err(|error| {
            let harmless = json!({ "id": "", "message": "", "language": "Go", "rule": { "kind": "block" } });
            let without = |key: &str| {
                let mut rest = whole.clone();
                rest[key] = harmless.get(key).cloned().unwrap_or_default();
                read(&rest).is_ok()
            };
            let part = self.tree.value.entries().iter().find(|(key, _)| without(&key.value));
            match part {
                Some((key, value)) => self.wrong(value, format!("`{}` is not understood: {error}", key.value)),
                None => self.wrong(&self.tree, error.to_string()),
            }
        })
    }

    /// Refuses keys that nobody reads, and patterns that are not Go.
    fn check(&self) -> Result<(), Error> {
        let top = &self.tree.value;
        self.refuse_unknown_keys(top, &KEYS, "a rule")?;
        for needed in ["id", "language", "message", "rule", "metadata"] {
            if top.get(needed).is_none() {
                return Err(self.wrong(&self.tree, format!("it has no `{needed}`")));
            }
        }
        self.check_rule(self.part("rule")?, &[])?;
        for rules in [top.get("utils"), top.get("constraints")].into_iter().flatten() {
            rules.value.entries().iter().try_for_each(|(_, rule)| self.check_rule(rule, &[]))?;
        }
        Ok(())
    }

    fn refuse_unknown_keys(&self, of: &Yaml, known: &[&str], what: &str) -> Result<(), Error> {
        match of.entries().iter().find(|(key, _)| !known.contains(&key.value.as_str())) {
            None => Ok(()),
            Some((key, _)) => Err(self
                .wrong(key, format!("{what} has no key `{}`", key.value))
                .did_you_mean(&key.value, known.iter().copied())
                .detail(format!("expected: one of {}", known.join(", ")))),
        }
    }

    /// `more` is what the rule of a relation may hold besides.
    fn check_rule(&self, rule: &Spanned<Yaml>, more: &[&str]) -> Result<(), Error> {
        self.refuse_unknown_keys(&rule.value, &[&RULE, more].concat(), "the rule")?;
        for (key, value) in rule.value.entries() {
            match key.value.as_str() {
                "pattern" => self.check_pattern(value)?,
                "inside" | "has" | "precedes" | "follows" => self.check_rule(value, &["stopBy", "field"])?,
                "not" => self.check_rule(value, &[])?,
                "all" | "any" => {
                    if let Yaml::List(all) = &value.value {
                        all.iter().try_for_each(|one| self.check_rule(one, &[]))?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn check_pattern(&self, pattern: &Spanned<Yaml>) -> Result<(), Error> {
        self.refuse_unknown_keys(&pattern.value, &["context", "selector", "strictness"], "a pattern")?;
        let (text, parsed) = match &pattern.value {
            Yaml::Text(text) => (text.as_str(), Pattern::try_new(text, GoLanguage::Go)),
            other => {
                let part = |key| other.get(key).and_then(|part| part.value.text()).unwrap_or_default();
                (part("context"), Pattern::contextual(part("context"), part("selector"), GoLanguage::Go))
            }
        };
        match parsed {
            Err(error) => Err(self.wrong(pattern, format!("the pattern `{text}` does not parse: {error}"))),
            // tree-sitter makes a tree of anything, and ast-grep a pattern of what is whole in it.
            Ok(parsed) if parsed.has_error() || !is_go(&GoLanguage::Go.pre_process_pattern(text)) => {
                Err(self.wrong(pattern, format!("the pattern `{text}` is not valid Go")))
            }
            Ok(_) => Ok(()),
        }
    }

    fn rule(
        &self,
        config: SerializableRuleConfig<GoLanguage>,
        changes: &[&str],
        scopes: &mut Scopes,
    ) -> Result<Rule, Error> {
        let top = &self.tree.value;
        let (rule, metadata) = (self.part("rule")?, self.part("metadata")?);
        self.refuse_unknown_keys(&metadata.value, &METADATA, "metadata")?;
        let captured: HashSet<String> = match self.tried {
            true => HashSet::new(),
            false => {
                let whole = RuleConfig::try_from(config.clone(), &GlobalRules::default());
                let whole = whole.map_err(|error| self.wrong(rule, chain(&error)))?;
                whole.matcher.defined_vars().into_iter().map(str::to_owned).collect()
            }
        };

        let change = self.word(metadata, "change")?;
        if !changes.contains(&change.value.text().unwrap_or_default()) {
            let name = change.value.text().unwrap_or_default();
            let wrong = self.wrong(change, format!("there is no change `{name}`"));
            return Err(wrong
                .did_you_mean(name, changes.iter().copied())
                .detail(format!("expected: one of {}", changes.join(", "))));
        }
        let file = metadata.value.get("file").map(|file| file.value.list()).unwrap_or_default();
        if file.is_empty() {
            return Err(self.wrong(metadata, "metadata names no `file`"));
        }
        let fix = match top.get("fix") {
            None => None,
            Some(fix) => Some(self.go(fix, &captured)?),
        };
        let add = match metadata.value.get("add") {
            None => None,
            Some(add) => Some(self.addition(add, &captured)?),
        };
        let times = match metadata.value.get("times").map(|times| (times, times.value.text().unwrap_or_default())) {
            None | Some((_, "1")) => Times::Once,
            Some((_, "0-1")) => Times::AtMostOnce,
            Some((_, "0")) => Times::Never,
            Some((times, other)) => return Err(self.wrong(times, format!("times is `{other}`, and not 0, 1 or 0-1"))),
        };
        if (times == Times::Never) != (fix.is_none() && add.is_none()) {
            let what = "a rule either changes something, with `fix` or `metadata.add`, or has `times: 0`";
            return Err(self.wrong(metadata, what));
        }
        let text = |key: &str| metadata.value.get(key).and_then(|value| value.value.text()).map(str::to_owned);
        for key in ["never", "dead"] {
            let given = metadata
                .value
                .get(key)
                .filter(|_| !self.tried && text(key).is_none_or(|name| !captured.contains(&name)));
            if let Some(given) = given {
                return Err(self.wrong(given, format!("`{key}` is no metavariable that the rule captures")));
            }
        }
        let (core, scope) = self.split(config, rule, scopes)?;
        let inside = rule.value.get("inside").filter(|_| scope.is_some());
        Ok(Rule {
            id: self.text("id"),
            change: change.value.text().unwrap_or_default().to_owned(),
            files: file.into_iter().map(str::to_owned).collect(),
            fix,
            add,
            times,
            never: text("never"),
            dead: text("dead"),
            with: text("with"),
            imports: metadata
                .value
                .get("imports")
                .map(|all| all.value.list())
                .unwrap_or_default()
                .into_iter()
                .map(str::to_owned)
                .collect(),
            near: text("near").unwrap_or_default(),
            looked_for: Some(self.text("note")).filter(|note| !note.is_empty()).unwrap_or_else(|| self.text("message")),
            message: self.text("message"),
            core,
            scope,
            functions: inside.map(|inside| names(&inside.value).join(" ")).unwrap_or_default(),
        })
    }

    /// What must fit, apart from the function that it must lie in: that one is found once, and only it is searched.
    /// ast-grep finds the same, since nothing but a function is asked for there.
    fn split(
        &self,
        config: SerializableRuleConfig<GoLanguage>,
        rule: &Spanned<Yaml>,
        scopes: &mut Scopes,
    ) -> Result<(RuleCore, Option<Scope>), Error> {
        let wrong = |error: ast_grep_config::RuleCoreError| self.wrong(rule, chain(&error));
        let compile =
            |core: &SerializableRuleCore| core.get_matcher(DeserializeEnv::new(GoLanguage::Go)).map_err(wrong);
        let core = config.core;
        let to_the_end =
            |inside: &Spanned<Yaml>| inside.value.get("stopBy").is_some_and(|stop| stop.value.text() == Some("end"));
        let plain = |inside: &Spanned<Yaml>| to_the_end(inside) && inside.value.get("field").is_none();
        if !rule.value.get("inside").is_some_and(plain) || rule.value.entries().len() < 2 {
            return Ok((compile(&core)?, None));
        }
        let mut rest = core.clone();
        let inside: Option<Box<_>> = std::mem::take(&mut rest.rule.inside).into();
        let Some(inside) = inside else { return Ok((compile(&core)?, None)) };
        let asked =
            SerializableRuleCore { rule: inside.rule, constraints: None, utils: core.utils.clone(), transform: None };
        let key = serde_json::to_string(&asked).map_err(|error| self.wrong(rule, chain(&error)))?;
        let scope = match scopes.get(&key) {
            Some(known) => Arc::clone(known),
            None => Arc::clone(scopes.entry(key).or_insert(Arc::new(compile(&asked)?))),
        };
        let functions = ["function_declaration", "method_declaration", "type_declaration"]
            .map(|kind| GoLanguage::Go.kind_to_id(kind));
        let only_functions = scope.potential_kinds().is_some_and(|kinds| {
            kinds.iter().all(|kind| functions.iter().any(|&function| usize::from(function) == kind))
        });
        if !only_functions || !scope.defined_vars().is_empty() {
            return Ok((compile(&core)?, None));
        }
        Ok((compile(&rest)?, Some(scope)))
    }

    fn part(&self, key: &str) -> Result<&Spanned<Yaml>, Error> {
        self.tree.value.get(key).ok_or_else(|| self.wrong(&self.tree, format!("it has no `{key}`")))
    }

    fn text(&self, key: &str) -> String {
        self.tree.value.get(key).and_then(|value| value.value.text()).unwrap_or_default().to_owned()
    }

    fn word<'t>(&self, of: &'t Spanned<Yaml>, key: &str) -> Result<&'t Spanned<Yaml>, Error> {
        let found = of.value.get(key).filter(|value| value.value.text().is_some());
        found.ok_or_else(|| self.wrong(of, format!("it has no `{key}`")))
    }

    fn addition(&self, add: &Spanned<Yaml>, captured: &HashSet<String>) -> Result<Addition, Error> {
        self.refuse_unknown_keys(&add.value, &["place", "text"], "`add`")?;
        let place = self.word(add, "place")?;
        let place = match place.value.text().unwrap_or_default() {
            "before" => Place::Before,
            "after" => Place::After,
            "ahead" => Place::Ahead,
            "behind" => Place::Behind,
            other => {
                return Err(self.wrong(place, format!("place is `{other}`, and not before, after, ahead or behind")));
            }
        };
        Ok(Addition { place, text: self.go(self.word(add, "text")?, captured)? })
    }

    /// A text that is put into a source: Go once its metavariables have values, and every one of them captured.
    fn go(&self, text: &Spanned<Yaml>, captured: &HashSet<String>) -> Result<String, Error> {
        let Some(template) = text.value.text() else {
            return Err(self.wrong(text, "the text that is put in place is a text, and nothing else is understood"));
        };
        // The end of a block of YAML is no line of its own.
        let text_itself = template.strip_suffix('\n').unwrap_or(template).to_owned();
        if self.tried {
            return Ok(text_itself);
        }
        let unknown = std::cell::RefCell::new(None);
        let filled = substitute(template, |name| {
            if !captured.contains(name) {
                unknown.borrow_mut().get_or_insert_with(|| name.to_owned());
            }
            Some(format!("v{name}"))
        });
        if let Some(name) = unknown.into_inner() {
            return Err(self.wrong(text, format!("nothing captures `${name}` of `{}`", template.trim())));
        }
        if !filled.is_some_and(|filled| is_go(&filled)) {
            return Err(self.wrong(text, format!("the text `{}` is not valid Go", template.trim())));
        }
        Ok(text_itself)
    }
}

/// Whether a text is Go: declarations, statements, a case, or what follows a name.
fn is_go(text: &str) -> bool {
    let forms =
        [("func f() {\n", "\n}\n"), ("", "\n"), ("func f() {\nselect {\n", "\n}\n}\n"), ("type t struct {\n", "\n}\n")];
    let parses = |(before, after)| GoFile::parse("", format!("package p\n{before}{text}{after}").into_bytes()).is_ok();
    forms.into_iter().any(parses)
}

/// The names of the functions and types that an `inside` asks for, `Type.Name` for methods, as far as they are written
/// out.
fn names(inside: &Yaml) -> Vec<String> {
    if let Some(Yaml::List(any)) = inside.get("any").map(|any| &any.value) {
        return any.iter().flat_map(|one| names(&one.value)).collect();
    }
    let kind = |of: &Yaml| of.get("kind").and_then(|kind| kind.value.text()).unwrap_or_default().to_owned();
    if let Some(type_spec) = inside.get("has").filter(|has| kind(&has.value) == "type_spec") {
        return names(&type_spec.value);
    }
    let mut relations: Vec<&Yaml> = inside.get("has").into_iter().map(|has| &has.value).collect();
    if let Some(Yaml::List(all)) = inside.get("all").map(|all| &all.value) {
        relations.extend(all.iter().filter_map(|one| Some(&one.value.get("has")?.value)));
    }
    let of = |field: &str| {
        let has = relations.iter().find(|has| has.get("field").and_then(|one| one.value.text()) == Some(field))?;
        Some(words(has.get("regex")?.value.text()?))
    };
    let name = match (of("receiver"), of("name")) {
        (Some(receiver), Some(name)) => format!("{receiver}.{name}"),
        (_, name) => name.unwrap_or_default(),
    };
    vec![name].into_iter().filter(|name| !name.is_empty()).collect()
}

/// The letters that a regular expression asks for: `State` of `(?-u)\b[Ss]tate\)$`.
fn words(regex: &str) -> String {
    let mut out = String::new();
    let flags = regex.strip_prefix("(?").and_then(|flags| flags.split_once(')'));
    let mut chars = flags.map_or(regex, |(_, rest)| rest).chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            // One of several letters: the first stands for them.
            '[' => {
                out.extend(chars.next());
                chars.by_ref().find(|&c| c == ']');
            }
            c if c.is_alphanumeric() || c == '_' => out.push(c),
            _ => {}
        }
    }
    out
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(" {error}"));
        cause = error.source();
    }
    text
}

/// # Errors
/// Two rules of one name.
pub fn refuse_duplicates(rules: &[Rule]) -> Result<(), Error> {
    let mut known = BTreeSet::new();
    match rules.iter().find(|rule| !known.insert(&rule.id)) {
        None => Ok(()),
        Some(rule) => Err(Error::refused(format!("two rules are called `{}`", rule.id))),
    }
}
