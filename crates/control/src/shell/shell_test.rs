//! The loop with a scripted core: nothing leaves before it is durable, nobody who is slow or gone
//! keeps it from going on.

use super::*;
use flocker_core::cluster::{Change, MetaRecord, Record};
use flocker_core::control::Response;
use flocker_store::{
    Commit, Entry, Expect, MemoryStore, StateStore, StoreError, StoreTrouble, Transaction,
};
use flocker_types::api::{ApiError, ErrorCode, EventRecord, LogLine, LogStream};
use flocker_types::ids::{ClusterId, Generation};
use flocker_types::link::{Follow, ToAgent, ToProxy};
use std::sync::Mutex;
use uuid::Uuid;

const LIMIT: Duration = Duration::from_secs(10);

/// A core that does what a closure says.
struct Script<F>(F);

impl<F: FnMut(Now, Event) -> Output + Send> Core for Script<F> {
    fn step(&mut self, now: Now, event: Event) -> Output {
        self.0(now, event)
    }
    fn next_deadline(&self) -> Option<Monotonic> {
        None
    }
    fn token(&self, _id: &str) -> Option<&TokenRecord> {
        None
    }
}

/// A store that is told how each commit ends.
#[derive(Debug)]
struct Failing(fn() -> Result<Commit, StoreError>);

impl StateStore for Failing {
    fn get(&self, _key: &str) -> Result<Option<Entry>, StoreError> {
        Ok(None)
    }
    fn range(&self, _prefix: &str) -> Result<Vec<Entry>, StoreError> {
        Ok(Vec::new())
    }
    fn commit(&mut self, _transaction: &Transaction) -> Result<Commit, StoreError> {
        (self.0)()
    }
}

struct Running {
    handle: Handle,
    ended: tokio::task::JoinHandle<Result<(), KeepError>>,
    shutdown: CancellationToken,
}

fn start(
    store: impl StateStore + 'static,
    script: impl FnMut(Now, Event) -> Output + Send + 'static,
) -> Running {
    let keeper = Keeper::of_empty(Box::new(store));
    let (shell, handle) = Shell::new(Box::new(Script(script)), keeper);
    let shutdown = CancellationToken::new();
    let ended = shell.spawn(shutdown.clone());
    Running {
        handle,
        ended,
        shutdown,
    }
}

fn change() -> Change {
    Change::Put(Record::Meta(MetaRecord {
        cluster: ClusterId(Uuid::from_u128(1)),
        generation: Generation(1),
        service_network: "10.213.0.0/16".parse().unwrap(),
        container_network: "10.214.0.0/16".parse().unwrap(),
    }))
}

fn event_record() -> EventRecord {
    EventRecord {
        sequence: 1,
        at: UnixMs(1),
        message: "left".to_owned(),
        service: None,
        node: None,
        operation: None,
    }
}

fn does(commands: Vec<Command>) -> Output {
    Output {
        changes: Vec::new(),
        commands,
    }
}

/// A core that writes and answers at every request, and publishes.
fn writes_and_answers(_: Now, event: &Event) -> Output {
    match *event {
        Event::Request { id, .. } => Output {
            changes: vec![change()],
            commands: vec![
                Command::Publish(event_record()),
                Command::Reply(id, Ok(Response::Done)),
            ],
        },
        _ => Output::default(),
    }
}

async fn commands_that_leave(store: Failing) -> (KeepError, Result<Response, ApiError>) {
    let running = start(store, |now, event| writes_and_answers(now, &event));
    let mut reader = running.handle.events(None);
    let answer = running.handle.ask("ops", Request::Status, LIMIT).await;
    let ended = running.ended.await.unwrap().unwrap_err();
    let published = tokio::time::timeout(Duration::from_millis(50), reader.next()).await;
    assert!(published.is_err(), "{published:?}");
    (ended, answer)
}

