//! A snapshot that is being received: where it goes, what its stream may do, and whether what came is what
//! was announced.
//!
//! The blocking half of the store makes one, and accepts it or gives it up. Nothing in here changes a
//! copy.

use super::directory::CopyDirectory;
use super::stream_guard::Allowed;
use super::sys;
use crate::label_file::StoredCopy;
use crate::volume_store::{StorageErrorKind, io_at};
use flocker_types::ids::SnapshotName;
use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::path::PathBuf;

/// A snapshot about to be received.
#[derive(Debug)]
pub(super) struct Reception {
    pub(super) copy: CopyDirectory,
    pub(super) stored: StoredCopy,
    pub(super) from: Option<SnapshotName>,
    pub(super) to: SnapshotName,
    pub(super) place: Place,
}

/// Whether the copy that receives exists already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It is being made, and appears when the snapshot is complete.
    New,
    /// It has been here before.
    Existing,
}

impl Reception {
    /// The directory that confines the receiving process.
    pub(super) fn directory(&self) -> PathBuf {
        self.copy.snapshots()
    }

    /// What the stream may do.
    pub(super) fn allowed(&self) -> Result<Allowed, StorageErrorKind> {
        let mut allowed = Allowed {
            name: self.to.to_string(),
            base: BTreeSet::new(),
            own: BTreeSet::new(),
        };
        for snapshot in &self.stored.snapshots {
            let path = self.copy.snapshot(&snapshot.name);
            let open = sys::open_directory(&path).map_err(io_at("open", &path))?;
            let info = sys::subvolume_info(open.as_fd()).map_err(io_at("look at", &path))?;
            let identities = info.received.into_iter().chain([info.uuid]);
            allowed.own.extend(identities.clone());
            if self.from.as_ref() == Some(&snapshot.name) {
                allowed.base.extend(identities);
            }
        }
        Ok(allowed)
    }

    /// Checks that the stream made the snapshot that was announced, and nothing else.
    pub(super) fn check(&self) -> Result<(), StorageErrorKind> {
        let bad = |why: String| Err(StorageErrorKind::BadStream(why));
        let to = self.to.as_str();
        let entries = self.copy.snapshot_entries()?;
        if !entries.iter().any(|name| name == to) {
            return bad(format!("it does not contain the snapshot {to}"));
        }
        let listed = |name: &str| {
            self.stored
                .snapshots
                .iter()
                .any(|s| s.name.as_str() == name)
        };
        if let Some(other) = entries.iter().find(|name| *name != to && !listed(name)) {
            return bad(format!("it makes {other} beside the snapshot {to}"));
        }
        if entries.len() != self.stored.snapshots.len() + 1 {
            return bad("it removes other snapshots".to_owned());
        }
        let path = self.copy.snapshot(&self.to);
        let complete = sys::is_subvolume(&path).map_err(io_at("look at", &path))?
            && sys::is_read_only(&path).map_err(io_at("look at", &path))?;
        let snapshot = sys::open_directory(&path).map_err(io_at("open", &path))?;
        let info = sys::subvolume_info(snapshot.as_fd()).map_err(io_at("look at", &path))?;
        if !complete || info.received.is_none() {
            return bad(format!("it ends before the snapshot {to} is complete"));
        }
        Ok(())
    }
}
