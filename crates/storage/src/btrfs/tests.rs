//! The btrfs store on real filesystems: the conformance suite, and what only btrfs can get wrong.

use super::*;
use crate::conformance::{
    self, CaseError, PoolMaker, TestNode, conformance_tests, files, new_label, snapshot,
};
use crate::test_pools::BtrfsTestPool;

struct Maker;

#[async_trait]
impl PoolMaker for Maker {
    async fn make(&self, size_mib: u64) -> Result<TestNode, CaseError> {
        let pool = BtrfsTestPool::new(size_mib).await?;
        let store = pool.store().await?;
        let keeper = Box::new(pool);
        Ok(TestNode { store, keeper })
    }

    async fn reopen(&self, node: &TestNode) -> Result<Arc<dyn VolumeStore>, CaseError> {
        let pool = node.keeper.downcast_ref::<BtrfsTestPool>();
        Ok(pool.ok_or("not a btrfs pool")?.store().await?)
    }
}

conformance_tests!(Maker);

/// A pool with one volume of one snapshot, held in epoch 1.
async fn one_volume() -> (BtrfsTestPool, Arc<dyn VolumeStore>, VolumeLabel, PathBuf) {
    let pool = BtrfsTestPool::new(256).await.unwrap();
    let store = pool.store().await.unwrap();
    let label = new_label();
    store.create(&label).await.unwrap();
    let live = store.mount_path(label.id).await.unwrap();
    files::populate(&live).unwrap();
    store.snapshot(label.id, &snapshot("s1")).await.unwrap();
    let copy = live.parent().unwrap().to_owned();
    (pool, store, label, copy)
}

#[tokio::test]
async fn what_a_crash_left_is_healed() {
    let (pool, store, label, copy) = one_volume().await;
    // A snapshot was taken, or half received, and not yet listed.
    let orphan = copy.join("snapshots/s2");
    sys::create_snapshot(&copy.join("live"), &orphan, sys::Access::ReadOnly).unwrap();
    let half = copy.join("snapshots/half");
    sys::create_subvolume(&half).unwrap();
    std::fs::write(half.join("file"), "half").unwrap();
    // A copy was being made, another one deleted.
    let making = pool.path().join("making").join(new_label().id.to_string());
    std::fs::create_dir(&making).unwrap();
    sys::create_subvolume(&making.join("live")).unwrap();
    let deleting = pool.path().join("deleting/gone.0");
    std::fs::create_dir(&deleting).unwrap();
    sys::create_subvolume(&deleting.join("snapshots")).unwrap();
    sys::create_subvolume(&deleting.join("snapshots/s")).unwrap();

    assert_eq!(
        conformance::snapshots(&*store, label.id).await.unwrap(),
        ["s1"]
    );
    assert!(!orphan.exists() && !half.exists());
    let live = store.mount_path(label.id).await.unwrap();
    assert!(live.join("large").exists(), "the holder's data stays");
    pool.store().await.unwrap();
    assert!(!making.exists() && !deleting.exists());
}

#[tokio::test]
async fn a_crash_while_changing_roles_is_healed() {
    let (_pool, store, label, copy) = one_volume().await;
    // Demotion wrote its label and did not delete live.
    let mut stored = crate::label_file::read(&copy).unwrap().unwrap();
    stored.role = flocker_types::volume::Role::Replica;
    crate::label_file::write(&copy, &stored, crate::label_file::Flush::Label).unwrap();
    assert!(copy.join("live").exists());
    store
        .demote(label.id, Epoch(1), &snapshot("s1"))
        .await
        .unwrap();
    assert!(!copy.join("live").exists());
    // Promotion made live and did not write its label.
    let live = copy.join("live");
    let head = copy.join("snapshots/s1");
    sys::create_snapshot(&head, &live, sys::Access::ReadWrite).unwrap();
    std::fs::remove_file(live.join("large")).unwrap();
    let next = conformance::in_epoch(&label, 2);
    store.promote(&next, &snapshot("s1")).await.unwrap();
    let live = store.mount_path(label.id).await.unwrap();
    assert!(live.join("large").exists(), "exactly the head");
}

