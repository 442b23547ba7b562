//! The `zfs` command, as far as volumes need it: one function for each use, output parsed.
//!
//! Only the ZFS store calls it. It uses what OpenZFS and the older zfs-fuse have in common: no
//! resume tokens, no bookmarks, one property for each `set`. It decides nothing.

use crate::command;
use crate::receive_process::{self, Stream};
use crate::volume_store::StorageErrorKind;
use std::time::Duration;
use tokio::time::Instant;

/// How long a dataset may stay busy after its last user has gone: zfs-fuse unmounts in the background.
const BUSY_LIMIT: Duration = Duration::from_secs(15);
/// How often that is looked at.
const BUSY_INTERVAL: Duration = Duration::from_millis(20);

/// What `zfs receive` says of a stream that is at fault.
pub(crate) const DAMAGED: [&str; 6] = [
    "invalid backup stream",
    "invalid stream",
    "incomplete stream",
    "failed to read from stream",
    "checksum mismatch",
    "cannot specify snapshot name for multi-snapshot stream",
];

type Outcome<T> = Result<T, StorageErrorKind>;

/// Whether a command failed because of what its error output says.
fn says(error: &StorageErrorKind, text: &str) -> bool {
    matches!(error, StorageErrorKind::Command { stderr, .. } if stderr.contains(text))
}

/// Runs `zfs` and returns what it says.
async fn zfs(arguments: &[&str]) -> Outcome<String> {
    command::run("zfs", arguments).await
}

/// Runs `zfs`, again while it says that the dataset is busy.
async fn zfs_patiently(arguments: &[&str]) -> Outcome<()> {
    let deadline = Instant::now() + BUSY_LIMIT;
    loop {
        match zfs(arguments).await {
            Err(error) if says(&error, "busy") && Instant::now() < deadline => {
                tokio::time::sleep(BUSY_INTERVAL).await;
            }
            other => return other.map(|_| ()),
        }
    }
}

