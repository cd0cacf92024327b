//! The forms that log lines have: klog, zap, logrus and logr, and what Go's runtime says before it ends a program.
//! Anything else is a plain line.
//!
//! | form | looks like |
//! | --- | --- |
//! | klog | `E1124 10:00:00.000000  1 main.go:33] "Reconciler error" err="…" controller="machine"` |
//! | zap on a console | `2026-11-24T10:00:00Z<tab>ERROR<tab>setup<tab>main.go:12<tab>cannot start<tab>{"error": "…"}` |
//! | zap, slog and logr as JSON | `{"level":"error","ts":1.5,"logger":"setup","caller":"main.go:12","msg":"cannot start"}` |
//! | logrus, slog, logr as pairs | `time="…" level=error msg="cannot start"`, `"level"=0 "msg"="cannot start"` |
//! | Go's log | `2026/11/24 10:00:00 main.go:12: cannot start` |

use std::borrow::Cow;
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Debug,
    Info,
    Warning,
    Error,
    /// The program ended with it.
    Fatal,
}

impl Level {
    pub fn word(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Fatal => "fatal",
        }
    }

    /// By the words of all those packages.
    pub fn of(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "trace" | "debug" | "dbg" => Self::Debug,
            "info" | "inf" | "notice" => Self::Info,
            "warn" | "warning" | "wrn" => Self::Warning,
            "error" | "err" => Self::Error,
            "fatal" | "panic" | "dpanic" | "critical" => Self::Fatal,
            _ => return None,
        })
    }

    /// logr counts up from 0 (info), zap's JSON of logr down from it.
    fn of_number(number: i64) -> Self {
        if (0..=3).contains(&number) { Self::Info } else { Self::Debug }
    }
}

/// Which form a line has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    Klog,
    /// Fields between tabs, as zap writes to a console.
    Zap,
    Json,
    /// `key=value`, as logrus, slog and logr write.
    Pairs,
    /// Go's own package log.
    Log,
    /// Go's runtime, about its own end.
    Runtime,
    #[default]
    Plain,
}

/// What a line says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    pub form: Form,
    pub level: Option<Level>,
    /// The time that stands in the line.
    pub stamp: Option<String>,
    pub message: Option<String>,
    /// The object that it is about, like `namespace/name`.
    pub object: Option<String>,
    /// The controller that says it.
    pub controller: Option<String>,
    /// The source line that wrote it, as far as the line says.
    pub source: Option<String>,
    /// The error that it reports.
    pub error: Option<String>,
}

/// Understands a line.
pub fn understand(line: &str) -> Output {
    let line = without_colours(line);
    let line = line.trim_end();
    klog(line)
        .or_else(|| json(line))
        .or_else(|| console(line))
        .or_else(|| runtime(line))
        .or_else(|| pairs_of(line))
        .or_else(|| standard(line))
        .unwrap_or_default()
}

/// What a line of the installer's own log wraps: a controller's line as logrus wrote it.
pub fn unwrapped(line: &str) -> Option<String> {
    let pairs = Pairs(line.trim()).collect::<Vec<_>>();
    let has = |name: &str| pairs.iter().any(|(key, _)| key == name);
    (has("time") && has("level")).then_some(())?;
    pairs.into_iter().find_map(|(key, value)| (key == "msg").then_some(value))
}

/// A line without what colours it.
pub fn without_colours(line: &str) -> Cow<'_, str> {
    if !line.contains('\u{1b}') {
        return line.into();
    }
    let mut plain = String::with_capacity(line.len());
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        if c == '\u{1b}' && characters.peek() == Some(&'[') {
            // A control sequence ends with its first letter.
            characters.by_ref().skip(1).find(|c| ('\u{40}'..='\u{7e}').contains(c));
        } else {
            plain.push(c);
        }
    }
    plain.into()
}

