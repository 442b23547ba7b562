//! What can go wrong with an image.

use crate::tool::ToolError;
use crate::wait::WaitError;
use std::io;
use std::path::{Path, PathBuf};

/// An image could not be built, pulled or loaded.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A command of the system failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// Somebody else builds the same image for too long.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// A file could not be used.
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
    /// The distribution's packages do not have what the image needs.
    #[error("{what} is not in the distribution's packages {packages}")]
    Missing {
        /// What is missing.
        what: String,
        /// Where it was looked for.
        packages: String,
    },
    /// The Docker engine refused, or did not answer.
    #[error("the Docker engine at {} did not {doing}: {reason}", socket.display())]
    Engine {
        /// The engine.
        socket: PathBuf,
        /// What was asked of it.
        doing: String,
        /// What it said.
        reason: String,
    },
}

impl ImageError {
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
            Self::Wait(_) | Self::Engine { .. } => true,
            _ => false,
        }
    }
}
