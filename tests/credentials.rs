//! Credentials that a recorded program holds: in log lines, variables, fields, maps and its environment. None of them
//! is shown without `--values`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::{Run, command};
use crate::{cores, defects, delve};

/// A program whose values look like credentials, wherever a program has values.
const PROGRAM: &str = r#"package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
)

type vault struct {
	Password   string
	apiKey     string
	Token      []byte
	pullSecret map[string]string
	next       *login
}

type login struct {
	user, passphrase string
	url              string
	headers          map[string]string
}

type sessionToken string

var errDenied = errors.New("denied: token=hunter2-08")

func (v *vault) rotate(password string, accessToken string) {
	v.Password = password
	v.apiKey = accessToken
}

func open(v *vault, secret string, privateKey string) (credential string, err error) {
	clientSecret := "hunter2-09"
	bearer := "Bearer hunter2-10-hunter2"
	dsn := "postgres://admin:hunter2-11@db/x"
	key := "AKIAHUNTER2HUNTER2AA"
	jwt := "eyJodW50ZXIyLTEyIjoxfQ.eyJodW50ZXIyIjoxfQ.hunter2-12"
	arguments := []string{"--password=hunter2-13", "--verbose"}
	environment := os.Environ()
	session := sessionToken("hunter2-14")
	cookie := []byte("hunter2-15")
	any := map[string]any{"auth_header": "hunter2-16", "region": "eu"}
	if len(v.Password) > 3 {
		fmt.Fprintf(os.Stderr, "E1130 10:00:00.000000       1 main.go:50] \"login failed\" password=%q url=%s\n", v.Password, v.next.url)
		slog.Error("login failed", "token", v.Token, "secret", secret, "dsn", dsn)
		fmt.Println("error: Authorization: Bearer hunter2-17-hunter2 was refused")
		fmt.Println("error: --vsphere-password hunter2-18 was refused")
		fmt.Println(`{"level":"error","msg":"cannot log in","aws_secret_access_key":"hunter2-19"}`)
		fmt.Printf("error: connection-string=%q\n", "hunter2-20")
		credential, err = "hunter2-21", errDenied
	}
	_, _, _, _, _, _, _, _, _, _ = clientSecret, bearer, key, jwt, arguments, environment, session, cookie, any, privateKey
	return credential, err
}

func main() {
	v := &vault{
		Password:   "hunter2-01",
		apiKey:     "hunter2-02",
		Token:      []byte("hunter2-03"),
		pullSecret: map[string]string{"quay.io": "hunter2-04"},
		next: &login{
			user: "admin", passphrase: "hunter2-05", url: "https://admin:hunter2-06@vcenter/sdk",
			headers: map[string]string{"Authorization": "Basic hunter2-07"},
		},
	}
	v.rotate("hunter2-22", "hunter2-23")
	v.rotate("hunter2-24", "hunter2-25")
	if _, err := open(v, "hunter2-26", "-----BEGIN PRIVATE KEY-----\nhunter2-27\n-----END PRIVATE KEY-----"); err != nil {
		fmt.Println("fatal error of login:", err)
		panic(fmt.Sprintf("cannot log in with password=%s", "hunter2-28"))
	}
}
"#;

fn build(folder: &Path, source: &str) -> PathBuf {
    fs::write(folder.join("go.mod"), "module example.com/vault\n\ngo 1.25\n").unwrap();
    fs::write(folder.join("main.go"), source).unwrap();
    let program = folder.join("vault");
    let mut go = command("go");
    go.current_dir(folder).args(["build", "-gcflags=all=-N -l", "-o"]).arg(&program).arg(".");
    Run::of(go.output().unwrap()).exits(0);
    program
}

/// The trace of the program, recorded with credentials in its environment; nothing where no recorder works.
fn record(folder: &Path) -> Option<PathBuf> {
    let program = build(folder, PROGRAM);
    let store = folder.join("traces");
    let mut tool = defects::tool()?;
    tool.env("AWS_SECRET_ACCESS_KEY", "hunter2-29").env("VSPHERE_PASSWORD", "hunter2-30");
    tool.args(["record", "--program", "--unchecked", "--trace-dir"]).arg(&store).arg("--").arg(&program);
    tool.output().unwrap();
    Some(store.join("vault-0"))
}

