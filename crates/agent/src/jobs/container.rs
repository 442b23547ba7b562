//! Preparing a container, and running it on its volumes.

use super::{files, image, runtime_failure, storage_failure};
use crate::readiness::Ports;
use crate::run::Node;
use flocker_core::agent::JobOutcome;
use flocker_runtime::{
    ContainerRequest, ContainerRun, ImageInfo, MountRequest, Release, RuntimeError,
    RuntimeErrorKind, Started,
};
use flocker_types::ids::ServiceId;
use flocker_types::task::{
    ContainerSpec, Failure, IncomingVolume, Peer, Prepared, Retry, TaskProgress, VolumeClaim,
};
use flocker_types::volume::{Role, VolumeCopy};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use tokio::sync::watch;

/// Room that must be left on a pool after what is announced has been received, in bytes.
const ROOM_LEFT_BYTES_MIN: u64 = 64 << 20;

/// The container that is wanted.
pub(super) struct Wish<'a> {
    pub(super) service: &'a ServiceId,
    pub(super) container: &'a ContainerSpec,
    pub(super) address: Ipv4Addr,
    pub(super) fingerprint: String,
}

impl Wish<'_> {
    fn prepared(&self, image: &ImageInfo) -> Prepared {
        Prepared {
            image_id: image.id.clone(),
            exposed_ports: image.exposed_ports.clone(),
            address: self.address,
        }
    }

    /// Link variables first: the service's own environment wins.
    fn environment(&self) -> Vec<(String, String)> {
        let links = self.container.link_environment.iter().cloned();
        let spec = &self.container.spec;
        let secret = spec.secret_environment.iter();
        let secret =
            secret.filter_map(|(name, value)| Some((name.clone(), value.reveal()?.to_owned())));
        links
            .chain(spec.environment.clone())
            .chain(secret)
            .collect::<BTreeMap<_, _>>()
            .into_iter()
            .collect()
    }

    fn request(&self, image: &ImageInfo, mounts: Vec<MountRequest>) -> ContainerRequest {
        let spec = &self.container.spec;
        ContainerRequest {
            service: self.service.clone(),
            image_id: image.id.clone(),
            command: spec.command.clone(),
            environment: self.environment(),
            hosts: self.container.hosts.clone(),
            mounts,
            memory_limit_bytes: spec.memory_limit_bytes,
            cpu_shares: spec.cpu_shares,
            health_check: spec.health_check.clone(),
            stop_signal: spec.stop_signal.clone(),
            options: spec.container.clone(),
            address: self.address,
            fingerprint: self.fingerprint.clone(),
        }
    }
}

/// Room, image, and the container. One whose volumes are still to come is started up to its gate; when it
/// cannot wait there it is made when they have come.
pub(super) async fn prepare(
    node: &Node,
    wish: Wish<'_>,
    incoming: &[IncomingVolume],
    image_peers: &[Peer],
    progress: &watch::Sender<TaskProgress>,
) -> Result<JobOutcome, Failure> {
    check_room(node, incoming).await?;
    let image = image::obtain(node, wish.container, image_peers, progress).await?;
    let existing = node
        .runtime
        .inspect(wish.service)
        .await
        .map_err(runtime_failure)?;
    let runs = existing.is_some_and(|info| matches!(info.run, ContainerRun::Running { .. }));
    if runs {
        return Ok(JobOutcome::Prepared(wish.prepared(&image)));
    }
    let mut mounts = files(node, &wish).await?;
    if incoming.is_empty() {
        let volumes = volumes(node, &wish).await?;
        fill(node, &image, &volumes).await?;
        mounts.extend(volumes);
        let request = wish.request(&image, mounts);
        let created = node.runtime.create(&request).await;
        created.map_err(runtime_failure)?;
    } else {
        let targets = wish.container.spec.mounts.iter();
        let targets: Vec<String> = targets.map(|mount| mount.target.clone()).collect();
        let request = wish.request(&image, mounts);
        if let Err(error) = node.runtime.hold(&request, &targets).await {
            tracing::info!(
                service = %wish.service,
                %error,
                "its container is made when its volumes are here, which takes some 100 ms of the pause"
            );
        }
    }
    Ok(JobOutcome::Prepared(wish.prepared(&image)))
}

async fn check_room(node: &Node, incoming: &[IncomingVolume]) -> Result<(), Failure> {
    let needed: u64 = incoming
        .iter()
        .map(|volume| volume.size_bytes_estimate)
        .sum();
    let usage = node.store.pool_usage().await.map_err(storage_failure)?;
    if needed > 0 && usage.free_bytes < needed.saturating_add(ROOM_LEFT_BYTES_MIN) {
        return Err(Failure {
            message: format!(
                "{} MiB are to be received and the pool has {} MiB left; make room (flocker volume \
                 ls) or choose another node",
                needed >> 20,
                usage.free_bytes >> 20
            ),
            retry: Retry::Pointless,
        });
    }
    Ok(())
}

