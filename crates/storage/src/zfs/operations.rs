//! What the ZFS store does, step by step; each operation may be repeated after a crash.
//!
//! [`super::ZfsStore`] calls these, one at a time for each volume. As in the btrfs store, the label is
//! the truth: it changes only when what it will say is already true, and what it does not list
//! does not count.
//!
//! ```text
//! <dataset>/labels                    a filesystem with <volume>/label.json for each copy
//! <dataset>/<volume>                  the volume; its snapshots are the copy's
//! <dataset>/<volume>:after:<s>:<n>    snapshots newer than <s> that were set aside (tails are here)
//! <dataset>/making:<volume>           a copy being made; nothing in it counts
//! ```
//!
//! Labels are files because they can be longer than a ZFS property. They travel with the pool.
//! Why snapshots are set aside, and how, is told in `lineage`.
//! Snapshots that somebody else took are left alone unless they are in the way.

use super::{datasets, send};
use crate::image::mounted_source;
use crate::label_file::{self, Flush, StoredCopy};
use crate::volume_store::{SendStream, StorageErrorKind, io_at};
use flocker_types::ids::{Epoch, SnapshotName, VolumeId};
use flocker_types::volume::{PoolUsage, Role, VolumeCopy, VolumeLabel};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Prefix of the directory of a label whose volume is being deleted.
const DELETING: &str = "deleting-";

type Outcome<T> = Result<T, StorageErrorKind>;

/// The parent dataset and where its volumes are mounted.
#[derive(Debug)]
pub(super) struct Operations {
    pub(super) dataset: String,
    directory: PathBuf,
}

impl Operations {
    /// Opens the dataset, making it if only its pool exists, and heals what a crash left.
    pub(super) async fn open(dataset: &str, directory: &Path) -> Outcome<Self> {
        let operations = Self {
            dataset: dataset.to_owned(),
            directory: directory.to_owned(),
        };
        if !datasets::exists(dataset).await? {
            datasets::create_parent(dataset).await?;
        }
        let labels = format!("{dataset}/labels");
        let mountpoint = operations.labels();
        let wanted = mountpoint.display().to_string();
        if !datasets::exists(&labels).await? {
            datasets::create(&labels, &wanted).await?;
        }
        if !is_mounted(&mountpoint)? {
            if datasets::property(&labels, "mountpoint").await?.as_deref() != Some(&wanted) {
                datasets::unmount(&labels).await?;
                datasets::set(&labels, "mountpoint", &wanted).await?;
            }
            datasets::mount(&labels).await?;
        }
        operations.heal_all().await?;
        Ok(operations)
    }

    async fn heal_all(&self) -> Outcome<()> {
        for entry in self.label_directories()? {
            if let Some(volume) = entry.strip_prefix(DELETING)
                && let Ok(volume) = VolumeId::from_str(volume)
            {
                self.finish_deleting(volume).await?;
            }
        }
        for volume in self.volume_ids()? {
            if let Err(error) = self.heal(volume).await {
                tracing::error!(%volume, %error, "a copy cannot be healed");
            }
        }
        Ok(())
    }

    async fn heal(&self, volume: VolumeId) -> Outcome<()> {
        let stored = self.existing(volume).await?;
        let place = self.place(volume);
        match stored.role {
            Role::Replica => self.close(&place).await,
            Role::Holder => datasets::mount(&place).await,
        }
    }

    fn labels(&self) -> PathBuf {
        self.directory.join("labels")
    }

    fn label_directory(&self, volume: VolumeId) -> PathBuf {
        self.labels().join(volume.to_string())
    }

    pub(super) fn place(&self, volume: VolumeId) -> String {
        format!("{}/{volume}", self.dataset)
    }

    pub(super) fn making(&self, volume: VolumeId) -> String {
        format!("{}/making:{volume}", self.dataset)
    }

    fn mountpoint(&self, volume: VolumeId) -> PathBuf {
        self.directory.join("volumes").join(volume.to_string())
    }

