//! Conversations with Delve, recorded from real runs: `explain`, `traces writes` and `traces calls` where nothing can be
//! replayed.
//!
//! A conversation is what was asked of Delve and answered (`delve.jsonl.zst`, by zstd), and the small files of the trace that it was
//! about; `want.json` is what the command printed. The debugger stand-in answers from it. Where rr and Delve are there,
//! each is recorded anew and compared.
//!
//! `RR_PATCH_REQUIRE=rr,dlv RR_PATCH_BLESS=1 cargo test --test rr-patch -- transcripts::recorded` records them again, and
//! `RR_PATCH_BLESS=1 cargo test --test rr-patch -- transcripts::kept` writes what the commands print.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::facts::Opens;
use crate::harness::{Run, command, fixtures, kill, skip};
use crate::watched::{Watched, processes_with};
use crate::{debugger, defects, delve, recorder};

/// A defect, and what is asked about it. The trace stands after the first words.
const CONVERSATIONS: [(&str, &[&str], &[&str]); 8] = [
    ("nil-map", &["explain"], &[]),
    ("exit-in-helper", &["explain"], &[]),
    ("lock-kept", &["explain"], &[]),
    ("evicted", &["explain"], &[]),
    ("deferred-cancel", &["explain"], &[]),
    ("done-forgotten", &["explain"], &[]),
    ("phase-reset", &["traces", "writes"], &["c.phase", "--at", "is not provisioned"]),
    ("log-fatal", &["traces", "calls"], &["main.main"]),
];

/// What rr itself reads of a trace stays away: it is large, and the tool does not look at it.
const KEPT: [&str; 5] = ["version", "events", "mmaps", "tasks", "rr-patch-log.jsonl"];

/// The conversation: a megabyte of text, and a fiftieth of that when it is packed.
const SAID: &str = "delve.jsonl.zst";

fn conversation_in(folder: &Path) -> String {
    String::from_utf8(zstd::decode_all(fs::File::open(folder.join(SAID)).unwrap()).unwrap()).unwrap()
}

fn kept(name: &str) -> PathBuf {
    fixtures().join("transcripts").join(name)
}

/// Folders of this machine, and what stands for them in a conversation.
static FOLDERS: LazyLock<[(String, &str); 2]> = LazyLock::new(|| {
    let go = command("go").args(["env", "GOROOT"]).output().unwrap();
    let go = String::from_utf8(go.stdout).unwrap().trim().to_owned();
    let source = defects::programs().parent().unwrap().join("src");
    [(source.to_str().unwrap().to_owned(), "{defects}"), (go, "{go}")]
});

fn portable(text: &str) -> String {
    FOLDERS.iter().fold(text.to_owned(), |text, (here, word)| text.replace(here.as_str(), word))
}

fn here(text: &str) -> String {
    FOLDERS.iter().fold(text.to_owned(), |text, (here, word)| text.replace(word, here))
}

/// The tool with the words of a conversation about a trace.
fn asked(mut tool: Command, (_, before, after): (&str, &[&str], &[&str]), trace: &Path) -> Command {
    tool.args(before).arg(trace).args(after).args(["--format", "json"]);
    tool
}

/// A trace of a defect as far as it is kept, in a folder.
fn trace_in(folder: &Path, name: &str) -> PathBuf {
    let trace = folder.join(format!("{name}-0"));
    fs::create_dir(&trace).unwrap();
    for file in KEPT {
        fs::copy(kept(name).join(file), trace.join(file)).unwrap();
    }
    fs::write(trace.join("data"), "not kept").unwrap();
    for file in fs::read_to_string(kept(name).join("mapped")).unwrap().lines() {
        match file.ends_with(name) {
            true => fs::copy(defects::programs().join(name), trace.join(file)).map(|_| ()).unwrap(),
            false => fs::write(trace.join(file), "not kept").unwrap(),
        }
    }
    trace
}

/// Lets the stand-ins be rr and Delve, and Delve answer from a conversation.
fn answered_from(mut tool: Command, transcript: &Path) -> Option<Command> {
    let folders = [debugger::folder(), recorder::folder()].map(|folder| folder.display().to_string()).join(":");
    tool.env("PATH", format!("{folders}:{}", std::env::var("PATH").unwrap()));
    tool.env("DLV_TRANSCRIPT", transcript).env("DLV_STAND_IN_VERSION", delve::version());
    delve::where_it_replays(tool)
}

