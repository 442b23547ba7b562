//! A btrfs filesystem in an image file: made, mounted through a loop device, grown, unmounted.
//!
//! The pool opens it, and a task of the pool calls [`ImageFile::grow_if_needed`]. The file starts
//! small and grows towards its limit, so that a full disk beneath stops the growth (and writers see
//! "no space left") rather than failing writes that btrfs has promised already.

use crate::btrfs::{measure, sys};
use crate::command;
use crate::volume_store::{StorageErrorKind, io_at};
use flocker_types::volume::PoolUsage;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Size of a new image, unless its limit is lower or the disk beneath has less to give. The file is
/// sparse, so size costs nothing until it is written; growing later has to wait for the disk, and a
/// writer that is faster than that would meet a full filesystem.
const START_BYTES: u64 = 64 << 30;
/// Size of a new image on a disk that is nearly full.
const START_BYTES_MIN: u64 = 1 << 30;
/// Smallest limit: btrfs itself needs about this much to be of use.
pub(crate) const IMAGE_BYTES_MIN: u64 = 128 << 20;
/// The kernel resizes no smaller filesystem, not even to the size that it has.
const RESIZABLE_BYTES_MIN: u64 = 256 << 20;
/// The image grows when less than this, or less than a quarter of it, is free. Growing waits for what
/// was written before, so that takes seconds where much is written; writers need that room meanwhile.
const FREE_BYTES_WANTED: u64 = 2 << 30;
/// Kept free on the disk beneath, as a part of its size: one twentieth.
const HOST_RESERVE_DIVISOR: u64 = 20;
/// No access times: they would make every read a change to be sent. No devices: what another node sends
/// may contain some.
const MOUNT_OPTIONS: &str = "loop,noatime,nodev";

/// How large an image is, at first and at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ImageSize {
    start_bytes: u64,
    bytes_max: u64,
}

impl ImageSize {
    /// Starts small and grows up to a limit.
    pub(crate) fn growing_to(bytes_max: u64) -> Self {
        Self {
            start_bytes: bytes_max.min(START_BYTES),
            bytes_max,
        }
    }

    /// The first size of an image whose disk may not have as much to give.
    fn on_disk_of(self, file: &Path) -> u64 {
        self.start_bytes
            .min((host_room(file) / 2).max(START_BYTES_MIN))
    }

    /// Has its size from the start.
    #[cfg(any(test, feature = "test-pools"))]
    pub(crate) fn fixed(bytes: u64) -> Self {
        Self {
            start_bytes: bytes,
            bytes_max: bytes,
        }
    }
}

/// Bytes that the disk beneath a file can give without going below its reserve.
fn host_room(file: &Path) -> u64 {
    match measure(file.parent().unwrap_or(Path::new("/"))) {
        Ok(host) => host
            .free_bytes
            .saturating_sub(host.size_bytes / HOST_RESERVE_DIVISOR),
        Err(_) => 0,
    }
}

/// A mounted image.
#[derive(Debug)]
pub(crate) struct ImageFile {
    file: PathBuf,
    mount: PathBuf,
    bytes_max: u64,
    bytes_now: AtomicU64,
}

impl ImageFile {
    /// Makes the image if there is none, and mounts it if it is not mounted: both may have been
    /// left by a process that crashed.
    pub(crate) async fn open(
        file: &Path,
        mount: &Path,
        size: ImageSize,
    ) -> Result<Self, StorageErrorKind> {
        let bytes_max = size.bytes_max;
        if bytes_max < IMAGE_BYTES_MIN {
            let why = format!("a pool needs at least {IMAGE_BYTES_MIN} bytes, not {bytes_max}");
            let error = io::Error::new(io::ErrorKind::InvalidInput, why);
            return Err(io_at("make", file)(error));
        }
        if !file.exists() {
            make(file, size.on_disk_of(file)).await?;
        }
        std::fs::create_dir_all(mount).map_err(io_at("make", mount))?;
        let file = file.canonicalize().map_err(io_at("find", file))?;
        let mount = mount.canonicalize().map_err(io_at("find", mount))?;
        match loop_device_at(&mount)? {
            Some(device) => check_backing(&device, &file)?,
            None => {
                let arguments = ["-t", "btrfs", "-o", MOUNT_OPTIONS];
                let (source, target) = (file.as_os_str(), mount.as_os_str());
                let mut line: Vec<&std::ffi::OsStr> = arguments.map(AsRef::as_ref).to_vec();
                line.extend([source, target]);
                command::run("mount", &line).await?;
            }
        }
        let bytes_now = file.metadata().map_err(io_at("look at", &file))?.len();
        let image = Self {
            file,
            mount,
            bytes_max: bytes_max.max(bytes_now),
            bytes_now: AtomicU64::new(bytes_now),
        };
        // A crash may have come between the steps of growing.
        if let Err(error) = image.use_whole_file().await {
            let _ = image.unmount();
            return Err(error);
        }
        Ok(image)
    }

