//! The state store in one file, by `redb`: what a single control process uses.
//!
//! `flocker init` makes it and control's shell owns it, alone: the file is locked while it is
//! open. A commit returns when the disk has the data. It never interprets keys or values.

use crate::state_store::{
    Commit, Entry, Expect, StateStore, StoreError, StoreTrouble, Transaction, Write,
};
use redb::{Database, Durability, ReadableDatabase, ReadableTable, Table, TableDefinition};
use std::path::{Path, PathBuf};

#[cfg(test)]
mod fault_disk;
#[cfg(test)]
mod fault_test;
mod file;
#[cfg(test)]
mod power_loss_test;

/// Key to the revision that wrote it and its value.
const STATE: TableDefinition<&str, (u64, &[u8])> = TableDefinition::new("state");
/// Numbers about the store itself.
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// In [`META`]: the revision of the latest commit.
const REVISION: &str = "revision";
/// In [`META`]: the layout of this file.
const FORMAT: &str = "format";
/// The layout that this code reads and writes.
const FORMAT_NOW: u64 = 1;
/// Control's state in one file.
#[derive(Debug)]
pub struct RedbStore {
    database: Database,
    path: PathBuf,
}

/// Why the file could not be used, beyond what `redb` itself reports.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(
        "another process has it open; only one control may use it: stop the other one, or give this one a directory of its own"
    )]
    InUse,
    #[error(
        "the file is not a state store, or is damaged ({detail}); trying again does not help: put a backup back (flocker control restore), or have it made again from the nodes (flocker recover)"
    )]
    NotAStore { detail: String },
    #[error(
        "its format is {found} and this version of flocker knows only {FORMAT_NOW}; use the version that wrote it or a newer one"
    )]
    Format { found: u64 },
    #[error("its directory could not be made durable")]
    Directory(#[source] std::io::Error),
    #[error("it had failed before and must be opened again: restart control")]
    FailedBefore,
    #[error("its revision counter is at its end")]
    RevisionsUsedUp,
    #[error(transparent)]
    Io(std::io::Error),
    #[error(transparent)]
    Redb(redb::Error),
}

impl<E: Into<redb::Error>> From<E> for Problem {
    fn from(error: E) -> Self {
        match error.into() {
            redb::Error::DatabaseAlreadyOpen => Self::InUse,
            redb::Error::Corrupted(detail) => Self::NotAStore { detail },
            redb::Error::UpgradeRequired(version) => Self::NotAStore {
                detail: format!("redb file format {version}"),
            },
            redb::Error::PreviousIo => Self::FailedBefore,
            redb::Error::Io(source) => Self::Io(source),
            other => Self::Redb(other),
        }
    }
}

impl RedbStore {
    /// Opens the store at `path`, and makes an empty one where there is no file. The file is
    /// readable for its owner only and locked until the store is dropped. One that is made has
    /// another name until it is whole: a loss of power leaves a store or no file.
    ///
    /// # Errors
    /// When another process has it open, when the file is something else, damaged or of a newer
    /// version, or when the disk fails.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        match file::open(path) {
            Ok(database) => Ok(Self {
                database,
                path: path.to_owned(),
            }),
            Err(problem) => Err(store_error("open", path, problem)),
        }
    }

    fn read_one(&self, key: &str) -> Result<Option<Entry>, Problem> {
        let table = self.database.begin_read()?.open_table(STATE)?;
        let found = table.get(key)?;
        Ok(found.map(|guard| entry(key, guard.value())))
    }

    fn read_range(&self, prefix: &str) -> Result<Vec<Entry>, Problem> {
        let table = self.database.begin_read()?.open_table(STATE)?;
        let mut entries = Vec::new();
        for item in table.range(prefix..)? {
            let (key, value) = item?;
            if !key.value().starts_with(prefix) {
                break;
            }
            entries.push(entry(key.value(), value.value()));
        }
        Ok(entries)
    }

    fn write(&self, transaction: &Transaction) -> Result<Commit, Problem> {
        let mut write = self.database.begin_write()?;
        write.set_durability(Durability::Immediate)?;
        let revision = {
            let mut state = write.open_table(STATE)?;
            // Dropping `write` without a commit undoes everything, also on the way out by `?`.
            for expect in &transaction.expect {
                if !holds(&state, expect)? {
                    return Ok(Commit::Conflict(expect.clone()));
                }
            }
            let mut meta = write.open_table(META)?;
            let last = meta.get(REVISION)?.map_or(0, |guard| guard.value());
            let revision = last.checked_add(1).ok_or(Problem::RevisionsUsedUp)?;
            meta.insert(REVISION, revision)?;
            for change in &transaction.writes {
                match change {
                    Write::Put(key, value) => {
                        state.insert(key.as_str(), (revision, value.as_slice()))?;
                    }
                    Write::Delete(key) => {
                        state.remove(key.as_str())?;
                    }
                }
            }
            revision
        };
        write.commit()?;
        Ok(Commit::Done { revision })
    }
}

impl StateStore for RedbStore {
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.read_one(key)
            .map_err(|problem| store_error("read", &self.path, problem))
    }

    fn range(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        self.read_range(prefix)
            .map_err(|problem| store_error("read", &self.path, problem))
    }

    fn commit(&mut self, transaction: &Transaction) -> Result<Commit, StoreError> {
        self.write(transaction)
            .map_err(|problem| store_error("write", &self.path, problem))
    }
}

fn holds(
    state: &Table<'_, &'static str, (u64, &'static [u8])>,
    expect: &Expect,
) -> Result<bool, Problem> {
    Ok(match expect {
        Expect::Absent(key) => state.get(key.as_str())?.is_none(),
        Expect::Revision(key, revision) => state
            .get(key.as_str())?
            .is_some_and(|guard| guard.value().0 == *revision),
    })
}

fn entry(key: &str, (revision, value): (u64, &[u8])) -> Entry {
    Entry {
        key: key.to_owned(),
        value: value.to_vec(),
        revision,
    }
}

fn trouble(problem: &Problem) -> StoreTrouble {
    let full = |error: &std::io::Error| {
        matches!(
            error.kind(),
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
        )
    };
    match problem {
        Problem::InUse => StoreTrouble::InUse,
        Problem::NotAStore { .. } => StoreTrouble::Damaged,
        Problem::Io(error) | Problem::Directory(error) if full(error) => StoreTrouble::Full,
        _ => StoreTrouble::Other,
    }
}

fn store_error(action: &'static str, path: &Path, problem: Problem) -> StoreError {
    StoreError {
        action,
        path: path.display().to_string(),
        trouble: trouble(&problem),
        source: Box::new(problem),
    }
}