#[tokio::test]
async fn an_unreadable_label_deletes_nothing() {
    let (pool, store, label, copy) = one_volume().await;
    std::fs::write(copy.join("label.json"), "{").unwrap();
    assert!(store.get(label.id).await.is_err());
    assert!(store.list().await.unwrap().is_empty());
    std::fs::remove_file(copy.join("label.json")).unwrap();
    let store = pool.store().await.unwrap();
    assert!(store.get(label.id).await.unwrap().is_none());
    assert!(copy.join("live/large").exists());
}

#[tokio::test]
async fn a_stream_reaches_nothing_but_the_snapshots() {
    let (pool, store, label, copy) = one_volume().await;
    // "/etc/passwd" as the name of the subvolume: the confinement makes it a missing directory.
    let mut stream = b"btrfs-stream\0".to_vec();
    stream.extend(1_u32.to_le_bytes());
    let name = b"../../../../escaped";
    let mut body = Vec::new();
    for (kind, value) in [(15_u16, &name[..]), (1, &[7; 16]), (2, &[1; 8])] {
        body.extend(kind.to_le_bytes());
        body.extend(u16::try_from(value.len()).unwrap().to_le_bytes());
        body.extend(value);
    }
    let mut command = u32::try_from(body.len()).unwrap().to_le_bytes().to_vec();
    command.extend(1_u16.to_le_bytes());
    command.extend([0; 4]);
    command.extend(&body);
    let digest = crc_fast::Digest::new_with_init_state(crc_fast::CrcAlgorithm::Crc32Iscsi, 0);
    let mut digest = digest;
    digest.update(&command);
    // The format's checksum neither starts nor ends with an inversion.
    let crc = u32::try_from(digest.finalize()).unwrap() ^ u32::MAX;
    command[6..10].copy_from_slice(&crc.to_le_bytes());
    stream.extend(&command);
    stream.extend([0, 0, 0, 0, 21, 0]);
    let label2 = new_label();
    let received =
        conformance::receive_bytes(&*store, &label2, None, &snapshot("s1"), stream).await;
    let error = received.unwrap_err();
    assert!(!error.to_string().is_empty());
    for directory in [pool.path(), &copy, Path::new("/")] {
        assert!(
            !directory.join("escaped").exists(),
            "in {}",
            directory.display()
        );
    }
    assert!(store.get(label2.id).await.unwrap().is_none());
    assert!(store.get(label.id).await.unwrap().is_some());
}

#[tokio::test]
async fn dropping_a_stream_ends_it() {
    let (_pool, store, label, copy) = one_volume().await;
    let stream = store.send(label.id, None, &snapshot("s1")).await.unwrap();
    drop(stream);
    // The kernel refuses to delete a snapshot while it is sent; pruning succeeds all the same.
    store.prune(label.id, &[snapshot("s1")]).await.unwrap();
    assert!(
        conformance::snapshots(&*store, label.id)
            .await
            .unwrap()
            .is_empty()
    );
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while copy.join("snapshots/s1").exists() {
        assert!(std::time::Instant::now() < deadline, "the send goes on");
        store.get(label.id).await.unwrap();
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn calls_for_one_volume_wait_and_others_do_not() {
    let (_pool, store, label, _) = one_volume().await;
    let other = new_label();
    let (stalled, mut feeder) = tokio::io::duplex(16);
    let receiving = tokio::spawn({
        let (store, other) = (Arc::clone(&store), other.clone());
        async move {
            let verify = Box::new(|| Ok(Checksum(String::new())));
            let (name, stream) = (snapshot("s1"), Box::new(stalled));
            store.receive(&other, None, &name, stream, verify).await
        }
    });
    // A stream's first bytes are more than the pipe holds: once they are gone the reception has begun.
    tokio::io::AsyncWriteExt::write_all(&mut feeder, b"btrfs-stream\0\x01\0\0\0")
        .await
        .unwrap();
    store.snapshot(label.id, &snapshot("s2")).await.unwrap();
    assert_eq!(store.list().await.unwrap().len(), 1);
    assert!(store.get(other.id).await.unwrap().is_none());
    drop(feeder);
    assert!(receiving.await.unwrap().is_err());
}
