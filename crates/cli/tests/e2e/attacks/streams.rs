//! What a node's key gets at another node's agent: about volumes that are none of its business, and with
//! a stream that it may send and that is not what it announced.

use super::table::Table;
use super::wire::{btrfs_stream, frame};
use super::{AGENT_PORT, Listener, NodeOr, SOON, Stage, end_of};
use crate::support::LIMIT;
use flocker_net::pki::Role;
use flocker_net::tls::{ConnectOptions, connect};
use flocker_storage::stream::{FrameReader, FrameWriter, SendOptions, StreamProgress, send_stream};
use flocker_testkit::sandbox::{Role as Process, Target};
use flocker_types::ids::{Epoch, NodeId};
use flocker_types::operation::Phase;
use flocker_types::stream::{StreamReply, StreamRequest};
use flocker_types::volume::StorageKind;
use std::io::Cursor;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;

const NAME: &str = "e1-s77-0badc0de";
/// What the sender announces, and what it has.
const ANNOUNCED_BYTES: u64 = 1 << 20;
const SENT_BYTES: usize = 96 << 20;
/// What was announced, an eighth more, 32 MiB, and what is on its way in queues.
const TAKEN_BYTES_MAX: u64 = 48 << 20;

impl Stage {
    fn agent_of(&self, index: usize) -> Listener {
        Listener {
            name: "agent, 4524",
            at: self.cluster.at(["n1", "n2", "n3"][index], AGENT_PORT),
            expect: NodeOr::Node(self.nodes[index]),
        }
    }
}

/// The answer of an agent to a request of this node.
async fn ask(stage: &Stage, from: NodeId, at: &Listener, request: &StreamRequest) -> String {
    let credentials = stage.credentials(Role::Node(from));
    let options = ConnectOptions::default();
    let stream = connect(at.at, &credentials, &at.expect(), options)
        .await
        .unwrap();
    let (reader, writer) = tokio::io::split(stream);
    let (mut reader, mut writer) = (
        FrameReader::new(reader, SOON),
        FrameWriter::new(writer, SOON),
    );
    writer.request(request).await.unwrap();
    match reader.reply().await {
        Ok(StreamReply::Have { .. }) => "the names of its snapshots".to_owned(),
        Ok(StreamReply::Ready) => "it may".to_owned(),
        Ok(StreamReply::Received { .. }) => "received".to_owned(),
        Ok(StreamReply::Refused { .. }) => "refused".to_owned(),
        Err(_) => "closed".to_owned(),
    }
}

fn offer(stage: &Stage, epoch: u64) -> StreamRequest {
    StreamRequest::Send {
        volume: stage.volume,
        epoch: Epoch(epoch),
        storage: StorageKind::Btrfs,
        from: None,
        to: NAME.parse().unwrap(),
        bytes_estimate: Some(ANNOUNCED_BYTES),
    }
}

pub(super) async fn try_all(stage: &Stage, table: &mut Table) {
    let n3 = stage.nodes[2];
    let about = StreamRequest::Ask {
        volume: stage.volume,
    };
    let holder = stage.agent();
    let doing = ask(stage, n3, &holder, &about);
    let attack = "a node asks what there is of another node's volume, whose id it knows";
    stage.attack(table, attack, "agent, 4524", doing).await;
    for (index, whom) in [(1, "its holder"), (0, "a node that was told nothing of it")] {
        for epoch in [1, 99] {
            let at = stage.agent_of(index);
            let (request, attack) = (
                offer(stage, epoch),
                format!("a node sends another node's volume to {whom}, in epoch {epoch}"),
            );
            let doing = ask(stage, n3, &at, &request);
            stage.attack(table, &attack, "agent, 4524", doing).await;
        }
    }
    let image = StreamRequest::Image {
        image: "no-such:image".to_owned(),
    };
    let doing = ask(stage, n3, &holder, &image);
    stage
        .attack(
            table,
            "a node asks for an image that is not there",
            "agent, 4524",
            doing,
        )
        .await;
    by_hand(stage, table).await;
    granted(stage, table).await;
}

