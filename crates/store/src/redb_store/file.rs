//! The store's file: opened where there is one, and made where there is none.
//!
//! A file that is being made has another name until it is a whole, empty store on the disk: whenever the
//! power goes, there is a store under its own name or nothing. It knows nothing of what is stored.

use super::{FORMAT, FORMAT_NOW, META, Problem, STATE};
use redb::{Builder, Database, DatabaseError, Durability, ReadableTable, StorageError};
use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Memory for pages of the file, in bytes.
const CACHE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Opens the store at `path`, and makes it when there is none.
pub(super) fn open(path: &Path) -> Result<Database, Problem> {
    if is_there(path)? {
        return open_there(path);
    }
    let making = name_while_made(path);
    let file = open_file(&making)?;
    // Who comes second must not empty the file under the first one's hands.
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => Problem::InUse,
        TryLockError::Error(error) => Problem::Io(error),
    })?;
    // The first may have finished between the look above and the lock.
    if is_there(path)? {
        // Ours is a new, empty one. Left behind it would do no harm.
        let _ = std::fs::remove_file(&making);
        return open_there(path);
    }
    // What an attempt before this one has left is no store.
    file.set_len(0).map_err(Problem::Io)?;
    make(
        || Ok(builder().create_file(file)?),
        || {
            let renamed = std::fs::rename(&making, path);
            renamed.map_err(Problem::Directory)
        },
        || sync_directory(path),
    )
}

/// In which order a store is made: whole and on the disk, then under its name, then the name on the disk.
pub(super) fn make(
    create: impl FnOnce() -> Result<Database, Problem>,
    name: impl FnOnce() -> Result<(), Problem>,
    sync_name: impl FnOnce() -> Result<(), Problem>,
) -> Result<Database, Problem> {
    let database = create()?;
    initialise(&database)?;
    name()?;
    sync_name()?;
    Ok(database)
}

pub(super) fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES_MAX);
    builder
}

/// Whether there is a file that has ever been a store; an empty one has not.
fn is_there(path: &Path) -> Result<bool, Problem> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len() > 0),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Problem::Io(error)),
    }
}

fn name_while_made(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".making");
    PathBuf::from(name)
}

fn open_there(path: &Path) -> Result<Database, Problem> {
    let opened = builder().create_file(open_file(path)?);
    let database = opened.map_err(|error| match error {
        // What redb says of a file that has not its first bytes.
        DatabaseError::Storage(StorageError::Io(source))
            if source.kind() == ErrorKind::InvalidData =>
        {
            Problem::NotAStore {
                detail: source.to_string(),
            }
        }
        other => other.into(),
    })?;
    initialise(&database)?;
    // Whoever made it may have been killed before the name was on the disk.
    sync_directory(path)?;
    Ok(database)
}

fn open_file(path: &Path) -> Result<File, Problem> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(Problem::Io)
}

/// Makes the tables of a new file, and checks the format of one that exists.
pub(super) fn initialise(database: &Database) -> Result<(), Problem> {
    let mut write = database.begin_write()?;
    write.set_durability(Durability::Immediate)?;
    {
        write.open_table(STATE)?;
        let mut meta = write.open_table(META)?;
        let found = meta.get(FORMAT)?.map(|guard| guard.value());
        match found {
            Some(FORMAT_NOW) => return Ok(()),
            Some(found) => return Err(Problem::Format { found }),
            None => meta.insert(FORMAT, FORMAT_NOW)?,
        };
    }
    write.commit()?;
    Ok(())
}

/// Without this a loss of power could take a new file away whole, commits and all.
fn sync_directory(path: &Path) -> Result<(), Problem> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(Problem::Directory)
}