/// The service's configs and secrets.
async fn files(node: &Node, wish: &Wish<'_>) -> Result<Vec<MountRequest>, Failure> {
    let files = &wish.container.spec.container.files;
    files::put(&node.config, wish.service, &wish.fingerprint, files).await
}

/// The service's volumes.
async fn volumes(node: &Node, wish: &Wish<'_>) -> Result<Vec<MountRequest>, Failure> {
    let container = wish.container;
    let mut mounts = Vec::new();
    for (mount, volume) in container.spec.mounts.iter().zip(&container.volumes) {
        let source = node
            .store
            .mount_path(*volume)
            .await
            .map_err(storage_failure)?;
        mounts.push(MountRequest {
            source,
            target: mount.target.clone(),
            read_only: mount.read_only,
        });
    }
    Ok(mounts)
}

/// Gives volumes that are empty what the image has in their places.
async fn fill(node: &Node, image: &ImageInfo, volumes: &[MountRequest]) -> Result<(), Failure> {
    for volume in volumes {
        let filled = node.runtime.fill(&image.id, &volume.target, &volume.source);
        filled.await.map_err(runtime_failure)?;
    }
    Ok(())
}

/// Volumes first, then the container, then its start.
pub(super) async fn run(
    node: &Node,
    wish: Wish<'_>,
    claims: &[VolumeClaim],
) -> Result<JobOutcome, Failure> {
    let mut held = Vec::new();
    for claim in claims {
        held.push(claim_volume(node, claim).await?);
    }
    let image = image::present(node, wish.container).await?;
    let volumes = volumes(node, &wish).await?;
    let ports = Ports::of(&wish.container.spec, &image.exposed_ports);
    node.watcher.remember_ports(wish.service, ports);
    // Before anything that only a container without a gate needs: clients wait.
    if !passes(node, &wish, &volumes).await? {
        start(node, &wish, &image, &volumes).await?;
    }
    node.watcher.expect_ready(wish.service, wish.address);
    files::keep_only(&node.config, wish.service, &wish.fingerprint).await?;
    Ok(JobOutcome::Running {
        prepared: wish.prepared(&image),
        volumes: held,
    })
}

/// Whether the container waited at its gate, and goes on now.
async fn passes(node: &Node, wish: &Wish<'_>, volumes: &[MountRequest]) -> Result<bool, Failure> {
    let released = node
        .runtime
        .release(wish.service, &wish.fingerprint, volumes)
        .await
        .map_err(runtime_failure)?;
    Ok(released == Release::Passed)
}

/// The container anew, or the one that has ended once more. A gate that does not work any more takes its
/// container with it: the next one has none.
async fn start(
    node: &Node,
    wish: &Wish<'_>,
    image: &ImageInfo,
    volumes: &[MountRequest],
) -> Result<(), Failure> {
    let mut mounts = files(node, wish).await?;
    mounts.extend(volumes.iter().cloned());
    let request = wish.request(image, mounts);
    let begin = || async {
        node.runtime.create(&request).await?;
        node.runtime.start(wish.service).await
    };
    let started = match begin().await {
        Err(RuntimeError {
            kind: RuntimeErrorKind::NoGate(why),
            ..
        }) => {
            tracing::warn!(service = %wish.service, %why, "its container is made anew");
            begin().await
        }
        other => other,
    };
    let at_gate = started.map_err(runtime_failure)? == Started::AtGate;
    if at_gate && !passes(node, wish, volumes).await? {
        begin().await.map_err(runtime_failure)?;
    }
    Ok(())
}

/// Makes this node the volume's holder in the claim's epoch, or sees that it is.
async fn claim_volume(node: &Node, claim: &VolumeClaim) -> Result<VolumeCopy, Failure> {
    let id = claim.label.id;
    let copy = super::copy_of(node, id).await?;
    // Without a head the copy goes on as it is: a person has said, after control's store was lost, that
    // this one counts, though it is of an earlier epoch.
    let held = copy.role == Role::Holder
        && (copy.label.epoch == claim.label.epoch
            || claim.head.is_none() && copy.label.epoch < claim.label.epoch);
    if held {
        if copy.label != claim.label {
            node.store
                .set_label(&claim.label)
                .await
                .map_err(storage_failure)?;
        }
    } else {
        let Some(head) = &claim.head else {
            return Err(Failure {
                message: format!(
                    "volume {} is {} here in epoch {}, and was to be held in epoch {}",
                    id.short(),
                    copy.role,
                    copy.label.epoch,
                    claim.label.epoch
                ),
                retry: Retry::Pointless,
            });
        };
        node.store
            .promote(&claim.label, head)
            .await
            .map_err(storage_failure)?;
    }
    super::copy_of(node, id).await
}