/// Runs a command while the stand-in answers from a conversation.
fn play(conversation: (&str, &[&str], &[&str])) -> Option<Value> {
    let name = conversation.0;
    let folder = TempDir::new().unwrap();
    let trace = trace_in(folder.path(), name);
    let transcript = folder.path().join("delve.jsonl");
    fs::write(&transcript, here(&conversation_in(&kept(name)))).unwrap();
    let tool = asked(command(env!("CARGO_BIN_EXE_rr-patch")), conversation, &trace);
    let run = Run::of(answered_from(tool, &transcript)?.output().unwrap()).exits(0);
    run.json();
    let text = run.stdout.replace(folder.path().to_str().unwrap(), "{traces}");
    Some(serde_json::from_str(&portable(&text)).unwrap())
}

/// Records a conversation with the real Delve into a folder, and returns what the command printed.
fn record(conversation: (&str, &[&str], &[&str]), to: &Path) -> Option<Value> {
    let name = conversation.0;
    let trace = defects::trace(name)?;
    // The lines of the trace are no part of what is recorded.
    defects::run(name, &["traces", "log"])?.exits(0);
    fs::create_dir_all(to).unwrap();
    for file in KEPT {
        fs::copy(trace.join(file), to.join(file)).unwrap();
    }
    let log = to.join("rr-patch-log.jsonl");
    fs::write(&log, portable(&fs::read_to_string(&log).unwrap())).unwrap();
    let names = fs::read_dir(&trace).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut mapped: Vec<String> = names.filter(|name| name.starts_with("mmap_")).collect();
    mapped.sort();
    fs::write(to.join("mapped"), mapped.join("\n") + "\n").unwrap();
    let mut tool = asked(defects::tool()?, conversation, &trace);
    let path = tool.get_envs().find(|(name, _)| *name == "PATH")?.1?.to_str().unwrap().to_owned();
    let transcript = to.join("delve.jsonl");
    tool.env("PATH", format!("{}:{path}", debugger::folder().display()));
    tool.env("DLV_TRANSCRIPT_OF", delve::delve()?).env("DLV_TRANSCRIPT", &transcript);
    let run = Run::of(delve::where_it_replays(tool)?.output().unwrap()).exits(0);
    let said = portable(&fs::read_to_string(&transcript).unwrap());
    fs::write(to.join(SAID), zstd::encode_all(said.as_bytes(), 19).unwrap()).unwrap();
    fs::remove_file(&transcript).unwrap();
    Some(run.json())
}

/// What must be the same of two recordings of one defect: how it ended and the first suspect, or who wrote and called.
fn gist(document: &Value) -> Value {
    let places = |list: &Value, count: usize| -> Vec<Value> {
        let of = |entry: &Value| json!([entry["kind"], entry["function"], entry["line"], entry["caller"]]);
        list.as_array().into_iter().flatten().take(count).map(of).collect()
    };
    json!({
        "end": document["end"]["how"],
        "suspect": places(&document["suspects"], 1),
        "writes": places(&document["writes"], usize::MAX),
        "calls": places(&document["calls"], usize::MAX),
    })
}

/// The fields of a conversation's answers, each with its kind: `Stacktrace Locations[].line number`.
fn fields(folder: &Path) -> BTreeSet<String> {
    fn walk(path: &str, value: &Value, to: &mut BTreeSet<String>) {
        let kind = match value {
            Value::Null => return,
            Value::Bool(_) => "true or false",
            Value::Number(_) => "number",
            Value::String(_) => "text",
            Value::Array(all) => return all.iter().for_each(|one| walk(&format!("{path}[]"), one, to)),
            Value::Object(all) => {
                return all.iter().for_each(|(name, value)| {
                    // Values lie within values.
                    let path = path.strip_suffix(".children[]").unwrap_or(path);
                    walk(&format!("{path}.{name}"), value, to);
                });
            }
        };
        to.insert(format!("{path} {kind}"));
    }
    let mut fields = BTreeSet::new();
    for line in conversation_in(folder).lines() {
        let exchange: Value = serde_json::from_str(line).unwrap();
        walk(exchange["method"].as_str().unwrap(), &exchange["result"], &mut fields);
    }
    fields
}

