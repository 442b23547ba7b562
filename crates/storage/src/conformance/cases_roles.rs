//! Cases about roles and epochs: promoting, demoting, tails, and what is refused.

use super::{
    CaseError, CaseResult, PoolMaker, TestNode, files, in_epoch, new_label, read_stream,
    receive_bytes, refused, snapshot, snapshots, transfer, volume_with_files,
};
use crate::volume_store::StorageErrorKind;
use flocker_types::ids::Epoch;
use flocker_types::volume::{Role, VolumeLabel};

/// A volume held on the first pool, with a replica on the second at the snapshot `s1`.
async fn replicated(maker: &dyn PoolMaker) -> Result<(TestNode, TestNode, VolumeLabel), CaseError> {
    let (source, target) = (maker.make(256).await?, maker.make(256).await?);
    let label = new_label();
    volume_with_files(&source, &label, &snapshot("s1")).await?;
    transfer(&source, &target, &label, None, &snapshot("s1")).await?;
    Ok((source, target, label))
}

pub(super) async fn promote_is_idempotent_and_exact(maker: &dyn PoolMaker) -> CaseResult {
    let (source, target, label) = replicated(maker).await?;
    let path = source.store.mount_path(label.id).await?;
    let at_first = files::describe(&path)?;
    files::change(&path, 1)?;
    source.store.snapshot(label.id, &snapshot("s2")).await?;
    let (s1, s2) = (snapshot("s1"), snapshot("s2"));
    transfer(&source, &target, &label, Some(&s1), &s2).await?;
    let next = in_epoch(&label, 2);
    let missing = target.store.promote(&next, &snapshot("s9")).await;
    assert!(matches!(
        refused(missing)?,
        StorageErrorKind::NoSuchSnapshot(_)
    ));
    target.store.promote(&next, &s2).await?;
    let live = target.store.mount_path(label.id).await?;
    assert_eq!(files::describe(&live)?, files::describe(&path)?);
    assert_ne!(files::describe(&live)?, at_first);
    std::fs::write(live.join("written"), "after the promotion")?;
    target.store.promote(&next, &s2).await?;
    assert!(
        live.join("written").exists(),
        "a repeated promotion changes nothing"
    );
    let copy = target.store.get(label.id).await?.ok_or("gone")?;
    assert_eq!((copy.role, copy.label), (Role::Holder, next));
    Ok(())
}

pub(super) async fn demote_without_writes_leaves_no_tail(maker: &dyn PoolMaker) -> CaseResult {
    let (source, _target, label) = replicated(maker).await?;
    let path = source.store.mount_path(label.id).await?;
    files::describe(&path)?;
    for _ in 0..2 {
        source
            .store
            .demote(label.id, Epoch(2), &snapshot("s1"))
            .await?;
        let copy = source.store.get(label.id).await?.ok_or("gone")?;
        assert_eq!((copy.role, copy.label.epoch), (Role::Replica, Epoch(2)));
        assert_eq!(snapshots(&*source.store, label.id).await?, ["s1"]);
    }
    assert!(source.store.mount_path(label.id).await.is_err());
    Ok(())
}

pub(super) async fn demote_keeps_writes_as_a_tail(maker: &dyn PoolMaker) -> CaseResult {
    let (source, target, label) = replicated(maker).await?;
    let path = source.store.mount_path(label.id).await?;
    // As little as can be written.
    std::fs::write(path.join("last words"), "x")?;
    let written = files::describe(&path)?;
    let (s1, tail) = (snapshot("s1"), snapshot("tail-e1"));
    let next = in_epoch(&label, 2);
    target.store.promote(&next, &s1).await?;
    for _ in 0..2 {
        source.store.demote(label.id, next.epoch, &s1).await?;
        assert_eq!(
            snapshots(&*source.store, label.id).await?,
            ["tail-e1", "s1"]
        );
    }
    let copy = source.store.get(label.id).await?.ok_or("gone")?;
    assert_eq!(copy.head(), Some(&s1), "a tail is not the head");
    // The new holder's data comes as a delta from the common snapshot, beside the tail.
    let live = target.store.mount_path(label.id).await?;
    files::change(&live, 1)?;
    target.store.snapshot(label.id, &snapshot("s2")).await?;
    transfer(&target, &source, &next, Some(&s1), &snapshot("s2")).await?;
    let delete = [s1.clone(), tail.clone()];
    source.store.prune(label.id, &delete).await?;
    assert_eq!(
        snapshots(&*source.store, label.id).await?,
        ["tail-e1", "s2"]
    );
    let reopened = maker.reopen(&source).await?;
    assert_eq!(snapshots(&*reopened, label.id).await?, ["tail-e1", "s2"]);
    // The tail can be sent like any snapshot, and holds what was written.
    let third = maker.make(256).await?;
    let bytes = read_stream(&*reopened, label.id, None, &tail).await?;
    receive_bytes(&*third.store, &next, None, &tail, bytes).await?;
    third.store.promote(&in_epoch(&label, 3), &tail).await?;
    let rescued = third.store.mount_path(label.id).await?;
    assert_eq!(files::describe(&rescued)?, written);
    Ok(())
}

