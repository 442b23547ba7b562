//! Jobs: finite pieces of work that the core asks for, each in a task of its own.
//!
//! The loop begins them and hears of their end as an event. A cancelled job is dropped where it is;
//! everything that it calls may be begun again afterwards.

mod container;
mod copy;
mod files;
mod image;

use crate::run::Node;
use crate::shell::ShellInput;
use flocker_core::agent::{Event, Job, JobId, JobOutcome};
use flocker_runtime::RuntimeError;
use flocker_storage::StorageError;
use flocker_types::ids::VolumeId;
use flocker_types::task::{Failure, Retry, TaskProgress};
use flocker_types::volume::VolumeCopy;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Begins a job.
pub(crate) fn spawn(node: Node, id: JobId, job: Job, cancel: CancellationToken) {
    let runs_container = matches!(job, Job::Run { .. });
    let touched = volumes_touched(&job);
    tokio::spawn(async move {
        let (progress, watcher) = watch::channel(TaskProgress::default());
        let reporting = tokio::spawn(report(node.clone(), id, watcher));
        let result = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Failure {
                message: "it was cancelled".to_owned(),
                retry: Retry::MayHelp,
            }),
            result = carry_out(&node, job, &progress) => result,
        };
        drop(progress);
        // The last progress comes before the end.
        drop(reporting.await);
        if let Err(failure) = &result {
            tracing::warn!(job = id.0, %failure, "a job failed");
            tell_what_is_left(&node, touched).await;
        }
        let event = ShellInput::Event(Event::JobDone { job: id, result });
        // Without a loop there is nobody to tell.
        drop(node.inputs.send(event).await);
        if runs_container {
            // Only now: the core must know who holds the volumes before it hears of their use.
            node.usage_bell.ring();
        }
    });
}

/// Volumes that a job changes one after the other, so that some are changed when it fails.
fn volumes_touched(job: &Job) -> Vec<VolumeId> {
    match job {
        Job::Copy { volumes, .. } => volumes.iter().map(|copy| copy.volume).collect(),
        Job::Run { volumes, .. } => volumes.iter().map(|claim| claim.label.id).collect(),
        _ => Vec::new(),
    }
}

/// A copy that did not succeed leaves the snapshots that it took: control has to know of them, or
/// nobody would ever delete them. A start that did not succeed may have made this node the holder.
async fn tell_what_is_left(node: &Node, volumes: Vec<VolumeId>) {
    for volume in volumes {
        match copy_of(node, volume).await {
            Ok(copy) => drop(
                node.inputs
                    .send(ShellInput::Event(Event::Volume(copy)))
                    .await,
            ),
            Err(failure) => tracing::warn!(%volume, %failure, "a volume cannot be looked at"),
        }
    }
}

/// Tells of progress, at most twice a second.
async fn report(node: Node, job: JobId, mut watcher: watch::Receiver<TaskProgress>) {
    const INTERVAL: std::time::Duration = std::time::Duration::from_millis(500);
    while watcher.changed().await.is_ok() {
        let progress = *watcher.borrow_and_update();
        let event = ShellInput::Event(Event::JobProgress { job, progress });
        if node.inputs.send(event).await.is_err() {
            return;
        }
        let mut rest = watcher.clone();
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = ended(&mut rest) => return,
        }
    }
}

async fn ended(watcher: &mut watch::Receiver<TaskProgress>) {
    while watcher.changed().await.is_ok() {}
}

async fn carry_out(
    node: &Node,
    job: Job,
    progress: &watch::Sender<TaskProgress>,
) -> Result<JobOutcome, Failure> {
    match job {
        Job::Prepare {
            service,
            container,
            address,
            fingerprint,
            incoming,
            image_peers,
            ..
        } => {
            let wish = container::Wish {
                service: &service,
                container: &container,
                address,
                fingerprint,
            };
            container::prepare(node, wish, &incoming, &image_peers, progress).await
        }
        Job::Run {
            service,
            container,
            address,
            fingerprint,
            volumes,
        } => {
            let wish = container::Wish {
                service: &service,
                container: &container,
                address,
                fingerprint,
            };
            container::run(node, wish, &volumes).await
        }
        Job::Stop { service, grace_ms } => {
            node.watcher.forget(&service);
            let code = node
                .runtime
                .stop(&service, grace_ms)
                .await
                .map_err(runtime_failure)?;
            Ok(JobOutcome::Stopped { code })
        }
        Job::RemoveContainer { service } => {
            node.runtime
                .remove(&service)
                .await
                .map_err(runtime_failure)?;
            files::remove(&node.config, &service).await?;
            Ok(JobOutcome::Done)
        }
        other => on_volumes(node, other, progress).await,
    }
}

async fn on_volumes(
    node: &Node,
    job: Job,
    progress: &watch::Sender<TaskProgress>,
) -> Result<JobOutcome, Failure> {
    match job {
        Job::CreateVolume { label } => {
            let copy = node.store.create(&label).await.map_err(storage_failure)?;
            Ok(JobOutcome::Volumes(vec![copy]))
        }
        Job::Copy {
            volumes,
            target,
            stall_limit_ms,
            ..
        } => copy::copy(node, &volumes, target, stall_limit_ms, progress).await,
        Job::Demote {
            volume,
            epoch,
            head,
        } => {
            node.store
                .demote(volume, epoch, &head)
                .await
                .map_err(storage_failure)?;
            present(node, volume).await
        }
        Job::Prune { volume, delete } => {
            node.store
                .prune(volume, &delete)
                .await
                .map_err(storage_failure)?;
            present(node, volume).await
        }
        Job::Destroy { volume } => {
            node.store.destroy(volume).await.map_err(storage_failure)?;
            Ok(JobOutcome::Gone(volume))
        }
        Job::Prepare { .. } | Job::Run { .. } | Job::Stop { .. } | Job::RemoveContainer { .. } => {
            unreachable!("the caller has done what concerns containers")
        }
    }
}

async fn present(node: &Node, volume: VolumeId) -> Result<JobOutcome, Failure> {
    Ok(JobOutcome::Volumes(vec![copy_of(node, volume).await?]))
}

pub(crate) async fn copy_of(node: &Node, volume: VolumeId) -> Result<VolumeCopy, Failure> {
    let copy = node.store.get(volume).await.map_err(storage_failure)?;
    copy.ok_or_else(|| Failure {
        message: format!("volume {} is not on this node", volume.short()),
        retry: Retry::Pointless,
    })
}

/// The error and everything beneath it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

pub(crate) fn retry(may_help: impl FnOnce() -> bool) -> Retry {
    if may_help() {
        Retry::MayHelp
    } else {
        Retry::Pointless
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(crate) fn storage_failure(error: StorageError) -> Failure {
    Failure {
        message: chain(&error),
        retry: retry(|| error.retry_may_help()),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(crate) fn runtime_failure(error: RuntimeError) -> Failure {
    Failure {
        message: chain(&error),
        retry: retry(|| error.retry_can_help()),
    }
}