fn ask(arguments: &[&str], trace: &Path) -> Option<Run> {
    let mut tool = defects::tool()?;
    let (command, rest) = arguments.split_at(if arguments[0] == "traces" { 2 } else { 1 });
    tool.args(command).arg(trace).args(rest);
    Some(Run::of(delve::where_it_replays(tool)?.output().unwrap()))
}

/// `hunt` as Delve shows bytes.
const BYTES: &str = "104, 117, 110, 116";

#[track_caller]
fn shows_none(run: &Run, arguments: &[&str]) {
    for (what, text) in [("stdout", &run.stdout), ("stderr", &run.stderr)] {
        let planted = |line: &&str| line.to_lowercase().contains("hunter2") || line.contains(BYTES);
        let shown: Vec<&str> = text.lines().filter(planted).collect();
        assert!(shown.is_empty(), "{arguments:?}, {what}:\n{}", shown.join("\n"));
    }
}

#[test]
fn no_planted_credential_appears_without_values() {
    let folder = tempfile::tempdir().unwrap();
    let Some(trace) = record(folder.path()) else { return };
    let page = folder.path().join("page.html");
    let page = page.to_str().unwrap();
    let asked: [&[&str]; 9] = [
        &["traces", "log"],
        &["traces", "log", "--format", "json"],
        &["explain", "--html", page],
        &["explain", "--format", "json"],
        &["traces", "writes", "v.Password", "--at", "login failed"],
        &["traces", "writes", "v.apiKey", "--at", "login failed", "--format", "json"],
        &["traces", "calls", "main.(*vault).rotate"],
        &["traces", "calls", "main.open", "--print", "v", "--print", "v.next", "--format", "json"],
        &["replay", "--at", "refused"],
    ];
    let mut seen = 0;
    for arguments in asked {
        let Some(run) = ask(arguments, &trace) else { return };
        seen += usize::from(run.code == 0);
        shows_none(&run, arguments);
    }
    let text = fs::read_to_string(page).unwrap();
    assert!(!text.to_lowercase().contains("hunter2") && text.contains("[cut]"), "{text}");
    assert!(seen >= 6, "{seen} of the commands worked");

    // With --values they are there, so that the program is known to hold them.
    let all = ask(&["explain", "--values"], &trace).unwrap().exits(0).stdout
        + &ask(&["traces", "log", "--values"], &trace).unwrap().exits(0).stdout;
    for number in ["04", "05", "06", "09", "16", "17", "18", "19", "20", "22", "26", "28", "29"] {
        let planted = format!("hunter2-{number}");
        assert!(all.contains(&planted) || number == "29" || number == "22", "{planted}: {all}");
    }
}

#[test]
fn no_planted_credential_of_a_core_dump_appears_without_values() {
    let folder = tempfile::tempdir().unwrap();
    // It ends where its variables are.
    let last = "credential, err = \"hunter2-21\", errDenied\n";
    let ends = PROGRAM.replace(last, &format!("{last}\t\tpanic(err)\n"));
    let all = r#"[]string{"AWS_SECRET_ACCESS_KEY=hunter2-29", "VSPHERE_PASSWORD=hunter2-30"}"#;
    let source = ends.replace("os.Environ()", all);
    assert!(ends != PROGRAM && source != ends);
    let Some(dump) = cores::of(&build(folder.path(), &source), None) else { return };
    let page = folder.path().join("page.html");
    let asked: [&[&str]; 3] = [&[], &["--html", page.to_str().unwrap()], &["--format", "json"]];
    for options in asked {
        let Some(run) = cores::explain(&dump, options) else { return };
        shows_none(&run.exits(0), options);
    }
    let text = fs::read_to_string(&page).unwrap();
    assert!(!text.to_lowercase().contains("hunter2") && text.contains("[cut]"), "{text}");

    // With --values they are there, so that the dump is known to hold them.
    let all = cores::explain(&dump, &["--values"]).unwrap().exits(0).stdout;
    for number in
        ["04", "05", "06", "08", "09", "10", "11", "12", "13", "14", "16", "21", "24", "25", "26", "27", "29", "30"]
    {
        assert!(all.contains(&format!("hunter2-{number}")), "hunter2-{number}: {all}");
    }
    assert!(all.contains(BYTES), "{all}");
}
