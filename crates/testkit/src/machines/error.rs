//! What can go wrong with a virtual machine.

use crate::process::ProcessError;
use crate::tool::ToolError;
use crate::wait::WaitError;
use std::io;
use std::path::{Path, PathBuf};

/// A virtual machine did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// A command of this system failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The machine's process could not be started or found.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Something did not come about in time.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// A file, socket or disk could not be used.
    #[error("cannot {doing} {}", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A script in the machine failed.
    #[error("on {machine}, `{script}` failed ({status}): {output}")]
    Script {
        /// The machine.
        machine: String,
        /// What was to be done.
        script: String,
        /// The shell's status.
        status: String,
        /// What it printed, the end of it.
        output: String,
    },
    /// The machine ended by itself.
    #[error("machine {machine} ended; the last of its console:\n{console}")]
    Died {
        /// The machine.
        machine: String,
        /// Its last words.
        console: String,
    },
}

impl MachineError {
    pub(super) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            doing,
            path,
            source,
        }
    }

    /// Whether the same call may succeed later.
    pub fn can_retry(&self) -> bool {
        match self {
            Self::Tool(error) => error.can_retry(),
            Self::Wait(_) => true,
            _ => false,
        }
    }
}
