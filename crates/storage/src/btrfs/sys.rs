//! The btrfs ioctls that Flocker needs, each as a safe function over paths or file descriptors.
//!
//! Only the btrfs store and the pool call it. It is the one place in the crate with `unsafe`. It
//! decides nothing, retries nothing, and starts no process (starting `btrfs` costs milliseconds).
#![expect(unsafe_code, reason = "ioctls are raw kernel calls")]

use rustix::fs::{AtFlags, Mode, OFlags};
use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const MAGIC: u8 = 0x94;
/// Inode number of every subvolume's root directory.
const SUBVOLUME_ROOT_INODE: u64 = 256;
const SUBVOLUME_READ_ONLY: u64 = 1 << 1;
const QUOTA_ENABLE: u64 = 1;
const QGROUP_LIMIT_MAX_REFERENCED: u64 = 1 << 0;
const SEND_NO_FILE_DATA: u64 = 0x1;
const SEND_VERSION: u64 = 0x8;
const FILESYSTEM_MAGIC: i64 = 0x9123_683e;

#[repr(C)]
struct VolumeArgs {
    fd: i64,
    name: [u8; 4088],
}

#[repr(C)]
struct VolumeArgsV2 {
    fd: i64,
    transid: u64,
    flags: u64,
    unused: [u64; 4],
    name: [u8; 4040],
}

#[repr(C)]
struct SendArgs {
    send_fd: i64,
    clone_sources_count: u64,
    clone_sources: *const u64,
    parent_root: u64,
    flags: u64,
    version: u32,
    reserved: [u8; 28],
}

#[repr(C)]
struct QuotaControlArgs {
    command: u64,
    status: u64,
}

#[repr(C)]
struct QgroupLimitArgs {
    qgroup_id: u64,
    flags: u64,
    max_referenced: u64,
    max_exclusive: u64,
    reserved_referenced: u64,
    reserved_exclusive: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Time {
    seconds: u64,
    nanoseconds: u32,
}

#[repr(C)]
struct SubvolumeInfoArgs {
    tree_id: u64,
    name: [u8; 256],
    parent_id: u64,
    directory_id: u64,
    generation: u64,
    flags: u64,
    uuid: [u8; 16],
    parent_uuid: [u8; 16],
    received_uuid: [u8; 16],
    changed_transid: u64,
    created_transid: u64,
    sent_transid: u64,
    received_transid: u64,
    times: [Time; 4],
    reserved: [u64; 8],
}

#[repr(C)]
struct FilesystemInfoArgs {
    device_id_max: u64,
    devices: u64,
    uuid: [u8; 16],
    rest: [u8; 992],
}

const _: () = assert!(size_of::<FilesystemInfoArgs>() == 1024);
const _: () = assert!(size_of::<VolumeArgs>() == 4096);
const _: () = assert!(size_of::<VolumeArgsV2>() == 4096);
const _: () = assert!(size_of::<SendArgs>() == 72);
const _: () = assert!(size_of::<QgroupLimitArgs>() == 48);
const _: () = assert!(size_of::<SubvolumeInfoArgs>() == 504);

nix::ioctl_write_ptr!(ioctl_resize, MAGIC, 3, VolumeArgs);
nix::ioctl_none!(ioctl_sync, MAGIC, 8);
nix::ioctl_write_ptr!(ioctl_subvolume_create, MAGIC, 14, VolumeArgs);
nix::ioctl_write_ptr!(ioctl_snapshot_destroy, MAGIC, 15, VolumeArgs);
nix::ioctl_write_ptr!(ioctl_snapshot_create, MAGIC, 23, VolumeArgsV2);
nix::ioctl_read!(ioctl_subvolume_flags, MAGIC, 25, u64);
nix::ioctl_read!(ioctl_filesystem_info, MAGIC, 31, FilesystemInfoArgs);
nix::ioctl_write_ptr!(ioctl_send, MAGIC, 38, SendArgs);
nix::ioctl_readwrite!(ioctl_quota_control, MAGIC, 40, QuotaControlArgs);
// The kernel declares this one as a read although it is written.
nix::ioctl_read!(ioctl_qgroup_limit, MAGIC, 43, QgroupLimitArgs);
nix::ioctl_none!(ioctl_quota_rescan_wait, MAGIC, 46);
nix::ioctl_read!(ioctl_subvolume_info, MAGIC, 60, SubvolumeInfoArgs);

/// Whether a snapshot may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// It may.
    ReadWrite,
    /// It may not.
    ReadOnly,
}

/// What a send stream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SendContent {
    /// Everything.
    Full,
    /// Only which files changed: cheap, to find out whether anything did.
    WithoutFileData,
}

/// Version of the send stream's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendProtocol {
    /// Understood by every btrfs-progs.
    One,
    /// Larger writes, about a fifth faster; needs Linux 6.0 and btrfs-progs 6.0 on both sides.
    Two,
}

