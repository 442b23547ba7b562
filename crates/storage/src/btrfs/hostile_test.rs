//! Volume streams from a node that means harm, on a real filesystem: nothing outside the volume's own
//! directory changes, memory stays bounded, and the pool is not filled past what is allowed.

use super::hostile_stream::HostileStream;
use super::*;
use crate::conformance::{self, files, new_label, snapshot};
use crate::stream::{BoundedStream, Measuring, content_bytes_max, reserve_bytes};
use crate::test_pools::BtrfsTestPool;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::ReadBuf;
use uuid::Uuid;

const SECRET: &str = "what only the other volume has";

/// A pool with a replica that is to receive, and another volume; and a directory beside the pool.
struct Scene {
    pool: BtrfsTestPool,
    store: Arc<dyn VolumeStore>,
    label: VolumeLabel,
    other: VolumeLabel,
    other_identity: (Uuid, u64),
    outside: tempfile::TempDir,
    before: Everything,
}

type Everything = (BTreeMap<String, String>, BTreeMap<String, String>);

impl Scene {
    async fn new() -> Self {
        let pool = BtrfsTestPool::new(256).await.unwrap();
        let store = pool.store().await.unwrap();
        let other = new_label();
        store.create(&other).await.unwrap();
        let live = store.mount_path(other.id).await.unwrap();
        std::fs::write(live.join("secret"), SECRET.repeat(300)).unwrap();
        store.snapshot(other.id, &snapshot("o1")).await.unwrap();
        let taken = live.parent().unwrap().join("snapshots/o1");
        let other_identity = identity(&taken);
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("victim"), "untouched").unwrap();
        let label = new_label();
        let scene = Self {
            pool,
            store,
            label,
            other,
            other_identity,
            outside,
            before: Everything::default(),
        };
        // An honest first snapshot.
        let first = HostileStream::of_subvolume("s1")
            .file("a")
            .write("a", b"first")
            .end();
        scene.receive("s1", first).await.unwrap();
        let before = scene.everything_else();
        Scene { before, ..scene }
    }

    async fn receive(&self, name: &str, stream: Vec<u8>) -> Result<(), StorageError> {
        conformance::receive_bytes(&*self.store, &self.label, None, &snapshot(name), stream).await
    }

    /// The other volume, and the directory beside the pool.
    fn everything_else(&self) -> Everything {
        let other = self
            .pool
            .path()
            .join("volumes")
            .join(self.other.id.to_string());
        (
            files::describe(&other).unwrap(),
            files::describe(self.outside.path()).unwrap(),
        )
    }

    fn entries(&self, directory: &str) -> Vec<String> {
        let listed = std::fs::read_dir(self.pool.path().join(directory)).unwrap();
        let mut names: Vec<String> = listed
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// The stream is refused, and leaves nothing anywhere.
    async fn is_harmless(&self, what: &str, stream: Vec<u8>) {
        let received = self.receive("s2", stream).await;
        assert!(received.is_err(), "{what} was accepted");
        self.nothing_changed(what).await;
    }

    async fn nothing_changed(&self, what: &str) {
        assert_eq!(self.everything_else(), self.before, "{what}");
        assert_eq!(
            self.entries(""),
            ["deleting", "making", "volumes"],
            "{what}"
        );
        let own = format!("volumes/{}", self.label.id);
        assert_eq!(self.entries(&own), ["label.json", "snapshots"], "{what}");
        let snapshots = conformance::snapshots(&*self.store, self.label.id).await;
        assert_eq!(snapshots.unwrap(), ["s1"], "{what}");
        assert_eq!(self.entries(&format!("{own}/snapshots")), ["s1"], "{what}");
        let kept = self.pool.path().join(own).join("snapshots/s1/a");
        assert_eq!(std::fs::read_to_string(kept).unwrap(), "first", "{what}");
    }
}

