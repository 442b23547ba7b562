//! Copying: snapshot, find what the target has, send what it lacks.

use super::{copy_of, storage_failure};
use crate::run::Node;
use crate::streams::Transfer;
use flocker_core::agent::JobOutcome;
use flocker_types::ids::SnapshotName;
use flocker_types::task::{
    CopiedVolume, CopyVolume, Failure, Peer, Retry, TaskOutcome, TaskProgress,
};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Sends each volume, one after the other.
pub(super) async fn copy(
    node: &Node,
    volumes: &[CopyVolume],
    target: Peer,
    stall_limit_ms: u64,
    progress: &watch::Sender<TaskProgress>,
) -> Result<JobOutcome, Failure> {
    let mut copied = Vec::new();
    for volume in volumes {
        node.store
            .snapshot(volume.volume, &volume.snapshot)
            .await
            .map_err(storage_failure)?;
    }
    for volume in volumes {
        let stall_limit = Duration::from_millis(stall_limit_ms);
        copied.push(copy_volume(node, volume, target, stall_limit, progress).await?);
    }
    Ok(JobOutcome::Task(TaskOutcome::Copied { volumes: copied }))
}

async fn copy_volume(
    node: &Node,
    volume: &CopyVolume,
    target: Peer,
    stall_limit: Duration,
    progress: &watch::Sender<TaskProgress>,
) -> Result<CopiedVolume, Failure> {
    let began = Instant::now();
    let mut transfer = Transfer::open(node, target, stall_limit).await?;
    let there = transfer.ask(volume.volume).await?;
    if there.contains(&volume.snapshot) {
        return Err(Failure {
            message: format!(
                "the target has snapshot {} from an attempt whose end was lost",
                volume.snapshot
            ),
            retry: Retry::MayHelp,
        });
    }
    let own = copy_of(node, volume.volume).await?;
    let own: Vec<SnapshotName> = own.snapshots.into_iter().map(|s| s.name).collect();
    let chain = chain(&own, &there, volume);
    let (mut bytes, mut wire_bytes, mut checksum) = (0, 0, None);
    let mut open = Some(transfer);
    for (from, to) in &chain.steps {
        // A connection carries one stream; the first goes over the one that asked.
        let connection = match open.take() {
            Some(connection) => connection,
            None => Transfer::open(node, target, stall_limit).await?,
        };
        let sent = connection
            .send(node, volume, from.as_ref(), to, progress)
            .await?;
        bytes += sent.bytes;
        wire_bytes += sent.wire_bytes;
        checksum = Some(sent.checksum);
    }
    let checksum = checksum.ok_or_else(|| Failure {
        message: "there was nothing to send".to_owned(),
        retry: Retry::MayHelp,
    })?;
    Ok(CopiedVolume {
        volume: volume.volume,
        snapshot: volume.snapshot.clone(),
        checksum,
        bytes,
        wire_bytes,
        full: chain.full,
        milliseconds: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    })
}

/// The streams that take the target from what it has to the wanted snapshot.
#[derive(Debug, PartialEq, Eq)]
struct Chain {
    steps: Vec<(Option<SnapshotName>, SnapshotName)>,
    full: bool,
}

/// Begins at the newest snapshot that both have; on the way come the bases that the target lacks and
/// that are newer than that (older ones cannot be sent on ZFS, whose snapshots are a line).
fn chain(own: &[SnapshotName], there: &[SnapshotName], volume: &CopyVolume) -> Chain {
    let common = own.iter().rposition(|name| there.contains(name));
    let later = own.iter().skip(common.map_or(0, |index| index + 1));
    let stops = later.filter(|name| volume.bases.contains(name) && **name != volume.snapshot);
    let mut from = common.map(|index| own[index].clone());
    let mut steps = Vec::new();
    for to in stops.chain([&volume.snapshot]) {
        steps.push((from.replace(to.clone()), to.clone()));
    }
    Chain {
        steps,
        full: common.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flocker_types::ids::{Epoch, VolumeId};

    fn names(text: &str) -> Vec<SnapshotName> {
        text.split_whitespace()
            .map(|name| name.parse().unwrap())
            .collect()
    }

    fn steps(own: &str, there: &str, bases: &str) -> (Vec<String>, bool) {
        let own = names(own);
        let volume = CopyVolume {
            volume: VolumeId(uuid::Uuid::nil()),
            epoch: Epoch(1),
            snapshot: own.last().unwrap().clone(),
            bases: names(bases),
        };
        let chain = chain(&own, &names(there), &volume);
        let show = |(from, to): &(Option<SnapshotName>, SnapshotName)| {
            format!("{}>{to}", from.as_ref().map_or("", |from| from.as_str()))
        };
        (chain.steps.iter().map(show).collect(), chain.full)
    }

    #[test]
    fn a_target_with_nothing_gets_everything_and_the_bases_first() {
        assert_eq!(steps("a b c", "", ""), (vec![">c".to_owned()], true));
        assert_eq!(
            steps("a b c", "", "a"),
            (vec![">a".to_owned(), "a>c".to_owned()], true)
        );
    }

    #[test]
    fn a_common_snapshot_makes_a_delta() {
        assert_eq!(steps("a b c", "a", ""), (vec!["a>c".to_owned()], false));
        let with_base = (vec!["a>b".to_owned(), "b>c".to_owned()], false);
        assert_eq!(steps("a b c", "a x", "b"), with_base);
        // A base older than what both have is not sent.
        assert_eq!(steps("a b c", "b", "a"), (vec!["b>c".to_owned()], false));
    }
}
