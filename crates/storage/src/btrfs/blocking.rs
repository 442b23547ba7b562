//! What the btrfs store does, as plain blocking functions; each may be repeated after a crash.
//!
//! The async half ([`super::BtrfsStore`]) calls these on blocking threads, one at a time for each
//! volume. Every function reads the label first (healing what a crash left), and orders its steps so
//! that the label changes only when what it will say is already true and on the disk.

use super::directory::{CopyDirectory, PoolDirectory, delete_live, delete_subtree};
use super::quota::Quota;
use super::reception::{Place, Reception};
use super::sys::{self, Access, SendContent, SendProtocol};
use super::usage::{self, Limits};
use crate::label_file::{self, Flush, StoredCopy};
use crate::volume_store::{StorageErrorKind, io_at};
use flocker_types::ids::{Epoch, SnapshotName, VolumeId};
use flocker_types::volume::{Checksum, Role, VolumeCopy, VolumeLabel};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Bytes of a send stream's header, which also a stream without content has.
const STREAM_HEADER_BYTES: u64 = 17;
/// Bytes of a command's header: length, kind and checksum.
const COMMAND_HEADER_BYTES: usize = 10;
/// The kinds of command that a stream without any change consists of.
const COMMAND_SNAPSHOT: u16 = 2;
const COMMAND_END: u16 = 21;

/// The pool's directories and quota, and the operations on them.
#[derive(Debug)]
pub(super) struct Operations {
    pool: PoolDirectory,
    quota: Quota,
}

impl Operations {
    /// Opens the pool directory, which must lie on btrfs.
    pub(super) fn open(root: &Path) -> Result<Self, StorageErrorKind> {
        if !sys::is_btrfs(root).map_err(io_at("look at", root))? {
            let wrong = io::Error::new(io::ErrorKind::Unsupported, "it does not lie on btrfs");
            return Err(io_at("use", root)(wrong));
        }
        let pool = PoolDirectory::open(root)?;
        let quota = Quota::open(root)?;
        Ok(Self { pool, quota })
    }

    /// The pool's own path.
    pub(super) fn root(&self) -> &Path {
        self.pool.root()
    }

    /// Every volume that has a directory here.
    pub(super) fn volume_ids(&self) -> Result<Vec<VolumeId>, StorageErrorKind> {
        self.pool.volume_ids()
    }

    /// One copy as its label shows it, without changing anything: safe beside any other call.
    pub(super) fn peek(&self, volume: VolumeId) -> Result<Option<VolumeCopy>, StorageErrorKind> {
        let stored = self.pool.copy(volume).read()?;
        Ok(stored.map(|stored| stored.into_copy(None)))
    }

    /// One copy, healed.
    pub(super) fn get(&self, volume: VolumeId) -> Result<Option<VolumeCopy>, StorageErrorKind> {
        let copy = self.pool.copy(volume);
        let Some(stored) = copy.read_and_heal()? else {
            return Ok(None);
        };
        if stored.role == Role::Holder && !copy.live().exists() {
            let missing = io::Error::from(io::ErrorKind::NotFound);
            return Err(io_at("find the live data", &copy.live())(missing));
        }
        Ok(Some(stored.into_copy(None)))
    }

    fn existing(&self, volume: VolumeId) -> Result<(CopyDirectory, StoredCopy), StorageErrorKind> {
        let copy = self.pool.copy(volume);
        let stored = copy
            .read_and_heal()?
            .ok_or(StorageErrorKind::NoSuchVolume)?;
        Ok((copy, stored))
    }

    fn held(&self, volume: VolumeId) -> Result<(CopyDirectory, StoredCopy), StorageErrorKind> {
        let (copy, stored) = self.existing(volume)?;
        if stored.role != Role::Holder {
            let why = "this node has a replica of the volume, it does not hold it";
            return Err(StorageErrorKind::WrongRole(why.to_owned()));
        }
        Ok((copy, stored))
    }

