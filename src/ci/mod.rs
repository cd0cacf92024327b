//! CI: the build flow, fanned out by an engine that people have.
//!
//! ```text
//! references of a repository ── matrix ──▶ a row for each branch and platform that fits
//! row ── engine ──▶ job ── `rr-patch ci build` ──▶ installer, provenance, timings, SHA256SUMS
//! ```
//!
//! An engine's pipeline holds no logic: it compiles the tool once, hands it on, and gives each job its row through the
//! environment. A row is JSON in which every character that a shell or an engine may expand is escaped
//! ([`row::Row::encoded`]), so a branch may have any name that git takes.

pub mod artefacts;
pub mod github;
pub mod gitlab;
pub mod matrix;
pub mod prow;
pub mod row;
pub mod tekton;

use serde_json::json;

use crate::error::Error;

/// What a pipeline is made from.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// Where the installer's branches are.
    pub remote: String,
    /// Globs of references.
    pub refs: Vec<String>,
    pub platforms: Vec<String>,
    /// Where the sources of rr-patch are, and which revision of them.
    pub tool: String,
    pub revision: String,
    /// When it runs, as cron has it.
    pub schedule: String,
    /// How many days artefacts are kept.
    pub days: u16,
    /// Where jobs run, in the engine's words: a label of GitHub's runners, a tag of GitLab's.
    pub runner: Option<String>,
    /// A program that Go asks for what others have compiled: the value of GOCACHEPROG.
    pub cache_program: Option<String>,
}

impl Pipeline {
    /// # Errors
    /// A value that an engine would expand.
    pub fn check(&self) -> Result<(), Error> {
        let lists = self.refs.iter().chain(&self.platforms).chain(&self.runner).chain(&self.cache_program);
        for value in lists.chain([&self.remote, &self.tool, &self.revision, &self.schedule]) {
            if value.contains(['$', '\n', '\r']) {
                return Err(Error::usage(format!("a pipeline cannot hold `{}`", value.escape_debug()))
                    .detail("expected: a value without `$` and without line ends, which engines expand")
                    .hint("a glob like `*` matches the name of a branch that has such a character"));
            }
        }
        if self.schedule.split_whitespace().count() != 5 {
            return Err(Error::usage(format!("`{}` is no schedule", self.schedule))
                .hint("as cron has it: minute, hour, day, month, day of the week, like `17 3 * * *`"));
        }
        Ok(())
    }

    /// A template with its `@NAME@` replaced. Values are quoted as JSON, which is YAML too.
    fn fill(&self, template: &str) -> String {
        let quoted = |value: &str| json!(value).to_string();
        let list = |values: &[String]| quoted(&values.join(","));
        let cache_program = self.cache_program.as_ref().map_or_else(|| quoted(""), |program| quoted(program));
        let values = [
            ("VERSION", env!("CARGO_PKG_VERSION").to_owned()),
            ("REMOTE", quoted(&self.remote)),
            ("REFS", list(&self.refs)),
            ("PLATFORMS", list(&self.platforms)),
            ("TOOL", quoted(&self.tool)),
            ("REVISION", quoted(&self.revision)),
            ("SCHEDULE", quoted(&self.schedule)),
            ("DAYS", self.days.to_string()),
            ("RUNNER", quoted(self.runner.as_deref().unwrap_or("ubuntu-latest"))),
            ("CACHE_PROGRAM", cache_program),
        ];
        values.iter().fold(template.to_owned(), |text, (name, value)| text.replace(&format!("@{name}@"), value))
    }
}

/// What an engine makes of a pipeline: files, each with its name. The first is the one to print.
pub type Files = Vec<(String, String)>;

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn pipeline() -> Pipeline {
        Pipeline {
            remote: "https://example.com/o/installer.git".into(),
            refs: vec!["refs/heads/*".into()],
            platforms: vec!["aws".into()],
            tool: "https://example.com/o/rr-patch".into(),
            revision: "v0.1.0".into(),
            schedule: "17 3 * * *".into(),
            days: 14,
            runner: None,
            cache_program: None,
        }
    }

    #[test]
    fn pipeline_refuses_what_an_engine_expands_and_a_schedule_that_is_none() {
        assert!(pipeline().check().is_ok());
        assert!(Pipeline { remote: "https://$(id)/x".into(), ..pipeline() }.check().is_err());
        assert!(Pipeline { refs: vec!["${{ x }}".into()], ..pipeline() }.check().is_err());
        assert!(Pipeline { schedule: "daily".into(), ..pipeline() }.check().is_err());
    }

    #[test]
    fn pipeline_leaves_no_placeholder_and_quotes_every_value() {
        let hostile = Pipeline { remote: "x\" # : {".into(), ..pipeline() };
        assert_eq!(hostile.fill("a: @REMOTE@\nb: @DAYS@\n"), "a: \"x\\\" # : {\"\nb: 14\n");
    }
}
