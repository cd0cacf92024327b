//! Values that look like credentials are cut out of what is shown: by the name before them, by their type, and by
//! the pattern that tokens of well-known services have.
//!
//! Weak spot: a password without a telling name and without a pattern looks like any other word.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use crate::delve::client::{Variable, kind};

/// What stands in the place of a value that was cut.
pub const CUT: &str = "[cut]";

/// Names of what nobody else should see, in part of a field's, a variable's or a key's name.
const NAMES: &str = r"(?i:passw(?:or)?d|passphrase|pwd|secret|token|api_?-?key|access_?-?key|private_?-?key|account_?-?key|sas_?-?key|credential|authorization|auth_?-?header|cookie|session_?-?(?:id|key)|pull_?-?secret|kubeconfig|client_?-?key|signing_?-?key|ssh_?-?key|bearer|dsn|connection_?-?string)";

/// Names that hold such a word and no value of that kind: of objects, of how many, of when, of files.
const HARMLESS: &str = r"(?i:secret_?-?(?:name|ref|namespace|type|version|count)s?|token_?-?(?:type|count|expiry|expiration|ttl|review)s?|cookie_?-?jar|password_?-?(?:policy|length)|credentials_?-?(?:request|mode)s?|key_?-?(?:id|name)s?|\.(?:ya?ml|json|toml|ini|conf|cfg|txt|log|go|sh|pub|sock))$";

static NAME: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(NAMES).ok());
static HARMLESS_NAME: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(HARMLESS).ok());

/// A name, what stands between, and a value in quotes or a word.
static PAIR: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let value = r#"("(?:[^"\\]|\\.)*"|\\"(?:[^"\\]|\\\\.)*\\"|'[^']*'|`[^`]*`|(?i:bearer|basic) +[^\s"',;)}\]]+|[^\s"',;)}\]]+)"#;
    Regex::new(&format!(r#"([\w.-]*{NAMES}[\w.-]*)(\\?["']?\]?\s*(?:=>|:=|=|:)\s*){value}"#)).ok()
});

/// An option of a command line and the word after it.
static OPTION: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(&format!(r#"(--?[\w-]*{NAMES}[\w-]*)(\s+)([^\s"'-][^\s"']*)"#)).ok());

/// What tokens look like, whatever stands before them.
static PATTERN: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let patterns = [
        r"\b(?:AKIA|ASIA|AROA|AIDA)[0-9A-Z]{16}\b",
        r"\beyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]{8,}(?:\.[0-9A-Za-z_-]*)?",
        r"\b(?:ghp|gho|ghu|ghs|ghr)_[0-9A-Za-z]{20,}",
        r"\bgithub_pat_[0-9A-Za-z]{20,}",
        r"\bglpat-[0-9A-Za-z_-]{16,}",
        r"\bxox[abeoprs]-[0-9A-Za-z_-]{10,}",
        r"\bAIza[0-9A-Za-z_-]{35}",
        r"\bya29\.[0-9A-Za-z_.-]{20,}",
        r"\bsk-[0-9A-Za-z_-]{20,}",
        r"\bsha256~[0-9A-Za-z_-]{20,}",
        r"\bAGE-SECRET-KEY-1[0-9A-Z]+",
        r"\bnpm_[0-9A-Za-z]{30,}",
        r"\bhvs\.[0-9A-Za-z_-]{20,}",
        r"\$2[aby]\$\d\d\$[./0-9A-Za-z]{53}",
        r"(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|$)",
        r"(?i)\b(?:bearer|basic)\s+[0-9A-Za-z_+/=.~-]{8,}",
    ];
    Regex::new(&patterns.map(|pattern| format!("(?:{pattern})")).join("|")).ok()
});

/// Who logs in where, in a URL.
static URL: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"(\b[a-zA-Z][\w+.-]*://)[^/\s@\x22']+@").ok());

/// Whether somebody who knows only the name would hide the value.
pub fn is_telling(name: &str) -> bool {
    let holds = |regex: &LazyLock<Option<Regex>>| regex.as_ref().is_some_and(|regex| regex.is_match(name));
    holds(&NAME) && !holds(&HARMLESS_NAME)
}

