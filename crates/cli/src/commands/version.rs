//! `flocker version`.

use super::Format;
use crate::failure::Failure;
use crate::output;
use clap::Args;

/// What this program was built from.
const BUILD: [(&str, &str); 5] = [
    ("version", env!("CARGO_PKG_VERSION")),
    ("commit", env!("FLOCKER_COMMIT")),
    ("compiler", env!("FLOCKER_COMPILER")),
    ("target", env!("FLOCKER_TARGET")),
    ("profile", env!("FLOCKER_PROFILE")),
];

/// Print the version of this program, and what it was built from
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  flocker version\n  flocker version --json")]
pub(crate) struct Version {
    #[command(flatten)]
    format: Format,
}

impl Version {
    /// Says which program this is.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        if self.format.json {
            let build = BUILD.map(|(name, value)| (name.to_owned(), value.into()));
            return output::json(&serde_json::Map::from_iter(build));
        }
        let [(_, version), rest @ ..] = BUILD;
        let lines = rest.map(|(name, value)| format!("{name:<9} {value}"));
        output::data(&format!("flocker {version}\n{}", lines.join("\n")))
    }
}