    /// Where it is mounted.
    pub(crate) fn mount(&self) -> &Path {
        &self.mount
    }

    /// What the filesystem has, and what it can still get.
    pub(crate) fn with_room_to_grow(&self, usage: PoolUsage) -> PoolUsage {
        let now = self.bytes_now.load(Ordering::Relaxed);
        let room = self.bytes_max.saturating_sub(now).min(self.host_room());
        PoolUsage {
            size_bytes: usage.size_bytes.saturating_add(room),
            free_bytes: usage.free_bytes.saturating_add(room),
        }
    }

    fn host_room(&self) -> u64 {
        host_room(&self.file)
    }

    /// Doubles the image when little is free, within its limit and the disk's.
    pub(crate) async fn grow_if_needed(&self) -> Result<(), StorageErrorKind> {
        let usage = measure(&self.mount).map_err(io_at("measure", &self.mount))?;
        let now = self.bytes_now.load(Ordering::Relaxed);
        let wanted = FREE_BYTES_WANTED.max(now / 4);
        if usage.free_bytes >= wanted || now >= self.bytes_max {
            return Ok(());
        }
        let size = now
            .saturating_mul(2)
            .min(self.bytes_max)
            .min(now.saturating_add(self.host_room()));
        // The kernel takes whole mebibytes at least; less is not worth the work.
        let size = size & !0xf_ffff;
        if size <= now {
            return Ok(());
        }
        let file = File::options().write(true).open(&self.file);
        file.and_then(|file| file.set_len(size).and_then(|()| file.sync_all()))
            .map_err(io_at("grow", &self.file))?;
        self.use_whole_file().await?;
        self.bytes_now.store(size, Ordering::Relaxed);
        tracing::info!(file = %self.file.display(), size_bytes = size, "the pool's image grew");
        Ok(())
    }

    async fn use_whole_file(&self) -> Result<(), StorageErrorKind> {
        let size = self.file.metadata().map_err(io_at("look at", &self.file))?;
        if size.len() < RESIZABLE_BYTES_MIN {
            return Ok(());
        }
        if let Some(device) = loop_device_at(&self.mount)? {
            command::run("losetup", &["--set-capacity".as_ref(), device.as_os_str()]).await?;
        }
        sys::grow_to_device(&self.mount).map_err(io_at("grow the filesystem at", &self.mount))
    }

    /// Unmounts; the loop device goes with the mount.
    pub(crate) fn unmount(&self) -> Result<(), StorageErrorKind> {
        unmount(&self.mount)
    }
}

/// Unmounts a filesystem.
pub(crate) fn unmount(mount: &Path) -> Result<(), StorageErrorKind> {
    rustix::mount::unmount(mount, rustix::mount::UnmountFlags::NOFOLLOW)
        .map_err(|error| io_at("unmount", mount)(error.into()))
}

/// Formats under another name first, so that a file of the right name is always a whole filesystem.
async fn make(file: &Path, bytes: u64) -> Result<(), StorageErrorKind> {
    let parent = file.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(parent).map_err(io_at("make", parent))?;
    let mut unfinished = file.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    let new = File::create(&unfinished).map_err(io_at("make", &unfinished))?;
    new.set_len(bytes).map_err(io_at("make", &unfinished))?;
    let options = ["-q", "-f", "-L", "flocker", "-m", "single", "-d", "single"];
    let mut line: Vec<&std::ffi::OsStr> = options.map(AsRef::as_ref).to_vec();
    line.push(unfinished.as_os_str());
    command::run("mkfs.btrfs", &line).await?;
    new.sync_all().map_err(io_at("sync", &unfinished))?;
    std::fs::rename(&unfinished, file).map_err(io_at("make", file))?;
    crate::label_file::sync_directory(parent).map_err(io_at("sync", parent))
}

/// The loop device that is mounted at a path; `None` when nothing is mounted there.
fn loop_device_at(mount: &Path) -> Result<Option<PathBuf>, StorageErrorKind> {
    let table = Path::new("/proc/self/mountinfo");
    let text = std::fs::read_to_string(table).map_err(io_at("read", table))?;
    Ok(mounted_source(&text, mount))
}

