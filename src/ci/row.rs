//! A row of the matrix: one branch for one platform, and what a job has to know of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::binary::hash;
use crate::error::Error;
use crate::patch::rules::Options;

/// One installer to be built.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Row {
    /// The same for the same commit, platform, version of rr-patch, rules and options.
    pub id: String,
    /// The branch, as git calls it. It may hold anything.
    #[serde(rename = "ref")]
    pub reference: String,
    pub commit: String,
    /// The platform whose controllers are built; empty for all.
    pub platform: String,
    /// The Go that go.mod asks for, like `1.25.3`.
    pub go: String,
    /// How the sources look, in the rules' words.
    pub shape: String,
    /// The SHA-256 of the rules that fit.
    pub rules: String,
    /// What to call the artefacts: branch, platform and commit in letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// What to call the cache of Go: Go, platform, options, and at the end the go.sum files.
    pub key: String,
    /// What `rr-patch apply` is told.
    pub options: Value,
}

/// How much of a hash tells things apart that lie side by side.
const SHORT: usize = 12;

impl Row {
    /// The row as JSON in which every character that a shell, YAML or an engine might expand is escaped: what is left are
    /// letters, digits and `{}[]:,"\/._-`. In JSON strings `\u0024` is `$`; outside of strings there is no such character.
    pub fn encoded(&self) -> String {
        let plain = |c: char| c.is_ascii_alphanumeric() || "{}[]:,\"\\/._-".contains(c);
        let mut text = String::new();
        for c in json!(self).to_string().chars() {
            match plain(c) {
                true => text.push(c),
                false => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| text.push_str(&format!("\\u{unit:04x}"))),
            }
        }
        text
    }

    /// # Errors
    /// What is no row of ours.
    pub fn decode(text: &str) -> Result<Self, Error> {
        let refused = |why: String| {
            Error::refused("this is no row of `rr-patch ci matrix`")
                .detail(format!("found: {why}"))
                .hint("a pipeline hands a job its row in RR_PATCH_ROW, or the matrix with `--matrix FILE --id ID`")
        };
        let row: Self = serde_json::from_str(text).map_err(|error| refused(error.to_string()))?;
        let hexadecimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !matches!(row.commit.len(), 40 | 64) || !hexadecimal(&row.commit) {
            return Err(refused(format!("`{}` is no commit", row.commit.escape_debug())));
        }
        if row.name != sanitised(&row.name) || row.name.starts_with('.') || row.name.is_empty() {
            return Err(refused(format!("`{}` is no name for artefacts", row.name.escape_debug())));
        }
        Ok(row)
    }

    /// The release of Go to build with, like `1.25`: its newest patch, since go.mod names the oldest that will do, and
    /// 1.24.0 is one whose overlay is broken. Nothing where go.mod says nothing.
    pub fn release(&self) -> Option<String> {
        let mut parts = self.go.split('.').map(|part| part.bytes().take_while(u8::is_ascii_digit).count());
        let (major, minor) = (parts.next().filter(|digits| *digits > 0)?, parts.next().filter(|digits| *digits > 0)?);
        Some(self.go[..major + 1 + minor].to_owned())
    }

    /// The options of the recording.
    pub fn options(&self) -> Result<Options, Error> {
        serde_json::from_value(self.options.clone()).map_err(|error| {
            Error::refused("the options of this row are not those of this rr-patch")
                .detail(format!("found: {error}"))
                .hint("plan and build with the same version of rr-patch")
        })
    }
}

/// The platform in words.
pub fn platform_in_words(platform: &str) -> &str {
    if platform.is_empty() { "all" } else { platform }
}

/// A name for artefacts. Two branches whose names differ only in what is replaced get different ones.
pub fn name(reference: &str, platform: &str, commit: &str) -> String {
    let plain = sanitised(reference);
    let branch = match plain == reference && !plain.starts_with('.') {
        true => plain,
        false => format!("{}-{}", plain.trim_start_matches('.'), &hash(reference.as_bytes())[..SHORT]),
    };
    format!("{branch}-{}-{}", platform_in_words(platform), &commit[..SHORT.min(commit.len())])
}