/// A text without the values that look like credentials.
pub fn cut(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    let mut replace = |regex: &LazyLock<Option<Regex>>, with: &dyn Fn(&Captures) -> String| {
        let Some(regex) = regex.as_ref() else { return };
        if let Cow::Owned(cut) = regex.replace_all(&text, with) {
            text = Cow::Owned(cut);
        }
    };
    replace(&URL, &|found| format!("{}{CUT}@", &found[1]));
    replace(&PATTERN, &|_| CUT.into());
    let pair = |found: &Captures| {
        if found[3].contains("[cut") || is_no_value(&found[3]) {
            return found[0].to_owned();
        }
        // What was taken for its value may be the next pair: `secrets.yaml: password=…`.
        if !is_telling(&found[1]) {
            return format!("{}{}{}", &found[1], &found[2], cut(&found[3]));
        }
        let quote = ["\\\"", "\"", "'", "`"].into_iter().find(|quote| found[3].starts_with(quote)).unwrap_or_default();
        format!("{}{}{quote}{CUT}{quote}", &found[1], &found[2])
    };
    replace(&PAIR, &pair);
    replace(&OPTION, &|found| {
        if is_telling(&found[1]) { format!("{}{}{CUT}", &found[1], &found[2]) } else { found[0].to_owned() }
    });
    text
}

/// What says that there is none, or is an address or a mere word of Go.
fn is_no_value(value: &str) -> bool {
    let inner = value.trim_matches(['"', '\\', '\'', '`']);
    inner.is_empty() || ["nil", "true", "false", "null", "<nil>", "0"].contains(&inner)
}

