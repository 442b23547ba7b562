//! Cases about one pool: creating, labels, snapshots, pruning, deleting, sizes.

use super::{CaseResult, PoolMaker, files, in_epoch, new_label, refused, snapshot, snapshots};
use crate::volume_store::StorageErrorKind;
use flocker_types::ids::VolumeId;
use flocker_types::volume::{Role, VolumeLabel};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const MIB: u64 = 1 << 20;

pub(super) async fn an_empty_pool_lists_nothing(maker: &dyn PoolMaker) -> CaseResult {
    let node = maker.make(256).await?;
    assert!(node.store.list().await?.is_empty());
    let nobody = VolumeId(uuid::Uuid::new_v4());
    assert!(node.store.get(nobody).await?.is_none());
    let error = refused(node.store.mount_path(nobody).await)?;
    assert!(matches!(error, StorageErrorKind::NoSuchVolume), "{error}");
    node.store.destroy(nobody).await?;
    let usage = node.store.pool_usage().await?;
    assert!(usage.size_bytes >= 100 * MIB && usage.free_bytes <= usage.size_bytes);
    Ok(())
}

pub(super) async fn create_is_idempotent(maker: &dyn PoolMaker) -> CaseResult {
    let node = maker.make(256).await?;
    let label = new_label();
    let copy = node.store.create(&label).await?;
    assert_eq!((copy.role, &copy.label), (Role::Holder, &label));
    assert!(copy.snapshots.is_empty());
    let path = node.store.mount_path(label.id).await?;
    let mode = std::fs::metadata(&path)?.permissions().mode();
    assert_eq!(mode & 0o777, 0o777, "any container user can write");
    std::fs::write(path.join("file"), "kept")?;
    assert_eq!(node.store.create(&label).await?.label, label);
    assert_eq!(std::fs::read_to_string(path.join("file"))?, "kept");
    let error = refused(node.store.create(&in_epoch(&label, 2)).await)?;
    assert!(matches!(error, StorageErrorKind::WrongRole(_)), "{error}");
    assert_eq!(node.store.list().await?.len(), 1);
    Ok(())
}

pub(super) async fn labels_come_back_whole(maker: &dyn PoolMaker) -> CaseResult {
    let node = maker.make(256).await?;
    let label = new_label();
    node.store.create(&label).await?;
    let mut changed = in_epoch(&label, 3);
    // Longer than a ZFS property could hold.
    changed.service = Some(super::long_description());
    node.store.set_label(&changed).await?;
    node.store.set_label(&changed).await?;
    let reopened = maker.reopen(&node).await?;
    let copy = reopened.get(label.id).await?.ok_or("the volume is gone")?;
    assert_eq!(copy.label, changed);
    let error = refused(node.store.set_label(&in_epoch(&changed, 2)).await)?;
    assert!(
        matches!(error, StorageErrorKind::StaleEpoch { .. }),
        "{error}"
    );
    let error = refused(node.store.set_label(&new_label()).await)?;
    assert!(matches!(error, StorageErrorKind::NoSuchVolume), "{error}");
    Ok(())
}

pub(super) async fn snapshots_are_idempotent_and_ordered(maker: &dyn PoolMaker) -> CaseResult {
    let node = maker.make(256).await?;
    let label = new_label();
    node.store.create(&label).await?;
    // Names whose alphabetical order is not their age, and one that is a word of the layout.
    for name in ["z-first", "m-second", "a-third", "live"] {
        node.store.snapshot(label.id, &snapshot(name)).await?;
        node.store.snapshot(label.id, &snapshot("z-first")).await?;
    }
    let expected = ["z-first", "m-second", "a-third", "live"];
    assert_eq!(snapshots(&*node.store, label.id).await?, expected);
    let reopened = maker.reopen(&node).await?;
    assert_eq!(snapshots(&*reopened, label.id).await?, expected);
    let copy = reopened.get(label.id).await?.ok_or("the volume is gone")?;
    assert_eq!(copy.head(), Some(&snapshot("live")));
    Ok(())
}

pub(super) async fn prune_deletes_what_it_is_told(maker: &dyn PoolMaker) -> CaseResult {
    let node = maker.make(256).await?;
    let label = new_label();
    node.store.create(&label).await?;
    for name in ["s1", "s2", "s3"] {
        node.store.snapshot(label.id, &snapshot(name)).await?;
    }
    for _ in 0..2 {
        let delete = [snapshot("s1"), snapshot("s3"), snapshot("never-was")];
        node.store.prune(label.id, &delete).await?;
        assert_eq!(snapshots(&*node.store, label.id).await?, ["s2"]);
    }
    let reopened = maker.reopen(&node).await?;
    assert_eq!(snapshots(&*reopened, label.id).await?, ["s2"]);
    Ok(())
}

