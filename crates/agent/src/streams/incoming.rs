//! The side that is connected to: answers what it has, receives snapshots that control has announced,
//! and gives out images.

use super::stream_failure;
use crate::jobs::{chain, storage_failure};
use crate::run::{AgentError, Node};
use crate::shell::ShellInput;
use flocker_core::agent::Event;
use flocker_net::door::{Door, DoorLimits};
use flocker_net::pki::{Identity, Role};
use flocker_net::tls::{ClientCertificates, HANDSHAKE_MS_MAX, accept, server_config};
use flocker_storage::stream::{
    BoundedStream, FrameReader, FrameWriter, SendOptions, StreamProgress, receive_stream,
    send_stream,
};
use flocker_storage::{StorageError, StorageErrorKind, StorageOperation};
use flocker_types::ids::{Epoch, NodeId, SnapshotName, VolumeId};
use flocker_types::stream::{StreamReply, StreamRequest};
use flocker_types::task::{Failure, Retry};
use flocker_types::volume::{StorageKind, VolumeLabel};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{ReadHalf, WriteHalf, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};
use tokio_rustls::server::TlsStream;

/// Connections of other agents at the same time.
const CONNECTIONS_MAX: usize = 64;
/// Of these, those of one agent.
const CONNECTIONS_PER_NODE_MAX: usize = 16;
/// A sender may be silent this long, and has so long to say what it wants.
const STALL_LIMIT: Duration = Duration::from_secs(30);
/// Questions on one connection before it must say what it wants.
const QUESTIONS_MAX: u32 = 1_000;
/// After a failed accept (too many open files, say), wait before trying again.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

type Reader = FrameReader<ReadHalf<TlsStream<TcpStream>>>;
type Writer = FrameWriter<WriteHalf<TlsStream<TcpStream>>>;

/// Opens the listener.
pub(crate) async fn listen(node: &Node) -> Result<TcpListener, AgentError> {
    let address = node.config.stream_listen;
    let what = format!("cannot listen at {address} for other agents; is another agent running?");
    TcpListener::bind(address)
        .await
        .map_err(AgentError::io(what))
}

/// Serves other agents until the loop ends.
pub(crate) async fn serve(listener: TcpListener, node: Node) {
    let credentials = &node.config.credentials;
    let config = match server_config(credentials, ClientCertificates::Required, &[]) {
        Ok(config) => config,
        Err(error) => {
            tracing::error!(error = chain(&error), "cannot serve other agents");
            return;
        }
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let door = Door::new(DoorLimits {
        per_member_max: CONNECTIONS_PER_NODE_MAX,
        ..DoorLimits::default()
    });
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection of another agent");
                sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let visitor = door.receive(peer.ip());
        let places = Arc::clone(&places);
        let (node, config) = (node.clone(), config.clone());
        tokio::spawn(async move {
            let accepted = tokio::select! {
                accepted = accept(stream, peer, &config, HANDSHAKE_MS_MAX) => accepted,
                () = visitor.pushed_out() => return,
            };
            match accepted {
                Ok((stream, Some(member))) => {
                    let inhabitant = visitor.is(&member.identity);
                    let (Some(_inhabitant), Ok(_place)) = (inhabitant, places.try_acquire()) else {
                        tracing::warn!(%peer, "too many connections of other agents");
                        return;
                    };
                    let revoked = config.revocations().until_covers(&member);
                    tokio::select! {
                        () = converse(&node, stream, &member.identity, peer) => {}
                        // What was received so far is no snapshot yet, and never becomes one.
                        () = revoked => {
                            tracing::warn!(%peer, who = %member.identity.role, "revoked: it is cut off");
                        }
                    }
                }
                Ok((_, None)) => {}
                Err(error) => tracing::warn!(%peer, error = chain(&error), "refused"),
            }
        });
        // Whoever was pushed out goes before the next one comes.
        yield_now().await;
    }
}

async fn converse(
    node: &Node,
    stream: TlsStream<TcpStream>,
    identity: &Identity,
    address: SocketAddr,
) {
    let Role::Node(peer) = identity.role else {
        tracing::warn!(%address, ?identity, "only nodes may send volumes");
        return;
    };
    if identity.cluster != node.config.cluster {
        tracing::warn!(%address, ?identity, "a node of another cluster");
        return;
    }
    let (reader, writer) = split(stream);
    let mut reader: Reader = FrameReader::new(reader, STALL_LIMIT);
    let mut writer: Writer = FrameWriter::new(writer, STALL_LIMIT);
    for _ in 0..QUESTIONS_MAX {
        let request = match timeout(STALL_LIMIT, reader.request()).await {
            Ok(Ok(request)) => request,
            Ok(Err(error)) => {
                tracing::debug!(%address, error = chain(&error), "no further request");
                return;
            }
            // A byte now and then is no silence, and must not keep a place for ever.
            Err(_) => {
                tracing::warn!(%address, "it has not said in time what it wants");
                return;
            }
        };
        match request {
            StreamRequest::Ask { volume } => {
                let reply = answer(node, volume).await;
                if writer.reply(&reply).await.is_err() {
                    return;
                }
            }
            StreamRequest::Send {
                volume,
                epoch,
                storage,
                from,
                to,
                bytes_estimate,
            } => {
                let offer = Offer {
                    peer,
                    volume,
                    epoch,
                    storage,
                    from,
                    to,
                    bytes_estimate,
                };
                receive(node, offer, reader, &mut writer).await;
                return;
            }
            StreamRequest::Image { image } => {
                give_image(node, &image, &mut writer).await;
                return;
            }
        }
    }
}

