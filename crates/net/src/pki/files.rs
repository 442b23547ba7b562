//! Reading and writing the files that hold keys and certificates.
//!
//! The authority and the credentials use it. It knows nothing of what is in the files.

use rustix::fs::{Mode, OFlags, open};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file of keys or certificates cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Reading failed. Trying again helps only after the file is there and readable.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Writing failed. Trying again helps once there is room and permission.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Reads a text file.
///
/// # Errors
/// [`FileError::Read`] names the file.
pub fn read_text(path: &Path) -> Result<String, FileError> {
    std::fs::read_to_string(path).map_err(|source| FileError::Read {
        path: path.to_owned(),
        source,
    })
}

/// Writes a file that only its owner may read, and puts it in place at once: whoever opens `path`
/// sees the old content or the new, never a part, and never with wider permissions.
///
/// # Errors
/// [`FileError::Write`] names the file.
pub fn write_secret(path: &Path, content: &str) -> Result<(), FileError> {
    write_with_mode(path, content, Mode::RUSR | Mode::WUSR)
}

/// As [`write_secret`], for what everybody may read.
pub(super) fn write_public(path: &Path, content: &str) -> Result<(), FileError> {
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
    write_with_mode(path, content, mode)
}

fn write_with_mode(path: &Path, content: &str, mode: Mode) -> Result<(), FileError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let write = || -> io::Result<()> {
        // A leftover of an interrupted write may have other permissions; it is replaced.
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let mut file = File::from(open(&temporary, flags, mode)?);
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        let directory = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|source| FileError::Write {
        path: path.to_owned(),
        source,
    })
}