#[test]
fn kept_conversations_with_delve_lead_to_what_they_led_to() {
    if std::env::consts::ARCH != "x86_64" {
        return skip(&["x86_64"], "the conversations that are kept are about traces of another processor");
    }
    for conversation in CONVERSATIONS {
        let Some(found) = play(conversation) else { return };
        let want = kept(conversation.0).join("want.json");
        if std::env::var_os("RR_PATCH_BLESS").is_some() {
            fs::write(&want, serde_json::to_string_pretty(&found).unwrap() + "\n").unwrap();
        }
        let wanted: Value = serde_json::from_slice(&fs::read(&want).unwrap()).unwrap();
        assert_eq!(found, wanted, "{}", conversation.0);
        if conversation.1 == ["explain"] {
            let answer = &defects::wanted(conversation.0)["suspects"][0];
            assert!(defects::is(conversation.0, &found["suspects"][0], answer), "{}", conversation.0);
        }
    }
}

#[test]
fn a_signal_ends_delve_where_the_lines_of_the_trace_were_read_first() {
    let folder = TempDir::new().unwrap();
    let trace = trace_in(folder.path(), "nil-map");
    fs::remove_file(trace.join("rr-patch-log.jsonl")).unwrap();
    let transcript = folder.path().join("delve.jsonl");
    let exchange = |method: &str, parameters: Value, result: Value| {
        json!({ "method": format!("RPCServer.{method}"), "params": [parameters], "result": result }).to_string()
    };
    let said = [
        exchange("GetVersion", json!({}), json!({ "DelveVersion": "Version: 1.27.1", "APIVersion": 2 })),
        exchange("Restart", json!({ "Position": "3" }), json!({})),
        exchange("State", json!({ "NonBlocking": false }), json!({ "State": { "When": "Current event: 3" } })),
    ];
    fs::write(&transcript, said.join("\n")).unwrap();
    let mut tool = command(env!("CARGO_BIN_EXE_rr-patch"));
    tool.args(["replay", "--port", "0", "--at", "3"]).arg(&trace);
    let Some(mut tool) = answered_from(tool, &transcript) else { return };
    let opens = Opens::of(&trace.join("events"));
    let mut watched = Watched::start(tool.stdout(Stdio::piped()).stderr(Stdio::piped()));
    watched.until(&["once for what it wrote", "stands at event 3"]);
    kill("INT", watched.child.id());
    let ended = watched.child.wait().unwrap();
    assert!(ended.success(), "{ended}: {}", watched.said());
    // Its beginning for the program and for the counters, and all of it once.
    assert_eq!(opens.count(), 3, "the events");
    assert_eq!(processes_with(trace.to_str().unwrap()), [""; 0]);
}

#[test]
fn a_request_that_is_not_in_the_conversation_ends_the_stand_in() {
    let folder = TempDir::new().unwrap();
    let transcript = folder.path().join("delve.jsonl");
    fs::write(&transcript, r#"{"method":"RPCServer.Restart","params":[{"Position":"3"}],"result":{}}"#).unwrap();
    let mut dlv = command(debugger::folder().join("dlv").to_str().unwrap());
    let mut child = dlv
        .args(["replay", "--headless", "x"])
        .env("DLV_TRANSCRIPT", &transcript)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut first).unwrap();
    let address = first.trim().strip_prefix("API server listening at: ").unwrap();
    assert_eq!(debugger::ask(address, "Detach"), "");
    let run = Run::of(child.wait_with_output().unwrap()).exits(9);
    assert_eq!(
        run.stderr,
        "the transcript goes on with RPCServer.Restart[{\"Position\":\"3\"}], and was asked for RPCServer.Detach[{}]\n"
    );
}

#[test]
fn recorded_anew_conversations_have_the_same_fields_and_the_same_end() {
    let folder = TempDir::new().unwrap();
    let (mut before, mut now) = (BTreeSet::new(), BTreeSet::new());
    for conversation in CONVERSATIONS {
        let name = conversation.0;
        let to = folder.path().join(name);
        let Some(document) = record(conversation, &to) else { return };
        if std::env::var_os("RR_PATCH_BLESS").is_some() {
            let _ = fs::remove_dir_all(kept(name));
            crate::harness::copy(&to, &kept(name));
            continue;
        }
        let wanted: Value = serde_json::from_slice(&fs::read(kept(name).join("want.json")).unwrap()).unwrap();
        assert_eq!(gist(&document), gist(&wanted), "{name}");
        before.extend(fields(&kept(name)));
        now.extend(fields(&to));
    }
    // A field that is there only sometimes may be new, and none may be missing.
    let missing: Vec<&String> = before.difference(&now).collect();
    assert!(missing.is_empty(), "Delve no longer answers with {missing:#?}");
}