#[tokio::test]
async fn no_command_leaves_when_the_store_fails() {
    let (ended, answer) = commands_that_leave(Failing(|| {
        Err(StoreError {
            action: "write",
            path: "/dev/full".to_owned(),
            trouble: StoreTrouble::Full,
            source: "no space left".into(),
        })
    }))
    .await;
    assert!(matches!(ended, KeepError::Store(_)), "{ended:?}");
    assert_eq!(answer.unwrap_err().code, ErrorCode::Unavailable);
}

#[tokio::test]
async fn no_command_leaves_when_somebody_else_wrote_the_store() {
    let (ended, answer) = commands_that_leave(Failing(|| {
        Ok(Commit::Conflict(Expect::Absent("meta".to_owned())))
    }))
    .await;
    assert!(matches!(ended, KeepError::Conflict { key } if key == "meta"));
    assert_eq!(answer.unwrap_err().code, ErrorCode::Unavailable);
}

#[tokio::test]
async fn a_core_that_finds_a_mistake_of_ours_ends_the_loop() {
    let running = start(MemoryStore::default(), |_, event| match event {
        Event::Request { .. } => panic!("an invariant does not hold"),
        _ => Output::default(),
    });
    let answer = running.handle.ask("ops", Request::Status, LIMIT).await;
    assert_eq!(answer.unwrap_err().code, ErrorCode::Unavailable);
    assert!(running.ended.await.unwrap_err().is_panic());
}

#[tokio::test]
async fn what_left_was_durable_before() {
    let store = MemoryStore::default();
    let running = start(store.reopen(), |now, event| writes_and_answers(now, &event));
    for _ in 0..3 {
        let answer = running.handle.ask("ops", Request::Status, LIMIT).await;
        assert_eq!(answer, Ok(Response::Done));
        assert!(store.get("meta").unwrap().is_some());
    }
    running.shutdown.cancel();
    running.ended.await.unwrap().unwrap();
    let answer = running.handle.ask("ops", Request::Status, LIMIT).await;
    assert_eq!(answer.unwrap_err().code, ErrorCode::Unavailable);
}

/// Sends every proxy message on to the agent's session 0, and notes what is lost.
fn relay(lost: &Arc<Mutex<Vec<Event>>>) -> impl FnMut(Now, Event) -> Output + use<> {
    let lost = Arc::clone(lost);
    move |_, event| match event {
        Event::Request { id, .. } => does(vec![
            Command::ToProxy(Session(0), ToProxy::Heartbeat),
            Command::ToProxy(Session(1), ToProxy::Heartbeat),
            Command::Reply(id, Ok(Response::Done)),
        ]),
        Event::ProxyLost { .. } | Event::ProxyMessage { .. } => {
            lost.lock().unwrap().push(event);
            Output::default()
        }
        _ => Output::default(),
    }
}

#[tokio::test]
async fn a_connection_that_does_not_read_is_closed_and_the_others_go_on() {
    let noted = Arc::new(Mutex::new(Vec::new()));
    let running = start(MemoryStore::default(), relay(&noted));
    let who = || Who::Proxy {
        node: NodeId(Uuid::from_u128(5)),
        tunnel: "127.0.0.1:1".parse().unwrap(),
    };
    let (stuck, _unread) = mpsc::channel(4);
    let (session, closed) = running
        .handle
        .connect(who(), Outgoing::Proxy(stuck))
        .await
        .unwrap();
    let (good, mut read) = mpsc::channel(4);
    running
        .handle
        .connect(who(), Outgoing::Proxy(good))
        .await
        .unwrap();
    for _ in 0..5 {
        running
            .handle
            .ask("ops", Request::Status, LIMIT)
            .await
            .unwrap();
        assert_eq!(read.recv().await, Some(ToProxy::Heartbeat));
    }
    let reason = tokio::time::timeout(LIMIT, closed).await.unwrap().unwrap();
    assert!(reason.contains("too slowly"), "{reason}");
    // Its own report of the end, and what it said before, come after that and are not passed on.
    running
        .handle
        .give(Input::Proxy(session, ProxyMessage::Heartbeat))
        .await
        .unwrap();
    running.handle.lost(session).await;
    running
        .handle
        .ask("ops", Request::Status, LIMIT)
        .await
        .unwrap();
    assert_eq!(*noted.lock().unwrap(), [Event::ProxyLost { session }]);
}

