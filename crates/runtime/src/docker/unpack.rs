//! Unpacking what the engine sends of an image's directory into a volume, so that a crash at any moment loses
//! nothing and leaves nothing half done.
//!
//! Everything goes into a directory of its own within the volume first. When it is whole and on disk, that
//! directory gets another name, and only then is anything moved out of it. Nothing else in the volume is ever
//! removed or replaced: by then it would be somebody's data.

use bytes::{Buf, Bytes};
use rustix::fs::{Gid, Mode, RenameFlags, Uid};
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use tokio::sync::mpsc::Receiver;

/// Holds what is being unpacked.
const WORK: &str = ".flocker-fill";
/// In it: what has come so far.
const UNFINISHED: &str = "unfinished";
/// In it: everything, to be moved out.
const WHOLE: &str = "whole";

/// A piece of the archive, or its end. Without an end, what has come is not the whole.
pub(super) enum Piece {
    Bytes(Bytes),
    End,
}

/// Whether a directory has no file. What an earlier call has left is finished, or taken away, before.
pub(super) fn is_to_be_filled(directory: &Path) -> io::Result<bool> {
    let work = directory.join(WORK);
    if work.join(WHOLE).exists() {
        move_out(directory)?;
    } else if work.exists() {
        fs::remove_dir_all(&work)?;
    }
    Ok(fs::read_dir(directory)?.next().is_none())
}

/// The pieces of an archive, as one stream.
struct Pieces {
    receiver: Receiver<Piece>,
    piece: Bytes,
    ended: bool,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !self.ended {
            match self.receiver.blocking_recv() {
                Some(Piece::Bytes(piece)) => self.piece = piece,
                Some(Piece::End) => self.ended = true,
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        let length = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

/// Fills an empty directory from an archive of a directory.
pub(super) fn unpack(receiver: Receiver<Piece>, directory: &Path) -> io::Result<()> {
    let mut pieces = Pieces {
        receiver,
        piece: Bytes::new(),
        ended: false,
    };
    unpack_from(&mut pieces, directory)
}

fn unpack_from(stream: &mut impl Read, directory: &Path) -> io::Result<()> {
    let unfinished = directory.join(WORK).join(UNFINISHED);
    let mut archive = tar::Archive::new(&mut *stream);
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(true);
    let mut top = None;
    for entry in archive.entries()? {
        let mut entry = entry?;
        if top.is_none() {
            // The directory itself comes first: as `./`, or by its name.
            let place = unfinished.join(plain(&entry.path()?));
            fs::create_dir_all(&place)?;
            own(&place, entry.header())?;
            top = Some(place);
            continue;
        }
        entry.unpack_in(&unfinished)?;
    }
    let Some(top) = top else {
        return Ok(());
    };
    // An archive may end before its stream has: what breaks off after that counts, too.
    io::copy(stream, &mut io::sink())?;
    sync(directory)?;
    fs::rename(top, directory.join(WORK).join(WHOLE))?;
    sync(directory)?;
    move_out(directory)
}

/// Moves what is whole to its place.
fn move_out(directory: &Path) -> io::Result<()> {
    let whole = directory.join(WORK).join(WHOLE);
    for entry in fs::read_dir(&whole)? {
        let entry = entry?;
        let target = directory.join(entry.file_name());
        rustix::fs::renameat_with(
            rustix::fs::CWD,
            entry.path(),
            rustix::fs::CWD,
            &target,
            RenameFlags::NOREPLACE,
        )?;
    }
    let root = fs::metadata(&whole)?;
    let (user, group) = (Uid::from_raw(root.uid()), Gid::from_raw(root.gid()));
    rustix::fs::chown(directory, Some(user), Some(group))?;
    fs::set_permissions(directory, root.permissions())?;
    sync(directory)?;
    fs::remove_dir_all(directory.join(WORK))?;
    sync(directory)
}

/// Gives a directory the owner and mode that its entry in the archive has.
fn own(directory: &Path, header: &tar::Header) -> io::Result<()> {
    let number = |value: u64| u32::try_from(value).map_err(io::Error::other);
    let (user, group) = (number(header.uid()?)?, number(header.gid()?)?);
    rustix::fs::chown(
        directory,
        Some(Uid::from_raw(user)),
        Some(Gid::from_raw(group)),
    )?;
    rustix::fs::chmod(directory, Mode::from_raw_mode(header.mode()?))?;
    Ok(())
}

/// A path without `.` and whatever is above.
fn plain(path: &Path) -> PathBuf {
    let parts = path.components();
    parts
        .filter(|part| matches!(part, Component::Normal(_)))
        .collect()
}

fn sync(directory: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(fs::File::open(directory)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

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
            unpack(sent(&archive(prefix), true), directory.path()).unwrap();
            let file = directory.path().join("conf/main");
            assert_eq!(fs::read_to_string(&file).unwrap(), "port 1\n", "{prefix}");
            assert_eq!(file.metadata().unwrap().mode() & 0o7777, 0o640);
            assert_eq!(directory.path().metadata().unwrap().mode() & 0o7777, 0o750);
            assert!(!is_to_be_filled(directory.path()).unwrap());
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        }
    }

    /// What the engine sends, cut into pieces; with or without its end.
    fn sent(bytes: &[u8], end: bool) -> Receiver<Piece> {
        let (sender, receiver) = mpsc::channel(1_000);
        for piece in bytes.chunks(512) {
            let piece = Piece::Bytes(Bytes::copy_from_slice(piece));
            assert!(sender.try_send(piece).is_ok());
        }
        assert!(!end || sender.try_send(Piece::End).is_ok());
        receiver
    }

    #[test]
    fn what_breaks_off_at_any_piece_is_nothing_and_is_done_anew() {
        let whole = archive("./");
        for length in (0..=whole.len()).step_by(512) {
            let directory = tempfile::tempdir().unwrap();
            unpack(sent(&whole[..length], false), directory.path()).unwrap_err();
            assert!(
                is_to_be_filled(directory.path()).unwrap(),
                "after {length} bytes"
            );
            unpack(sent(&whole, true), directory.path()).unwrap();
            assert!(directory.path().join("conf/main").exists());
        }
    }

    #[test]
    fn a_crash_while_it_is_moved_out_is_made_good_and_removes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let whole = directory.path().join(WORK).join(WHOLE);
        fs::create_dir_all(whole.join("conf")).unwrap();
        fs::write(directory.path().join("moved"), "before the crash").unwrap();
        assert!(!is_to_be_filled(directory.path()).unwrap());
        assert!(directory.path().join("conf").is_dir());
        assert!(directory.path().join("moved").exists());
        assert!(!directory.path().join(WORK).exists());
    }

    #[test]
    fn data_beside_something_unfinished_stays() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join(WORK).join(UNFINISHED)).unwrap();
        fs::write(directory.path().join("rows"), "somebody's").unwrap();
        assert!(!is_to_be_filled(directory.path()).unwrap());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
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
        unpack(sent(&bytes, true), &directory).unwrap_err();
        assert!(!above.path().join("escaped").exists());
    }
}