/// A value without what looks like a credential, by its name, its type, and its pattern.
pub fn hidden(variable: &Variable) -> String {
    if (is_telling(&variable.name) || is_telling(&variable.of)) && has_text(variable) {
        return CUT.to_owned();
    }
    match variable.kind {
        kind::STRUCT => {
            let fields = variable.children.iter().map(|field| format!("{}: {}", field.name, hidden(field)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        kind::POINTER if variable.children.iter().any(|child| child.address != 0) => {
            format!("&{}", variable.children.first().map(hidden).unwrap_or_default())
        }
        kind::INTERFACE if variable.children.iter().any(|child| child.of != "void") => {
            variable.children.first().map(hidden).unwrap_or_default()
        }
        kind::MAP => {
            let pairs = variable.children.chunks(2).map(|pair| match pair {
                [key, value] if is_telling(&key.value) && has_text(value) => {
                    format!("{}: {}", key.shown(), CUT)
                }
                [key, value] => format!("{}: {}", hidden(key), hidden(value)),
                _ => "…".into(),
            });
            format!("map[{}]", pairs.collect::<Vec<_>>().join(", "))
        }
        kind::SLICE | 17 => {
            // Bytes and words may be a key, or a line that holds one.
            let elements: Vec<String> = variable.children.iter().map(hidden).collect();
            cut(&format!("[{}]", elements.join(", "))).into_owned()
        }
        _ => cut(&variable.shown()).into_owned(),
    }
}

/// Whether a value holds a text or bytes, and not only numbers, flags and nothing.
fn has_text(variable: &Variable) -> bool {
    match variable.kind {
        kind::STRING => !variable.value.is_empty(),
        kind::SLICE | 17 => variable.length > 0,
        kind::STRUCT | kind::POINTER | kind::INTERFACE | kind::MAP => variable.children.iter().any(has_text),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_expression_compiles() {
        let all = [&NAME, &HARMLESS_NAME, &PAIR, &OPTION, &PATTERN, &URL];
        assert!(all.iter().all(|regex| regex.is_some()));
    }

    #[test]
    fn planted_credentials_are_cut_wherever_they_stand() {
        let planted = [
            "password=hunter2hunter2",
            "password: \"hunter2 hunter2\"",
            r#"{"password":"hunter2"}"#,
            r#"msg="login" vspherePassword="hunter2""#,
            r#"msg="{\"password\": \"hunter2\"}""#,
            "DB_PASSWD=hunter2",
            "token = hunter2",
            "Authorization: Bearer hunter2hunter2",
            "authorization: Basic aHVudGVyMjpodW50ZXIy",
            "apiKey:'hunter2'",
            "API_KEY=hunter2",
            "aws_secret_access_key=hunter2/hunter2+hunter2",
            "https://user:hunter2@example.com/path",
            "postgres://hunter2@db/x",
            "AKIAHUNTER2HUNTER234",
            "key is eyJhbGciOiJIUzI1NiJ9.eyJodW50ZXIyIjoxfQ.hunter2",
            "ghp_hunter2hunter2hunter2hunter2",
            "xoxb-hunter2-hunter2",
            "-----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END RSA PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY-----\nhunter2",
            "--password hunter2",
            "--vsphere-password=hunter2",
            "clientSecret=hunter2",
            "client_secret:hunter2",
            "pullSecret: '{\"auths\":{\"x\":{\"auth\":\"hunter2\"}}}'",
            "session_key=`hunter2`",
            "cookie=hunter2",
            "sha256~hunter2hunter2hunter2hunter2",
            "Token{accessToken:\"hunter2\"}",
            "connectionString=\"Server=x;Pwd=hunter2\"",
            "secrets.yaml: password=hunter2",
            "secretName=\"a\" secretRef=token=hunter2",
        ];
        for text in planted {
            assert!(!cut(text).to_lowercase().contains("hunter2"), "{text} became {}", cut(text));
        }
    }

    #[test]
    fn what_only_looks_like_it_stays() {
        for text in [
            "secretName=worker-user-data",
            "\"secret not found\" secretRef=\"a/b\"",
            "token bucket is full",
            "password is wrong",
            "token=nil",
            "credentialsMode: Mint",
            "keyID=7",
            "https://example.com/a@b",
            "main.go:12: reading",
            "open /etc/capv/credentials.yaml: no such file or directory",
            "secrets.json = unreadable",
        ] {
            assert_eq!(cut(text), text);
        }
    }

    #[test]
    fn names_tell_what_is_to_be_cut() {
        assert!(["password", "AccessKey", "x.token", "bearer"].map(is_telling).into_iter().all(|telling| telling));
        assert!(!["secretName", "keys", "name", "tokenCount"].map(is_telling).into_iter().any(|telling| telling));
    }

    fn text(name: &str, value: &str) -> Variable {
        let length = i64::try_from(value.len()).unwrap();
        Variable {
            name: name.into(),
            kind: kind::STRING,
            of: "string".into(),
            value: value.into(),
            length,
            ..Variable::default()
        }
    }

    fn with(kind: u64, name: &str, of: &str, children: Vec<Variable>) -> Variable {
        let length = i64::try_from(children.len()).unwrap();
        Variable { name: name.into(), kind, of: of.into(), address: 1, length, children, ..Variable::default() }
    }

    #[test]
    fn values_that_look_like_credentials_are_cut_by_name_type_key_and_pattern() {
        let secret = "hunter2";
        let planted = [
            text("password", secret),
            text("AccessToken", secret),
            text("url", "https://admin:hunter2@vcenter/sdk"),
            text("line", "login password=hunter2"),
            with(kind::STRUCT, "config", "main.config", vec![text("user", "me"), text("Password", secret)]),
            with(kind::STRUCT, "c", "main.Credentials", vec![text("a", secret)]),
            with(
                kind::POINTER,
                "p",
                "*main.config",
                vec![Variable { address: 1, ..with(kind::STRUCT, "", "main.config", vec![text("apiKey", secret)]) }],
            ),
            with(kind::MAP, "m", "map[string]string", vec![text("", "password"), text("", secret)]),
            with(kind::SLICE, "s", "[]string", vec![text("", "--token=hunter2")]),
            with(kind::SLICE, "secret", "[]uint8", vec![text("", secret)]),
            with(kind::INTERFACE, "e", "error", vec![text("", "401: token hunter2 token=hunter2").clone()]),
        ];
        for variable in &planted[..10] {
            assert!(!hidden(variable).contains(secret), "{}", hidden(variable));
        }
        assert!(hidden(&planted[10]).contains("token=[cut]"), "{}", hidden(&planted[10]));
        assert_eq!(hidden(&text("name", "worker-0")), "\"worker-0\"");
    }
}