pub(super) async fn destroy_deletes_everything(maker: &dyn PoolMaker) -> CaseResult {
    let node = maker.make(256).await?;
    let (kept, label) = (new_label(), new_label());
    node.store.create(&kept).await?;
    let path = super::volume_with_files(&node, &label, &snapshot("s1")).await?;
    node.store.destroy(label.id).await?;
    node.store.destroy(label.id).await?;
    assert!(node.store.get(label.id).await?.is_none());
    assert!(!path.exists());
    let listed = node.store.list().await?;
    let ids: Vec<_> = listed.iter().map(|copy| copy.label.id).collect();
    assert_eq!(ids, [kept.id]);
    // The same identity may come again, empty.
    node.store.create(&label).await?;
    let path = node.store.mount_path(label.id).await?;
    assert!(files::describe(&path)?.is_empty());
    Ok(())
}

pub(super) async fn sizes_are_enforced(maker: &dyn PoolMaker) -> CaseResult {
    let (source, target) = (maker.make(512).await?, maker.make(512).await?);
    let label = VolumeLabel {
        size_bytes_max: Some(32 * MIB),
        ..new_label()
    };
    source.store.create(&label).await?;
    let path = source.store.mount_path(label.id).await?;
    expect_full(&path, 24, 64)?;
    // A larger size lets more in; a smaller one takes nothing away.
    let larger = VolumeLabel {
        size_bytes_max: Some(64 * MIB),
        ..label.clone()
    };
    source.store.set_label(&larger).await?;
    expect_full(&path, 48, 96)?;
    std::fs::remove_file(path.join("fill"))?;
    std::fs::write(path.join("base"), files::noise(1, 20 << 20))?;
    source.store.snapshot(label.id, &snapshot("s1")).await?;
    super::transfer(&source, &target, &larger, None, &snapshot("s1")).await?;
    let next = in_epoch(&larger, 2);
    target.store.promote(&next, &snapshot("s1")).await?;
    let path = target.store.mount_path(label.id).await?;
    // What the replica had counts after its promotion.
    expect_full(&path, 24, 46)?;
    Ok(())
}

/// Writes until the size is reached, which must be between two bounds.
fn expect_full(path: &Path, mib_min: u64, mib_max: u64) -> io::Result<()> {
    let mut file = std::fs::File::create(path.join("fill"))?;
    for mib in 0..mib_max {
        let written = file
            .write_all(&files::noise(mib, 1 << 20))
            .and_then(|()| file.sync_data());
        if let Err(error) = written {
            let full = [io::ErrorKind::QuotaExceeded, io::ErrorKind::StorageFull];
            assert!(full.contains(&error.kind()), "{error}");
            assert!(mib >= mib_min, "full after {mib} MiB already");
            return Ok(());
        }
    }
    panic!("{mib_max} MiB could be written");
}

pub(super) async fn usage_follows_what_is_written(maker: &dyn PoolMaker) -> CaseResult {
    let node = maker.make(512).await?;
    let label = new_label();
    node.store.create(&label).await?;
    let before = node.store.pool_usage().await?;
    let path = node.store.mount_path(label.id).await?;
    std::fs::write(path.join("file"), files::noise(1, 32 << 20))?;
    node.store.snapshot(label.id, &snapshot("s1")).await?;
    let after = node.store.pool_usage().await?;
    let used = before.free_bytes.saturating_sub(after.free_bytes);
    assert!((24 * MIB..80 * MIB).contains(&used), "{used} bytes used");
    Ok(())
}

pub(super) async fn used_bytes_are_those_of_the_live_data(maker: &dyn PoolMaker) -> CaseResult {
    let node = maker.make(512).await?;
    // With a size, as then the kernel counts; the other one is looked at file by file.
    let sized = VolumeLabel {
        size_bytes_max: Some(128 * MIB),
        ..new_label()
    };
    for label in [new_label(), sized] {
        node.store.create(&label).await?;
        let path = node.store.mount_path(label.id).await?;
        let empty = node.store.used_bytes(label.id).await?;
        assert!(empty.is_some_and(|bytes| bytes < MIB), "empty: {empty:?}");
        std::fs::write(path.join("file"), files::noise(1, 16 << 20))?;
        node.store.snapshot(label.id, &snapshot("s1")).await?;
        let used = node.store.used_bytes(label.id).await?;
        let about = 16 * MIB..18 * MIB;
        assert!(used.is_some_and(|bytes| about.contains(&bytes)), "{used:?}");
        // What only a snapshot keeps does not count.
        std::fs::remove_file(path.join("file"))?;
        node.store.snapshot(label.id, &snapshot("s2")).await?;
        let used = node.store.used_bytes(label.id).await?;
        assert!(used.is_some_and(|bytes| bytes < 2 * MIB), "after: {used:?}");
        let next = in_epoch(&label, 2);
        node.store
            .demote(label.id, next.epoch, &snapshot("s2"))
            .await?;
        assert_eq!(node.store.used_bytes(label.id).await?, None);
    }
    let unknown = node.store.used_bytes(new_label().id).await;
    let unknown = refused(unknown)?;
    assert!(matches!(unknown, StorageErrorKind::NoSuchVolume));
    Ok(())
}