    /// Makes an empty volume: under `making` first, then moved to its place with its label.
    pub(super) fn create(&self, label: &VolumeLabel) -> Result<VolumeCopy, StorageErrorKind> {
        if let Some(stored) = self.pool.copy(label.id).read_and_heal()? {
            if stored.role == Role::Holder && stored.label.epoch == label.epoch {
                return Ok(stored.into_copy(None));
            }
            let (role, epoch) = (stored.role, stored.label.epoch);
            let why = format!("the volume is on this node already, as {role} in epoch {epoch}");
            return Err(StorageErrorKind::WrongRole(why));
        }
        let copy = self.pool.start_making(label.id)?;
        copy.create_live()?;
        self.quota.limit(&copy.live(), label.size_bytes_max)?;
        let stored = StoredCopy::new(Role::Holder, label.clone());
        self.pool.finish_making(&copy, &stored)?;
        Ok(stored.into_copy(None))
    }

    /// The live directory of a volume held here.
    pub(super) fn mount_path(&self, volume: VolumeId) -> Result<PathBuf, StorageErrorKind> {
        let (copy, _) = self.held(volume)?;
        let live = copy.live();
        let is_there = sys::is_subvolume(&live).map_err(io_at("find the live data", &live))?;
        if !is_there {
            let wrong = io::Error::from(io::ErrorKind::InvalidData);
            return Err(io_at("find a subvolume at", &live)(wrong));
        }
        Ok(live)
    }

    /// What the live data refers to: as the kernel counts it, else as its files show.
    pub(super) fn used_bytes(&self, volume: VolumeId) -> Result<Option<u64>, StorageErrorKind> {
        let copy = self.pool.copy(volume);
        let stored = copy.read()?.ok_or(StorageErrorKind::NoSuchVolume)?;
        if stored.role != Role::Holder {
            return Ok(None);
        }
        let live = copy.live();
        match self.quota.referenced(&live)? {
            Some(bytes) => Ok(Some(bytes)),
            None => usage::walk(&live, Limits::DEFAULT).map_err(io_at("measure", &live)),
        }
    }

    /// Takes a snapshot. The ioctl commits it; then the label lists it. A crash in between leaves an
    /// unlisted snapshot, which is deleted, and the repeated call takes a new one.
    pub(super) fn snapshot(
        &self,
        volume: VolumeId,
        name: &SnapshotName,
    ) -> Result<(), StorageErrorKind> {
        let (copy, mut stored) = self.held(volume)?;
        if stored.has(name) {
            return Ok(());
        }
        let path = copy.snapshot(name);
        sys::create_snapshot(&copy.live(), &path, Access::ReadOnly)
            .map_err(io_at("take the snapshot", &path))?;
        stored.add(name, None);
        copy.write(&stored, Flush::Label)
    }

    /// Opens the two ends of a stream; both must be complete here.
    pub(super) fn open_snapshots(
        &self,
        volume: VolumeId,
        from: Option<&SnapshotName>,
        to: &SnapshotName,
    ) -> Result<(Option<OwnedFd>, OwnedFd), StorageErrorKind> {
        let copy = self.pool.copy(volume);
        let stored = copy.read()?.ok_or(StorageErrorKind::NoSuchVolume)?;
        let open = |name: &SnapshotName| {
            if !stored.has(name) {
                return Err(StorageErrorKind::NoSuchSnapshot(name.clone()));
            }
            let path = copy.snapshot(name);
            sys::open_directory(&path).map_err(io_at("open", &path))
        };
        Ok((from.map(open).transpose()?, open(to)?))
    }

    /// Prepares to receive; `None` when the snapshot is complete here already.
    pub(super) fn start_receiving(
        &self,
        label: &VolumeLabel,
        from: Option<&SnapshotName>,
        to: &SnapshotName,
    ) -> Result<Option<Reception>, StorageErrorKind> {
        let copy = self.pool.copy(label.id);
        let Some(mut stored) = copy.read_and_heal()? else {
            if let Some(from) = from {
                return Err(StorageErrorKind::NoSuchSnapshot(from.clone()));
            }
            return Ok(Some(Reception {
                copy: self.pool.start_making(label.id)?,
                stored: StoredCopy::new(Role::Replica, label.clone()),
                from: None,
                to: to.clone(),
                place: Place::New,
            }));
        };
        if stored.role == Role::Holder {
            let epoch = stored.label.epoch;
            let why =
                format!("this node holds the volume in epoch {epoch} and takes no other data");
            return Err(StorageErrorKind::WrongRole(why));
        }
        refuse_older(&stored, label.epoch)?;
        if stored.has(to) {
            return Ok(None);
        }
        if let Some(from) = from
            && !stored.has(from)
        {
            return Err(StorageErrorKind::NoSuchSnapshot(from.clone()));
        }
        stored.label = label.clone();
        Ok(Some(Reception {
            copy,
            stored,
            from: from.cloned(),
            to: to.clone(),
            place: Place::Existing,
        }))
    }