/// `Lmmdd hh:mm:ss.uuuuuu threadid file:line] message`
fn klog(line: &str) -> Option<Output> {
    let level = match line.bytes().next()? {
        b'I' => Level::Info,
        b'W' => Level::Warning,
        b'E' => Level::Error,
        b'F' => Level::Fatal,
        _ => return None,
    };
    let day = line.get(1..5)?;
    if !day.bytes().all(|byte| byte.is_ascii_digit()) || line.get(5..6)? != " " {
        return None;
    }
    let (head, rest) = line.split_once("] ").or_else(|| line.strip_suffix(']').map(|head| (head, "")))?;
    let mut words = head.split_ascii_whitespace().skip(1);
    let (time, _, source) = (words.next()?, words.next()?, words.next()?);
    if time.split(':').count() != 3 || words.next().is_some() {
        return None;
    }
    let mut said = Output {
        form: Form::Klog,
        level: Some(level),
        stamp: Some(format!("{day} {time}")),
        source: Some(source.to_owned()),
        ..Output::default()
    };
    match quoted(rest) {
        Some((message, rest)) => {
            said.message = Some(message);
            said.add(Pairs(rest));
        }
        None => said.message = Some(rest.to_owned()),
    }
    Some(said)
}

/// An object of JSON with a message or a level.
fn json(line: &str) -> Option<Output> {
    let Value::Object(fields) = serde_json::from_str(line.strip_prefix('{').map(|_| line)?).ok()? else { return None };
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let first = |names: &[&str]| names.iter().find_map(|name| fields.get(*name));
    let level = first(&["level", "lvl", "severity", "L"]);
    let message = first(&["msg", "message", "M"]);
    if level.is_none() && message.is_none() {
        return None;
    }
    let mut said = Output {
        form: Form::Json,
        level: level.and_then(|level| match level {
            Value::String(word) => Level::of(word),
            Value::Number(number) => number.as_i64().map(Level::of_number),
            _ => None,
        }),
        stamp: first(&["ts", "time", "timestamp", "T"]).map(text),
        message: message.map(text),
        source: first(&["caller", "source", "C"]).map(|source| match (source["file"].as_str(), &source["line"]) {
            (Some(file), Value::Number(line)) => format!("{file}:{line}"),
            _ => text(source),
        }),
        ..Output::default()
    };
    said.add(fields.iter().map(|(key, value)| (key.clone(), text(value))));
    Some(said)
}

/// A time, a level, and the other fields between tabs.
fn console(line: &str) -> Option<Output> {
    let mut fields = line.split('\t');
    let stamp = fields.next()?;
    let level = Level::of(fields.next()?.trim())?;
    if !stamp.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let mut rest: Vec<&str> = fields.collect();
    let mut said = Output { form: Form::Zap, level: Some(level), stamp: Some(stamp.to_owned()), ..Output::default() };
    if let Some(Ok(Value::Object(pairs))) = rest.last().map(|last| serde_json::from_str(last)) {
        rest.pop();
        said.add(
            pairs
                .iter()
                .map(|(key, value)| (key.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned))),
        );
    }
    if let Some(place) = rest.iter().position(|field| is_place(field)) {
        said.source = Some(rest.remove(place).to_owned());
    }
    // The last field is the message; the name of a logger may stand before it.
    said.message = rest.last().map(|message| (*message).to_owned());
    Some(said)
}

/// `file.go:12`
fn is_place(word: &str) -> bool {
    let place = word.rsplit_once(':');
    place.is_some_and(|(file, line)| {
        Path::new(file).extension().is_some_and(|ending| ending == "go")
            && !line.is_empty()
            && line.bytes().all(|b| b.is_ascii_digit())
    })
}

/// What Go's runtime prints as it ends the program.
fn runtime(line: &str) -> Option<Output> {
    let starts = |starts: &[&str]| starts.iter().find_map(|start| line.strip_prefix(start));
    let (level, message) = if let Some(message) = starts(&["panic: ", "fatal error: ", "runtime: out of memory"]) {
        (Some(Level::Fatal), Some(if message.is_empty() { line } else { message }.to_owned()))
    } else if starts(&["SIGQUIT: quit", "SIGABRT: abort", "[signal SIG", "\tpanic: "]).is_some() {
        (Some(Level::Fatal), Some(line.trim().to_owned()))
    } else if starts(&["goroutine ", "created by ", "runtime: "]).is_some()
        && (line.ends_with(':') || line.contains(" in goroutine ") || line.starts_with("runtime: "))
    {
        (None, None)
    } else {
        return None;
    };
    Some(Output { form: Form::Runtime, level, message, ..Output::default() })
}

