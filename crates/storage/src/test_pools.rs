//! Real pools for tests: each in a directory of its own, gone when dropped.
//!
//! The tests of this crate, of the test kit and of the whole system use it (feature `test-pools`). It
//! needs root. Whatever a failing test leaves, dropping the pool unmounts and deletes it.

use crate::btrfs::{BtrfsStore, SendProtocol};
use crate::image::ImageFile;
use crate::volume_store::{StorageErrorKind, VolumeStore, io_at};
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

/// A btrfs filesystem in an image file, mounted in a temporary directory.
#[derive(Debug)]
pub struct BtrfsTestPool {
    image: ImageFile,
    // Deleted after the image was unmounted: fields are dropped after `drop` has run.
    _directory: TempDir,
}

impl BtrfsTestPool {
    /// Makes one of `size_mib` mebibytes; below 128 is too small for btrfs.
    ///
    /// # Errors
    /// Not root, no btrfs in the kernel, or no `mkfs.btrfs`.
    pub async fn new(size_mib: u64) -> Result<Self, StorageErrorKind> {
        let directory = TempDir::with_prefix("flocker-btrfs-")
            .map_err(|error| StorageErrorKind::io("make a temporary directory", error))?;
        let file = directory.path().join("image");
        let mount = directory.path().join("mount");
        let image = ImageFile::open(&file, &mount, size_mib << 20).await?;
        Ok(Self {
            image,
            _directory: directory,
        })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.image.mount()
    }

    /// A store on it; may be called again, as after a restart of the agent.
    ///
    /// # Errors
    /// As [`BtrfsStore::open`].
    pub async fn store(&self) -> Result<Arc<dyn VolumeStore>, StorageErrorKind> {
        let store = BtrfsStore::open(self.path(), SendProtocol::One).await;
        Ok(Arc::new(store.map_err(|error| error.kind)?))
    }
}

impl Drop for BtrfsTestPool {
    fn drop(&mut self) {
        if self.image.unmount().is_ok() {
            return;
        }
        // Something of the failed test still uses it: it goes when that ends.
        let detach = rustix::mount::UnmountFlags::DETACH;
        if let Err(error) = rustix::mount::unmount(self.path(), detach) {
            let error = io_at("unmount", self.path())(error.into());
            tracing::error!(%error, "a test pool stays mounted");
        }
    }
}
