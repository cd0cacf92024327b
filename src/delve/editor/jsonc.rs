//! Edits JSON with comments and trailing commas in place. The only module that uses jsonc-parser.

use std::path::Path;

use anyhow::Result;
use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstArray, CstInputValue, CstObject, CstRootNode};
use serde_json::Value;

use super::refusal;

/// Where a file has its list of configurations.
#[derive(Clone, Copy)]
pub enum Place {
    /// The file is the list.
    Whole,
    /// The file is an object, with the list in this member.
    Under(&'static str),
}

/// A configuration: its members in order, and which of them is its name.
pub struct Configured {
    pub label: &'static str,
    pub entries: Vec<(&'static str, Value)>,
}

/// Members that are not changed once they exist, because the user may have set them.
const THEIRS: [&str; 1] = ["stopOnEntry"];
/// The variable whose value in an older configuration may be wrong.
const FLAGS: &str = "DELVE_RR_REPLAY_FLAGS";

const BOM: &str = "\u{feff}";

/// The syntax that editors accept: JSON with comments and trailing commas.
fn options() -> ParseOptions {
    ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    }
}

/// Adds the entry to the list in the file, or replaces the entry with the same name. All other bytes are unchanged.
pub fn merge(path: &Path, before: Option<&[u8]>, place: Place, entry: &Configured) -> Result<Vec<u8>> {
    let fresh = match place {
        Place::Whole => "[]\n",
        Place::Under(_) => "{\n  \"version\": \"0.2.0\",\n  \"configurations\": []\n}\n",
    };
    let text = match before {
        None => fresh,
        Some(bytes) => std::str::from_utf8(bytes).map_err(|error| {
            let mut lines = bytes[..error.valid_up_to()].split(|&byte| byte == b'\n');
            let (line, column) = (lines.clone().count(), lines.next_back().map_or(0, <[u8]>::len) + 1);
            refusal(path, &format!(":{line}:{column}"), "UTF-8", "bytes that are not UTF-8")
        })?,
    };
    let (bom, text) = text.strip_prefix(BOM).map_or(("", text), |text| (BOM, text));
    let text = if text.trim().is_empty() { fresh } else { text };
    let root = CstRootNode::parse(text, &options()).map_err(|error| {
        let place = format!(":{}:{}", error.line_display(), error.column_display());
        refusal(path, &place, "JSON, with comments and trailing commas if you like", &error.kind().to_string())
    })?;
    if root.to_string() != text {
        return Err(refusal(path, "", "a file that can be parsed and written back unchanged", "one that cannot"));
    }
    let list = list(path, &root, place)?;
    let name = entry.entries.iter().find(|(key, _)| *key == entry.label).map(|(_, name)| name.clone());
    let mut known = list.elements().into_iter().filter_map(|element| element.as_object());
    let known = known.find(|object| value(object, entry.label) == name);
    match known {
        Some(object) => update(&object, &entry.entries),
        None => {
            let members = entry.entries.iter().map(|(key, value)| ((*key).to_owned(), input(value)));
            list.append(CstInputValue::Object(members.collect()));
        }
    }
    Ok(format!("{bom}{root}").into_bytes())
}

fn list(path: &Path, root: &CstRootNode, place: Place) -> Result<CstArray> {
    let wrong = |expected: &str| refusal(path, "", expected, "something else");
    match place {
        Place::Whole => {
            // A file that contains only comments has no value yet.
            if root.value().is_none() {
                return Ok(root.array_value_or_set());
            }
            root.array_value().ok_or_else(|| wrong("a list of configurations"))
        }
        Place::Under(member) => {
            let object = match root.value() {
                None => root.object_value_or_set(),
                Some(value) => value.as_object().ok_or_else(|| wrong("an object"))?,
            };
            object.array_value_or_create(member).ok_or_else(|| wrong(&format!("a list as the value of \"{member}\"")))
        }
    }
}

fn value(object: &CstObject, key: &str) -> Option<Value> {
    object.get(key)?.value()?.to_serde_value()
}

/// Sets the members that differ. Members that are not ours and those that the user chose are not changed.
fn update(object: &CstObject, entries: &[(&'static str, Value)]) {
    for (key, wanted) in entries {
        let found = value(object, key);
        match (*key, &found) {
            (_, Some(found)) if found == wanted || THEIRS.contains(key) => {}
            ("env", Some(Value::Object(_))) => {
                let (Some(env), Value::Object(wanted)) = (object.object_value(key), wanted) else { continue };
                for (name, wanted) in wanted {
                    set(&env, name, wanted);
                }
            }
            ("substitutePath", Some(Value::Array(_))) => {
                let (Some(list), Value::Array(wanted)) = (object.array_value(key), wanted) else { continue };
                wanted.iter().for_each(|wanted| substitute(&list, wanted));
            }
            _ => set(object, key, wanted),
        }
    }
    // Remove the option for software counters if this trace was recorded without them.
    let flagged = entries.iter().any(|(key, _)| *key == "env");
    if !flagged
        && let Some(env) = object.object_value("env")
        && value(&env, FLAGS) == Some(Value::from("-W"))
        && let Some(flags) = env.get(FLAGS)
    {
        flags.remove();
    }
}

fn set(object: &CstObject, key: &str, wanted: &Value) {
    match object.get(key) {
        Some(member) if member.value().and_then(|value| value.to_serde_value()).as_ref() == Some(wanted) => {}
        Some(member) => member.set_value(input(wanted)),
        None => {
            object.append(key, input(wanted));
        }
    }
}

/// Replaces the pair of folders with the same `to`, or inserts a pair at the front, because the first match is used.
fn substitute(list: &CstArray, wanted: &Value) {
    let mut pairs = list.elements().into_iter().filter_map(|element| element.as_object());
    match pairs.find(|pair| value(pair, "to").as_ref() == wanted.get("to")) {
        Some(pair) => set(&pair, "from", &wanted["from"]),
        None => {
            list.insert(0, input(wanted));
        }
    }
}

fn input(value: &Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(value) => CstInputValue::Bool(*value),
        Value::Number(value) => CstInputValue::Number(value.to_string()),
        Value::String(value) => CstInputValue::String(value.clone()),
        Value::Array(values) => CstInputValue::Array(values.iter().map(input).collect()),
        Value::Object(members) => {
            CstInputValue::Object(members.iter().map(|(key, value)| (key.clone(), input(value))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(trace: &str) -> Configured {
        Configured {
            label: "name",
            entries: vec![
                ("name", json!("ours")),
                ("traceDirPath", json!(trace)),
                ("env", json!({ FLAGS: "-W" })),
                ("stopOnEntry", json!(true)),
                ("substitutePath", json!([{ "from": "/here", "to": "/build" }])),
            ],
        }
    }

    fn merged(text: &str, entry: &Configured) -> Result<String> {
        let bytes = merge(Path::new("launch.json"), Some(text.as_bytes()), Place::Under("configurations"), entry)?;
        Ok(String::from_utf8(bytes).unwrap())
    }

    /// Checks that text was only inserted: `all` must contain `part` in order.
    fn holds_in_order(all: &str, part: &str) -> bool {
        let mut rest = all.chars();
        part.chars().all(|wanted| rest.any(|c| c == wanted))
    }

    const FILES: [&str; 9] = [
        "{\n  // mine\n  \"version\": \"0.2.0\",\n  \"configurations\": [\n    {\n      \"name\": \"a\", // x\n    },  // after\n    // tail\n  ],\n}\n",
        "{\n\t\"version\": \"0.2.0\",\n\t\"configurations\": [\n\t\t{\n\t\t\t\"name\": \"a\"\n\t\t} // after\n\t]\n}",
        "{\r\n    \"configurations\": []\r\n}\r\n",
        "{\"version\":\"0.2.0\",\"configurations\":[{\"name\":\"a\"}]}",
        "{\n  \"configurations\": [\n    {\"name\":\"a\"},\r\n    {\"name\":\"b\"}\n  ] }\n",
        "{\n  \"configurations\": [ // here\n    /* nothing yet */\n  ]\n}\n",
        "\u{feff}{\"configurations\":[], \"compounds\": [{\"name\": \"ours\"}]}",
        "// only a comment\n",
        "{\n  \"inputs\": [],\n  \"x\": 1.50, \"y\": \"\\u00e4\"\n}\n",
    ];

    #[test]
    fn merging_only_adds_and_a_second_time_changes_nothing() {
        for text in FILES {
            let once = merged(text, &entry("/traces/a")).unwrap();
            assert!(holds_in_order(&once, text), "{text}\nbecame\n{once}");
            assert!(once.contains("\"traceDirPath\": \"/traces/a\""), "{once}");
            assert_eq!(once.contains("\r\n"), text.contains("\r\n"), "{once:?}");
            assert_eq!(merged(&once, &entry("/traces/a")).unwrap(), once);
        }
    }

    #[test]
    fn merging_a_newer_trace_changes_its_path_alone() {
        for text in FILES {
            let once = merged(text, &entry("/traces/a")).unwrap();
            let newer = merged(&once, &entry("/traces/b")).unwrap();
            assert_eq!(newer, once.replace("\"/traces/a\"", "\"/traces/b\""));
        }
    }

    #[test]
    fn merging_keeps_what_the_user_put_into_our_entry() {
        let theirs = "{\n  \"configurations\": [\n    {\n      \"name\": \"ours\",\n      \"showLog\": true, // theirs\n      \"stopOnEntry\": false,\n      \"env\": {\"A\": \"b\"},\n      \"substitutePath\": [{\"from\": \"/x\", \"to\": \"/y\"}]\n    }\n  ]\n}\n";
        let text = merged(theirs, &entry("/traces/a")).unwrap();
        for kept in [
            "\"showLog\": true, // theirs",
            "\"stopOnEntry\": false",
            "\"A\": \"b\"",
            "{\"from\": \"/x\", \"to\": \"/y\"}",
        ] {
            assert!(text.contains(kept), "{kept} is not in\n{text}");
        }
        for added in ["\"DELVE_RR_REPLAY_FLAGS\": \"-W\"", "\"from\": \"/here\""] {
            assert!(text.contains(added), "{added} is not in\n{text}");
        }
    }

    #[test]
    fn merging_takes_back_software_counters_that_we_set_and_no_other_flags() {
        let hardware = Configured { label: "name", entries: vec![("name", json!("ours"))] };
        let once = merged("{}", &entry("/traces/a")).unwrap();
        assert!(!merged(&once, &hardware).unwrap().contains(FLAGS));
        let own = once.replace("\"-W\"", "\"-W -q\"");
        assert_eq!(merged(&own, &hardware).unwrap(), own);
    }

    #[test]
    fn a_file_that_does_not_parse_is_refused_with_line_and_column() {
        let refused = |text: &str| format!("{:#}", merged(text, &entry("/t")).unwrap_err());
        assert!(
            refused("{\n  \"configurations\": [\n    {,\n").contains("launch.json:3:6"),
            "{}",
            refused("{\n  \"configurations\": [\n    {,\n")
        );
        assert!(refused("{'configurations': []}").contains("launch.json:1:2"));
        assert!(refused("[]").contains("cannot be merged"));
        assert!(refused("{\"configurations\": {}}").contains("cannot be merged"));
        let bytes = merge(Path::new("launch.json"), Some(b"{\n\"a\": \"\xff\"}"), Place::Whole, &entry("/t"));
        assert!(format!("{:#}", bytes.unwrap_err()).contains("launch.json:2:7"));
    }

    #[test]
    fn merging_into_a_list_needs_no_object_around_it() {
        let bytes =
            merge(Path::new("debug.json"), Some(b"// zed\n[\n  {\"label\": \"x\"},\n]\n"), Place::Whole, &entry("/t"));
        let text = String::from_utf8(bytes.unwrap()).unwrap();
        assert!(text.starts_with("// zed\n[\n  {\"label\": \"x\"},\n  {\n    \"name\": \"ours\","), "{text}");
    }
}
