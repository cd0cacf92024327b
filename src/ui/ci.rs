//! What `rr-patch ci` prints: the matrix, what was built of a row, and pipelines.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use super::document::Document;
use crate::ci::matrix::Matrix;
use crate::ci::row::platform_in_words;

/// A matrix, and what GitHub's runner is to make of it, if it asked.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Planned {
    #[serde(flatten)]
    pub matrix: Matrix,
    #[serde(skip)]
    pub for_runner: Option<String>,
}

impl Document for Planned {
    const SCHEMA: &'static str = Matrix::SCHEMA;
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.for_runner {
            Some(lines) => f.write_str(lines),
            None => self.matrix.fmt(f),
        }
    }
}

/// What was built of a row.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RowBuilt {
    #[serde(rename = "ref")]
    pub reference: String,
    pub commit: String,
    /// Empty for all.
    pub platform: String,
    /// The folder of artefacts.
    pub folder: String,
    /// What is in it.
    pub files: Vec<String>,
    pub next: Vec<String>,
}

impl Document for RowBuilt {
    const SCHEMA: &'static str = "rr-patch/ci-build/1";
}

impl fmt::Display for RowBuilt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let platform = platform_in_words(&self.platform);
        writeln!(f, "built {} of `{}` for {platform}: `{}`", self.commit, self.reference, self.folder)?;
        self.files.iter().try_for_each(|file| writeln!(f, "  {file}"))?;
        self.next.iter().try_for_each(|next| writeln!(f, "next: `{next}`"))
    }
}

/// A pipeline.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Made {
    /// `github`, `gitlab`, `tekton` or `prow`.
    pub engine: &'static str,
    pub files: Vec<MadeFile>,
    /// The folder that they were written to.
    pub written: Option<String>,
    pub next: Vec<String>,
}

/// A file of a pipeline.
#[derive(Debug, Serialize, JsonSchema)]
pub struct MadeFile {
    pub name: String,
    pub text: String,
}

impl Document for Made {
    const SCHEMA: &'static str = "rr-patch/ci-pipeline/1";
    // It is a file.
    const WRAPS: bool = false;
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(folder) = &self.written else {
            let texts = self.files.iter().map(|file| file.text.as_str()).collect::<Vec<_>>();
            return f.write_str(&texts.join("---\n"));
        };
        self.files.iter().try_for_each(|file| writeln!(f, "wrote {folder}/{}", file.name))?;
        self.next.iter().try_for_each(|next| writeln!(f, "next: {next}"))
    }
}
