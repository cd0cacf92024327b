//! GitLab CI: a pipeline whose plan job writes a child pipeline, since a matrix of GitLab's is static.

use serde_json::json;

use super::matrix::Matrix;
use super::row::{Row, key_prefix};
use super::{Files, Pipeline};
use crate::words::quoted;

const TEMPLATE: &str = include_str!("gitlab.yml");

/// The job of one row. What is in braces comes from the row, in characters that nothing expands.
fn job(row: &Row, days: u16, runner: Option<&str>, cache_program: Option<&str>) -> String {
    // Caches of Go are only added to, and GitLab knows no prefix: so all go.sum files share one.
    let key = key_prefix(&row.key).trim_end_matches('-');
    let image = format!("docker.io/library/golang:{}", row.release().unwrap_or_else(|| "1".into()));
    let program = cache_program.map_or(String::new(), |program| format!("    GOCACHEPROG: {}\n", json!(program)));
    format!(
        "
{name}:
  stage: build
  image: {image}
  timeout: 3 hours
{tags}  needs: [{{ pipeline: $PARENT_PIPELINE_ID, job: plan }}]
  variables:
    RR_PATCH_ROW: {row}
    GOCACHE: $CI_PROJECT_DIR/go-cache
{program}  cache:
    key: {key}
    paths: [go-cache]
    when: always
  script:
    - command -v zip || {{ apt-get update -qq && apt-get install -y -qq --no-install-recommends zip; }}
    - tool/bin/rr-patch ci build --work work-$CI_JOB_ID --output artefacts
  after_script:
    - rm -rf work-$CI_JOB_ID
  artifacts:
    name: {name}
    paths: [{folder}]
    expire_in: {days} days
",
        name = json!(row.name),
        image = json!(image),
        tags = tags(runner),
        row = json!(row.encoded()),
        key = json!(key),
        folder = json!(format!("artefacts/{}", row.name)),
    )
}

fn tags(runner: Option<&str>) -> String {
    runner.map_or(String::new(), |runner| format!("  tags: [{}]\n", json!(runner)))
}

/// The pipeline.
pub fn pipeline(pipeline: &Pipeline) -> Files {
    // Told to the plan job, which writes the child.
    let runner = pipeline.runner.iter().map(|runner| format!("--runner {}", quoted(runner)));
    let program = pipeline.cache_program.iter().map(|program| format!("--cache-program {}", quoted(program)));
    let options = runner.chain(program).collect::<Vec<_>>().join(" ");
    let options = if options.is_empty() { String::new() } else { format!("{options} ") };
    let text = TEMPLATE.replace("@OPTIONS@ ", &options).replace("@TAGS@", &tags(pipeline.runner.as_deref()));
    vec![(".gitlab-ci.yml".into(), pipeline.fill(&text))]
}

/// The child pipeline of a matrix: a job for each row.
pub fn child(matrix: &Matrix, days: u16, runner: Option<&str>, cache_program: Option<&str>) -> Files {
    let mut text = format!("# Made by rr-patch {}: `rr-patch ci gitlab --matrix`.\nstages: [build]\n", matrix.tool);
    for row in &matrix.rows {
        text.push_str(&job(row, days, runner, cache_program));
    }
    // A pipeline without a job is an error.
    if matrix.rows.is_empty() {
        text.push_str(&format!("\nnothing-to-build:\n  stage: build\n{}  script: [\"true\"]\n", tags(runner)));
    }
    vec![("child.yml".into(), text)]
}
