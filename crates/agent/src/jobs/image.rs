//! Getting an image: it is here, or a registry has it, or another node has.

use super::{chain, runtime_failure};
use crate::run::Node;
use crate::streams;
use flocker_runtime::ImageInfo;
use flocker_types::task::{ContainerSpec, Failure, Peer, Retry, TaskProgress};
use tokio::sync::watch;

/// The image that a container is to run, if it is here. With an exact id known, only that one.
pub(super) async fn present(node: &Node, container: &ContainerSpec) -> Result<ImageInfo, Failure> {
    find(node, container).await?.ok_or_else(|| Failure {
        message: format!("the image {} is not on this node", container.spec.image),
        retry: Retry::Pointless,
    })
}

async fn find(node: &Node, container: &ContainerSpec) -> Result<Option<ImageInfo>, Failure> {
    let name = container.image_id.as_deref();
    let name = name.unwrap_or(&container.spec.image);
    node.runtime.image(name).await.map_err(runtime_failure)
}

/// Gets the image. A service that moves keeps exactly the image that it runs: where a registry has
/// another one under the same name by now, the source's engine sends its own.
pub(super) async fn obtain(
    node: &Node,
    container: &ContainerSpec,
    peers: &[Peer],
    progress: &watch::Sender<TaskProgress>,
) -> Result<ImageInfo, Failure> {
    if let Some(image) = find(node, container).await? {
        return Ok(image);
    }
    let name = &container.spec.image;
    let mut reasons = Vec::new();
    if container.image_id.is_none() {
        match pull(node, name, progress).await {
            Ok(image) => return Ok(image),
            Err(reason) => reasons.push(reason),
        }
    }
    let wanted = container.image_id.as_deref().unwrap_or(name);
    for peer in peers {
        match streams::fetch_image(node, *peer, wanted, progress).await {
            Ok(()) => {
                if let Ok(image) = present(node, container).await {
                    return Ok(image);
                }
                reasons.push(format!("{} sent another image", peer.address));
            }
            Err(failure) => reasons.push(failure.message),
        }
    }
    if container.image_id.is_some() {
        match pull(node, name, progress).await {
            Ok(_) => match present(node, container).await {
                Ok(image) => return Ok(image),
                Err(_) => reasons.push("its registry has another one by now".to_owned()),
            },
            Err(reason) => reasons.push(reason),
        }
    }
    // Where the engine went away meanwhile, that is the reason, and another attempt may help.
    if let Some(image) = find(node, container).await? {
        return Ok(image);
    }
    Err(Failure {
        message: format!(
            "the image {name} is neither on this node, nor in a registry that it reaches, nor on \
             another node: {}",
            reasons.join("; ")
        ),
        retry: Retry::Pointless,
    })
}

async fn pull(
    node: &Node,
    name: &str,
    progress: &watch::Sender<TaskProgress>,
) -> Result<ImageInfo, String> {
    let (bytes, mut received) = watch::channel(0_u64);
    let pulling = node.runtime.pull(name, bytes);
    tokio::pin!(pulling);
    loop {
        tokio::select! {
            biased;
            result = &mut pulling => return result.map_err(|error| chain(&error)),
            Ok(()) = received.changed() => {
                let bytes_done = *received.borrow_and_update();
                progress.send_replace(TaskProgress { bytes_done, bytes_total: None });
            }
        }
    }
}
