//! The file that says what a copy of a volume is: its label, role and complete snapshots.
//!
//! Both stores keep one per copy beside the data, and treat it as the truth: what it does not list
//! is unfinished. Replacing it is atomic. It knows nothing of btrfs or ZFS.

use flocker_types::ids::SnapshotName;
use flocker_types::time::UnixMs;
use flocker_types::volume::{Checksum, Role, Snapshot, VolumeCopy, VolumeLabel};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::SystemTime;

/// Name of the file.
pub(crate) const LABEL_FILE: &str = "label.json";
const TEMPORARY_FILE: &str = "label.json.new";
/// Largest label file that is read.
const LABEL_BYTES_MAX: u64 = 4 << 20;
/// Version of the file's format that this program writes, and the only one it reads.
const FORMAT: u32 = 1;
/// Snapshots of this prefix hold writes that a failover left behind.
const TAIL_PREFIX: &str = "tail-e";

/// The content of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredCopy {
    format: u32,
    /// Whether the copy may be written here.
    pub(crate) role: Role,
    /// The label.
    pub(crate) label: VolumeLabel,
    /// Complete snapshots, oldest first.
    pub(crate) snapshots: Vec<Snapshot>,
}

/// What is flushed before the new file takes the old one's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flush {
    /// The file alone: the data that it speaks of is on the disk already.
    Label,
    /// The whole filesystem, data first: the file speaks of data that may still be in memory.
    Filesystem,
}

impl StoredCopy {
    /// A copy without snapshots.
    pub(crate) fn new(role: Role, label: VolumeLabel) -> Self {
        Self {
            format: FORMAT,
            role,
            label,
            snapshots: Vec::new(),
        }
    }

    /// Whether the snapshot is complete here.
    pub(crate) fn has(&self, name: &SnapshotName) -> bool {
        self.snapshots.iter().any(|snapshot| snapshot.name == *name)
    }

    /// Adds a snapshot as the newest.
    pub(crate) fn add(&mut self, name: &SnapshotName, checksum: Option<Checksum>) {
        self.snapshots.push(Snapshot {
            name: name.clone(),
            checksum,
            created: now(),
        });
    }

    /// As the trait shows it. Tails come first, whatever their age: the last snapshot must be the
    /// copy's head, and a tail never is.
    pub(crate) fn into_copy(self, used_bytes: Option<u64>) -> VolumeCopy {
        let (mut snapshots, rest): (Vec<_>, Vec<_>) = self
            .snapshots
            .into_iter()
            .partition(|snapshot| is_tail(&snapshot.name));
        snapshots.extend(rest);
        VolumeCopy {
            label: self.label,
            role: self.role,
            snapshots,
            used_bytes,
        }
    }
}

/// Whether a snapshot holds writes that a change of holder left behind.
pub(crate) fn is_tail(name: &SnapshotName) -> bool {
    name.as_str().starts_with(TAIL_PREFIX)
}

/// The name of the tail that a holder of this epoch leaves.
pub(crate) fn tail_name(epoch: flocker_types::ids::Epoch) -> SnapshotName {
    SnapshotName::new(format!("{TAIL_PREFIX}{epoch}"))
        .expect("a short word and a number make a valid name")
}

/// Reads the file in `directory`; `None` when there is none.
pub(crate) fn read(directory: &Path) -> io::Result<Option<StoredCopy>> {
    let file = match File::open(directory.join(LABEL_FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    file.take(LABEL_BYTES_MAX).read_to_end(&mut text)?;
    parse(&text).map(Some)
}

/// Reads the file's text.
pub(crate) fn parse(text: &[u8]) -> io::Result<StoredCopy> {
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let stored: StoredCopy =
        serde_json::from_slice(text).map_err(|error| invalid(error.to_string()))?;
    if stored.format != FORMAT {
        let found = stored.format;
        return Err(invalid(format!(
            "the label is of format {found}, this program reads {FORMAT}"
        )));
    }
    Ok(stored)
}

/// The file's text.
pub(crate) fn to_text(stored: &StoredCopy) -> io::Result<Vec<u8>> {
    serde_json::to_vec_pretty(stored).map_err(io::Error::other)
}

/// Replaces the file in `directory`. When it returns, the new one survives a loss of power; before,
/// the old one does.
pub(crate) fn write(directory: &Path, stored: &StoredCopy, flush: Flush) -> io::Result<()> {
    let text = to_text(stored)?;
    let temporary = directory.join(TEMPORARY_FILE);
    // The description of a service has secrets in it.
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(&text)?;
    match flush {
        Flush::Label => file.sync_all()?,
        Flush::Filesystem => rustix::fs::syncfs(file.as_fd())?,
    }
    std::fs::rename(&temporary, directory.join(LABEL_FILE))?;
    sync_directory(directory)
}

/// Makes the entries of a directory survive a loss of power.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn now() -> UnixMs {
    let since_1970 = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    UnixMs(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX))
}