/// What identifies a subvolume to send and receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SubvolumeInfo {
    /// Its id on this filesystem.
    pub(super) id: u64,
    /// The identity it got where it was sent from; none for one that was not received.
    pub(super) received: Option<[u8; 16]>,
    /// Its own identity on this filesystem.
    pub(super) uuid: [u8; 16],
}

/// The identity of a filesystem, as its directory under `/sys/fs/btrfs` is named.
pub(super) fn filesystem_uuid(filesystem: BorrowedFd<'_>) -> io::Result<String> {
    let mut args = FilesystemInfoArgs {
        device_id_max: 0,
        devices: 0,
        uuid: [0; 16],
        rest: [0; 992],
    };
    // SAFETY: the descriptor is open; the kernel fills exactly this structure of 1024 bytes.
    unsafe { ioctl_filesystem_info(filesystem.as_raw_fd(), &raw mut args) }?;
    let hex: String = args.uuid.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    Ok(parts.join("-"))
}

/// Opens a directory for the calls below.
pub(super) fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Whether a path lies on btrfs.
pub(crate) fn is_btrfs(path: &Path) -> io::Result<bool> {
    let magic = rustix::fs::statfs(path)?.f_type;
    Ok(magic == FILESYSTEM_MAGIC)
}

/// Whether a path is a subvolume (itself, not something inside one).
pub(super) fn is_subvolume(path: &Path) -> io::Result<bool> {
    let at = rustix::fs::CWD;
    let stat = rustix::fs::statat(at, path, AtFlags::SYMLINK_NOFOLLOW)?;
    let directory = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir();
    Ok(directory && stat.st_ino == SUBVOLUME_ROOT_INODE)
}

/// Makes an empty subvolume.
pub(super) fn create_subvolume(path: &Path) -> io::Result<()> {
    let (parent, name) = parent_and_name(path)?;
    let args = VolumeArgs {
        fd: 0,
        name: fixed_name(name)?,
    };
    // SAFETY: `parent` is an open directory, `args` is the structure this ioctl reads, its name
    // ends with a zero byte, and it lives until the call returns.
    unsafe { ioctl_subvolume_create(parent.as_raw_fd(), &raw const args) }?;
    Ok(())
}

/// Takes a snapshot. The kernel commits it to the disk before it returns.
pub(super) fn create_snapshot(source: &Path, path: &Path, access: Access) -> io::Result<()> {
    let source = open_directory(source)?;
    let (parent, name) = parent_and_name(path)?;
    let args = VolumeArgsV2 {
        fd: i64::from(source.as_raw_fd()),
        transid: 0,
        flags: match access {
            Access::ReadWrite => 0,
            Access::ReadOnly => SUBVOLUME_READ_ONLY,
        },
        unused: [0; 4],
        name: fixed_name(name)?,
    };
    // SAFETY: both descriptors are open directories for the whole call, `args` is the structure
    // this ioctl reads, and its name ends with a zero byte.
    unsafe { ioctl_snapshot_create(parent.as_raw_fd(), &raw const args) }?;
    Ok(())
}

/// Deletes a subvolume or snapshot; its space comes back in the background.
pub(super) fn delete_subvolume(path: &Path) -> io::Result<()> {
    let (parent, name) = parent_and_name(path)?;
    let args = VolumeArgs {
        fd: 0,
        name: fixed_name(name)?,
    };
    // SAFETY: as for `create_subvolume`.
    unsafe { ioctl_snapshot_destroy(parent.as_raw_fd(), &raw const args) }?;
    Ok(())
}

/// Whether a subvolume is read-only.
pub(super) fn is_read_only(path: &Path) -> io::Result<bool> {
    let subvolume = open_directory(path)?;
    let mut flags = 0_u64;
    // SAFETY: the descriptor is open and the kernel writes one u64, which `flags` is.
    unsafe { ioctl_subvolume_flags(subvolume.as_raw_fd(), &raw mut flags) }?;
    Ok(flags & SUBVOLUME_READ_ONLY != 0)
}

/// Reads a subvolume's identity.
pub(super) fn subvolume_info(subvolume: BorrowedFd<'_>) -> io::Result<SubvolumeInfo> {
    let mut args = SubvolumeInfoArgs {
        tree_id: 0,
        name: [0; 256],
        parent_id: 0,
        directory_id: 0,
        generation: 0,
        flags: 0,
        uuid: [0; 16],
        parent_uuid: [0; 16],
        received_uuid: [0; 16],
        changed_transid: 0,
        created_transid: 0,
        sent_transid: 0,
        received_transid: 0,
        times: [Time {
            seconds: 0,
            nanoseconds: 0,
        }; 4],
        reserved: [0; 8],
    };
    // SAFETY: the descriptor is open; the kernel fills exactly this structure, whose size is
    // asserted above, and every bit pattern of it is valid.
    unsafe { ioctl_subvolume_info(subvolume.as_raw_fd(), &raw mut args) }?;
    Ok(SubvolumeInfo {
        id: args.tree_id,
        received: (args.received_uuid != [0; 16]).then_some(args.received_uuid),
        uuid: args.uuid,
    })
}