/// `key=value …` with a level or a message among them.
fn pairs_of(line: &str) -> Option<Output> {
    // Go's package log may have put its time before them.
    let (stamp, rest) = stamp(line).map_or((None, line), |(stamp, rest)| (Some(stamp), rest));
    let pairs: Vec<(String, String)> = Pairs(rest).collect();
    let get =
        |names: &[&str]| pairs.iter().find(|(key, _)| names.contains(&key.as_str())).map(|(_, value)| value.clone());
    let (level, message) = (get(&["level", "lvl"]), get(&["msg", "message"]));
    if level.is_none() && message.is_none() {
        return None;
    }
    let level = level.as_ref().and_then(|word| {
        Level::of(word.split(['+', '-']).next().unwrap_or(word)).or_else(|| word.parse().ok().map(Level::of_number))
    });
    if level.is_none() && message.is_none() {
        return None;
    }
    let mut said = Output {
        form: Form::Pairs,
        level,
        stamp: get(&["time", "ts"]).or(stamp.map(str::to_owned)),
        source: get(&["source", "caller", "file"]),
        message,
        ..Output::default()
    };
    said.add(pairs.into_iter());
    if said.level.is_none() && said.error.is_some() {
        said.level = Some(Level::Error);
    }
    Some(said)
}

/// `2026/11/24 10:00:00 ` before the rest of a line.
fn stamp(line: &str) -> Option<(&str, &str)> {
    let digits = |text: &str, mark: char, count: usize| {
        let parts: Vec<&str> = text.split(mark).collect();
        parts.len() == count && parts.iter().all(|part| part.bytes().all(|b| b.is_ascii_digit() || b == b'.'))
    };
    let (day, rest) = line.split_once(' ')?;
    let (time, _) = rest.split_once(' ').unwrap_or((rest, ""));
    let stamp = line.get(..day.len() + 1 + time.len())?;
    (digits(day, '/', 3) && digits(time, ':', 3)).then(|| (stamp, line[stamp.len()..].trim_start()))
}

fn standard(line: &str) -> Option<Output> {
    let (stamp, rest) = stamp(line)?;
    let (source, message) = match rest.split_once(": ") {
        Some((place, message)) if is_place(place) => (Some(place.to_owned()), message),
        _ => (None, rest),
    };
    let mut said = Output { form: Form::Log, stamp: Some(stamp.to_owned()), source, ..Output::default() };
    // klog's letter and level words are put before a message by hand, too.
    let word = message.split([' ', ':']).next().unwrap_or_default().trim_matches(['[', ']']);
    let by_hand = word.len() == 5 && word[1..].bytes().all(|byte| byte.is_ascii_digit());
    said.level = match word.chars().next() {
        Some('E') if by_hand => Some(Level::Error),
        Some('F') if by_hand => Some(Level::Fatal),
        Some('W') if by_hand => Some(Level::Warning),
        _ => Level::of(word).filter(|_| word.len() < message.len()),
    };
    said.message = Some(message.to_owned());
    Some(said)
}

impl Output {
    /// Takes the object, the controller and the error from pairs.
    fn add(&mut self, pairs: impl Iterator<Item = (String, String)>) {
        let pairs: Vec<(String, String)> = pairs.collect();
        let get = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        self.error = get("err").or_else(|| get("error"));
        self.controller = get("controller");
        // controller-runtime names the object after its kind.
        let kind = get("controllerKind").and_then(|kind| get(&kind));
        let of_namespace = || match (get("namespace"), get("name")) {
            (Some(namespace), Some(name)) if !namespace.is_empty() => Some(format!("{namespace}/{name}")),
            (_, name) => name,
        };
        self.object = kind.or_else(|| get("object")).or_else(of_namespace).or_else(|| {
            let kinds = ["machine", "cluster", "node", "pod", "key", "request", "host"];
            kinds.iter().find_map(|kind| get(kind))
        });
        self.object = self.object.take().map(|object| object_name(&object));
    }
}

