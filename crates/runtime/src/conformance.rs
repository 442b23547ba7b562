//! What every [`Runtime`] has to do alike, as cases that a test runs against one.
//!
//! The tests of the Docker implementation and of the fake in the test kit call them, so that a unit
//! test with the fake means something. A case panics where the runtime breaks its contract.

use crate::runtime_trait::{
    ContainerEvent, ContainerInfo, ContainerRequest, ContainerRun, Runtime, RuntimeErrorKind,
};
use flocker_types::ids::ServiceId;
use std::future::Future;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;
use tokio::time::Instant;

/// Longest that anything in a case may take.
const LIMIT: Duration = Duration::from_secs(30);
/// Grace that a container which obeys never needs.
const GRACE_LONG_MS: u64 = 20_000;
/// Grace that a container which does not obey is given.
const GRACE_SHORT_MS: u64 = 200;

/// What a container of a case does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Runs until its stop signal.
    Obeys,
    /// Runs until it is killed.
    IgnoresStopSignal,
    /// Ends by itself, soon, with this code.
    EndsWith(i64),
}

/// A runtime under test.
pub trait Subject: Sync {
    /// The runtime.
    fn runtime(&self) -> &dyn Runtime;

    /// A request for a container that behaves so. Services must get different addresses.
    fn request(&self, service: &ServiceId, behaviour: Behaviour) -> ContainerRequest;

    /// Called after a container was started; a fake makes it behave.
    fn started(&self, _service: &ServiceId, _behaviour: Behaviour) {}
}

/// Runs every case.
pub async fn run_all(subject: &dyn Subject) {
    create_again_changes_nothing(subject).await;
    another_fingerprint_replaces_only_what_does_not_run(subject).await;
    start_stop_and_remove_can_be_repeated(subject).await;
    an_absent_container_is_no_error_to_remove(subject).await;
    a_running_container_is_not_removed(subject).await;
    one_that_ignores_its_signal_is_killed(subject).await;
    events_tell_a_whole_life(subject).await;
    a_missing_image_is_said_to_be_missing(subject).await;
}

fn service(name: &str) -> ServiceId {
    format!("conformance/{name}")
        .parse()
        .expect("a valid name of a case")
}

