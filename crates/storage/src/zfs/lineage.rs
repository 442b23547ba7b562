//! Which filesystem has which snapshot of a volume, and changing that.
//!
//! Part of [`Operations`]; only they call it. ZFS receives only onto the newest snapshot of a filesystem.
//! So when the stream builds on an older one (after a failover, say, when a tail is newer), what is
//! newer is *set aside*: the filesystem is renamed, and a clone of the common snapshot takes its name
//! and, by `zfs promote`, the older snapshots. Nothing that the label lists is deleted here.

use super::datasets;
use super::operations::Operations;
use crate::label_file::{self, StoredCopy};
use crate::volume_store::StorageErrorKind;
use flocker_types::ids::{SnapshotName, VolumeId};
use std::io;

type Outcome<T> = Result<T, StorageErrorKind>;

/// How often a name for what is set aside is tried.
const ASIDE_NAMES_MAX: u32 = 1000;
impl Operations {
    /// Reads the label and finishes what a crash interrupted: the last step of making the copy, or
    /// of setting snapshots aside.
    pub(super) async fn existing(&self, volume: VolumeId) -> Outcome<StoredCopy> {
        let stored = self.read(volume)?.ok_or(StorageErrorKind::NoSuchVolume)?;
        let place = self.place(volume);
        match datasets::property(&place, "origin").await? {
            Some(origin) if origin == "-" => {}
            Some(_) => datasets::take_over_origin(&place).await?,
            None => self.recover(volume).await?,
        }
        Ok(stored)
    }

    async fn recover(&self, volume: VolumeId) -> Outcome<()> {
        let (place, making) = (self.place(volume), self.making(volume));
        if datasets::exists(&making).await? {
            datasets::unmount(&making).await?;
            return datasets::rename(&making, &place).await;
        }
        let children = datasets::children(&self.dataset).await?;
        let prefix = format!("{volume}:after:");
        for child in children.iter().filter(|child| child.starts_with(&prefix)) {
            let base = child[prefix.len()..].split(':').next().unwrap_or_default();
            let aside = format!("{}/{child}", self.dataset);
            // The newest one still has its base; earlier ones gave theirs up.
            if datasets::exists(&format!("{aside}@{base}")).await? {
                return self.clone_back(volume, &aside, base).await;
            }
        }
        let missing = io::Error::from(io::ErrorKind::NotFound);
        Err(StorageErrorKind::io(
            format!("find the dataset {place}"),
            missing,
        ))
    }

    /// The filesystem that has a listed snapshot: the volume's, or one that was set aside.
    pub(super) async fn locate(&self, stored: &StoredCopy, name: &SnapshotName) -> Outcome<String> {
        let missing = || StorageErrorKind::NoSuchSnapshot(name.clone());
        if !stored.has(name) {
            return Err(missing());
        }
        let place = self.place(stored.label.id);
        if datasets::exists(&format!("{place}@{name}")).await? {
            return Ok(place);
        }
        for aside in self.asides(stored.label.id).await? {
            if datasets::exists(&format!("{aside}@{name}")).await? {
                return Ok(aside);
            }
        }
        Err(missing())
    }

    pub(super) async fn asides(&self, volume: VolumeId) -> Outcome<Vec<String>> {
        let prefix = format!("{volume}:after:");
        let children = datasets::children(&self.dataset).await?;
        let asides = children.iter().filter(|child| child.starts_with(&prefix));
        Ok(asides
            .map(|child| format!("{}/{child}", self.dataset))
            .collect())
    }

    /// Leaves `base` the newest snapshot of the volume. Newer ones that the label lists are set
    /// aside; others are in the way and are deleted. If `base` itself was set aside, it comes back.
    pub(super) async fn make_newest(
        &self,
        stored: &StoredCopy,
        base: &SnapshotName,
    ) -> Outcome<()> {
        let volume = stored.label.id;
        let place = self.place(volume);
        let location = self.locate(stored, base).await?;
        if location != place {
            self.bring_back(volume, &location).await?;
        }
        let names = datasets::snapshots(&place).await?;
        let position = names.iter().position(|name| name == base.as_str());
        let position = position.ok_or_else(|| StorageErrorKind::NoSuchSnapshot(base.clone()))?;
        let mut listed = false;
        for name in names[position + 1..].iter().rev() {
            if stored.snapshots.iter().any(|s| s.name.as_str() == name) {
                listed = true;
            } else {
                datasets::destroy_snapshot(&format!("{place}@{name}")).await?;
            }
        }
        if !listed {
            return Ok(());
        }
        let aside = self.move_aside(volume, base.as_str()).await?;
        self.clone_back(volume, &aside, base.as_str()).await
    }

    /// Renames the volume's filesystem to a name that says from which snapshot on it is aside.
    async fn move_aside(&self, volume: VolumeId, base: &str) -> Outcome<String> {
        let place = self.place(volume);
        datasets::unmount(&place).await?;
        for number in 0..ASIDE_NAMES_MAX {
            let aside = format!("{place}:after:{base}:{number}");
            if !datasets::exists(&aside).await? {
                datasets::rename(&place, &aside).await?;
                return Ok(aside);
            }
        }
        let full = io::Error::from(io::ErrorKind::AlreadyExists);
        let what = format!("set aside the snapshots after {base}");
        Err(StorageErrorKind::io(what, full))
    }

    /// Exchanges the volume's filesystem with one that was set aside. A crash in between is undone
    /// by `recover` or completed by `existing`.
    async fn bring_back(&self, volume: VolumeId, aside: &str) -> Outcome<()> {
        let place = self.place(volume);
        let origin = datasets::property(aside, "origin").await?;
        let Some((_, base)) = origin.as_deref().and_then(|origin| origin.split_once('@')) else {
            let missing = io::Error::from(io::ErrorKind::NotFound);
            let what = format!("find the origin of {aside}");
            return Err(StorageErrorKind::io(what, missing));
        };
        let displaced = self.move_aside(volume, base).await?;
        datasets::set(&displaced, "readonly", "on").await?;
        datasets::rename(aside, &place).await?;
        datasets::take_over_origin(&place).await?;
        datasets::set(&displaced, "mountpoint", "none").await
    }

    async fn clone_back(&self, volume: VolumeId, aside: &str, base: &str) -> Outcome<()> {
        let place = self.place(volume);
        datasets::set(aside, "readonly", "on").await?;
        datasets::clone(&format!("{aside}@{base}"), &place).await?;
        datasets::take_over_origin(&place).await?;
        // Two filesystems must not claim one place.
        datasets::set(aside, "mountpoint", "none").await
    }

    /// Forgets listed snapshots that are not in the volume's own line, except tails: nothing newer
    /// can be sent from them.
    pub(super) fn forget_others(stored: &mut StoredCopy, in_line: &[String]) {
        let here = |name: &SnapshotName| in_line.iter().any(|other| other == name.as_str());
        stored
            .snapshots
            .retain(|s| label_file::is_tail(&s.name) || here(&s.name));
    }

    /// Deletes what was set aside and has no listed snapshot any more.
    pub(super) async fn drop_forgotten_asides(&self, stored: &StoredCopy) -> Outcome<()> {
        for aside in self.asides(stored.label.id).await? {
            let names = datasets::snapshots(&aside).await?;
            let listed = |name: &String| stored.snapshots.iter().any(|s| s.name.as_str() == name);
            if !names.iter().any(listed) {
                datasets::destroy_without_clones(&aside).await?;
            }
        }
        Ok(())
    }
}