    /// Accepts what was received if it is exactly the one snapshot expected. The label lists it
    /// only after everything has been flushed: `btrfs receive` alone leaves data in memory.
    pub(super) fn finish_receiving(
        &self,
        mut reception: Reception,
        checksum: Checksum,
    ) -> Result<(), StorageErrorKind> {
        let result = reception.check().and_then(|()| {
            reception.stored.add(&reception.to, Some(checksum));
            match reception.place {
                Place::New => self.pool.finish_making(&reception.copy, &reception.stored),
                Place::Existing => reception.copy.write(&reception.stored, Flush::Filesystem),
            }
        });
        if result.is_err() {
            self.abandon_receiving(reception);
        }
        result
    }

    /// Removes what a failed reception left. What cannot be removed now is removed by the next call
    /// that reads the copy, or by the next start.
    pub(super) fn abandon_receiving(&self, reception: Reception) {
        let Reception { copy, stored, .. } = reception;
        let result = match reception.place {
            Place::New => self.pool.abandon_making(stored.label.id),
            Place::Existing => copy.read_and_heal().map(|_| ()),
        };
        // It may have filled the pool.
        let reclaimed = sys::sync_and_reclaim(self.root()).map_err(io_at("sync", self.root()));
        let result = result.and(reclaimed);
        if let Err(error) = result {
            tracing::warn!(volume = %stored.label.id, %error, "cannot clean up after a reception");
        }
    }

    /// Makes a replica writable: live first (committed by the ioctl), its quota, then the label. A
    /// crash before the label leaves a live that nobody used, which is deleted.
    pub(super) fn promote(
        &self,
        label: &VolumeLabel,
        head: &SnapshotName,
    ) -> Result<(), StorageErrorKind> {
        let (copy, mut stored) = self.existing(label.id)?;
        if stored.role == Role::Holder {
            if stored.label.epoch == label.epoch {
                return Ok(());
            }
            refuse_older(&stored, label.epoch)?;
            let why = format!("this node holds the volume in epoch {}", stored.label.epoch);
            return Err(StorageErrorKind::WrongRole(why));
        }
        if label.epoch <= stored.label.epoch {
            return Err(StorageErrorKind::StaleEpoch {
                here: stored.label.epoch,
                asked: label.epoch,
            });
        }
        if !stored.has(head) {
            return Err(StorageErrorKind::NoSuchSnapshot(head.clone()));
        }
        let live = copy.live();
        sys::create_snapshot(&copy.snapshot(head), &live, Access::ReadWrite)
            .map_err(io_at("make writable", &live))?;
        self.quota.limit(&live, label.size_bytes_max)?;
        stored.role = Role::Holder;
        stored.label = label.clone();
        copy.write(&stored, Flush::Label)
    }

    /// Gives up the live data: the tail first (committed by the ioctl), then the label says replica and
    /// lists the tail, then live is deleted. A crash before the label leaves the holder as it was;
    /// after it, the next call deletes live.
    pub(super) fn demote(
        &self,
        volume: VolumeId,
        epoch: Epoch,
        head: &SnapshotName,
    ) -> Result<(), StorageErrorKind> {
        let (copy, mut stored) = self.existing(volume)?;
        refuse_older(&stored, epoch)?;
        if stored.role == Role::Holder {
            let held_in = stored.label.epoch;
            if epoch == held_in {
                let why = format!("this node holds the volume in epoch {epoch} itself");
                return Err(StorageErrorKind::WrongRole(why));
            }
            if !stored.has(head) {
                return Err(StorageErrorKind::NoSuchSnapshot(head.clone()));
            }
            if copy.live().exists() {
                let tail = label_file::tail_name(held_in);
                if keep_tail(&copy, head, &tail)? == Tail::Kept {
                    stored.add(&tail, None);
                }
            }
        }
        if stored.role != Role::Replica || stored.label.epoch != epoch {
            stored.role = Role::Replica;
            stored.label.epoch = epoch;
            copy.write(&stored, Flush::Label)?;
        }
        let live = copy.live();
        if live.exists() {
            delete_live(&live)?;
        }
        Ok(())
    }