/// Runs `zfs`; it is no error when what it speaks of does not exist.
async fn zfs_if_there(arguments: &[&str]) -> Outcome<Option<String>> {
    match zfs(arguments).await {
        Ok(output) => Ok(Some(output)),
        Err(error) if says(&error, "does not exist") || says(&error, "could not find any") => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A property's value; none when the dataset does not exist.
pub(super) async fn property(dataset: &str, name: &str) -> Outcome<Option<String>> {
    let output = zfs_if_there(&["get", "-Hp", "-o", "value", name, dataset]).await?;
    Ok(output.map(|value| value.trim_end_matches('\n').to_owned()))
}

/// A property that is a number of bytes.
pub(super) async fn bytes_property(dataset: &str, name: &str) -> Outcome<u64> {
    let value = property(dataset, name).await?.unwrap_or_default();
    parse_bytes(&value).ok_or_else(|| {
        let command = format!("zfs get -Hp -o value {name} {dataset}");
        StorageErrorKind::command(command, &format!("\"{value}\" is no number of bytes"))
    })
}

fn parse_bytes(value: &str) -> Option<u64> {
    value.trim().parse().ok()
}

/// Whether a dataset or snapshot exists.
pub(super) async fn exists(name: &str) -> Outcome<bool> {
    Ok(zfs_if_there(&["list", "-H", "-o", "name", name])
        .await?
        .is_some())
}

/// Names of the filesystems directly below a dataset.
pub(super) async fn children(parent: &str) -> Outcome<Vec<String>> {
    let listed = zfs(&["list", "-H", "-r", "-t", "filesystem", "-o", "name", parent]).await?;
    Ok(parse_children(&listed, parent))
}

fn parse_children(listed: &str, parent: &str) -> Vec<String> {
    let below = |line: &str| {
        let name = line.strip_prefix(parent)?.strip_prefix('/')?;
        (!name.is_empty() && !name.contains('/')).then(|| name.to_owned())
    };
    listed.lines().filter_map(below).collect()
}

/// Names of a filesystem's snapshots, oldest first, without the dataset.
pub(super) async fn snapshots(dataset: &str) -> Outcome<Vec<String>> {
    // Sorted by the transaction that made them: several may be of the same second.
    let sort = ["list", "-H", "-r", "-t", "snapshot", "-o", "name"];
    let by = ["-s", "createtxg", dataset];
    let listed = match zfs_if_there(&[&sort[..], &by[..]].concat()).await {
        // zfs-fuse cannot sort by that, and lists them in that order by itself.
        Err(error) if says(&error, "invalid property") || says(&error, "createtxg") => {
            zfs_if_there(&[&sort[..], &[dataset][..]].concat()).await?
        }
        other => other?,
    };
    Ok(parse_snapshots(&listed.unwrap_or_default(), dataset))
}

fn parse_snapshots(listed: &str, dataset: &str) -> Vec<String> {
    let of_it = |line: &str| Some(line.strip_prefix(dataset)?.strip_prefix('@')?.to_owned());
    listed.lines().filter_map(of_it).collect()
}

/// Makes a filesystem that nothing mounts by itself.
pub(super) async fn create(dataset: &str, mountpoint: &str) -> Outcome<()> {
    let mountpoint = format!("mountpoint={mountpoint}");
    let options = [
        "-o",
        "canmount=noauto",
        "-o",
        "atime=off",
        "-o",
        &mountpoint,
    ];
    zfs(&[&["create"][..], &options, &[dataset]].concat()).await?;
    Ok(())
}

/// Makes a filesystem that holds only other ones.
pub(super) async fn create_parent(dataset: &str) -> Outcome<()> {
    zfs(&["create", "-o", "mountpoint=none", dataset]).await?;
    Ok(())
}

/// Sets a property.
pub(super) async fn set(dataset: &str, name: &str, value: &str) -> Outcome<()> {
    zfs_patiently(&["set", &format!("{name}={value}"), dataset]).await
}

/// Mounts a filesystem where its property says; no error when it is mounted.
pub(super) async fn mount(dataset: &str) -> Outcome<()> {
    match zfs(&["mount", dataset]).await {
        Err(error) if says(&error, "already mounted") => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Unmounts a filesystem; no error when it is not mounted.
pub(super) async fn unmount(dataset: &str) -> Outcome<()> {
    match zfs_patiently(&["unmount", dataset]).await {
        Err(error) if says(&error, "not currently mounted") || says(&error, "not mounted") => {
            Ok(())
        }
        other => other,
    }
}

/// Takes a snapshot.
pub(super) async fn snapshot(dataset: &str, name: &str) -> Outcome<()> {
    zfs(&["snapshot", &format!("{dataset}@{name}")]).await?;
    Ok(())
}

/// Deletes a snapshot; no error when there is none.
pub(super) async fn destroy_snapshot(full_name: &str) -> Outcome<()> {
    zfs_if_there(&["destroy", full_name]).await?;
    Ok(())
}

/// Deletes a filesystem with its snapshots and their clones; no error when there is none.
pub(super) async fn destroy(dataset: &str) -> Outcome<()> {
    match zfs_patiently(&["destroy", "-R", dataset]).await {
        Err(error) if says(&error, "does not exist") => Ok(()),
        other => other,
    }
}

/// Deletes a filesystem with its snapshots, unless something was cloned from them.
pub(super) async fn destroy_without_clones(dataset: &str) -> Outcome<()> {
    zfs_patiently(&["destroy", "-r", dataset]).await
}

/// Renames a filesystem that is not mounted.
pub(super) async fn rename(from: &str, to: &str) -> Outcome<()> {
    zfs_patiently(&["rename", from, to]).await
}

/// Makes a filesystem from a snapshot.
pub(super) async fn clone(snapshot: &str, dataset: &str) -> Outcome<()> {
    zfs(&["clone", snapshot, dataset]).await?;
    Ok(())
}

/// Makes a clone the owner of the snapshot that it came from, and of all older ones.
pub(super) async fn take_over_origin(clone: &str) -> Outcome<()> {
    zfs(&["promote", clone]).await?;
    Ok(())
}

/// Takes a filesystem back to its newest snapshot.
pub(super) async fn roll_back(newest: &str) -> Outcome<()> {
    zfs_patiently(&["rollback", newest]).await
}

/// Receives exactly one snapshot, named here and not by the stream; a stream of several datasets, or one
/// that sets properties, is refused for that. Nothing is mounted.
pub(super) async fn receive(full_name: &str, stream: Stream) -> Outcome<()> {
    let arguments = ["receive", "-u", "-F", full_name];
    receive_process::run("zfs", &arguments, stream, &DAMAGED).await
}

/// Reads a text as every kind of output, for the fuzzers' harness.
#[cfg(any(test, fuzzing))]
pub(super) fn outputs(text: &str) {
    parse_bytes(text);
    for child in parse_children(text, "pool/f") {
        assert!(!child.is_empty() && !child.contains('/'));
    }
    for snapshot in parse_snapshots(text, "pool/f/id") {
        assert!(text.contains(&format!("pool/f/id@{snapshot}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_names_are_taken_apart() {
        let listed = "pool/f\npool/f/labels\npool/f/id\npool/f/id:after:s1:0\npool/f/id/sub\n";
        let found = parse_children(listed, "pool/f");
        assert_eq!(found, ["labels", "id", "id:after:s1:0"]);
        let listed = "pool/f/id@s2\npool/f/id@s1\npool/f/id/sub@s3\npool/f/id2@s4\n";
        assert_eq!(parse_snapshots(listed, "pool/f/id"), ["s2", "s1"]);
        assert!(parse_snapshots("", "pool/f/id").is_empty());
    }

    #[test]
    fn numbers_are_read_and_others_refused() {
        assert_eq!(parse_bytes("170328064\n"), Some(170_328_064));
        for text in ["-", "", "1.2G", "-1"] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
    }

    #[test]
    fn error_output_is_told_apart() {
        let kind = |stderr| receive_process::explain("zfs receive -u -F p/v@s", stderr, &DAMAGED);
        assert!(matches!(
            kind("cannot receive new filesystem stream: out of space\n"),
            StorageErrorKind::NoSpace(_)
        ));
        assert!(matches!(
            kind("cannot receive incremental stream: invalid backup stream\n"),
            StorageErrorKind::BadStream(_)
        ));
        assert!(matches!(
            kind("cannot receive incremental stream: most recent snapshot of p/v does not\n"),
            StorageErrorKind::Command { .. }
        ));
    }
}
