//! What can go wrong with a sandbox.

use crate::process::ProcessError;
use crate::tool::ToolError;
use crate::wait::WaitError;
use std::io;
use std::path::{Path, PathBuf};

/// An operation on a sandbox did not work.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// What was asked for cannot be.
    #[error("{what}; {hint}")]
    Invalid {
        /// What cannot be.
        what: String,
        /// What to do instead.
        hint: String,
    },
    /// A command of the system failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// A process could not be started or found.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Something did not come about in time.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// A process of a node ended when it should have gone on.
    #[error("{role} on node {node} ended; the last of its log:\n{log}")]
    Died {
        /// The node.
        node: String,
        /// The process.
        role: String,
        /// Its last words.
        log: String,
    },
    /// A file or directory could not be used.
    #[error("cannot {doing} {}", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl SandboxError {
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
