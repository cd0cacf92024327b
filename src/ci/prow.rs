//! Prow: a configuration of ci-operator for each branch. ci-operator hands the sources of the branch to the build of an
//! image; the tool is a stage of that.

use std::collections::BTreeMap;

use serde_json::json;

use super::matrix::Matrix;
use super::row::{Row, name};
use super::{Files, Pipeline};
use crate::error::Error;

const TEMPLATE: &str = include_str!("prow.yml");

/// The image: the tool, then a build for each platform, in the branch's own sources. ENV takes what is in single quotes
/// as it is, and an encoded row holds none.
fn dockerfile(pipeline: &Pipeline, rows: &[&Row]) -> String {
    let env = |name: &str, value: &str| format!("ENV {name}='{value}'\n");
    let mut text = "FROM docker.io/library/rust:1.90-bookworm AS tool\n".to_owned();
    text.push_str(&env("RR_PATCH_TOOL", &pipeline.tool));
    text.push_str(&env("RR_PATCH_REVISION", &pipeline.revision));
    text.push_str(
        "RUN cargo install --quiet --locked --no-track --git \"$RR_PATCH_TOOL\" --rev \"$RR_PATCH_REVISION\" --root /tool rr-patch\n",
    );
    let go = rows.first().and_then(|row| row.release()).unwrap_or_else(|| "1".into());
    text.push_str(&format!("FROM docker.io/library/golang:{go} AS build\n"));
    text.push_str("RUN apt-get update && apt-get install -y --no-install-recommends curl git make zip\n");
    text.push_str("COPY --from=tool /tool/bin/rr-patch /usr/local/bin/rr-patch\n");
    text.push_str("WORKDIR /go/src/github.com/openshift/installer\nCOPY . .\n");
    text.push_str(&env("RR_PATCH_REMOTE", &pipeline.remote));
    text.push_str(&pipeline.cache_program.iter().map(|program| env("GOCACHEPROG", program)).collect::<String>());
    for row in rows {
        text.push_str(&env("RR_PATCH_ROW", &row.encoded()));
        text.push_str("RUN rr-patch ci build --checkout . --output /artefacts\n");
    }
    text.push_str("FROM docker.io/library/golang:1\nCOPY --from=build /artefacts /artefacts\n");
    text
}

/// A configuration for each branch of a matrix.
///
/// # Errors
/// A remote that names no organisation and repository; a value with a quote.
pub fn configurations(pipeline: &Pipeline, matrix: &Matrix) -> Result<Files, Error> {
    let path = pipeline.remote.trim_end_matches('/').trim_end_matches(".git");
    let mut parts = path.rsplit(['/', ':']);
    let (Some(repo), Some(org)) = (parts.next(), parts.next().filter(|org| !org.is_empty())) else {
        return Err(Error::usage(format!("`{}` names no organisation and repository", pipeline.remote))
            .hint("like `--remote https://github.com/openshift/installer`"));
    };
    for value in [&pipeline.remote, &pipeline.tool, &pipeline.revision].into_iter().chain(&pipeline.cache_program) {
        if value.contains('\'') {
            return Err(Error::usage(format!("a Dockerfile cannot hold `{value}`")).hint("leave the quote out"));
        }
    }
    let mut branches: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    for row in &matrix.rows {
        branches.entry(&row.reference).or_default().push(row);
    }
    let file = |(branch, rows): (&&str, &Vec<&Row>)| {
        let dockerfile = dockerfile(pipeline, rows);
        let dockerfile = dockerfile.lines().map(|line| format!("      {line}\n")).collect::<Vec<_>>().concat();
        let text = TEMPLATE
            .replace("@DOCKERFILE@\n", &dockerfile)
            .replace("@BRANCH@", &json!(branch).to_string())
            .replace("@ORG@", &json!(org).to_string())
            .replace("@REPO@", &json!(repo).to_string());
        // The name that ci-operator's own tools expect, as far as the branch's name allows it.
        let plain = name(branch, "", "");
        let plain = plain.trim_end_matches("-all-");
        (
            format!(
                "{}-{}-{plain}__rr-patch.yaml",
                name(org, "", "").trim_end_matches("-all-"),
                name(repo, "", "").trim_end_matches("-all-")
            ),
            pipeline.fill(&text),
        )
    };
    Ok(branches.iter().map(file).collect())
}