/// Requests that our own programs cannot say.
async fn by_hand(stage: &Stage, table: &mut Table) {
    let send = |volume: &str, to: &str| {
        format!(
            "{{\"kind\":\"send\",\"volume\":\"{volume}\",\"epoch\":1,\"storage\":\"btrfs\",\
             \"from\":null,\"to\":\"{to}\",\"bytes_estimate\":1}}"
        )
    };
    let id = stage.volume.to_string();
    for (attack, request) in [
        (
            "a node asks to be sent another node's volume",
            format!("{{\"kind\":\"fetch\",\"volume\":\"{id}\"}}"),
        ),
        (
            "a stream for a volume called `../../../etc`",
            send("../../../etc", NAME),
        ),
        (
            "a stream for a snapshot called `../../../etc/cron.d/x`",
            send(&id, "../../../etc/cron.d/x"),
        ),
        ("a stream for a snapshot without a name", send(&id, "")),
    ] {
        let doing = async {
            let mut stream = stage.member(&stage.agent()).await;
            stream
                .write_all(&frame(1, request.as_bytes()))
                .await
                .unwrap();
            stream.flush().await.unwrap();
            end_of(&mut stream, SOON).await
        };
        stage.attack(table, attack, "agent, 4524", doing).await;
    }
}

/// n2's key is stolen, and its agent stands still just when control has told n3 to expect the volume from it.
async fn granted(stage: &Stage, table: &mut Table) {
    let cluster = &stage.cluster;
    let epoch = cluster.view().await.volumes[0].epoch;
    // n2's agent cannot answer meanwhile.
    stage
        .legitimate
        .ask_agent(stage.nodes[2], stage.agent_of(2).at);
    cluster
        .freeze("n2", Target::One(Process::Agent))
        .await
        .unwrap();
    let operation = cluster.start_move("cache", "n3").await;
    let phase = cluster.wait_phase(operation, Phase::Copy).await;
    assert_eq!(phase, Phase::Copy);
    let attack = "the key of the node that may send: a stream without end, 1 MiB announced";
    let doing = send(stage, epoch.0, "endless");
    stage.attack(table, attack, "agent, 4524", doing).await;
    let attack = "the key of the node that may send: a stream with a file at `../../../../escaped`";
    let doing = send(stage, epoch.0, "../../../../escaped");
    stage.attack(table, attack, "agent, 4524", doing).await;
    let doing = async {
        match ask(
            stage,
            stage.nodes[1],
            &stage.agent_of(2),
            &offer(stage, epoch.0 + 7),
        )
        .await
        {
            other if other == "refused" => other,
            other => format!("let in: {other}"),
        }
    };
    let attack = "the key of the node that may send: another epoch";
    stage.attack(table, attack, "agent, 4524", doing).await;
    cluster
        .thaw("n2", Target::One(Process::Agent))
        .await
        .unwrap();
    let ended = cluster.wait_operation(operation, LIMIT).await;
    println!("the move that was misused: {:?}", ended.operation.status);
    cluster.await_ready().await.unwrap();
    let service = cluster.service("cache").await.unwrap();
    if service.node.is_some_and(|node| node.as_str() != "n2") {
        cluster.move_to("cache", "n2").await;
    }
    super::still_there(stage).await;
    stage.legitimate.ask_agent(stage.nodes[1], stage.agent().at);
}

/// Sends as the node that may; what the receiver says, and how much it has taken.
async fn send(stage: &Stage, epoch: u64, path: &str) -> String {
    let at = stage.agent_of(2);
    let credentials = stage.credentials(Role::Node(stage.nodes[1]));
    let options = ConnectOptions::default();
    let stream = connect(at.at, &credentials, &at.expect(), options)
        .await
        .unwrap();
    let (reader, writer) = tokio::io::split(stream);
    let (mut reader, mut writer) = (
        FrameReader::new(reader, SOON),
        FrameWriter::new(writer, SOON),
    );
    writer.request(&offer(stage, epoch)).await.unwrap();
    let reply = reader.reply().await.unwrap();
    assert_eq!(
        reply,
        StreamReply::Ready,
        "control has told it to expect this"
    );
    let bytes = btrfs_stream(NAME, path, SENT_BYTES);
    let (progress, sent) = watch::channel(StreamProgress::default());
    let source = Box::new(Cursor::new(bytes));
    let sending = send_stream(&mut writer, source, SendOptions::default(), &progress);
    let (answer, cut_off) = tokio::select! {
        answer = reader.reply() => (answer, true),
        ended = sending => {
            let limit = Duration::from_secs(60);
            let answer = tokio::time::timeout(limit, reader.reply()).await.unwrap();
            (answer, ended.is_err())
        }
    };
    let taken = sent.borrow().bytes;
    println!("{taken} bytes were sent, {answer:?}");
    let amount = match taken <= TAKEN_BYTES_MAX {
        true => "cut off in time",
        false if cut_off => "cut off late",
        false => "all was taken",
    };
    match answer {
        Ok(StreamReply::Refused { .. }) | Err(_) => format!("refused, {amount}"),
        Ok(other) => format!("{other:?}"),
    }
}