/// What identifies a build.
pub fn id(commit: &str, platform: &str, rules: &str, options: &Value) -> String {
    let whole = json!([commit, platform, env!("CARGO_PKG_VERSION"), rules, options]).to_string();
    hash(whole.as_bytes())[..SHORT].to_owned()
}

/// The name of a cache, and of the caches that help where it is not there.
pub fn key(go: &str, platform: &str, options: &Value, sums: &[String]) -> String {
    let (options, sums) = (hash(options.to_string().as_bytes()), hash(sums.join("\n").as_bytes()));
    let platform = platform_in_words(platform);
    format!("rr-patch-go{}-{platform}-{}-{}", sanitised(go), &options[..8], &sums[..SHORT])
}

/// The part of a key that is the same for other go.sum files.
pub fn key_prefix(key: &str) -> &str {
    key.rsplit_once('-').map_or(key, |(prefix, _)| &key[..=prefix.len()])
}

fn sanitised(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' }).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub const HOSTILE: &str = "x$(touch${IFS}pwned);y";

    pub fn row(reference: &str) -> Row {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let options = json!(Options::default());
        Row {
            id: id(commit, "aws", "r", &options),
            reference: reference.into(),
            commit: commit.into(),
            platform: "aws".into(),
            go: "1.25.3".into(),
            shape: "P2+S6".into(),
            rules: "r".into(),
            name: name(reference, "aws", commit),
            key: key("1.25.3", "aws", &options, &[]),
            options,
        }
    }

    #[test]
    fn rows_survive_their_encoding_which_holds_nothing_that_is_expanded() {
        for reference in [HOSTILE, "release-4.19", "ünï/'\"`\\%0A::x\u{1f600}", "a b\tc"] {
            let row = row(reference);
            let text = row.encoded();
            assert!(!text.contains(['$', '(', ')', ';', '`', '\'', ' ', '#', '%', '&', '|', '<', '>']), "{text}");
            assert!(text.is_ascii());
            assert_eq!(Row::decode(&text).unwrap(), row);
        }
    }

    #[test]
    fn release_of_go_is_the_newest_patch_of_the_one_that_is_asked_for() {
        let release = |go: &str| Row { go: go.into(), ..row("main") }.release();
        assert_eq!(["1.24.0", "1.25", "1.26rc1"].map(release), ["1.24", "1.25", "1.26"].map(|it| Some(it.to_owned())));
        assert_eq!(["", "x", "1"].map(release), [None, None, None]);
    }

    #[test]
    fn names_tell_branch_platform_and_commit_and_are_plain() {
        assert_eq!(row("release-4.19").name, "release-4.19-aws-0123456789ab");
        let hostile = row(HOSTILE).name;
        assert!(hostile.starts_with("x--touch--IFS-pwned--y-") && hostile.ends_with("-aws-0123456789ab"), "{hostile}");
        assert_ne!(name("a/b", "", "0"), name("a:b", "", "0"));
        assert!(!name("../x", "", "0").starts_with('.'));
    }

    #[test]
    fn rows_of_others_are_refused() {
        let bad = |change: fn(&mut Row)| {
            let mut row = row("main");
            change(&mut row);
            Row::decode(&row.encoded()).unwrap_err().details()[0].clone()
        };
        assert!(bad(|row| row.commit = "--upload-pack=x".into()).contains("is no commit"));
        assert!(bad(|row| row.name = "../x".into()).contains("is no name"));
        assert!(Row::decode("{}").is_err());
    }

    #[test]
    fn keys_share_a_prefix_where_only_go_sum_differs() {
        let options = json!({});
        let (one, other) = (key("1.25", "aws", &options, &["a".into()]), key("1.25", "aws", &options, &["b".into()]));
        assert_ne!(one, other);
        assert_eq!(key_prefix(&one), key_prefix(&other));
        assert!(key_prefix(&one).starts_with("rr-patch-go1.25-aws-"));
    }
}