async fn answer(node: &Node, volume: VolumeId) -> StreamReply {
    match node.store.get(volume).await {
        Ok(copy) => {
            let snapshots = copy.map(|copy| copy.snapshots).unwrap_or_default();
            let snapshots = snapshots
                .into_iter()
                .map(|snapshot| snapshot.name)
                .collect();
            StreamReply::Have { snapshots }
        }
        Err(error) => StreamReply::Refused {
            failure: storage_failure(error),
        },
    }
}

struct Offer {
    peer: NodeId,
    volume: VolumeId,
    epoch: Epoch,
    storage: StorageKind,
    from: Option<SnapshotName>,
    to: SnapshotName,
    bytes_estimate: Option<u64>,
}

async fn receive(node: &Node, offer: Offer, reader: Reader, writer: &mut Writer) {
    let (volume, to) = (offer.volume, offer.to.clone());
    let reply = match take(node, offer, reader, writer).await {
        Ok(reply) => reply,
        Err(failure) => {
            tracing::warn!(volume = %volume.short(), snapshot = %to, %failure, "not received");
            StreamReply::Refused { failure }
        }
    };
    // A sender that has gone asks again what is here.
    drop(writer.reply(&reply).await);
}

async fn take(
    node: &Node,
    offer: Offer,
    reader: Reader,
    writer: &mut Writer,
) -> Result<StreamReply, Failure> {
    if offer.storage != node.store.kind() {
        let message = format!(
            "a {} stream cannot go into a {} pool; both nodes need the same storage",
            offer.storage,
            node.store.kind()
        );
        return Err(Failure {
            message,
            retry: Retry::Pointless,
        });
    }
    let label = admission(node, &offer).await?;
    writer
        .reply(&StreamReply::Ready)
        .await
        .map_err(stream_failure)?;
    let (sender, _) = watch::channel(StreamProgress::default());
    let (stream, whole) = receive_stream(reader, sender);
    let store = Arc::clone(&node.store);
    let stream = BoundedStream::new(stream, offer.bytes_estimate, move || {
        let store = Arc::clone(&store);
        Box::pin(async move { store.pool_usage().await.map_err(std::io::Error::other) })
    });
    let (tell, told) = oneshot::channel();
    let volume = offer.volume;
    let verify = Box::new(move || {
        let (checksum, bytes) = whole.finish().map_err(|error| {
            let kind = StorageErrorKind::BadStream(chain(&error));
            StorageError::of(StorageOperation::Receive, volume, kind)
        })?;
        // The receiver of this is the line after the call that runs us.
        drop(tell.send((checksum.clone(), bytes)));
        Ok(checksum)
    });
    node.store
        .receive(
            &label,
            offer.from.as_ref(),
            &offer.to,
            Box::new(stream),
            verify,
        )
        .await
        .map_err(storage_failure)?;
    let (checksum, bytes) = told.await.map_err(|_| Failure {
        message: "the stream was not verified".to_owned(),
        retry: Retry::MayHelp,
    })?;
    let copy = crate::jobs::copy_of(node, volume).await?;
    drop(
        node.inputs
            .send(ShellInput::Event(Event::Volume(copy)))
            .await,
    );
    Ok(StreamReply::Received { checksum, bytes })
}

/// Asks the core whether this node may send this volume here.
async fn admission(node: &Node, offer: &Offer) -> Result<VolumeLabel, Failure> {
    let stopping = || Failure {
        message: "the agent is stopping".to_owned(),
        retry: Retry::MayHelp,
    };
    let (answer, answered) = oneshot::channel();
    let input = ShellInput::Incoming {
        from: offer.peer,
        volume: offer.volume,
        epoch: offer.epoch,
        answer,
    };
    node.inputs.send(input).await.map_err(|_| stopping())?;
    answered.await.map_err(|_| stopping())?
}

async fn give_image(node: &Node, image: &str, writer: &mut Writer) {
    let exported = match node.runtime.image(image).await {
        Ok(Some(_)) => node.runtime.export_image(image).await,
        Ok(None) => {
            let message = format!("there is no image {image} on this node");
            let failure = Failure {
                message,
                retry: Retry::Pointless,
            };
            drop(writer.reply(&StreamReply::Refused { failure }).await);
            return;
        }
        Err(error) => Err(error),
    };
    let tar = match exported {
        Ok(tar) => tar,
        Err(error) => {
            let failure = crate::jobs::runtime_failure(error);
            drop(writer.reply(&StreamReply::Refused { failure }).await);
            return;
        }
    };
    if writer.reply(&StreamReply::Ready).await.is_err() {
        return;
    }
    let (progress, _) = watch::channel(StreamProgress::default());
    if let Err(error) = send_stream(writer, tar, SendOptions::default(), &progress).await {
        tracing::warn!(image, error = chain(&error), "the image was not sent");
    }
}
