//! Links over real TLS on the loopback address: speed, order, and every way in which they end.

use super::*;
use crate::pki::Role;
use crate::serve::ServeLimits;
use crate::testing::{ANY, Cable, Cluster, Server, node, within};
use crate::tls::ClientCertificates;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use flocker_types::ids::{OperationId, TaskId};
use flocker_types::link::{AgentMessage, ProxyMessage, ToAgent};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::time::timeout;
use uuid::Uuid;

type AgentLink = Link<AgentMessage, ToAgent>;
type ControlLink = Link<ToAgent, AgentMessage>;

/// Control's API as far as links go: what is accepted comes out of the receiver.
fn router(limits: LinkLimits) -> (Router, mpsc::Receiver<ControlLink>) {
    let (sender, links) = mpsc::channel(8);
    let handler = async move |request: Request| -> Response {
        let (link, response) = accept::<ToAgent, AgentMessage, _>(request.into_body(), limits);
        sender.send(link).await.unwrap();
        response.map(Body::new)
    };
    (Router::new().route(AGENT_PATH, post(handler)), links)
}

/// Limits with which the tests of silence are quick.
fn quick() -> LinkLimits {
    LinkLimits {
        heartbeat_ms: 50,
        silence_ms_max: 1_000,
        ..LinkLimits::default()
    }
}

struct Pair {
    agent: AgentLink,
    control: ControlLink,
    server: Server,
    cable: Cable,
}

async fn pair(agent_limits: LinkLimits, control_limits: LinkLimits) -> Pair {
    let cluster = Cluster::new();
    let (router, mut links) = router(control_limits);
    let server = Server::start(&cluster.credentials(Role::Control), router).await;
    let cable = Cable::to(server.address).await;
    let credentials = cluster.credentials(node(1));
    let connecting = connect(cable.address, &credentials, AGENT_PATH, agent_limits);
    let agent = within("connecting", connecting).await.unwrap();
    let control = within("accepting", links.recv()).await.unwrap();
    Pair {
        agent,
        control,
        server,
        cable,
    }
}

fn task(sequence: u32) -> TaskId {
    TaskId {
        operation: OperationId(Uuid::from_u128(5)),
        sequence,
    }
}

/// A message to control of at least so many bytes.
fn long(bytes: usize) -> AgentMessage {
    AgentMessage::Log {
        request: 1,
        lines: vec![flocker_types::api::LogLine {
            stream: flocker_types::api::LogStream::Stdout,
            text: "x".repeat(bytes),
        }],
        end: None,
    }
}

