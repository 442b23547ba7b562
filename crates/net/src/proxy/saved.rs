//! The last full set of routes on disk, so that a proxy that starts while control is away serves
//! at once.
//!
//! Owns `routes.json` in the proxy's state directory. The loop hands over each new set without
//! waiting for it; only the newest is written. Never decides whether a route is still true.

use flocker_types::route::Route;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;

const FILE_NAME: &str = "routes.json";
/// Version of the file's form.
const FORMAT: u32 = 1;

/// The saved routes could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SavedError {
    /// Reading or writing failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// "read", "write" ...
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not what we write.
    #[error("{} does not hold saved routes; control sends them all again", path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// Where it is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// A later version of Flocker wrote it.
    #[error("{} has format {format}, which this version does not know", path.display())]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
}

#[derive(Serialize)]
struct Document<'a> {
    format: u32,
    routes: Vec<&'a Route>,
}

#[derive(Deserialize)]
struct ReadDocument {
    format: u32,
    routes: Vec<Route>,
}

/// Reads what an earlier proxy saved; nothing when there is no file.
///
/// # Errors
/// [`SavedError`] when there is a file that cannot be understood.
pub(crate) fn load(directory: &Path) -> Result<Vec<Route>, SavedError> {
    let path = directory.join(FILE_NAME);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => {
            return Err(SavedError::Io {
                action: "read",
                path,
                source,
            });
        }
    };
    parse(&bytes, path)
}

fn parse(bytes: &[u8], path: PathBuf) -> Result<Vec<Route>, SavedError> {
    match serde_json::from_slice::<ReadDocument>(bytes) {
        Ok(document) if document.format == FORMAT => Ok(document.routes),
        Ok(document) => Err(SavedError::Newer {
            path,
            format: document.format,
        }),
        Err(source) => Err(SavedError::Format { path, source }),
    }
}

/// For the fuzzers' harness: the routes, if these bytes are a file of ours.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzzed(bytes: &[u8]) -> Option<Vec<Route>> {
    parse(bytes, PathBuf::from(FILE_NAME)).ok()
}

/// Replaces the file in one step: a crash leaves the old set or the new one.
pub(crate) fn save(directory: &Path, routes: &[Arc<Route>]) -> Result<(), SavedError> {
    let path = directory.join(FILE_NAME);
    // Two proxies may run beside each other during an upgrade.
    let new = directory.join(format!("{FILE_NAME}.{}", std::process::id()));
    let document = Document {
        format: FORMAT,
        routes: routes.iter().map(Arc::as_ref).collect(),
    };
    let write = || -> io::Result<()> {
        let mut file = fs::File::create(&new)?;
        file.write_all(&serde_json::to_vec(&document)?)?;
        file.sync_data()?;
        fs::rename(&new, &path)?;
        fs::File::open(directory)?.sync_all()
    };
    write().map_err(|source| SavedError::Io {
        action: "write",
        path: path.clone(),
        source,
    })
}

/// Writes each new set until the loop drops its end, the last one included.
pub(crate) async fn keep_saving(directory: PathBuf, mut routes: watch::Receiver<Vec<Arc<Route>>>) {
    while routes.changed().await.is_ok() {
        let newest = routes.borrow_and_update().clone();
        let directory = directory.clone();
        let saved = tokio::task::spawn_blocking(move || save(&directory, &newest)).await;
        match saved {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(%error, cause, "routes are not saved; the next change tries again");
            }
            Err(error) => tracing::warn!(%error, "saving routes was interrupted"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_saved_is_nothing_and_nonsense_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(load(directory.path()).unwrap(), Vec::new());
        save(directory.path(), &[]).unwrap();
        assert_eq!(load(directory.path()).unwrap(), Vec::new());
        fs::write(directory.path().join(FILE_NAME), "{").unwrap();
        let error = load(directory.path()).unwrap_err();
        assert!(matches!(error, SavedError::Format { .. }), "{error}");
        fs::write(
            directory.path().join(FILE_NAME),
            r#"{"format":2,"routes":[]}"#,
        )
        .unwrap();
        let error = load(directory.path()).unwrap_err();
        assert!(matches!(error, SavedError::Newer { .. }), "{error}");
    }
}
