//! GitHub Actions: a workflow whose plan job prints the matrix, and what the plan job prints.

use serde_json::json;

use super::matrix::{Matrix, Refused};
use super::row::key_prefix;
use super::{Files, Pipeline};

/// The most jobs that a matrix may have.
pub const LIMIT: usize = 256;

const TEMPLATE: &str = include_str!("github.yml");

const SCHEDULED: &str = "on:
  schedule:
    - cron: @SCHEDULE@
  workflow_dispatch:
";

/// The statement that `rr-patch build` wrote is what is attested, not one that the action makes up.
const ATTEST: &str = "      - uses: actions/attest@1e69f48acb82d1966a394da916b4c1698aa569d6 # v4.2.2
        with:
          subject-path: artefacts/${{ matrix.name }}/openshift-install
          predicate-type: https://slsa.dev/provenance/v1
          predicate-path: artefacts/${{ matrix.name }}/predicate.json
";

const PERMISSIONS: &str = "    permissions:
      contents: read
      id-token: write
      attestations: write
";

/// The inputs of the reusable workflow: name, what it is, and its default; none has to be given.
const INPUTS: [(&str, &str, Option<&str>); 7] = [
    ("remote", "Where the installer's branches are", None),
    ("refs", "Globs of references, parted by commas", Some("refs/heads/*")),
    ("platforms", "Platforms, parted by commas; none is all in one installer", Some("")),
    ("tool", "Where the sources of rr-patch are", None),
    ("revision", "Which revision of them", None),
    ("cache-program", "A program for GOCACHEPROG", Some("")),
    ("runner", "The label of the runners", Some("ubuntu-latest")),
];

/// A workflow of its own.
pub fn workflow(pipeline: &Pipeline, attest: bool) -> Files {
    let text = inner(TEMPLATE, attest).replace("@ON@", SCHEDULED).replace("@IN_", "@");
    vec![("recording-installers.yml".into(), pipeline.fill(&text))]
}

/// The workflow that others call: the values are its inputs. It attests what it builds, so that
/// `gh attestation verify --signer-workflow` has something to verify.
pub fn reusable(pipeline: &Pipeline) -> Files {
    let mut on = "on:\n  workflow_call:\n    inputs:\n".to_owned();
    for (name, what, default) in INPUTS {
        on.push_str(&format!("      {name}:\n        description: {}\n        type: string\n", json!(what)));
        on.push_str(
            &default.map_or("        required: true\n".into(), |it| format!("        default: {}\n", json!(it))),
        );
    }
    let text = INPUTS.iter().fold(inner(TEMPLATE, true).replace("@ON@", &on), |text, (name, _, _)| {
        let placeholder = format!("@IN_{}@", name.to_uppercase().replace('-', "_"));
        text.replace(&placeholder, &format!("${{{{ inputs.{name} }}}}"))
    });
    vec![("build.yml".into(), pipeline.fill(&text))]
}

fn inner(template: &str, attest: bool) -> String {
    let (permissions, step) = if attest { (PERMISSIONS, ATTEST) } else { ("", "") };
    template.replace("@PERMISSIONS@", permissions).replace("@ATTEST@", step)
}

/// The lines for `$GITHUB_OUTPUT`: the matrix, each row a job, and how many there are.
pub fn outputs(matrix: &Matrix) -> String {
    let jobs = matrix.rows.iter().map(|row| {
        json!({
            "row": row.encoded(), "name": row.name, "key": row.key, "restore": key_prefix(&row.key),
            "go": row.release().unwrap_or_else(|| "stable".into()),
        })
    });
    let include = json!({ "include": jobs.collect::<Vec<_>>() });
    format!("matrix={include}\nrows={}\n", matrix.rows.len())
}

/// A line for each branch that is not built and for what was left out, as the runner takes them for annotations.
pub fn annotations(matrix: &Matrix) -> String {
    let mut text = String::new();
    for Refused { reference, platform, why, details, .. } in &matrix.refused {
        let of = if platform.is_empty() { String::new() } else { format!(" for {platform}") };
        let title = format!("{reference} is not built{of}");
        let body = [why.as_str()].into_iter().chain(details.iter().map(String::as_str)).collect::<Vec<_>>().join("\n");
        text.push_str(&format!("::warning title={}::{}\n", property(&title), data(&body)));
    }
    if !matrix.left_out.is_empty() {
        let body = format!("beyond the limit of a matrix: {}", matrix.left_out.join(", "));
        text.push_str(&format!("::warning title=left out::{}\n", data(&body)));
    }
    text
}

/// The text of an annotation: a line end would begin another command.
fn data(text: &str) -> String {
    let plain = |c: char| if c.is_control() && !"\n\r".contains(c) { '\u{fffd}' } else { c };
    let text: String = text.chars().map(plain).collect();
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ci::row::tests::{HOSTILE, row};

    #[test]
    fn annotations_are_one_line_each_whatever_a_branch_is_called() {
        let refused = |name: &str| Refused {
            reference: name.into(),
            commit: "c".into(),
            platform: String::new(),
            why: "no\n::error::x".into(),
            details: vec!["50%".into()],
        };
        let matrix = Matrix { refused: vec![refused("a,b::c\r\nd")], ..Matrix::default() };
        let expected = "::warning title=a%2Cb%3A%3Ac%0D%0Ad is not built::no%0A::error::x%0A50%25\n";
        assert_eq!(annotations(&matrix), expected);
    }

    #[test]
    fn outputs_are_two_lines_and_hold_nothing_that_a_shell_expands() {
        let matrix = Matrix { rows: vec![row(HOSTILE), row("main")], ..Matrix::default() };
        let text = outputs(&matrix);
        assert_eq!(text.lines().count(), 2);
        assert!(!text.contains(['$', '`', ';']), "{text}");
        assert!(text.ends_with("rows=2\n"));
    }
}