#[tokio::test]
async fn a_stream_cannot_leave_its_volume() {
    let scene = Scene::new().await;
    let begin = || HostileStream::of_subvolume("s2");
    let victim = scene.outside.path().join("victim");
    let victim = victim.to_str().unwrap();
    let up = "../".repeat(12);
    let escape = format!("{up}{}", victim.trim_start_matches('/'));
    let stream = begin().write(&escape, b"x").end();
    scene.is_harmless("a path upwards", stream).await;
    let stream = begin().file("../beside").write("../beside", b"x").end();
    scene
        .is_harmless("a file beside the snapshot", stream)
        .await;
    let stream = begin().write(victim, b"x").end();
    scene.is_harmless("an absolute path", stream).await;
    let stream = begin().symlink("link", victim).write("link", b"x").end();
    scene
        .is_harmless("a symbolic link to write through", stream)
        .await;
    let stream = begin().symlink("link", &escape).write("link", b"x").end();
    scene.is_harmless("a relative symbolic link", stream).await;
    let stream = begin().unlink(&escape).end();
    scene.is_harmless("a file to delete upwards", stream).await;
    let other = format!("../../{}/live/secret", scene.other.id);
    let stream = begin().write(&other, b"x").end();
    scene.is_harmless("another volume's file", stream).await;
    let stream = begin().write("../s1/a", b"x").end();
    scene
        .is_harmless("an older snapshot of its own", stream)
        .await;
    let stream = begin().rename("../s1", "../s0").end();
    scene
        .is_harmless("a snapshot that it renames", stream)
        .await;
    let stream = begin().remove_directory("../s1").end();
    scene
        .is_harmless("a snapshot that it deletes", stream)
        .await;
}

#[tokio::test]
async fn a_stream_cannot_take_another_volumes_data() {
    let scene = Scene::new().await;
    let (id, transaction) = scene.other_identity;
    let stream = HostileStream::of_subvolume("s2")
        .file("a")
        .clone_from("a", (id, transaction), "secret")
        .end();
    scene
        .is_harmless("a clone of another volume's file", stream)
        .await;
    let stream = HostileStream::of_snapshot("s2", id, transaction).end();
    scene
        .is_harmless("a snapshot of another volume", stream)
        .await;
}

#[tokio::test]
async fn a_stream_makes_its_snapshot_and_nothing_else() {
    let scene = Scene::new().await;
    for name in [
        "../evil",
        "../../evil",
        "/evil",
        "s1",
        ".",
        "..",
        "s2/../s3",
        "",
        "s3",
    ] {
        let stream = HostileStream::of_subvolume(name).end();
        scene
            .is_harmless(&format!("a subvolume named {name:?}"), stream)
            .await;
    }
    let mut two = HostileStream::of_subvolume("s2");
    two.subvolume("s3");
    scene.is_harmless("two subvolumes", two.end()).await;
    let long = HostileStream::of_subvolume(&"x".repeat(5_000)).end();
    scene.is_harmless("a name of 5,000 characters", long).await;
    let mut cut = HostileStream::of_subvolume("s2").file("a").end();
    cut.truncate(cut.len() - 12);
    scene.is_harmless("a stream without its end", cut).await;
}

#[tokio::test]
async fn a_device_in_a_volume_is_only_a_name() {
    let scene = Scene::new().await;
    // 1:5 is /dev/zero.
    let stream = HostileStream::of_subvolume("s2").device("zero").end();
    scene.receive("s2", stream).await.unwrap();
    let path = format!("volumes/{}/snapshots/s2/zero", scene.label.id);
    let path = scene.pool.path().join(path);
    assert!(path.exists());
    let opened = std::fs::File::open(path).unwrap_err();
    assert_eq!(opened.kind(), std::io::ErrorKind::PermissionDenied);
}

/// Writes that never end, made while they are read.
struct Endless {
    ready: Vec<u8>,
    offset: u64,
}