#[tokio::test]
async fn a_closed_connection_learns_why() {
    let running = start(MemoryStore::default(), |_, event| match event {
        Event::ProxyConnected { session, .. } => does(vec![
            Command::Close(session, "the node has a newer one".to_owned()),
            Command::ToProxy(session, ToProxy::Heartbeat),
            Command::ToAgent(session, ToAgent::Heartbeat),
        ]),
        _ => Output::default(),
    });
    let (outgoing, mut read) = mpsc::channel(4);
    let who = Who::Proxy {
        node: NodeId(Uuid::from_u128(5)),
        tunnel: "127.0.0.1:1".parse().unwrap(),
    };
    let (_, closed) = running
        .handle
        .connect(who, Outgoing::Proxy(outgoing))
        .await
        .unwrap();
    assert_eq!(closed.await.unwrap(), "the node has a newer one");
    assert_eq!(read.recv().await, None);
}

#[tokio::test]
async fn the_core_learns_that_nobody_waits_any_more() {
    let (gone, mut heard) = mpsc::channel(4);
    let running = start(MemoryStore::default(), move |_, event| {
        if let Event::RequestGone(id) = event {
            gone.try_send(id).unwrap();
        }
        Output::default()
    });
    let limit = Duration::from_millis(20);
    let answer = running.handle.ask("ops", Request::Status, limit).await;
    assert_eq!(answer.unwrap_err().code, ErrorCode::Unavailable);
    let id = tokio::time::timeout(LIMIT, heard.recv()).await.unwrap();
    assert_eq!(id, Some(RequestId(0)));
}

#[tokio::test]
async fn a_log_that_is_not_read_is_cut_off() {
    let (gone, mut heard) = mpsc::channel(1);
    let mut log = None;
    let running = start(MemoryStore::default(), move |_, event| match event {
        Event::Request {
            id,
            request: Request::Logs { .. },
            ..
        } => {
            log = Some(id);
            Output::default()
        }
        Event::Request { id, .. } => {
            let line = LogLine {
                stream: LogStream::Stdout,
                text: "a line".to_owned(),
            };
            let piece = Response::Log {
                lines: vec![line],
                end: false,
            };
            let mut commands = vec![Command::Reply(id, Ok(Response::Done))];
            commands.extend(log.map(|log| Command::Reply(log, Ok(piece))));
            does(commands)
        }
        Event::RequestGone(id) => {
            gone.try_send(id).unwrap();
            Output::default()
        }
        _ => Output::default(),
    });
    let request = Request::Logs {
        service: "web".parse().unwrap(),
        tail: None,
        follow: Follow::Yes,
    };
    let mut reader = running.handle.logs("ops", request).await.unwrap();
    for _ in 0..=waiters::LOG_PIECES_MAX {
        running
            .handle
            .ask("ops", Request::Status, LIMIT)
            .await
            .unwrap();
    }
    let id = tokio::time::timeout(LIMIT, heard.recv()).await.unwrap();
    assert_eq!(id, Some(RequestId(0)));
    let mut pieces = 0;
    while let Some(piece) = reader.recv().await {
        assert!(!piece.unwrap().end);
        pieces += 1;
    }
    assert_eq!(pieces, waiters::LOG_PIECES_MAX);
}

#[tokio::test]
async fn time_passes_for_the_core_without_any_event() {
    let (ticked, mut ticks) = mpsc::channel(16);
    let _running = start(MemoryStore::default(), move |now, event| {
        if event == Event::Tick {
            // Once the test has seen enough of them nobody takes them.
            ticked.try_send(now.monotonic).ok();
        }
        Output::default()
    });
    let first = ticks.recv().await.unwrap();
    let second = tokio::time::timeout(LIMIT, ticks.recv()).await.unwrap();
    let between = second.unwrap().since_ms(first);
    assert!((900..3_000).contains(&between), "{between} ms");
}
