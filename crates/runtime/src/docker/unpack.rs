//! Unpacking what the engine sends of an image's directory into a volume, so that a crash leaves either
//! nothing, or something that is seen to be unfinished.
//!
//! Everything goes into a directory of its own within the volume first, from which it is moved when it is
//! whole. While that directory is there the volume is not filled.

use bytes::{Buf, Bytes};
use rustix::fs::{Gid, Mode, Uid};
use std::fs;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use tokio::sync::mpsc::Receiver;

/// Holds what has been unpacked, until it is whole.
const UNFINISHED: &str = ".flocker-unfinished";

/// Whether a directory has no file, or some that were left when filling it broke off.
pub(super) fn is_to_be_filled(directory: &Path) -> io::Result<bool> {
    if directory.join(UNFINISHED).exists() {
        return Ok(true);
    }
    Ok(fs::read_dir(directory)?.next().is_none())
}

/// The pieces of an archive, as one stream.
struct Pieces {
    receiver: Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                None => return Ok(0),
                Some(piece) => self.piece = piece?,
            }
        }
        let length = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

/// What an archive says of the directory itself.
struct Root {
    user: u32,
    group: u32,
    mode: u32,
}

/// Fills a directory from an archive of a directory.
pub(super) fn unpack(receiver: Receiver<io::Result<Bytes>>, directory: &Path) -> io::Result<()> {
    let pieces = Pieces {
        receiver,
        piece: Bytes::new(),
    };
    unpack_from(pieces, directory)
}

fn unpack_from(archive: impl Read, directory: &Path) -> io::Result<()> {
    let unfinished = directory.join(UNFINISHED);
    if unfinished.exists() {
        clear(directory)?;
    }
    fs::create_dir(&unfinished)?;
    let mut archive = tar::Archive::new(archive);
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(true);
    let mut root = None;
    let mut name = PathBuf::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = plain(&entry.path()?);
        if root.is_none() {
            let header = entry.header();
            root = Some(Root {
                user: u32::try_from(header.uid()?).map_err(io::Error::other)?,
                group: u32::try_from(header.gid()?).map_err(io::Error::other)?,
                mode: header.mode()?,
            });
            name = path;
            fs::create_dir_all(unfinished.join(&name))?;
            continue;
        }
        entry.unpack_in(&unfinished)?;
    }
    let Some(root) = root else {
        // Nothing came at all.
        return fs::remove_dir(&unfinished);
    };
    // Before anything is moved: a crash from here on begins anew, or leaves it whole.
    sync(directory)?;
    for entry in fs::read_dir(unfinished.join(&name))? {
        let entry = entry?;
        fs::rename(entry.path(), directory.join(entry.file_name()))?;
    }
    let (user, group) = (Uid::from_raw(root.user), Gid::from_raw(root.group));
    rustix::fs::chown(directory, Some(user), Some(group))?;
    rustix::fs::chmod(directory, Mode::from_raw_mode(root.mode))?;
    sync(directory)?;
    fs::remove_dir_all(&unfinished)?;
    sync(directory)
}

/// A path without `.` and whatever is above.
fn plain(path: &Path) -> PathBuf {
    let parts = path.components();
    parts
        .filter(|part| matches!(part, Component::Normal(_)))
        .collect()
}

/// Takes everything out of a directory that was not filled to the end.
fn clear(directory: &Path) -> io::Result<()> {
    // The mark goes last.
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name() == UNFINISHED {
            continue;
        }
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    fs::remove_dir_all(directory.join(UNFINISHED))
}

fn sync(directory: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(fs::File::open(directory)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    /// An archive of a directory, as the engine sends it; with `./` or the directory's name in front.
    fn archive(prefix: &str) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        let mut add = |path: &str, kind, mode, content: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(mode);
            header.set_uid(u64::from(rustix::process::geteuid().as_raw()));
            header.set_gid(u64::from(rustix::process::getegid().as_raw()));
            header.set_size(content.len() as u64);
            archive
                .append_data(&mut header, format!("{prefix}{path}"), content)
                .unwrap();
        };
        add("", tar::EntryType::Directory, 0o750, b"");
        add("conf/", tar::EntryType::Directory, 0o700, b"");
        add("conf/main", tar::EntryType::Regular, 0o640, b"port 1\n");
        archive.into_inner().unwrap()
    }

    #[test]
    fn a_directory_becomes_what_the_archive_is() {
        for prefix in ["./", "data/"] {
            let directory = tempfile::tempdir().unwrap();
            assert!(is_to_be_filled(directory.path()).unwrap());
            unpack_from(&archive(prefix)[..], directory.path()).unwrap();
            let file = directory.path().join("conf/main");
            assert_eq!(fs::read_to_string(&file).unwrap(), "port 1\n", "{prefix}");
            assert_eq!(file.metadata().unwrap().mode() & 0o7777, 0o640);
            assert_eq!(directory.path().metadata().unwrap().mode() & 0o7777, 0o750);
            assert!(!is_to_be_filled(directory.path()).unwrap());
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn what_broke_off_is_done_anew() {
        let directory = tempfile::tempdir().unwrap();
        let whole = archive("./");
        // In the middle of the file: its header has come, its content not whole.
        unpack_from(&whole[..1_540], directory.path()).unwrap_err();
        assert!(
            is_to_be_filled(directory.path()).unwrap(),
            "it is seen to be unfinished"
        );
        fs::write(directory.path().join("half"), "").unwrap();
        unpack_from(&whole[..], directory.path()).unwrap();
        assert!(!directory.path().join("half").exists());
        assert!(directory.path().join("conf/main").exists());
    }

    #[test]
    fn an_archive_stays_within_the_directory() {
        let above = tempfile::tempdir().unwrap();
        let directory = above.path().join("volume");
        fs::create_dir(&directory).unwrap();
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(0o755);
        header.set_uid(u64::from(rustix::process::geteuid().as_raw()));
        header.set_gid(u64::from(rustix::process::getegid().as_raw()));
        header.set_size(0);
        archive.append_data(&mut header, "./", io::empty()).unwrap();
        let mut link = tar::Header::new_gnu();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_size(0);
        archive.append_link(&mut link, "out", above.path()).unwrap();
        let mut file = tar::Header::new_gnu();
        file.set_mode(0o644);
        file.set_size(1);
        archive
            .append_data(&mut file, "out/escaped", &b"x"[..])
            .unwrap();
        let bytes = archive.into_inner().unwrap();
        unpack_from(&bytes[..], &directory).unwrap_err();
        assert!(!above.path().join("escaped").exists());
    }
}
