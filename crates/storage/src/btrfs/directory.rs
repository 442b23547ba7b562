//! The pool's directories: where each copy lies, and how one is made, found, healed and deleted.
//!
//! ```text
//! <pool>/volumes/<volume>/label.json       the truth about the copy
//!                         live             writable subvolume, holder only
//!                         snapshots        subvolume that confines `btrfs receive`
//!                         snapshots/<name> read-only subvolumes, complete if the label lists them
//! <pool>/making/<volume>                   a copy being made; nothing in it counts
//! <pool>/deleting/<volume>.<number>        a copy being deleted
//! ```
//!
//! A received snapshot cannot be moved to another directory (the kernel refuses for read-only
//! subvolumes), so it is received at its final place, and the label alone says whether it counts.
//! The blocking half of the store calls this. It never deletes the `live` of a copy whose label says
//! holder, nor anything of a copy whose label it cannot read.

use super::sys;
use crate::label_file::{self, Flush, StoredCopy};
use crate::volume_store::{StorageErrorKind, io_at};
use flocker_types::ids::{SnapshotName, VolumeId};
use flocker_types::volume::Role;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// How often a name for a copy in `deleting` is tried before giving up.
const DELETING_NAMES_MAX: u32 = 10_000;

/// The directories of one pool.
#[derive(Debug)]
pub(super) struct PoolDirectory {
    root: PathBuf,
}

/// The directory of one copy.
#[derive(Debug, Clone)]
pub(super) struct CopyDirectory {
    path: PathBuf,
}

impl PoolDirectory {
    /// Makes the directories that are missing and finishes deletions that a crash interrupted.
    pub(super) fn open(root: &Path) -> Result<Self, StorageErrorKind> {
        let pool = Self {
            root: root.to_owned(),
        };
        for directory in [pool.volumes(), pool.making(), pool.deleting()] {
            // Closed to other users: volumes are open to every user, whoever can reach them.
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&directory)
                .map_err(io_at("make", &directory))?;
        }
        label_file::sync_directory(root).map_err(io_at("sync", root))?;
        for leftover in pool.making_and_deleting()? {
            delete_copy(&leftover)?;
        }
        Ok(pool)
    }

    /// The pool's own path.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    fn making(&self) -> PathBuf {
        self.root.join("making")
    }

    fn deleting(&self) -> PathBuf {
        self.root.join("deleting")
    }

    fn making_and_deleting(&self) -> Result<Vec<PathBuf>, StorageErrorKind> {
        let mut found = entries(&self.making())?;
        found.extend(entries(&self.deleting())?);
        Ok(found)
    }

    /// Where the copy of a volume is, if there is one.
    pub(super) fn copy(&self, volume: VolumeId) -> CopyDirectory {
        CopyDirectory {
            path: self.volumes().join(volume.to_string()),
        }
    }

    /// Every volume that has a directory here.
    pub(super) fn volume_ids(&self) -> Result<Vec<VolumeId>, StorageErrorKind> {
        let mut ids = Vec::new();
        for path in entries(&self.volumes())? {
            let name = path.file_name().and_then(|name| name.to_str());
            match name.map(VolumeId::from_str) {
                Some(Ok(id)) => ids.push(id),
                _ => tracing::warn!(path = %path.display(), "not a volume; left alone"),
            }
        }
        ids.sort_unstable();
        Ok(ids)
    }

    /// Starts a copy under `making`, after deleting what an earlier attempt left there.
    pub(super) fn start_making(&self, volume: VolumeId) -> Result<CopyDirectory, StorageErrorKind> {
        let path = self.making().join(volume.to_string());
        if path.exists() {
            delete_copy(&path)?;
        }
        std::fs::create_dir(&path).map_err(io_at("make", &path))?;
        let copy = CopyDirectory { path };
        let snapshots = copy.snapshots();
        sys::create_subvolume(&snapshots).map_err(io_at("make", &snapshots))?;
        Ok(copy)
    }

    /// Makes a copy real: writes its label, then moves it to its place in one step.
    pub(super) fn finish_making(
        &self,
        copy: &CopyDirectory,
        stored: &StoredCopy,
    ) -> Result<(), StorageErrorKind> {
        copy.write(stored, Flush::Filesystem)?;
        let place = self.copy(stored.label.id);
        std::fs::rename(&copy.path, &place.path).map_err(io_at("move", &copy.path))?;
        let volumes = self.volumes();
        label_file::sync_directory(&volumes).map_err(io_at("sync", &volumes))
    }

    /// Gives up a copy that was being made.
    pub(super) fn abandon_making(&self, volume: VolumeId) -> Result<(), StorageErrorKind> {
        let path = self.making().join(volume.to_string());
        if path.exists() {
            delete_copy(&path)?;
        }
        Ok(())
    }

    /// Deletes a copy. Taking it out of `volumes` is the one step that decides; the rest is
    /// finished by the next [`open`](Self::open) if a crash comes in between.
    pub(super) fn delete(&self, volume: VolumeId) -> Result<(), StorageErrorKind> {
        self.abandon_making(volume)?;
        let copy = self.copy(volume);
        if !copy.path.exists() {
            return Ok(());
        }
        let mut number = 0;
        let grave = loop {
            let grave = self.deleting().join(format!("{volume}.{number}"));
            if !grave.exists() {
                break grave;
            }
            number += 1;
            if number == DELETING_NAMES_MAX {
                let full = io::Error::from(io::ErrorKind::AlreadyExists);
                return Err(io_at("move the volume to", &self.deleting())(full));
            }
        };
        std::fs::rename(&copy.path, &grave).map_err(io_at("move", &copy.path))?;
        for directory in [self.volumes(), self.deleting()] {
            label_file::sync_directory(&directory).map_err(io_at("sync", &directory))?;
        }
        delete_copy(&grave)
    }
}