async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, work).await {
        Ok(done) => done,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

async fn inspect(subject: &dyn Subject, service: &ServiceId) -> Option<ContainerInfo> {
    let found = subject.runtime().inspect(service).await;
    found.expect("inspect works")
}

async fn start(subject: &dyn Subject, service: &ServiceId, behaviour: Behaviour) {
    let request = subject.request(service, behaviour);
    let runtime = subject.runtime();
    runtime.create(&request).await.expect("create works");
    runtime.start(service).await.expect("start works");
    subject.started(service, behaviour);
}

/// Makes a container the same way twice: the first one stays.
pub async fn create_again_changes_nothing(subject: &dyn Subject) {
    let one = service("create-again");
    let request = subject.request(&one, Behaviour::Obeys);
    for _ in 0..2 {
        subject
            .runtime()
            .create(&request)
            .await
            .expect("create works");
        let expected = ContainerInfo {
            service: one.clone(),
            fingerprint: request.fingerprint.clone(),
            image_id: request.image_id.clone(),
            address: request.address,
            run: ContainerRun::Created,
        };
        assert_eq!(inspect(subject, &one).await, Some(expected.clone()));
        let listed = subject.runtime().list().await.expect("list works");
        assert_eq!(listed.iter().filter(|info| **info == expected).count(), 1);
    }
    subject.runtime().remove(&one).await.expect("remove works");
    assert_eq!(inspect(subject, &one).await, None);
}

/// Another description replaces a container that does not run, and is refused for one that does.
pub async fn another_fingerprint_replaces_only_what_does_not_run(subject: &dyn Subject) {
    let one = service("fingerprint");
    let runtime = subject.runtime();
    start(subject, &one, Behaviour::Obeys).await;
    let mut other = subject.request(&one, Behaviour::Obeys);
    other.fingerprint = "another".to_owned();
    let refused = runtime.create(&other).await.expect_err("it runs");
    assert!(
        matches!(refused.kind, RuntimeErrorKind::Refused(_)),
        "{refused}"
    );
    assert!(!refused.retry_can_help());
    runtime.stop(&one, GRACE_LONG_MS).await.expect("stop works");
    runtime.create(&other).await.expect("create works");
    let found = inspect(subject, &one).await.expect("it is there");
    assert_eq!(found.fingerprint, "another");
    assert_eq!(found.run, ContainerRun::Created);
    runtime.remove(&one).await.expect("remove works");
}

/// Start, stop and remove, each twice; and started again after a stop.
pub async fn start_stop_and_remove_can_be_repeated(subject: &dyn Subject) {
    let one = service("repeat");
    let runtime = subject.runtime();
    start(subject, &one, Behaviour::Obeys).await;
    runtime.start(&one).await.expect("start again works");
    let running = inspect(subject, &one).await.expect("it is there").run;
    let ContainerRun::Running { pid, .. } = running else {
        panic!("it should run: {running:?}");
    };
    assert_ne!(pid, 0);
    for _ in 0..2 {
        let begun = Instant::now();
        runtime.stop(&one, GRACE_LONG_MS).await.expect("stop works");
        assert!(begun.elapsed() < Duration::from_millis(GRACE_LONG_MS));
        let run = inspect(subject, &one).await.expect("it is there").run;
        assert!(matches!(run, ContainerRun::Exited { .. }), "{run:?}");
    }
    runtime.start(&one).await.expect("it starts once more");
    runtime.stop(&one, GRACE_LONG_MS).await.expect("stop works");
    for _ in 0..2 {
        runtime.remove(&one).await.expect("remove works");
    }
}

/// What is not there cannot be started, and need not be stopped or removed.
pub async fn an_absent_container_is_no_error_to_remove(subject: &dyn Subject) {
    let one = service("absent");
    let runtime = subject.runtime();
    assert_eq!(inspect(subject, &one).await, None);
    runtime.remove(&one).await.expect("remove works");
    let stopped = runtime.stop(&one, GRACE_SHORT_MS).await;
    assert_eq!(stopped.expect("stop works"), None);
    let error = runtime.start(&one).await.expect_err("there is none");
    assert!(
        matches!(error.kind, RuntimeErrorKind::NoContainer),
        "{error}"
    );
}

/// Remove refuses a container that runs.
pub async fn a_running_container_is_not_removed(subject: &dyn Subject) {
    let one = service("remove-running");
    let runtime = subject.runtime();
    start(subject, &one, Behaviour::Obeys).await;
    let error = runtime.remove(&one).await.expect_err("it runs");
    assert!(
        matches!(error.kind, RuntimeErrorKind::Refused(_)),
        "{error}"
    );
    let run = inspect(subject, &one).await.expect("it is there").run;
    assert!(matches!(run, ContainerRun::Running { .. }), "{run:?}");
    runtime.stop(&one, GRACE_LONG_MS).await.expect("stop works");
    runtime.remove(&one).await.expect("remove works");
}

/// The grace time passes, then it is killed.
pub async fn one_that_ignores_its_signal_is_killed(subject: &dyn Subject) {
    let one = service("deaf");
    let runtime = subject.runtime();
    start(subject, &one, Behaviour::IgnoresStopSignal).await;
    let begun = Instant::now();
    runtime
        .stop(&one, GRACE_SHORT_MS)
        .await
        .expect("stop works");
    assert!(begun.elapsed() >= Duration::from_millis(GRACE_SHORT_MS));
    let run = inspect(subject, &one).await.expect("it is there").run;
    assert_eq!(run, ContainerRun::Exited { code: 137 });
    runtime.remove(&one).await.expect("remove works");
}

/// Started, ended with its code, removed: in this order, nothing else about it.
pub async fn events_tell_a_whole_life(subject: &dyn Subject) {
    let one = service("events");
    let runtime = subject.runtime();
    let mut events = runtime.events().await.expect("events work");
    start(subject, &one, Behaviour::EndsWith(3)).await;
    assert_eq!(
        next_of(&mut events, &one).await,
        ContainerEvent::Started(one.clone())
    );
    assert_eq!(
        next_of(&mut events, &one).await,
        ContainerEvent::Exited(one.clone(), 3)
    );
    let stopped = runtime.stop(&one, GRACE_LONG_MS).await;
    assert_eq!(stopped.expect("stop works"), Some(3));
    runtime.remove(&one).await.expect("remove works");
    assert_eq!(
        next_of(&mut events, &one).await,
        ContainerEvent::Removed(one.clone())
    );
}

async fn next_of(events: &mut Receiver<ContainerEvent>, wanted: &ServiceId) -> ContainerEvent {
    within("the container's next event", async {
        loop {
            let event = events.recv().await.expect("the engine lives");
            let of = match &event {
                ContainerEvent::Started(of)
                | ContainerEvent::Exited(of, _)
                | ContainerEvent::Health(of, _)
                | ContainerEvent::Removed(of) => of,
            };
            if of == wanted {
                return event;
            }
        }
    })
    .await
}

/// An image that is nowhere: said so, and quickly.
pub async fn a_missing_image_is_said_to_be_missing(subject: &dyn Subject) {
    let runtime = subject.runtime();
    let id = format!("sha256:{}", "0".repeat(64));
    assert_eq!(runtime.image(&id).await.expect("image works"), None);
    let progress = || tokio::sync::watch::Sender::new(0);
    for image in [id.as_str(), "registry.invalid/nobody/nothing:1"] {
        let begun = Instant::now();
        let error = runtime.pull(image, progress()).await.expect_err("nowhere");
        assert!(
            matches!(&error.kind, RuntimeErrorKind::NoImage { image: named, .. } if named == image),
            "{error}"
        );
        assert!(begun.elapsed() < LIMIT);
    }
    let one = service("no-image");
    let mut request = subject.request(&one, Behaviour::Obeys);
    request.image_id = id;
    let error = runtime.create(&request).await.expect_err("no image");
    assert!(
        matches!(error.kind, RuntimeErrorKind::NoImage { .. }),
        "{error}"
    );
    let exported = runtime.export_image("nobody/nothing:1").await;
    assert!(matches!(
        exported.err().map(|error| error.kind),
        Some(RuntimeErrorKind::NoImage { .. })
    ));
}