/// `{"name":"a","namespace":"b"}` and klog's `{b a}` as `b/a`.
fn object_name(object: &str) -> String {
    let Ok(Value::Object(fields)) = serde_json::from_str(object) else { return object.to_owned() };
    match (fields.get("namespace").and_then(Value::as_str), fields.get("name").and_then(Value::as_str)) {
        (Some(namespace), Some(name)) if !namespace.is_empty() => format!("{namespace}/{name}"),
        (_, Some(name)) => name.to_owned(),
        _ => object.to_owned(),
    }
}

/// A text in Go's quotes at the beginning, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let inner = text.strip_prefix('"')?;
    let mut escaped = false;
    let end = inner.char_indices().find_map(|(at, c)| match c {
        _ if std::mem::take(&mut escaped) => None,
        '\\' => {
            escaped = true;
            None
        }
        '"' => Some(at),
        _ => None,
    })?;
    let value = serde_json::from_str(&text[..end + 2]).unwrap_or_else(|_| inner[..end].replace("\\\"", "\""));
    Some((value, &inner[end + 1..]))
}

/// The pairs of a line, `key=value key="value"`; what is none is left out.
struct Pairs<'a>(&'a str);

impl Iterator for Pairs<'_> {
    type Item = (String, String);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.0 = self.0.trim_start();
            if self.0.is_empty() {
                return None;
            }
            let key = match quoted(self.0) {
                Some((key, rest)) => {
                    self.0 = rest;
                    key
                }
                None => {
                    let end = self.0.find([' ', '=', '\t']).unwrap_or(self.0.len());
                    let (key, rest) = self.0.split_at(end);
                    self.0 = rest;
                    key.to_owned()
                }
            };
            let Some(value) = self.0.strip_prefix('=') else {
                // Not to stand still at what cannot be a key.
                if key.is_empty() {
                    self.0 = self.0.get(1..).unwrap_or_default();
                }
                continue;
            };
            let value = match quoted(value) {
                Some((text, rest)) => {
                    self.0 = rest;
                    text
                }
                None => {
                    let end = value.find([' ', '\t']).unwrap_or(value.len());
                    self.0 = &value[end..];
                    value[..end].to_owned()
                }
            };
            let names = |c: char| c.is_alphanumeric() || "_-./".contains(c);
            if !key.is_empty() && key.chars().all(names) {
                return Some((key, value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(line: &str) -> [Option<String>; 6] {
        let Output { level, stamp, message, object, source, error, .. } = understand(line);
        [level.map(|level| level.word().to_owned()), stamp, message, object, source, error]
    }

    fn expect(line: &str, form: Form, expected: [&str; 6]) {
        assert_eq!(understand(line).form, form, "{line}");
        let expected = expected.map(|field| (!field.is_empty()).then(|| field.to_owned()));
        assert_eq!(fields(line), expected, "{line}");
    }

    #[test]
    fn klog_lines_are_understood_with_their_object_and_error() {
        expect(
            r#"E1124 10:00:00.123456       1 controller.go:347] "Reconciler error" err="no \"x\"" controller="machine" controllerKind="Machine" Machine="ns/m-0" namespace="ns" name="m-0""#,
            Form::Klog,
            ["error", "1124 10:00:00.123456", "Reconciler error", "ns/m-0", "controller.go:347", "no \"x\""],
        );
        expect(
            "I0102 03:04:05.000000   12345 main.go:9] plain words: 50%",
            Form::Klog,
            ["info", "0102 03:04:05.000000", "plain words: 50%", "", "main.go:9", ""],
        );
        assert_eq!(understand("E1124 is a room").form, Form::Plain);
        assert_eq!(understand("Info: nothing").form, Form::Plain);
    }

    #[test]
    fn json_lines_of_zap_slog_and_logr_are_understood() {
        expect(
            r#"{"level":"error","ts":1764.5,"logger":"setup","caller":"main.go:12","msg":"cannot start","error":"denied","name":"n","namespace":"s"}"#,
            Form::Json,
            ["error", "1764.5", "cannot start", "s/n", "main.go:12", "denied"],
        );
        expect(
            r#"{"time":"2026-11-24T10:00:00Z","level":"WARN","source":{"function":"main.f","file":"/a/b.go","line":7},"msg":"slow"}"#,
            Form::Json,
            ["warning", "2026-11-24T10:00:00Z", "slow", "", "/a/b.go:7", ""],
        );
        expect(r#"{"logger":"x","level":0,"msg":"hello"}"#, Form::Json, ["info", "", "hello", "", "", ""]);
        assert_eq!(understand(r#"{"kind":"Pod"}"#).form, Form::Plain);
    }

    #[test]
    fn console_lines_of_zap_are_understood() {
        expect(
            "2026-11-24T10:00:00.000Z\tERROR\tsetup\tmain.go:12\tcannot start\t{\"error\": \"denied\", \"machine\": \"m\"}",
            Form::Zap,
            ["error", "2026-11-24T10:00:00.000Z", "cannot start", "m", "main.go:12", "denied"],
        );
        let coloured = "1.5\t\u{1b}[34mINFO\u{1b}[0m\tstarting";
        expect(coloured, Form::Zap, ["info", "1.5", "starting", "", "", ""]);
    }

    #[test]
    fn pairs_of_logrus_slog_and_logr_are_understood() {
        expect(
            r#"time="2026-11-24T10:00:00Z" level=warning msg="low on space" name=disk"#,
            Form::Pairs,
            ["warning", "2026-11-24T10:00:00Z", "low on space", "disk", "", ""],
        );
        expect(
            "time=2026-11-24T10:00:00Z level=ERROR+2 msg=failed source=/a/b.go:3 err=denied",
            Form::Pairs,
            ["error", "2026-11-24T10:00:00Z", "failed", "", "/a/b.go:3", "denied"],
        );
        expect(r#""level"=0 "msg"="starting" "key"="a b""#, Form::Pairs, ["info", "", "starting", "a b", "", ""]);
        expect(
            r#"2026/11/24 10:00:00 level=error msg="job is not valid" id=3"#,
            Form::Pairs,
            ["error", "2026/11/24 10:00:00", "job is not valid", "", "", ""],
        );
        assert_eq!(understand("x = y means level==msg").form, Form::Plain);
    }

    #[test]
    fn lines_of_gos_log_and_runtime_are_understood_and_others_are_plain() {
        let stamp = "2026/11/24 10:00:00";
        expect("2026/11/24 10:00:00 main.go:3: ready", Form::Log, ["", stamp, "ready", "", "main.go:3", ""]);
        expect("2026/11/24 10:00:00 ERROR: no", Form::Log, ["error", stamp, "ERROR: no", "", "", ""]);
        expect("panic: boom", Form::Runtime, ["fatal", "", "boom", "", "", ""]);
        expect(
            "fatal error: all goroutines are asleep - deadlock!",
            Form::Runtime,
            ["fatal", "", "all goroutines are asleep - deadlock!", "", "", ""],
        );
        expect("goroutine 7 [chan receive]:", Form::Runtime, ["", "", "", "", "", ""]);
        for line in ["", "hello", "{", "goroutine of ours", "\u{1b}[", "=", "a=", "\"", "E", "\t"] {
            assert_eq!(understand(line), Output::default(), "{line:?}");
        }
    }

    #[test]
    fn a_line_of_the_installers_log_is_unwrapped_to_the_controllers_own() {
        let line = r#"time="2026-11-24T10:00:00Z" level=debug msg="E1124 10:00:00.0 1 a.go:3] \"Reconciler error\" err=\"x\"""#;
        assert_eq!(unwrapped(line).as_deref(), Some(r#"E1124 10:00:00.0 1 a.go:3] "Reconciler error" err="x""#));
        assert_eq!(unwrapped("level=info is no such line"), None);
    }
}