/// Writes a snapshot's send stream into a pipe; returns when all of it has been written. Fails
/// with a broken pipe when the reader goes away.
pub(super) fn send(
    snapshot: BorrowedFd<'_>,
    parent: Option<BorrowedFd<'_>>,
    pipe: BorrowedFd<'_>,
    content: SendContent,
    protocol: SendProtocol,
) -> io::Result<()> {
    let parent_root = match parent {
        Some(parent) => subvolume_info(parent)?.id,
        None => 0,
    };
    let mut flags = 0;
    if content == SendContent::WithoutFileData {
        flags |= SEND_NO_FILE_DATA;
    }
    if protocol == SendProtocol::Two {
        flags |= SEND_VERSION;
    }
    let sources = [parent_root];
    let args = SendArgs {
        send_fd: i64::from(pipe.as_raw_fd()),
        clone_sources_count: u64::from(parent.is_some()),
        clone_sources: sources.as_ptr(),
        parent_root,
        flags,
        version: match protocol {
            SendProtocol::One => 1,
            SendProtocol::Two => 2,
        },
        reserved: [0; 28],
    };
    // SAFETY: both descriptors are open for the whole call; `args` has the size the kernel reads;
    // `clone_sources` points to as many ids as `clone_sources_count` says and outlives the call.
    unsafe { ioctl_send(snapshot.as_raw_fd(), &raw const args) }?;
    Ok(())
}

/// Flushes everything, and makes the kernel begin to free what deleted subvolumes occupied; otherwise
/// it does so within half a minute.
pub(super) fn sync_and_reclaim(path: &Path) -> io::Result<()> {
    let directory = open_directory(path)?;
    // SAFETY: the descriptor is open; this ioctl takes no argument.
    unsafe { ioctl_sync(directory.as_raw_fd()) }?;
    Ok(())
}

/// Turns quotas on (no effect when they are) and waits until existing data has been counted.
pub(super) fn enable_quota(filesystem: BorrowedFd<'_>) -> io::Result<()> {
    let mut args = QuotaControlArgs {
        command: QUOTA_ENABLE,
        status: 0,
    };
    // SAFETY: the descriptor is open and `args` is the structure the kernel reads and writes.
    unsafe { ioctl_quota_control(filesystem.as_raw_fd(), &raw mut args) }?;
    // SAFETY: the descriptor is open; this ioctl takes no argument.
    unsafe { ioctl_quota_rescan_wait(filesystem.as_raw_fd()) }?;
    Ok(())
}

/// Limits the bytes that a subvolume refers to; `None` lifts the limit.
pub(super) fn limit_referenced(
    subvolume: BorrowedFd<'_>,
    bytes_max: Option<u64>,
) -> io::Result<()> {
    let mut args = QgroupLimitArgs {
        // Zero: the subvolume of the descriptor.
        qgroup_id: 0,
        flags: QGROUP_LIMIT_MAX_REFERENCED,
        // All ones clears the limit.
        max_referenced: bytes_max.unwrap_or(u64::MAX),
        max_exclusive: 0,
        reserved_referenced: 0,
        reserved_exclusive: 0,
    };
    // SAFETY: the descriptor is open and `args` is the structure the kernel copies in.
    unsafe { ioctl_qgroup_limit(subvolume.as_raw_fd(), &raw mut args) }?;
    Ok(())
}

/// Grows the filesystem to the size of its (first) device.
pub(crate) fn grow_to_device(mount: &Path) -> io::Result<()> {
    let mount = open_directory(mount)?;
    let args = VolumeArgs {
        fd: 0,
        name: fixed_name(OsStr::new("max"))?,
    };
    // SAFETY: the descriptor is open, `args` is the structure this ioctl reads, and its text ends
    // with a zero byte.
    unsafe { ioctl_resize(mount.as_raw_fd(), &raw const args) }?;
    Ok(())
}

fn parent_and_name(path: &Path) -> io::Result<(OwnedFd, &OsStr)> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "the path has no file name");
    let name = path.file_name().ok_or_else(invalid)?;
    let parent = path.parent().ok_or_else(invalid)?;
    Ok((open_directory(parent)?, name))
}

fn fixed_name<const SIZE: usize>(name: &OsStr) -> io::Result<[u8; SIZE]> {
    let bytes = name.as_bytes();
    // One byte stays free for the terminating zero.
    if bytes.len() >= SIZE || bytes.len() > 255 || CStr::from_bytes_until_nul(bytes).is_ok() {
        return Err(io::Error::from(io::ErrorKind::InvalidFilename));
    }
    let mut fixed = [0; SIZE];
    fixed[..bytes.len()].copy_from_slice(bytes);
    Ok(fixed)
}