impl AsyncRead for Endless {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        _context: &mut std::task::Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        if self.ready.is_empty() {
            let mut stream = HostileStream::of_subvolume("unused");
            stream.take();
            stream.write_at("a", self.offset, &[7; 48 << 10]);
            self.offset += 48 << 10;
            self.ready = stream.take();
        }
        let length = self.ready.len().min(buffer.remaining());
        let piece: Vec<u8> = self.ready.drain(..length).collect();
        buffer.put_slice(&piece);
        std::task::Poll::Ready(Ok(()))
    }
}

/// Receives from a liar: how far down the free room went, in bytes, and how full the pool was before.
async fn lied_to(announced: Option<u64>) -> (u64, PoolUsage) {
    let pool = BtrfsTestPool::new(256).await.unwrap();
    let store = pool.store().await.unwrap();
    let before = store.pool_usage().await.unwrap();
    let lowest = Arc::new(AtomicU64::new(u64::MAX));
    let root = pool.path().to_owned();
    let (measured, seen) = (Arc::clone(&store), Arc::clone(&lowest));
    let liar = Endless {
        ready: HostileStream::of_subvolume("s1").file("a").take(),
        offset: 0,
    };
    let stream = BoundedStream::new(liar, announced, move || -> Measuring {
        let (store, seen) = (Arc::clone(&measured), Arc::clone(&seen));
        let root = root.clone();
        Box::pin(async move {
            // So that what is in memory counts.
            let pool = std::fs::File::open(root)?;
            rustix::fs::syncfs(&pool)?;
            let usage = store.pool_usage().await.map_err(std::io::Error::other)?;
            seen.fetch_min(usage.free_bytes, Ordering::Relaxed);
            let largest = children().into_iter().map(resident_bytes).max();
            assert!(
                largest.unwrap_or(0) < 64 << 20,
                "btrfs receive has {largest:?} bytes"
            );
            Ok(usage)
        })
    });
    let verify = Box::new(|| -> Result<Checksum, StorageError> { panic!("it never ends") });
    let label = new_label();
    let received = store
        .receive(&label, None, &snapshot("s1"), Box::new(stream), verify)
        .await;
    assert!(received.is_err());
    assert!(store.get(label.id).await.unwrap().is_none());
    (lowest.load(Ordering::Relaxed), before)
}

#[tokio::test]
async fn a_liar_fills_no_more_than_it_announced_and_a_little() {
    let announced = 48 << 20;
    let (lowest, before) = lied_to(Some(announced)).await;
    let taken = before.free_bytes - lowest;
    // The filesystem's own records of the data come on top.
    let allowed = content_bytes_max(announced) + (32 << 20);
    assert!(taken > 32 << 20 && taken <= allowed, "{taken} of {allowed}");
}

#[tokio::test]
async fn a_liar_does_not_touch_the_pools_reserve_and_takes_no_memory() {
    let own = std::process::id();
    let memory_before = resident_bytes(own);
    let (lowest, before) = lied_to(None).await;
    let reserve = reserve_bytes(before);
    assert!(lowest + (24 << 20) >= reserve, "{lowest} of {reserve}");
    let grown = resident_bytes(own).saturating_sub(memory_before);
    assert!(grown < 64 << 20, "{grown} bytes more are resident");
}

/// Most memory that a process ever had; nothing when it has gone.
fn resident_bytes(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// The processes that this one has started: those that receive.
fn children() -> Vec<u32> {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let of = |thread: std::io::Result<std::fs::DirEntry>| {
        let path = thread.unwrap().path().join("children");
        std::fs::read_to_string(path).unwrap_or_default()
    };
    let listed: String = threads.map(of).collect();
    let pids = listed.split_whitespace().map(str::parse);
    pids.filter_map(Result::ok).collect()
}

/// A subvolume's UUID and generation.
fn identity(subvolume: &Path) -> (Uuid, u64) {
    let show = std::process::Command::new("btrfs")
        .args(["subvolume", "show"])
        .arg(subvolume)
        .output()
        .unwrap();
    let text = String::from_utf8(show.stdout).unwrap();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name}: {text}"))
            .trim()
            .to_owned()
    };
    let id = field("UUID:").parse().unwrap();
    (id, field("Generation:").parse().unwrap())
}
