//! Sizes of volumes, enforced by btrfs quota groups.
//!
//! Only the btrfs store calls it. Quotas are turned on when the first volume with a size appears, as
//! they cost something on every write. Full quotas, not simple ones: a simple quota charges an
//! extent to the subvolume that wrote it first, so a promoted replica would start at zero and
//! could grow to twice its size.

use super::sys;
use crate::volume_store::{StorageErrorKind, io_at};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Deleting a tree this high makes the kernel give up counting, and with it enforcing; it is
/// higher than any tree, so counting never stops.
const NO_DROP_THRESHOLD: &str = "8";

/// Whether quotas are on, and how to turn them on.
#[derive(Debug)]
pub(super) struct Quota {
    root: PathBuf,
    settings: PathBuf,
    enabled: Mutex<bool>,
}

impl Quota {
    /// Looks whether quotas are on already.
    pub(super) fn open(root: &Path) -> Result<Self, StorageErrorKind> {
        let filesystem = sys::open_directory(root).map_err(io_at("open", root))?;
        let uuid = sys::filesystem_uuid(filesystem.as_fd()).map_err(io_at("look at", root))?;
        let quota = Self {
            root: root.to_owned(),
            settings: PathBuf::from(format!("/sys/fs/btrfs/{uuid}/qgroups")),
            enabled: Mutex::new(false),
        };
        // The threshold is forgotten at every mount.
        if quota.settings.exists() {
            quota.enable()?;
        }
        Ok(quota)
    }

    /// Limits what a live subvolume refers to; `None` lifts the limit.
    pub(super) fn limit(
        &self,
        live: &Path,
        bytes_max: Option<u64>,
    ) -> Result<(), StorageErrorKind> {
        if bytes_max.is_some() {
            self.enable()?;
        }
        let subvolume = sys::open_directory(live).map_err(io_at("open", live))?;
        match sys::limit_referenced(subvolume.as_fd(), bytes_max) {
            // No limit wanted, and quotas are off.
            Err(error) if bytes_max.is_none() && is_off(&error) => Ok(()),
            other => other.map_err(io_at("limit the size of", live)),
        }
    }

    /// What a live subvolume refers to, as of the last commit to the disk; `None` where the kernel does
    /// not count it, or says that its count is not to be relied on.
    pub(super) fn referenced(&self, live: &Path) -> Result<Option<u64>, StorageErrorKind> {
        if !self.settings.exists() {
            return Ok(None);
        }
        let setting = |name: &str| std::fs::read_to_string(self.settings.join(name)).ok();
        let is = |name: &str, value: &str| setting(name).is_some_and(|text| text.trim() == value);
        // Simple quotas charge only the first writer; see above.
        if is("inconsistent", "1") || is("mode", "squota") {
            return Ok(None);
        }
        let subvolume = sys::open_directory(live).map_err(io_at("open", live))?;
        let info = sys::subvolume_info(subvolume.as_fd()).map_err(io_at("look at", live))?;
        let referenced = setting(&format!("0_{}/referenced", info.id));
        Ok(referenced.and_then(|text| text.trim().parse().ok()))
    }

    fn enable(&self) -> Result<(), StorageErrorKind> {
        // A panic while the flag was held cannot have left it half-written.
        let mut enabled = self.enabled.lock().unwrap_or_else(PoisonError::into_inner);
        if *enabled {
            return Ok(());
        }
        let filesystem = sys::open_directory(&self.root).map_err(io_at("open", &self.root))?;
        sys::enable_quota(filesystem.as_fd()).map_err(io_at("turn on quotas of", &self.root))?;
        match std::fs::write(
            self.settings.join("drop_subtree_threshold"),
            NO_DROP_THRESHOLD,
        ) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "quotas may stop counting after large deletions");
            }
            // Kernels before 6.2 have no such file and never stop counting.
            _ => {}
        }
        *enabled = true;
        Ok(())
    }
}

fn is_off(error: &io::Error) -> bool {
    let off = rustix::io::Errno::NOTCONN;
    error.raw_os_error() == Some(off.raw_os_error()) || error.kind() == io::ErrorKind::NotFound
}