    fn label_directories(&self) -> Outcome<Vec<String>> {
        let labels = self.labels();
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&labels).map_err(io_at("list", &labels))? {
            let name = entry.map_err(io_at("list", &labels))?.file_name();
            names.push(name.to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Every volume that has a label here.
    pub(super) fn volume_ids(&self) -> Outcome<Vec<VolumeId>> {
        let names = self.label_directories()?;
        Ok(names
            .iter()
            .filter_map(|name| VolumeId::from_str(name).ok())
            .collect())
    }

    /// What the live data refers to.
    pub(super) async fn used_bytes(&self, volume: VolumeId) -> Outcome<Option<u64>> {
        let copy = self.get(volume)?.ok_or(StorageErrorKind::NoSuchVolume)?;
        match copy.role {
            Role::Replica => Ok(None),
            Role::Holder => datasets::bytes_property(&self.place(volume), "referenced")
                .await
                .map(Some),
        }
    }

    /// Size of the pool and room in it.
    pub(super) async fn usage(&self) -> Outcome<PoolUsage> {
        let used = datasets::bytes_property(&self.dataset, "used").await?;
        let free_bytes = datasets::bytes_property(&self.dataset, "available").await?;
        Ok(PoolUsage {
            size_bytes: used.saturating_add(free_bytes),
            free_bytes,
        })
    }

    pub(super) fn read(&self, volume: VolumeId) -> Outcome<Option<StoredCopy>> {
        let directory = self.label_directory(volume);
        label_file::read(&directory).map_err(io_at("read the label in", &directory))
    }

    pub(super) fn write(&self, stored: &StoredCopy) -> Outcome<()> {
        let directory = self.label_directory(stored.label.id);
        if !directory.exists() {
            std::fs::create_dir(&directory).map_err(io_at("make", &directory))?;
            let labels = self.labels();
            label_file::sync_directory(&labels).map_err(io_at("sync", &labels))?;
        }
        // ZFS has committed the snapshots that the label speaks of when its commands return.
        label_file::write(&directory, stored, Flush::Label)
            .map_err(io_at("write the label in", &directory))
    }

    /// One copy, as its label says.
    pub(super) fn get(&self, volume: VolumeId) -> Outcome<Option<VolumeCopy>> {
        Ok(self.read(volume)?.map(|stored| stored.into_copy(None)))
    }

    async fn held(&self, volume: VolumeId) -> Outcome<StoredCopy> {
        let stored = self.existing(volume).await?;
        if stored.role != Role::Holder {
            let why = "this node has a replica of the volume, it does not hold it";
            return Err(StorageErrorKind::WrongRole(why.to_owned()));
        }
        Ok(stored)
    }

    /// Makes a filesystem writable and mounts it.
    async fn open_for_writing(&self, place: &str, label: &VolumeLabel) -> Outcome<()> {
        let mountpoint = self.mountpoint(label.id).display().to_string();
        datasets::set(place, "canmount", "noauto").await?;
        datasets::set(place, "mountpoint", &mountpoint).await?;
        datasets::set(place, "atime", "off").await?;
        datasets::set(place, "readonly", "off").await?;
        self.limit(place, label.size_bytes_max).await?;
        datasets::mount(place).await
    }

    async fn limit(&self, place: &str, bytes_max: Option<u64>) -> Outcome<()> {
        let value = bytes_max.map_or_else(|| "none".to_owned(), |bytes| bytes.to_string());
        datasets::set(place, "refquota", &value).await
    }

    /// Makes a filesystem a replica's: not mounted, not writable.
    pub(super) async fn close(&self, place: &str) -> Outcome<()> {
        datasets::unmount(place).await?;
        datasets::set(place, "canmount", "noauto").await?;
        datasets::set(place, "readonly", "on").await
    }

    /// Makes an empty volume under another name; its label and then its name make it real.
    pub(super) async fn create(&self, label: &VolumeLabel) -> Outcome<VolumeCopy> {
        if let Some(stored) = self.read(label.id)? {
            self.existing(label.id).await?;
            if stored.role == Role::Holder && stored.label.epoch == label.epoch {
                return Ok(stored.into_copy(None));
            }
            let (role, epoch) = (stored.role, stored.label.epoch);
            let why = format!("the volume is on this node already, as {role} in epoch {epoch}");
            return Err(StorageErrorKind::WrongRole(why));
        }
        let making = self.making(label.id);
        datasets::destroy(&making).await?;
        let mountpoint = self.mountpoint(label.id);
        datasets::create(&making, &mountpoint.display().to_string()).await?;
        self.limit(&making, label.size_bytes_max).await?;
        datasets::mount(&making).await?;
        // Any container's user can write, as Flocker always had it.
        std::fs::set_permissions(&mountpoint, std::fs::Permissions::from_mode(0o777))
            .map_err(io_at("open the permissions of", &mountpoint))?;
        datasets::unmount(&making).await?;
        let stored = StoredCopy::new(Role::Holder, label.clone());
        self.write(&stored)?;
        let place = self.place(label.id);
        datasets::rename(&making, &place).await?;
        datasets::mount(&place).await?;
        Ok(stored.into_copy(None))
    }

    /// The live directory of a volume held here.
    pub(super) async fn mount_path(&self, volume: VolumeId) -> Outcome<PathBuf> {
        self.held(volume).await?;
        let mountpoint = self.mountpoint(volume);
        if !is_mounted(&mountpoint)? {
            datasets::mount(&self.place(volume)).await?;
        }
        Ok(mountpoint)
    }

    /// Takes a snapshot, then lists it. One that a crash left unlisted is taken anew.
    pub(super) async fn snapshot(&self, volume: VolumeId, name: &SnapshotName) -> Outcome<()> {
        let mut stored = self.held(volume).await?;
        if stored.has(name) {
            return Ok(());
        }
        let place = self.place(volume);
        datasets::destroy_snapshot(&format!("{place}@{name}")).await?;
        datasets::snapshot(&place, name.as_str()).await?;
        stored.add(name, None);
        self.write(&stored)
    }

    /// Starts a stream between two complete snapshots.
    pub(super) async fn send(
        &self,
        volume: VolumeId,
        from: Option<&SnapshotName>,
        to: &SnapshotName,
    ) -> Outcome<SendStream> {
        let stored = self.read(volume)?.ok_or(StorageErrorKind::NoSuchVolume)?;
        let from = match from {
            Some(from) => Some(format!("{}@{from}", self.locate(&stored, from).await?)),
            None => None,
        };
        let to = format!("{}@{to}", self.locate(&stored, to).await?);
        send::start(from.as_deref(), &to)
    }

    /// Makes a replica writable at exactly `head`, then says so in the label. A crash before the
    /// label leaves a replica that may be mounted; the next start closes it, and a repeated call
    /// rolls it back.
    pub(super) async fn promote(&self, label: &VolumeLabel, head: &SnapshotName) -> Outcome<()> {
        let mut stored = self.existing(label.id).await?;
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
        let place = self.place(label.id);
        self.make_newest(&stored, head).await?;
        datasets::roll_back(&format!("{place}@{head}")).await?;
        self.open_for_writing(&place, label).await?;
        Self::forget_others(&mut stored, &datasets::snapshots(&place).await?);
        stored.role = Role::Holder;
        stored.label = label.clone();
        self.write(&stored)
    }

    /// Gives up the live data: the tail first, then the label says replica and lists the tail, then
    /// the filesystem is closed and what is newer than `head` set aside. A crash before the label
    /// leaves the holder as it was; after it, the next call (or start) closes.
    pub(super) async fn demote(
        &self,
        volume: VolumeId,
        epoch: Epoch,
        head: &SnapshotName,
    ) -> Outcome<()> {
        let mut stored = self.existing(volume).await?;
        refuse_older(&stored, epoch)?;
        let place = self.place(volume);
        if stored.role == Role::Holder {
            let held_in = stored.label.epoch;
            if epoch == held_in {
                let why = format!("this node holds the volume in epoch {epoch} itself");
                return Err(StorageErrorKind::WrongRole(why));
            }
            if !stored.has(head) {
                return Err(StorageErrorKind::NoSuchSnapshot(head.clone()));
            }
            let tail = label_file::tail_name(held_in);
            let full_tail = format!("{place}@{tail}");
            datasets::destroy_snapshot(&full_tail).await?;
            datasets::snapshot(&place, tail.as_str()).await?;
            if send::differ(&format!("@{head}"), &full_tail).await? {
                stored.add(&tail, None);
            } else {
                datasets::destroy_snapshot(&full_tail).await?;
            }
        }
        if stored.role != Role::Replica || stored.label.epoch != epoch {
            stored.role = Role::Replica;
            stored.label.epoch = epoch;
            self.write(&stored)?;
        }
        self.close(&place).await?;
        if stored.has(head) {
            self.make_newest(&stored, head).await?;
        }
        Ok(())
    }

    /// Replaces the label, then sets the quota (always, as a crash may have come in between).
    pub(super) async fn set_label(&self, label: &VolumeLabel) -> Outcome<()> {
        let mut stored = self.existing(label.id).await?;
        refuse_older(&stored, label.epoch)?;
        if stored.label != *label {
            stored.label = label.clone();
            self.write(&stored)?;
        }
        match stored.role {
            Role::Holder => {
                self.limit(&self.place(label.id), label.size_bytes_max)
                    .await
            }
            Role::Replica => Ok(()),
        }
    }

    /// Forgets snapshots, then deletes them. One that something set aside builds on, or that is being
    /// sent, stays on the pool, unlisted.
    pub(super) async fn prune(&self, volume: VolumeId, delete: &[SnapshotName]) -> Outcome<()> {
        let mut stored = self.existing(volume).await?;
        let (kept, dropped): (Vec<_>, Vec<_>) = stored
            .snapshots
            .drain(..)
            .partition(|s| label_file::is_tail(&s.name) || !delete.contains(&s.name));
        stored.snapshots = kept;
        if dropped.is_empty() {
            return Ok(());
        }
        self.write(&stored)?;
        let place = self.place(volume);
        for snapshot in dropped {
            let full_name = format!("{place}@{}", snapshot.name);
            if let Err(error) = datasets::destroy_snapshot(&full_name).await {
                tracing::debug!(%full_name, %error, "an unlisted snapshot stays for now");
            }
        }
        self.drop_forgotten_asides(&stored).await
    }

    /// Deletes the copy. Renaming its label is the one step that decides; the rest is finished by
    /// the next start if a crash comes in between.
    pub(super) async fn destroy(&self, volume: VolumeId) -> Outcome<()> {
        datasets::destroy(&self.making(volume)).await?;
        let directory = self.label_directory(volume);
        if directory.exists() {
            let deleting = self.labels().join(format!("{DELETING}{volume}"));
            std::fs::rename(&directory, &deleting).map_err(io_at("move", &directory))?;
            let labels = self.labels();
            label_file::sync_directory(&labels).map_err(io_at("sync", &labels))?;
        }
        self.finish_deleting(volume).await
    }

    async fn finish_deleting(&self, volume: VolumeId) -> Outcome<()> {
        let deleting = self.labels().join(format!("{DELETING}{volume}"));
        if !deleting.exists() {
            return Ok(());
        }
        datasets::destroy(&self.place(volume)).await?;
        for aside in self.asides(volume).await? {
            datasets::destroy(&aside).await?;
        }
        // ZFS leaves the directory that it mounted on.
        let _ = std::fs::remove_dir(self.mountpoint(volume));
        std::fs::remove_dir_all(&deleting).map_err(io_at("delete", &deleting))
    }
}

fn is_mounted(path: &Path) -> Outcome<bool> {
    let table = Path::new("/proc/self/mountinfo");
    let text = std::fs::read_to_string(table).map_err(io_at("read", table))?;
    Ok(mounted_source(&text, path).is_some())
}

pub(super) fn refuse_older(stored: &StoredCopy, asked: Epoch) -> Outcome<()> {
    let here = stored.label.epoch;
    if asked < here {
        return Err(StorageErrorKind::StaleEpoch { here, asked });
    }
    Ok(())
}
