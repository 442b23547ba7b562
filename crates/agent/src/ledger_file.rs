//! The ledger on disk: one small file, replaced whole.
//!
//! The loop writes it before it carries out what follows from a change. It never interprets it.

use flocker_core::agent::Ledger;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Where a ledger is kept.
#[derive(Debug)]
pub(crate) struct LedgerFile {
    path: PathBuf,
}

/// The ledger cannot be read or written. Without it an agent must not go on.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} the agent's ledger {}", path.display())]
pub struct LedgerError {
    /// "read" or "write".
    pub action: &'static str,
    /// The file.
    pub path: PathBuf,
    /// The reason.
    #[source]
    pub source: std::io::Error,
}

impl LedgerFile {
    pub(crate) fn new(directory: &Path) -> Self {
        Self {
            path: directory.join("ledger.json"),
        }
    }

    fn error(&self, action: &'static str, source: std::io::Error) -> LedgerError {
        let path = self.path.clone();
        LedgerError {
            action,
            path,
            source,
        }
    }

    /// What was written last; an empty ledger when nothing ever was.
    pub(crate) fn load(&self) -> Result<Ledger, LedgerError> {
        match std::fs::read(&self.path) {
            Ok(bytes) => parse(&bytes).map_err(|error| self.error("read", error.into())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Ledger::default()),
            Err(error) => Err(self.error("read", error)),
        }
    }

    /// Durable when it returns.
    pub(crate) fn save(&self, ledger: &Ledger) -> Result<(), LedgerError> {
        self.replace(ledger)
            .map_err(|error| self.error("write", error))
    }

    fn replace(&self, ledger: &Ledger) -> std::io::Result<()> {
        let new = self.path.with_extension("new");
        // Descriptions of services have secrets in them.
        let mut file = private_file(&new)?;
        file.write_all(&serde_json::to_vec(ledger)?)?;
        file.sync_all()?;
        std::fs::rename(&new, &self.path)?;
        match self.path.parent() {
            Some(directory) => File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    }
}

/// A file that only its owner may read, new whatever was there.
fn private_file(path: &Path) -> std::io::Result<File> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)
}

pub(crate) fn parse(bytes: &[u8]) -> Result<Ledger, serde_json::Error> {
    serde_json::from_slice(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_wrote_and_says_what_it_cannot_read() {
        let directory = tempfile::tempdir().unwrap();
        let file = LedgerFile::new(directory.path());
        assert_eq!(file.load().unwrap(), Ledger::default());
        let mut ledger = Ledger::default();
        ledger.stop_grace_ms.insert("db".parse().unwrap(), 7);
        file.save(&ledger).unwrap();
        assert_eq!(file.load().unwrap(), ledger);
        std::fs::write(directory.path().join("ledger.json"), "{").unwrap();
        assert!(file.load().unwrap_err().to_string().contains("ledger.json"));
    }
}