/// Finds what is mounted at a path in the kernel's table of mounts; the last mount is on top.
pub(crate) fn mounted_source(table: &str, mount: &Path) -> Option<PathBuf> {
    table
        .lines()
        .filter(|line| {
            let place = line.split(' ').nth(4).map(unescape);
            place.is_some_and(|place| Path::new(&place) == mount)
        })
        .filter_map(|line| line.split(" - ").nth(1)?.split(' ').nth(1).map(unescape))
        .next_back()
        .map(PathBuf::from)
}

/// The table writes space, tab, newline and backslash as a backslash and three octal digits.
fn unescape(field: &str) -> String {
    field
        .replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
}

fn check_backing(device: &Path, file: &Path) -> Result<(), StorageErrorKind> {
    let name = device.file_name().unwrap_or_default();
    let link = Path::new("/sys/block").join(name).join("loop/backing_file");
    let backing = std::fs::read_to_string(&link).unwrap_or_default();
    if Path::new(backing.trim_end()) == file {
        return Ok(());
    }
    let why = format!("{} is mounted there instead", device.display());
    let error = io::Error::new(io::ErrorKind::ResourceBusy, why);
    Err(io_at("mount", file)(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Unmounts whatever happens.
    struct Mounted(ImageFile);

    impl Drop for Mounted {
        fn drop(&mut self) {
            self.0.unmount().expect("nothing uses it");
        }
    }

    #[tokio::test]
    async fn an_image_grows_keeps_its_data_and_is_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let (file, mount) = (
            directory.path().join("image"),
            directory.path().join("mount"),
        );
        let size = ImageSize {
            start_bytes: 256 << 20,
            bytes_max: 700 << 20,
        };
        let open = || async { Mounted(ImageFile::open(&file, &mount, size).await.unwrap()) };
        let image = open().await;
        let data = crate::conformance::files::noise(1, 50 << 20);
        std::fs::write(mount.join("data"), &data).unwrap();
        let before = measure(&mount).unwrap();
        let promised = image.0.with_room_to_grow(before);
        for _ in 0..4 {
            image.0.grow_if_needed().await.unwrap();
        }
        let after = measure(&mount).unwrap();
        assert!(
            before.size_bytes <= 256 << 20 && after.size_bytes > 690 << 20,
            "{after:?}"
        );
        assert!(after.size_bytes <= size.bytes_max);
        assert!(promised.free_bytes <= after.free_bytes + (10 << 20));
        // As after a crash of the process: it is mounted still.
        std::mem::forget(open().await);
        drop(image);
        // As after a crash in the middle of growing: the file is larger than the filesystem.
        std::fs::File::options()
            .write(true)
            .open(&file)
            .and_then(|file| file.set_len(800 << 20))
            .unwrap();
        let image = open().await;
        assert!(measure(&mount).unwrap().size_bytes > 790 << 20);
        assert!(std::fs::read(mount.join("data")).unwrap() == data);
        drop(image);
        assert_eq!(loop_device_at(&mount).unwrap(), None);
    }

    #[tokio::test]
    async fn another_filesystem_at_the_mount_point_is_not_taken_for_ours() {
        let directory = tempfile::tempdir().unwrap();
        let (file, mount) = (
            directory.path().join("image"),
            directory.path().join("mount"),
        );
        let size = ImageSize::fixed(IMAGE_BYTES_MIN);
        let _image = Mounted(ImageFile::open(&file, &mount, size).await.unwrap());
        let other = directory.path().join("other");
        let error = ImageFile::open(&other, &mount, size).await.unwrap_err();
        assert!(
            error.to_string().contains("mounted there instead"),
            "{error}"
        );
    }

    const TABLE: &str = "\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
80 22 0:40 / /srv/a\\040b rw,noatime shared:2 master:3 - btrfs /dev/loop3 rw,discard=async
81 80 0:41 / /srv/a\\040b rw - btrfs /dev/loop4 rw
82 22 0:5 / /dev rw - devtmpfs devtmpfs rw
";

    #[test]
    fn the_topmost_mount_is_found() {
        let at = |path: &str| mounted_source(TABLE, Path::new(path));
        assert_eq!(at("/srv/a b"), Some(PathBuf::from("/dev/loop4")));
        assert_eq!(at("/"), Some(PathBuf::from("/dev/vda")));
        assert_eq!(at("/srv"), None);
    }
}
