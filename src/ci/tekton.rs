//! Tekton: tasks and a pipeline whose matrix is a result of the plan. A result holds 4 KiB, so it names rows of a file
//! in the workspace by their numbers.

use serde_json::json;

use super::matrix::Matrix;
use super::{Files, Pipeline};

const TEMPLATE: &str = include_str!("tekton.yml");

/// The tasks, the pipeline, and what starts it.
pub fn pipeline(pipeline: &Pipeline) -> Files {
    vec![("rr-patch.yaml".into(), pipeline.fill(TEMPLATE))]
}

/// The numbers of all rows, as a result that is an array.
pub fn ids(matrix: &Matrix) -> String {
    json!((0..matrix.rows.len()).map(|number| number.to_string()).collect::<Vec<_>>()).to_string()
}