fn answer(request: u64) -> AgentMessage {
    AgentMessage::Log {
        request,
        lines: Vec::new(),
        end: Some(Ok(())),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_and_its_answer_take_less_than_a_millisecond() {
    let cluster = Cluster::new();
    let (router, mut links) = router(LinkLimits::default());
    let server = Server::start(&cluster.credentials(Role::Control), router).await;
    let credentials = cluster.credentials(node(1));
    let mut agent: AgentLink = connect(
        server.address,
        &credentials,
        AGENT_PATH,
        LinkLimits::default(),
    )
    .await
    .unwrap();
    let mut control = within("accepting", links.recv()).await.unwrap();
    let echo = tokio::spawn(async move {
        while let Some(ToAgent::LogsEnd { request }) = agent.receiver.recv().await {
            agent.sender.send(answer(request)).await.unwrap();
        }
    });
    let mut round_trips = Vec::new();
    for request in 0..500 {
        let start = Instant::now();
        control
            .sender
            .send(ToAgent::LogsEnd { request })
            .await
            .unwrap();
        let received = within("the answer", control.receiver.recv()).await;
        assert_eq!(received, Some(answer(request)));
        round_trips.push(start.elapsed());
    }
    round_trips.sort();
    let (p50, p99) = (round_trips[250], round_trips[495]);
    println!("round trip over loopback TLS: p50 {p50:?}, p99 {p99:?}");
    // Far above what is measured (see the name) since the machine may be busy, and far below the
    // 40 ms that it costs when anything on the way waits for more to send.
    assert!(p50 < Duration::from_millis(15), "p50 {p50:?}");
    control.handle.close();
    within("the echo's end", echo).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_thousand_messages_arrive_in_order_both_ways_at_once() {
    let Pair { agent, control, .. } = pair(LinkLimits::default(), LinkLimits::default()).await;
    let (mut from_control, mut from_agent) = (agent.receiver, control.receiver);
    let send_up = async {
        for request in 0..1_000 {
            agent.sender.send(answer(request)).await.unwrap();
        }
    };
    let send_down = async {
        for sequence in 0..1_000 {
            control
                .sender
                .send(ToAgent::Cancel(task(sequence)))
                .await
                .unwrap();
        }
    };
    let receive_up = async {
        for request in 0..1_000 {
            assert_eq!(from_agent.recv().await, Some(answer(request)));
        }
    };
    let receive_down = async {
        for sequence in 0..1_000 {
            assert_eq!(
                from_control.recv().await,
                Some(ToAgent::Cancel(task(sequence)))
            );
        }
    };
    let everything = Box::pin(async { tokio::join!(send_up, send_down, receive_up, receive_down) });
    within("all messages", everything).await;
}

#[tokio::test]
async fn a_long_message_arrives_whole() {
    let Pair {
        agent, mut control, ..
    } = pair(LinkLimits::default(), LinkLimits::default()).await;
    let message = long(8 * 1024 * 1024);
    agent.sender.send(message.clone()).await.unwrap();
    assert_eq!(
        within("the message", control.receiver.recv()).await,
        Some(message)
    );
}

#[tokio::test]
async fn heartbeats_keep_a_silent_link_and_are_not_seen() {
    let Pair {
        mut agent,
        mut control,
        ..
    } = pair(quick(), quick()).await;
    // Three times as long as silence may last.
    let passed = timeout(Duration::from_millis(3_000), async {
        tokio::select! {
            reason = agent.handle.closed() => format!("the agent's end closed: {reason}"),
            reason = control.handle.closed() => format!("control's end closed: {reason}"),
            message = agent.receiver.recv() => format!("{message:?}"),
            message = control.receiver.recv() => format!("{message:?}"),
        }
    });
    assert_eq!(passed.await.ok(), None);
    agent.sender.send(answer(1)).await.unwrap();
    assert_eq!(
        within("a message", control.receiver.recv()).await,
        Some(answer(1))
    );
}

#[tokio::test]
async fn a_peer_without_a_heartbeat_is_gone() {
    let mute = LinkLimits {
        heartbeat_ms: 60_000,
        ..LinkLimits::default()
    };
    let impatient = LinkLimits {
        silence_ms_max: 200,
        ..LinkLimits::default()
    };
    let Pair {
        mut agent, control, ..
    } = pair(impatient, mute).await;
    let reason = within("closing", agent.handle.closed()).await;
    assert_eq!(reason, CloseReason::Silence { silence_ms: 200 });
    assert_eq!(agent.receiver.recv().await, None);
    within("refusing to send", agent.sender.closed()).await;
    within("closing there", control.handle.closed()).await;
}

#[tokio::test]
async fn a_cut_cable_is_noticed_at_both_ends() {
    let Pair {
        agent,
        control,
        cable,
        server,
    } = pair(quick(), quick()).await;
    cable.cut();
    let silence = CloseReason::Silence { silence_ms: 1_000 };
    let (one, other) = within("closing", async {
        tokio::join!(agent.handle.closed(), control.handle.closed())
    })
    .await;
    assert_eq!((one, other), (silence.clone(), silence));
    server.stop().await;
}

#[tokio::test]
async fn too_long_messages_end_the_link_with_a_reason() {
    let small = LinkLimits {
        message_bytes_max: 1_000,
        ..LinkLimits::default()
    };
    let Pair { agent, .. } = pair(small, LinkLimits::default()).await;
    agent.sender.send(long(2_000)).await.unwrap();
    let reason = within("closing", agent.handle.closed()).await;
    assert!(matches!(reason, CloseReason::Unsendable(_)), "{reason}");
    let Pair { agent, control, .. } = pair(LinkLimits::default(), small).await;
    agent.sender.send(long(2_000)).await.unwrap();
    let reason = within("closing", control.handle.closed()).await;
    assert_eq!(reason, CloseReason::TooLongReceived { bytes_max: 1_000 });
    within("closing there", agent.handle.closed()).await;
}

#[tokio::test]
async fn what_is_no_message_ends_the_link_with_a_reason() {
    let cluster = Cluster::new();
    let (router, mut links) = router(LinkLimits::default());
    let server = Server::start(&cluster.credentials(Role::Control), router).await;
    // A proxy where an agent is expected.
    let credentials = cluster.credentials(node(1));
    let proxy: Link<ProxyMessage, ToAgent> = connect(
        server.address,
        &credentials,
        AGENT_PATH,
        LinkLimits::default(),
    )
    .await
    .unwrap();
    let control = within("accepting", links.recv()).await.unwrap();
    let message = ProxyMessage::Waited {
        service: "db".parse().unwrap(),
        connections: 1,
        longest_ms: 1,
    };
    proxy.sender.send(message).await.unwrap();
    let reason = within("closing", control.handle.closed()).await;
    assert!(matches!(reason, CloseReason::NotAMessage(_)), "{reason}");
}

#[tokio::test]
async fn a_user_who_takes_nothing_ends_the_link() {
    let limits = LinkLimits {
        queue_messages_max: 1,
        receive_ms_max: 100,
        ..LinkLimits::default()
    };
    let Pair { agent, control, .. } = pair(LinkLimits::default(), limits).await;
    for request in 0..2 {
        agent.sender.send(answer(request)).await.unwrap();
    }
    let reason = within("closing", control.handle.closed()).await;
    assert_eq!(reason, CloseReason::NotTaken { waited_ms: 100 });
}

#[tokio::test]
async fn what_was_sent_before_the_sender_went_arrives() {
    let Pair {
        agent, mut control, ..
    } = pair(LinkLimits::default(), LinkLimits::default()).await;
    for request in 0..3 {
        agent.sender.send(answer(request)).await.unwrap();
    }
    drop(agent.sender);
    for request in 0..3 {
        assert_eq!(
            within("a message", control.receiver.recv()).await,
            Some(answer(request))
        );
    }
    assert_eq!(within("the end", control.receiver.recv()).await, None);
    assert_eq!(control.handle.reason(), Some(CloseReason::Peer));
    assert_eq!(agent.handle.reason(), Some(CloseReason::Here));
}

#[tokio::test]
async fn either_end_can_close_and_the_other_hears_of_it() {
    let Pair { agent, control, .. } = pair(LinkLimits::default(), LinkLimits::default()).await;
    drop(agent.receiver);
    assert_eq!(
        within("closing", agent.handle.closed()).await,
        CloseReason::Here
    );
    within("closing there", control.handle.closed()).await;
    let Pair { agent, control, .. } = pair(LinkLimits::default(), LinkLimits::default()).await;
    control.handle.close();
    assert_eq!(
        within("closing", agent.handle.closed()).await,
        CloseReason::Peer
    );
}

#[tokio::test]
async fn a_refusal_says_why() {
    let cluster = Cluster::new();
    let refuse = async || {
        let error = flocker_types::api::ApiError {
            code: flocker_types::api::ErrorCode::Forbidden,
            message: "node 1 was removed".to_owned(),
            hint: Some("join it again".to_owned()),
        };
        let body = serde_json::to_vec(&error).unwrap();
        (StatusCode::FORBIDDEN, body).into_response()
    };
    let router = Router::new().route(AGENT_PATH, post(refuse));
    let server = Server::start(&cluster.credentials(Role::Control), router).await;
    let credentials = cluster.credentials(node(1));
    let limits = LinkLimits::default();
    let link: Result<AgentLink, _> =
        connect(server.address, &credentials, AGENT_PATH, limits).await;
    let text = link.unwrap_err().to_string();
    assert!(
        text.ends_with("(403 Forbidden): node 1 was removed; join it again"),
        "{text}"
    );
    // And one whom control's TLS does not let in hears that, although TLS says it late.
    let credentials = Cluster::imitating(&cluster).credentials_trusting(node(1), &cluster);
    let link: Result<AgentLink, _> =
        connect(server.address, &credentials, AGENT_PATH, limits).await;
    let error = link.unwrap_err();
    assert!(
        matches!(
            error,
            LinkError::Tls(crate::tls::TlsError::RefusedByPeer { .. })
        ),
        "{error:?}"
    );
    assert!(!error.retry_can_help());
}

#[tokio::test]
async fn a_control_that_takes_no_request_is_given_up() {
    let cluster = Cluster::new();
    let never = async || std::future::pending::<Response>().await;
    let router = Router::new().route(AGENT_PATH, post(never));
    let server = Server::start(&cluster.credentials(Role::Control), router).await;
    let credentials = cluster.credentials(node(1));
    let limits = LinkLimits {
        connect_ms_max: 1_000,
        ..LinkLimits::default()
    };
    let link: Result<AgentLink, _> =
        connect(server.address, &credentials, AGENT_PATH, limits).await;
    assert!(
        matches!(
            link,
            Err(LinkError::Timeout {
                limit_ms: 1_000,
                ..
            })
        ),
        "{link:?}"
    );
}

/// Control on a given port, so that it can come back where it was.
async fn control_on(
    address: SocketAddr,
    cluster: &Cluster,
) -> (Server, mpsc::Receiver<ControlLink>) {
    let (router, links) = router(LinkLimits::default());
    let limits = ServeLimits {
        shutdown_ms_max: 100,
        ..ServeLimits::default()
    };
    let credentials = cluster.credentials(Role::Control);
    let clients = ClientCertificates::Required;
    (
        Server::start_on(address, &credentials, router, clients, limits).await,
        links,
    )
}

#[tokio::test]
async fn a_link_comes_back_when_control_does() {
    let cluster = Cluster::new();
    let (server, mut links) = control_on(ANY, &cluster).await;
    let address = server.address;
    let cancel = CancellationToken::new();
    let target = LinkTarget {
        control: address,
        credentials: cluster.credentials(node(1)),
        path: AGENT_PATH,
        limits: LinkLimits::default(),
    };
    let keeping = tokio::spawn(run_with_reconnect(
        target,
        cancel.clone(),
        async |mut link: AgentLink| {
            link.sender.send(answer(7)).await.unwrap();
            while link.receiver.recv().await.is_some() {}
        },
    ));
    let mut first = within("the first link", links.recv()).await.unwrap();
    assert_eq!(
        within("a hello", first.receiver.recv()).await,
        Some(answer(7))
    );
    server.stop().await;
    within("closing", first.handle.closed()).await;
    let (server, mut links) = control_on(address, &cluster).await;
    let back = Instant::now();
    let mut second = within("the second link", links.recv()).await.unwrap();
    println!("control was found again after {:?}", back.elapsed());
    assert_eq!(
        within("a hello", second.receiver.recv()).await,
        Some(answer(7))
    );
    cancel.cancel();
    within("the end", keeping).await.unwrap();
    within("closing", second.handle.closed()).await;
    server.stop().await;
}
