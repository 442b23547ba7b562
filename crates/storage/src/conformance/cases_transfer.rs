//! Cases about streams: full and incremental, there and back, over chains of pools.

use super::{
    CaseResult, PoolMaker, TestNode, files, in_epoch, new_label, read_stream, receive_bytes,
    refused, snapshot, snapshots, transfer, volume_with_files,
};
use crate::volume_store::StorageErrorKind;
use flocker_types::ids::SnapshotName;
use flocker_types::volume::{Role, VolumeLabel};
use std::collections::BTreeMap;

/// More than two rounds of [`files::change`] take where every block is of 128 KiB, and much less than
/// the whole volume (13 MiB).
const DELTA_BYTES_MAX: usize = 5_000_000;

pub(super) async fn a_full_stream_makes_a_replica(maker: &dyn PoolMaker) -> CaseResult {
    let (source, target) = (maker.make(256).await?, maker.make(256).await?);
    let (label, first) = (new_label(), snapshot("e1-s1"));
    let path = volume_with_files(&source, &label, &first).await?;
    let written = files::describe(&path)?;
    transfer(&source, &target, &label, None, &first).await?;
    let copy = target.store.get(label.id).await?.ok_or("no replica")?;
    assert_eq!((copy.role, &copy.label), (Role::Replica, &label));
    assert_eq!(copy.head(), Some(&first));
    assert!(copy.snapshots[0].checksum.is_some());
    let error = refused(target.store.mount_path(label.id).await)?;
    assert!(matches!(error, StorageErrorKind::WrongRole(_)), "{error}");
    target.store.promote(&in_epoch(&label, 2), &first).await?;
    let path = target.store.mount_path(label.id).await?;
    assert_eq!(files::describe(&path)?, written);
    Ok(())
}

/// Moves a volume as the agents do: snapshot, delta, promote there, demote here. Returns the delta's
/// size and what the volume then contains.
async fn move_volume(
    source: &TestNode,
    target: &TestNode,
    label: &VolumeLabel,
    from: Option<&SnapshotName>,
    to: &SnapshotName,
) -> Result<(usize, BTreeMap<String, String>), super::CaseError> {
    source.store.snapshot(label.id, to).await?;
    let path = source.store.mount_path(label.id).await?;
    let written = files::describe(&path)?;
    let bytes = transfer(source, target, label, from, to).await?;
    let next = in_epoch(label, label.epoch.0 + 1);
    target.store.promote(&next, to).await?;
    source.store.demote(label.id, next.epoch, to).await?;
    let arrived = files::describe(&target.store.mount_path(label.id).await?)?;
    assert_eq!(arrived, written);
    Ok((bytes, written))
}

pub(super) async fn moving_back_sends_a_delta(maker: &dyn PoolMaker) -> CaseResult {
    let nodes = [maker.make(256).await?, maker.make(256).await?];
    there_and_on(&nodes, 6).await
}

pub(super) async fn a_chain_over_three_pools_returns(maker: &dyn PoolMaker) -> CaseResult {
    let nodes = [
        maker.make(256).await?,
        maker.make(256).await?,
        maker.make(256).await?,
    ];
    there_and_on(&nodes, 7).await
}

/// Moves a volume round and round; every move but the first to each node must be a delta from the
/// newest snapshot that both have.
async fn there_and_on(nodes: &[TestNode], moves: usize) -> CaseResult {
    let label = new_label();
    volume_with_files(&nodes[0], &label, &snapshot("e1-s0")).await?;
    for step in 0..moves {
        let (source, target) = (&nodes[step % nodes.len()], &nodes[(step + 1) % nodes.len()]);
        let epoch = u64::try_from(step)? + 1;
        let label = in_epoch(&label, epoch);
        files::change(&source.store.mount_path(label.id).await?, epoch)?;
        let theirs = snapshots(&*target.store, label.id).await?;
        let ours = snapshots(&*source.store, label.id).await?;
        let base = ours.iter().rev().find(|name| theirs.contains(name));
        let known = base.is_some();
        assert_eq!(known, step >= nodes.len() - 1, "step {step}");
        let newest = ours.last().ok_or("a holder without snapshots")?;
        let base = snapshot(base.unwrap_or(newest));
        if !known {
            // A node that has nothing gets first what the holder's other replicas have too.
            transfer(source, target, &label, None, &base).await?;
        }
        let to = snapshot(&format!("e{epoch}-s1-move"));
        let (bytes, _) = move_volume(source, target, &label, Some(&base), &to).await?;
        assert!(bytes < DELTA_BYTES_MAX, "step {step} took {bytes} bytes");
        let back = source.store.get(label.id).await?.ok_or("no replica")?;
        assert_eq!((back.role, back.head()), (Role::Replica, Some(&to)));
    }
    Ok(())
}

pub(super) async fn a_snapshot_is_received_once(maker: &dyn PoolMaker) -> CaseResult {
    let (source, target) = (maker.make(256).await?, maker.make(256).await?);
    let (label, first) = (new_label(), snapshot("e1-s1"));
    volume_with_files(&source, &label, &first).await?;
    for _ in 0..2 {
        transfer(&source, &target, &label, None, &first).await?;
        assert_eq!(snapshots(&*target.store, label.id).await?, ["e1-s1"]);
    }
    Ok(())
}

pub(super) async fn streams_need_their_base(maker: &dyn PoolMaker) -> CaseResult {
    let (source, target) = (maker.make(256).await?, maker.make(256).await?);
    let (label, first, second) = (new_label(), snapshot("s1"), snapshot("s2"));
    volume_with_files(&source, &label, &first).await?;
    let error = refused(source.store.send(label.id, None, &second).await)?;
    assert!(matches!(error, StorageErrorKind::NoSuchSnapshot(name) if name == second));
    source.store.snapshot(label.id, &second).await?;
    let delta = read_stream(&*source.store, label.id, Some(&first), &second).await?;
    let received = receive_bytes(&*target.store, &label, Some(&first), &second, delta).await;
    let error = refused(received)?;
    assert!(matches!(error, StorageErrorKind::NoSuchSnapshot(name) if name == first));
    assert!(target.store.get(label.id).await?.is_none());
    Ok(())
}
