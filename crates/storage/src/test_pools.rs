//! Real pools for tests: each in a directory of its own, gone when dropped.
//!
//! The tests of this crate, of the test kit and of the whole system use it (feature `test-pools`). It
//! needs root. Whatever a failing test leaves, dropping the pool unmounts and deletes it.

use crate::btrfs::{BtrfsStore, SendProtocol};
use crate::image::{ImageFile, ImageSize};
use crate::volume_store::{StorageErrorKind, VolumeStore, io_at};
use crate::zfs::ZfsStore;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
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
        let image = ImageFile::open(&file, &mount, ImageSize::fixed(size_mib << 20)).await?;
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

/// How long the daemon may take to answer.
const DAEMON_LIMIT: Duration = Duration::from_secs(20);

/// A zfs-fuse daemon for the calling thread and what it starts, in a mount namespace of its own: its
/// socket and its mounts are seen by nobody else, so tests can run side by side.
///
/// Start it before the runtime, whose threads then share the namespace.
#[derive(Debug)]
pub struct ZfsDaemon {
    process: std::process::Child,
}

impl ZfsDaemon {
    /// Moves the calling thread into a new mount namespace and starts a daemon there.
    ///
    /// # Errors
    /// Not root, or no `zfs-fuse` (Debian package `zfs-fuse`).
    pub fn start() -> Result<Self, StorageErrorKind> {
        use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
        let failed = |what: &'static str| {
            move |error: rustix::io::Errno| StorageErrorKind::io(what, error.into())
        };
        rustix_unshare_mounts().map_err(failed("make a mount namespace"))?;
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).map_err(failed("make the mounts private"))?;
        // Its socket, its lock, and its memory of pools.
        for directory in ["/var/run/zfs", "/var/lock/zfs", "/var/lib/zfs", "/etc/zfs"] {
            let path = Path::new(directory);
            std::fs::create_dir_all(path).map_err(io_at("make", path))?;
            mount("tmpfs", directory, "tmpfs", MountFlags::empty(), None)
                .map_err(failed("mount a tmpfs"))?;
        }
        // It goes with the thread that started it, even if the test is killed.
        let process = std::process::Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "zfs-fuse"])
            .args(["--no-daemon", "--no-kstat-mount", "--max-arc-size", "32"])
            .args(["--pidfile", "/var/run/zfs/pid"])
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .map_err(|error| StorageErrorKind::io("start zfs-fuse", error))?;
        let daemon = Self { process };
        daemon.wait_until_it_answers()?;
        Ok(daemon)
    }

    fn wait_until_it_answers(&self) -> Result<(), StorageErrorKind> {
        let deadline = Instant::now() + DAEMON_LIMIT;
        loop {
            let answer = std::process::Command::new("zpool").arg("list").output();
            if answer.is_ok_and(|output| output.status.success()) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let why = format!("it did not answer within {} s", DAEMON_LIMIT.as_secs());
                return Err(StorageErrorKind::command("zfs-fuse --no-daemon", &why));
            }
            std::thread::yield_now();
        }
    }
}

impl Drop for ZfsDaemon {
    fn drop(&mut self) {
        // It is this test's own; its pools are files that go with it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[expect(
    unsafe_code,
    reason = "rustix marks leaving a shared namespace as unsafe"
)]
fn rustix_unshare_mounts() -> rustix::io::Result<()> {
    // SAFETY: only the view of mounts changes, of this thread alone; no file descriptor table or
    // memory is unshared.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }
}

/// A ZFS pool on a file, with the volumes mounted in a temporary directory.
#[derive(Debug)]
pub struct ZfsTestPool {
    name: String,
    directory: TempDir,
    // Outlives the pool.
    _daemon: Arc<ZfsDaemon>,
}

impl ZfsTestPool {
    /// Makes one of `size_mib` mebibytes.
    ///
    /// # Errors
    /// The daemon refuses.
    pub async fn new(daemon: &Arc<ZfsDaemon>, size_mib: u64) -> Result<Self, StorageErrorKind> {
        let directory = TempDir::with_prefix("flocker-zfs-")
            .map_err(|error| StorageErrorKind::io("make a temporary directory", error))?;
        let file = directory.path().join("device");
        std::fs::File::create(&file)
            .and_then(|device| device.set_len(size_mib << 20))
            .map_err(io_at("make", &file))?;
        let name = format!("flocker-{}", uuid::Uuid::new_v4().simple());
        let path = file.display().to_string();
        let options = ["create", "-o", "cachefile=none", "-O", "mountpoint=none"];
        crate::command::run("zpool", &[&options[..], &[&name, &path]].concat()).await?;
        Ok(Self {
            name,
            directory,
            _daemon: Arc::clone(daemon),
        })
    }

    /// A store on it; may be called again, as after a restart of the agent.
    ///
    /// # Errors
    /// As [`ZfsStore::open`].
    pub async fn store(&self) -> Result<Arc<dyn VolumeStore>, StorageErrorKind> {
        let dataset = format!("{}/flocker", self.name);
        let store = ZfsStore::open(&dataset, &self.directory.path().join("node")).await;
        Ok(Arc::new(store.map_err(|error| error.kind)?))
    }
}

impl Drop for ZfsTestPool {
    fn drop(&mut self) {
        let destroyed = std::process::Command::new("zpool")
            .args(["destroy", "-f", &self.name])
            .output();
        if !destroyed.is_ok_and(|output| output.status.success()) {
            tracing::debug!(pool = %self.name, "the pool goes with its daemon");
        }
    }
}