pub(super) async fn stale_epochs_are_refused(maker: &dyn PoolMaker) -> CaseResult {
    let (source, target, label) = replicated(maker).await?;
    let s1 = snapshot("s1");
    let stale = |kind: &StorageErrorKind| matches!(kind, StorageErrorKind::StaleEpoch { .. });
    let newer = in_epoch(&label, 5);
    target.store.set_label(&newer).await?;
    source.store.snapshot(label.id, &snapshot("s2")).await?;
    let delta = read_stream(&*source.store, label.id, Some(&s1), &snapshot("s2")).await?;
    let received = receive_bytes(&*target.store, &label, Some(&s1), &snapshot("s2"), delta).await;
    let error = refused(received)?;
    assert!(stale(&error), "receive: {error}");
    for epoch in [4, 5] {
        let error = refused(target.store.promote(&in_epoch(&label, epoch), &s1).await)?;
        assert!(stale(&error), "promote in {epoch}: {error}");
    }
    let error = refused(target.store.demote(label.id, Epoch(4), &s1).await)?;
    assert!(stale(&error), "demote: {error}");
    target.store.promote(&in_epoch(&label, 6), &s1).await?;
    let error = refused(target.store.promote(&in_epoch(&label, 5), &s1).await)?;
    assert!(stale(&error), "promote a holder: {error}");
    let error = refused(target.store.demote(label.id, Epoch(5), &s1).await)?;
    assert!(stale(&error), "demote a holder: {error}");
    let copy = target.store.get(label.id).await?.ok_or("gone")?;
    assert_eq!((copy.role, copy.label.epoch), (Role::Holder, Epoch(6)));
    Ok(())
}

pub(super) async fn roles_are_respected(maker: &dyn PoolMaker) -> CaseResult {
    let (source, target, label) = replicated(maker).await?;
    let (s1, s2) = (snapshot("s1"), snapshot("s2"));
    let wrong = |kind: &StorageErrorKind| matches!(kind, StorageErrorKind::WrongRole(_));
    let error = refused(target.store.snapshot(label.id, &s2).await)?;
    assert!(wrong(&error), "snapshot of a replica: {error}");
    let error = refused(target.store.create(&label).await)?;
    assert!(wrong(&error), "create over a replica: {error}");
    let error = refused(source.store.demote(label.id, label.epoch, &s1).await)?;
    assert!(wrong(&error), "demote in the holder's own epoch: {error}");
    source.store.snapshot(label.id, &s2).await?;
    let delta = read_stream(&*source.store, label.id, Some(&s1), &s2).await?;
    let next = in_epoch(&label, 2);
    target.store.promote(&next, &s1).await?;
    let third = in_epoch(&label, 3);
    let received = receive_bytes(&*target.store, &third, Some(&s1), &s2, delta).await;
    let error = refused(received)?;
    assert!(wrong(&error), "receive into a holder: {error}");
    let error = refused(target.store.promote(&third, &s1).await)?;
    assert!(wrong(&error), "promote a holder: {error}");
    let error = refused(target.store.demote(label.id, Epoch(3), &s2).await)?;
    assert!(
        matches!(error, StorageErrorKind::NoSuchSnapshot(_)),
        "{error}"
    );
    assert_eq!(snapshots(&*target.store, label.id).await?, ["s1"]);
    Ok(())
}
