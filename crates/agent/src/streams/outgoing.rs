//! The side that connects: sends a volume's snapshot, or fetches an image.

use super::stream_failure;
use crate::jobs::{chain, runtime_failure, storage_failure};
use crate::run::Node;
use flocker_net::pki::MemberCertificate;
use flocker_net::tls::{ConnectOptions, Expect, Revocations, connect, peer_certificate};
use flocker_storage::stream::{
    FrameReader, FrameWriter, SendOptions, Sent, StreamProgress, receive_stream, send_stream,
};
use flocker_types::ids::{SnapshotName, VolumeId};
use flocker_types::stream::{StreamReply, StreamRequest};
use flocker_types::task::{CopyVolume, Failure, Peer, Retry, TaskProgress};
use std::time::Duration;
use tokio::io::{ReadHalf, WriteHalf, split};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::client::TlsStream;

/// How long a peer may take to load or save an image without a byte moving.
const IMAGE_STALL_LIMIT: Duration = Duration::from_secs(60);

/// A connection to another node's agent.
pub(crate) struct Transfer {
    reader: FrameReader<ReadHalf<TlsStream<TcpStream>>>,
    writer: FrameWriter<WriteHalf<TlsStream<TcpStream>>>,
    peer: Guard,
}

/// Says when the other end of a connection is revoked.
#[derive(Clone)]
struct Guard {
    certificate: Option<MemberCertificate>,
    revocations: Revocations,
}

impl Guard {
    /// Does something with the peer, until it is revoked.
    async fn unless_revoked<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let Some(certificate) = &self.certificate else {
            return work.await;
        };
        tokio::select! {
            done = work => done,
            () = self.revocations.until_covers(certificate) => Err(Failure {
                message: format!("the certificate of {} is revoked", certificate.identity.role),
                retry: Retry::Pointless,
            }),
        }
    }
}

impl Transfer {
    /// Connects; nothing but the expected node is accepted at the other end.
    pub(crate) async fn open(
        node: &Node,
        peer: Peer,
        stall_limit: Duration,
    ) -> Result<Self, Failure> {
        let expect = Expect::Node(peer.node);
        let options = ConnectOptions::default();
        let stream = connect(peer.address, &node.config.credentials, &expect, options)
            .await
            .map_err(|error| Failure {
                message: chain(&error),
                retry: Retry::MayHelp,
            })?;
        let peer = Guard {
            certificate: peer_certificate(&stream),
            revocations: node.config.credentials.revocations().clone(),
        };
        let (reader, writer) = split(stream);
        Ok(Self {
            peer,
            reader: FrameReader::new(reader, stall_limit),
            writer: FrameWriter::new(writer, stall_limit),
        })
    }

    async fn request(&mut self, request: &StreamRequest) -> Result<StreamReply, Failure> {
        self.writer.request(request).await.map_err(stream_failure)?;
        self.reader.reply().await.map_err(stream_failure)
    }

    /// The snapshots that the other side has, oldest first.
    pub(crate) async fn ask(&mut self, volume: VolumeId) -> Result<Vec<SnapshotName>, Failure> {
        match self.request(&StreamRequest::Ask { volume }).await? {
            StreamReply::Have { snapshots } => Ok(snapshots),
            other => Err(unexpected(other)),
        }
    }

    /// Sends one snapshot, and returns when the other side has said that it is durable there and has
    /// the same checksum.
    pub(crate) async fn send(
        self,
        node: &Node,
        volume: &CopyVolume,
        from: Option<&SnapshotName>,
        to: &SnapshotName,
        progress: &watch::Sender<TaskProgress>,
    ) -> Result<Sent, Failure> {
        let peer = self.peer.clone();
        peer.unless_revoked(self.send_all(node, volume, from, to, progress))
            .await
    }

    async fn send_all(
        mut self,
        node: &Node,
        volume: &CopyVolume,
        from: Option<&SnapshotName>,
        to: &SnapshotName,
        progress: &watch::Sender<TaskProgress>,
    ) -> Result<Sent, Failure> {
        let stream = node
            .store
            .send(volume.volume, from, to)
            .await
            .map_err(storage_failure)?;
        let request = StreamRequest::Send {
            volume: volume.volume,
            epoch: volume.epoch,
            storage: node.store.kind(),
            from: from.cloned(),
            to: to.clone(),
            bytes_estimate: stream.bytes_estimate,
        };
        match self.request(&request).await? {
            StreamReply::Ready => {}
            other => return Err(unexpected(other)),
        }
        let (sender, sent_so_far) = watch::channel(StreamProgress::default());
        let before = *progress.borrow();
        let total = stream.bytes_estimate.map(|bytes| before.bytes_done + bytes);
        let sending = send_stream(
            &mut self.writer,
            stream.reader,
            SendOptions::default(),
            &sender,
        );
        let relay = relay_progress(sent_so_far, progress, before.bytes_done, total);
        let sent = tokio::select! {
            biased;
            sent = sending => sent,
            () = relay => unreachable!("the relay runs for as long as the sender lives"),
        };
        // A receiver that gave up said why before it closed; that is worth more than "broken pipe".
        let sent = match sent {
            Ok(sent) => sent,
            Err(error) => match self.reader.reply().await {
                Ok(StreamReply::Refused { failure }) => return Err(failure),
                _ => return Err(stream_failure(error)),
            },
        };
        match self.reader.reply().await.map_err(stream_failure)? {
            StreamReply::Received { checksum, .. } if checksum == sent.checksum => Ok(sent),
            StreamReply::Received { .. } => Err(Failure {
                message: "what arrived is not what was sent: the checksums differ".to_owned(),
                retry: Retry::MayHelp,
            }),
            other => Err(unexpected(other)),
        }
    }
}

async fn relay_progress(
    mut so_far: watch::Receiver<StreamProgress>,
    progress: &watch::Sender<TaskProgress>,
    before: u64,
    bytes_total: Option<u64>,
) {
    while so_far.changed().await.is_ok() {
        let bytes_done = before + so_far.borrow_and_update().bytes;
        progress.send_replace(TaskProgress {
            bytes_done,
            bytes_total,
        });
    }
    std::future::pending::<()>().await;
}

fn unexpected(reply: StreamReply) -> Failure {
    match reply {
        StreamReply::Refused { failure } => failure,
        other => Failure {
            message: format!("the other agent gave an answer that does not fit: {other:?}"),
            retry: Retry::Pointless,
        },
    }
}

/// Fetches an image from another node's engine into this one's.
pub(crate) async fn fetch_image(
    node: &Node,
    peer: Peer,
    image: &str,
    progress: &watch::Sender<TaskProgress>,
) -> Result<(), Failure> {
    let mut transfer = Transfer::open(node, peer, IMAGE_STALL_LIMIT).await?;
    match transfer
        .request(&StreamRequest::Image {
            image: image.to_owned(),
        })
        .await?
    {
        StreamReply::Ready => {}
        other => return Err(unexpected(other)),
    }
    let (sender, so_far) = watch::channel(StreamProgress::default());
    let peer = transfer.peer.clone();
    let (stream, whole) = receive_stream(transfer.reader, sender);
    let loading = node.runtime.import_image(Box::new(stream));
    let loading = peer.unless_revoked(async { loading.await.map_err(runtime_failure) });
    let loaded = tokio::select! {
        biased;
        loaded = loading => loaded,
        () = relay_progress(so_far, progress, 0, None) => {
            unreachable!("the relay runs for as long as the receiver lives")
        }
    };
    loaded?;
    whole.finish().map_err(stream_failure)?;
    Ok(())
}