impl CopyDirectory {
    /// The writable subvolume.
    pub(super) fn live(&self) -> PathBuf {
        self.path.join("live")
    }

    /// The subvolume that has the snapshots.
    pub(super) fn snapshots(&self) -> PathBuf {
        self.path.join("snapshots")
    }

    /// One snapshot.
    pub(super) fn snapshot(&self, name: &SnapshotName) -> PathBuf {
        self.snapshots().join(name.as_str())
    }

    /// Reads the label; `None` when there is no such copy.
    pub(super) fn read(&self) -> Result<Option<StoredCopy>, StorageErrorKind> {
        let stored =
            label_file::read(&self.path).map_err(io_at("read the label in", &self.path))?;
        if stored.is_none() && self.path.exists() {
            // Copies get here with their label, in one step; so somebody removed it.
            tracing::warn!(path = %self.path.display(), "a volume without a label; left alone");
        }
        Ok(stored)
    }

    /// Replaces the label.
    pub(super) fn write(&self, stored: &StoredCopy, flush: Flush) -> Result<(), StorageErrorKind> {
        label_file::write(&self.path, stored, flush)
            .map_err(io_at("write the label in", &self.path))
    }

    /// Reads the label and makes the directory agree with it: what the label does not list is
    /// deleted. A snapshot that is listed but gone is left out (and reported: nothing here does that).
    pub(super) fn read_and_heal(&self) -> Result<Option<StoredCopy>, StorageErrorKind> {
        let Some(mut stored) = self.read()? else {
            return Ok(None);
        };
        let present = self.snapshot_entries()?;
        for name in &present {
            if !stored.snapshots.iter().any(|s| s.name.as_str() == name) {
                let leftover = self.snapshots().join(name);
                if let Err(error) = delete_subtree(&leftover) {
                    // A snapshot that is being sent cannot be deleted now; the next call does it.
                    let path = leftover.display();
                    tracing::debug!(%path, %error, "an unlisted snapshot stays for now");
                }
            }
        }
        stored.snapshots.retain(|snapshot| {
            let here = present.iter().any(|name| name == snapshot.name.as_str());
            if !here {
                let path = self.path.display();
                tracing::error!(%path, snapshot = %snapshot.name, "a listed snapshot is missing");
            }
            here
        });
        let live = self.live();
        // The label of a replica was written before its live data was deleted (demote), or a promotion
        // did not get as far as its label: either way this live was given up or never used.
        if stored.role == Role::Replica && live.exists() {
            delete_live(&live)?;
        }
        Ok(Some(stored))
    }

    /// Names of everything in the snapshot directory.
    pub(super) fn snapshot_entries(&self) -> Result<Vec<String>, StorageErrorKind> {
        let names = entries(&self.snapshots())?;
        Ok(names
            .iter()
            .filter_map(|path| path.file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .collect())
    }

    /// Makes an empty live subvolume that the users of any container may write, as Flocker always did.
    pub(super) fn create_live(&self) -> Result<(), StorageErrorKind> {
        let live = self.live();
        sys::create_subvolume(&live).map_err(io_at("make", &live))?;
        std::fs::set_permissions(&live, std::fs::Permissions::from_mode(0o777))
            .map_err(io_at("open the permissions of", &live))
    }
}

/// Deletes live data that has been given up. Refuses when somebody made subvolumes inside it:
/// snapshots do not contain those, so they would be lost.
pub(super) fn delete_live(live: &Path) -> Result<(), StorageErrorKind> {
    match sys::delete_subvolume(live) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
            Err(StorageErrorKind::WrongRole(format!(
                "{} contains subvolumes of its own, which no snapshot has; move their files into \
                 plain directories or delete them",
                live.display()
            )))
        }
        other => other.map_err(io_at("delete", live)),
    }
}

/// Deletes a whole copy directory, whatever state it is in.
fn delete_copy(path: &Path) -> Result<(), StorageErrorKind> {
    let snapshots = path.join("snapshots");
    if snapshots.exists() {
        for snapshot in entries(&snapshots)? {
            delete_subtree(&snapshot).map_err(io_at("delete", &snapshot))?;
        }
    }
    for child in entries(path)? {
        delete_subtree(&child).map_err(io_at("delete", &child))?;
    }
    std::fs::remove_dir(path).map_err(io_at("delete", path))
}

/// Deletes a subvolume, or a directory or file that should not be there, with all that is in it.
pub(super) fn delete_subtree(path: &Path) -> io::Result<()> {
    if sys::is_subvolume(path)? {
        match sys::delete_subvolume(path) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            other => return other,
        }
    }
    if std::fs::symlink_metadata(path)?.is_dir() {
        std::fs::remove_dir_all(path)
    } else {
        std::fs::remove_file(path)
    }
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, StorageErrorKind> {
    let read = std::fs::read_dir(directory).map_err(io_at("list", directory))?;
    let mut paths = Vec::new();
    for entry in read {
        paths.push(entry.map_err(io_at("list", directory))?.path());
    }
    paths.sort_unstable();
    Ok(paths)
}