    /// Replaces the label, then sets the quota (always, as a crash may have come in between).
    pub(super) fn set_label(&self, label: &VolumeLabel) -> Result<(), StorageErrorKind> {
        let (copy, mut stored) = self.existing(label.id)?;
        refuse_older(&stored, label.epoch)?;
        let resized = stored.label.size_bytes_max != label.size_bytes_max;
        if stored.label != *label {
            stored.label = label.clone();
            copy.write(&stored, Flush::Label)?;
        }
        if stored.role == Role::Holder && (resized || label.size_bytes_max.is_some()) {
            self.quota.limit(&copy.live(), label.size_bytes_max)?;
        }
        Ok(())
    }

    /// Forgets snapshots, then deletes them. One that is being sent stays until a later call.
    pub(super) fn prune(
        &self,
        volume: VolumeId,
        delete: &[SnapshotName],
    ) -> Result<(), StorageErrorKind> {
        let (copy, mut stored) = self.existing(volume)?;
        let before = stored.snapshots.len();
        stored.snapshots.retain(|snapshot| {
            label_file::is_tail(&snapshot.name) || !delete.contains(&snapshot.name)
        });
        if stored.snapshots.len() != before {
            copy.write(&stored, Flush::Label)?;
            copy.read_and_heal()?;
        }
        Ok(())
    }

    /// Deletes the copy.
    pub(super) fn destroy(&self, volume: VolumeId) -> Result<(), StorageErrorKind> {
        self.pool.delete(volume)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    Kept,
    NothingWritten,
}

/// Snapshots the live data as the tail, and deletes the tail again when it equals the head.
fn keep_tail(
    copy: &CopyDirectory,
    head: &SnapshotName,
    tail: &SnapshotName,
) -> Result<Tail, StorageErrorKind> {
    let path = copy.snapshot(tail);
    sys::create_snapshot(&copy.live(), &path, Access::ReadOnly)
        .map_err(io_at("keep the tail", &path))?;
    if differ(&copy.snapshot(head), &path)? {
        return Ok(Tail::Kept);
    }
    delete_subtree(&path).map_err(io_at("delete", &path))?;
    Ok(Tail::NothingWritten)
}

/// Whether two snapshots of one volume differ, as the kernel's own comparison sees it. Reads no
/// further than the first difference. Whatever it does not understand counts as a difference.
fn differ(before: &Path, after: &Path) -> Result<bool, StorageErrorKind> {
    let open = |path: &Path| sys::open_directory(path).map_err(io_at("open", path));
    let (before_fd, after_fd) = (open(before)?, open(after)?);
    let (reader, writer) = io::pipe().map_err(|e| StorageErrorKind::io("make a pipe", e))?;
    let (sent, same) = std::thread::scope(|scope| {
        let sender = scope.spawn(move || {
            let (content, protocol) = (SendContent::WithoutFileData, SendProtocol::One);
            let from = Some(before_fd.as_fd());
            sys::send(after_fd.as_fd(), from, writer.as_fd(), content, protocol)
        });
        let same = is_empty_delta(reader);
        (sender.join(), same)
    });
    match sent {
        Ok(Ok(())) => Ok(!same.unwrap_or(false)),
        // The reader stopped at the first difference, so the sender found nobody to write to.
        Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(true),
        Ok(Err(error)) => Err(io_at("compare with its head", after)(error)),
        Err(_) => Ok(true),
    }
}

/// Whether a stream says only "snapshot of ..." and "end".
fn is_empty_delta(mut stream: impl Read) -> io::Result<bool> {
    let header = io::copy(
        &mut (&mut stream).take(STREAM_HEADER_BYTES),
        &mut io::sink(),
    )?;
    if header != STREAM_HEADER_BYTES {
        return Ok(false);
    }
    loop {
        let mut command = [0; COMMAND_HEADER_BYTES];
        stream.read_exact(&mut command)?;
        let length = u32::from_le_bytes([command[0], command[1], command[2], command[3]]);
        match u16::from_le_bytes([command[4], command[5]]) {
            COMMAND_SNAPSHOT => {
                io::copy(&mut (&mut stream).take(u64::from(length)), &mut io::sink())?;
            }
            kind => return Ok(kind == COMMAND_END),
        }
    }
}

fn refuse_older(stored: &StoredCopy, asked: Epoch) -> Result<(), StorageErrorKind> {
    let here = stored.label.epoch;
    if asked < here {
        return Err(StorageErrorKind::StaleEpoch { here, asked });
    }
    Ok(())
}
