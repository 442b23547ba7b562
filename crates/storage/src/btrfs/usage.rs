//! How much a live directory refers to, found by looking at every file: for filesystems on which nobody
//! counts (quotas are off).
//!
//! Only the btrfs store calls it, on a blocking thread. It gives up where looking would cost too
//! much, and never changes anything.

use std::collections::HashSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What looking may cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Files and directories.
    pub(super) entries_max: usize,
    /// Time; on a cold disk each entry may be a seek.
    pub(super) time_max: Duration,
}

impl Limits {
    /// For the store.
    pub(super) const DEFAULT: Self = Self {
        entries_max: 200_000,
        time_max: Duration::from_secs(2),
    };
}

/// Bytes of the unit in which the kernel tells how much a file occupies, whatever the filesystem.
const BLOCK_BYTES: u64 = 512;

/// Adds up what the files below `root` occupy, on its own filesystem; `None` when a limit is
/// reached. A file that goes away meanwhile is not counted.
pub(super) fn walk(root: &Path, limits: Limits) -> io::Result<Option<u64>> {
    let deadline = Instant::now() + limits.time_max;
    let top = std::fs::symlink_metadata(root)?;
    let mut blocks = top.blocks();
    let mut entries = 0;
    // Files with several names count once.
    let mut seen = HashSet::new();
    let mut open: Vec<PathBuf> = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        let Some(children) = unless_gone(std::fs::read_dir(&directory))? else {
            continue;
        };
        for child in children {
            let child = child?;
            entries += 1;
            if entries > limits.entries_max || Instant::now() > deadline {
                return Ok(None);
            }
            let Some(metadata) = unless_gone(child.metadata())? else {
                continue;
            };
            // A subvolume of its own has another device number; no snapshot contains it.
            if metadata.dev() != top.dev() {
                continue;
            }
            if metadata.is_dir() {
                open.push(child.path());
            } else if metadata.nlink() > 1 && !seen.insert(metadata.ino()) {
                continue;
            }
            blocks = blocks.saturating_add(metadata.blocks());
        }
    }
    Ok(Some(blocks.saturating_mul(BLOCK_BYTES)))
}

/// Containers delete and replace files while we look; a directory may have become a file.
fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_count_once_and_holes_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        std::fs::create_dir(root.join("dir")).unwrap();
        std::fs::write(root.join("dir/file"), vec![7; 1 << 20]).unwrap();
        std::fs::hard_link(root.join("dir/file"), root.join("same")).unwrap();
        std::os::unix::fs::symlink("/", root.join("link")).unwrap();
        let sparse = std::fs::File::create(root.join("sparse")).unwrap();
        sparse.set_len(1 << 30).unwrap();
        // So that every filesystem has decided where the data goes.
        std::fs::File::open(root.join("same"))
            .unwrap()
            .sync_all()
            .unwrap();
        let used = walk(root, Limits::DEFAULT).unwrap().unwrap();
        assert!((1 << 20..(1 << 20) + (64 << 10)).contains(&used), "{used}");
    }

    #[test]
    fn looking_ends_at_its_limits() {
        let directory = tempfile::tempdir().unwrap();
        for number in 0..10 {
            std::fs::write(directory.path().join(number.to_string()), "x").unwrap();
        }
        let few = |entries_max| Limits {
            entries_max,
            ..Limits::DEFAULT
        };
        assert_eq!(walk(directory.path(), few(9)).unwrap(), None);
        assert!(walk(directory.path(), few(10)).unwrap().is_some());
        let short = Limits {
            time_max: Duration::ZERO,
            ..Limits::DEFAULT
        };
        assert_eq!(walk(directory.path(), short).unwrap(), None);
        let missing = directory.path().join("missing");
        assert!(walk(&missing, Limits::DEFAULT).is_err());
    }
}
