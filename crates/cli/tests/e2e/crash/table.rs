//! What the cases of the crash matrix showed, as lines and as a file.

use super::case::Case;
use serde::Serialize;
use std::fmt;
use std::path::Path;

/// What one case showed.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Row {
    /// Who was hit.
    pub(super) victim: String,
    /// In which phase that was to be.
    pub(super) aimed_at: String,
    /// In which phase the move was seen last before that.
    pub(super) hit: String,
    /// How the move ended.
    pub(super) end: String,
    /// Whether the service runs on the move's source or on its target.
    pub(super) runs_on: String,
    /// From the end of the fault until rows were acknowledged and the move had ended.
    pub(super) healed_after_ms: u64,
    /// The longest wait of a client for one row.
    pub(super) longest_wait_ms: u64,
    /// Rows that were acknowledged, all of which are there once.
    pub(super) rows: u64,
    /// What is not as it must be.
    pub(super) failure: Option<String>,
}

impl Row {
    /// A case that did not come to its end.
    pub(super) fn failed(case: &Case, why: &str) -> Self {
        Self {
            victim: format!("{:?}", case.victim),
            aimed_at: case.phase.to_string(),
            hit: String::new(),
            end: String::new(),
            runs_on: String::new(),
            healed_after_ms: 0,
            longest_wait_ms: 0,
            rows: 0,
            failure: Some(why.to_owned()),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(failure) = &self.failure {
            return write!(f, "{:8} {:10} FAILED {failure}", self.victim, self.aimed_at);
        }
        write!(
            f,
            "{:8} {:10} hit in {:10} runs on {:6} healed after {:5} ms, a client waited {:5} ms, \
             {:5} rows; {}",
            self.victim,
            self.aimed_at,
            self.hit,
            self.runs_on,
            self.healed_after_ms,
            self.longest_wait_ms,
            self.rows,
            self.end
        )
    }
}

/// Writes all of it to a file in the target directory.
pub(super) fn write(name: &str, rows: &[Row]) {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let file = directory.parent().unwrap().join(format!("{name}.json"));
    std::fs::write(&file, serde_json::to_string_pretty(rows).unwrap()).unwrap();
    println!("{} cases; see {}", rows.len(), file.display());
}
