//! `flocker version`.

use super::Format;
use crate::failure::Failure;
use crate::output;
use clap::Args;

/// Print the version of this program
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  flocker version")]
pub(crate) struct Version {
    #[command(flatten)]
    format: Format,
}

impl Version {
    /// Says which program this is.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let version = env!("CARGO_PKG_VERSION");
        if self.format.json {
            return output::json(&serde_json::json!({ "version": version }));
        }
        output::data(&format!("flocker {version}"))
    }
}
