//! What can be said of a pool without opening it, and without making or changing anything.
//!
//! `flocker doctor` asks it, also on a server that is no node yet. Whether what it finds is good enough is
//! the asker's judgement, except for what would keep the pool from being opened.

use crate::btrfs::{measure, sys};
use crate::pool::PoolSpec;
use crate::zfs;
use flocker_types::volume::PoolUsage;
use std::path::{Path, PathBuf};

/// Lists the filesystems that the kernel knows at the moment.
const FILESYSTEMS: &str = "/proc/filesystems";
/// Makes loop devices.
const LOOP_CONTROL: &str = "/dev/loop-control";

/// What was found of a pool.
#[derive(Debug)]
pub struct PoolSurvey {
    /// The pool; for `auto`, the one that would be taken.
    pub spec: PoolSpec,
    /// Its size and what is free; none while it has not been made, or is not mounted.
    pub usage: Option<PoolUsage>,
    /// What keeps it from being opened or used.
    pub problems: Vec<PoolProblem>,
}

/// Something that keeps a pool from being used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolProblem {
    /// What is wrong.
    pub message: String,
    /// What helps.
    pub hint: String,
}

impl PoolProblem {
    pub(crate) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: hint.into(),
        }
    }
}

/// Looks at a pool. `directory` is the node's own, as for [`Pool::open`](crate::Pool::open).
pub async fn survey(spec: &PoolSpec, directory: &Path) -> PoolSurvey {
    let spec = match spec {
        PoolSpec::Auto => would_take(directory).await,
        given => given.clone(),
    };
    let (usage, problems) = match &spec {
        PoolSpec::Btrfs { directory } => btrfs_directory(directory),
        PoolSpec::BtrfsImage { file, .. } => btrfs_image(file, &directory.join("pool")),
        PoolSpec::Zfs { dataset } => zfs::survey(dataset).await,
        // Never left by `would_take`.
        PoolSpec::Auto => (None, Vec::new()),
    };
    PoolSurvey {
        spec,
        usage,
        problems,
    }
}

/// What `auto` stands for, as [`Pool::open`](crate::Pool::open) chooses.
async fn would_take(directory: &Path) -> PoolSpec {
    if let Some(dataset) = zfs::find_dataset().await {
        return PoolSpec::Zfs { dataset };
    }
    match sys::is_btrfs(existing(directory)) {
        Ok(true) => PoolSpec::Btrfs {
            directory: directory.join("pool"),
        },
        _ => PoolSpec::BtrfsImage {
            file: directory.join("pool.btrfs"),
            size_bytes_max: None,
        },
    }
}

/// The nearest directory above that exists.
fn existing(path: &Path) -> &Path {
    let mut above = path.ancestors();
    above.find(|path| path.exists()).unwrap_or(Path::new("/"))
}

fn btrfs_directory(directory: &Path) -> (Option<PoolUsage>, Vec<PoolProblem>) {
    match sys::is_btrfs(existing(directory)) {
        Ok(true) => (measure(existing(directory)).ok(), Vec::new()),
        Ok(false) => {
            let what = format!("{} does not lie on btrfs", directory.display());
            let how =
                "mount a btrfs filesystem there, or take another pool, such as btrfs-image:FILE";
            (None, vec![PoolProblem::new(what, how)])
        }
        Err(error) => {
            let what = format!("{} cannot be looked at: {error}", directory.display());
            (
                None,
                vec![PoolProblem::new(what, "see that the directory is there")],
            )
        }
    }
}

fn btrfs_image(file: &Path, mount: &Path) -> (Option<PoolUsage>, Vec<PoolProblem>) {
    let mut problems = Vec::new();
    if !kernel_has_btrfs() {
        problems.push(PoolProblem::new(
            "this kernel has no btrfs",
            "install the kernel's modules (linux-modules-extra on Ubuntu), or use ZFS",
        ));
    }
    if !Path::new(LOOP_CONTROL).exists() {
        problems.push(PoolProblem::new(
            format!("there are no loop devices ({LOOP_CONTROL} is missing)"),
            "modprobe loop",
        ));
    }
    if !file.exists() && program("mkfs.btrfs").is_none() {
        problems.push(PoolProblem::new(
            "mkfs.btrfs is missing, by which the pool would be made",
            "apt-get install btrfs-progs",
        ));
    }
    let mounted = sys::is_btrfs(mount).unwrap_or(false);
    let usage = if mounted { measure(mount).ok() } else { None };
    (usage, problems)
}

/// Whether the kernel has btrfs, or can load it.
fn kernel_has_btrfs() -> bool {
    let known = std::fs::read_to_string(FILESYSTEMS).unwrap_or_default();
    let release = rustix::system::uname();
    let modules = Path::new("/lib/modules").join(release.release().to_string_lossy().as_ref());
    known.split_whitespace().any(|name| name == "btrfs") || modules.join("kernel/fs/btrfs").is_dir()
}

/// Where a program is, of those that can be called by name.
fn program(name: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    // Where administrators' programs are, which others may not have in their PATH.
    let more = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&paths)
        .chain(more)
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_not_there_is_neither_made_nor_hidden() {
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("not/there");
        let spec = PoolSpec::Btrfs {
            directory: "/proc/flocker".into(),
        };
        let found = survey(&spec, &below).await;
        assert_eq!(found.usage, None);
        let [problem] = found.problems.as_slice() else {
            panic!("{:?}", found.problems)
        };
        assert_eq!(problem.message, "/proc/flocker does not lie on btrfs");
        let found = survey(&PoolSpec::Auto, &below).await;
        assert_ne!(found.spec, PoolSpec::Auto, "it says what would be taken");
        assert!(!below.exists());
    }

    #[tokio::test]
    async fn a_missing_dataset_is_a_problem() {
        let spec: PoolSpec = "zfs:no-such-pool/flocker".parse().unwrap();
        let found = survey(&spec, Path::new("/nowhere")).await;
        assert!(!found.problems.is_empty(), "{found:?}");
        assert_eq!(found.usage, None);
    }
}
