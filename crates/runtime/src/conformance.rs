//! What every [`Runtime`] has to do alike, as cases that a test runs against one.
//!
//! The tests of the Docker implementation and of the fake in the test kit call them, so that a unit
//! test with the fake means something. A case panics where the runtime breaks its contract.

use crate::runtime_trait::{
    ContainerEvent, ContainerInfo, ContainerRequest, ContainerRun, MountRequest, Release, Runtime,
    RuntimeErrorKind, Started,
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

    /// A volume for a container that was made without it.
    fn volume(&self, service: &ServiceId) -> MountRequest;

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
    a_container_waits_at_its_gate(subject).await;
    what_waits_does_not_run(subject).await;
    nothing_else_is_let_through(subject).await;
    nothing_is_told_of_a_gate(subject).await;
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

async fn hold(subject: &dyn Subject, service: &ServiceId, behaviour: Behaviour) {
    let request = subject.request(service, behaviour);
    let targets = [subject.volume(service).target];
    let held = subject.runtime().hold(&request, &targets).await;
    held.expect("hold works");
    let found = inspect(subject, service).await.expect("it is there");
    assert_eq!(found.run, ContainerRun::AtGate);
    assert_eq!(found.fingerprint, request.fingerprint);
}

async fn release(subject: &dyn Subject, service: &ServiceId, fingerprint: &str) -> Release {
    let volumes = [subject.volume(service)];
    let released = subject.runtime().release(service, fingerprint, &volumes);
    released.await.expect("release works")
}

async fn assert_runs(subject: &dyn Subject, service: &ServiceId) {
    let run = inspect(subject, service).await.expect("it is there").run;
    assert!(matches!(run, ContainerRun::Running { .. }), "{run:?}");
}

/// Held, let through, and the same again after it has ended; each call twice.
pub async fn a_container_waits_at_its_gate(subject: &dyn Subject) {
    let one = service("gate");
    let runtime = subject.runtime();
    hold(subject, &one, Behaviour::Obeys).await;
    hold(subject, &one, Behaviour::Obeys).await;
    let started = runtime.start(&one).await.expect("start works");
    assert_eq!(started, Started::AtGate);
    let listed = runtime.list().await.expect("list works");
    let ours: Vec<_> = listed.iter().filter(|info| info.service == one).collect();
    assert_eq!(ours.len(), 1);
    assert_eq!(ours[0].run, ContainerRun::AtGate);
    assert_eq!(release(subject, &one, "another").await, Release::NotWaiting);
    let run = inspect(subject, &one).await.expect("it is there").run;
    assert_eq!(run, ContainerRun::AtGate);
    for _ in 0..2 {
        assert_eq!(release(subject, &one, "f1").await, Release::Passed);
        assert_runs(subject, &one).await;
        let request = subject.request(&one, Behaviour::Obeys);
        runtime.create(&request).await.expect("create works");
        let started = runtime.start(&one).await.expect("start works");
        assert_eq!(started, Started::Runs);
    }
    let mut other = subject.request(&one, Behaviour::Obeys);
    other.fingerprint = "another".to_owned();
    let targets = [subject.volume(&one).target];
    let refused = runtime.hold(&other, &targets).await.expect_err("it runs");
    assert!(
        matches!(refused.kind, RuntimeErrorKind::Refused(_)),
        "{refused}"
    );
    runtime.stop(&one, GRACE_LONG_MS).await.expect("stop works");
    let run = inspect(subject, &one).await.expect("it is there").run;
    assert!(matches!(run, ContainerRun::Exited { .. }), "{run:?}");
    assert_eq!(release(subject, &one, "f1").await, Release::NotWaiting);
    // Whoever starts it again finds it at its gate again.
    runtime.start(&one).await.expect("start works");
    let run = inspect(subject, &one).await.expect("it is there").run;
    assert_eq!(run, ContainerRun::AtGate);
    assert_eq!(release(subject, &one, "f1").await, Release::Passed);
    assert_runs(subject, &one).await;
    runtime.stop(&one, GRACE_LONG_MS).await.expect("stop works");
    runtime.remove(&one).await.expect("remove works");
    assert_eq!(inspect(subject, &one).await, None);
}

/// It is removed, replaced and stopped as one that was never started, and at once.
pub async fn what_waits_does_not_run(subject: &dyn Subject) {
    let one = service("waiting");
    let runtime = subject.runtime();
    hold(subject, &one, Behaviour::IgnoresStopSignal).await;
    runtime.remove(&one).await.expect("remove works");
    assert_eq!(inspect(subject, &one).await, None);
    hold(subject, &one, Behaviour::IgnoresStopSignal).await;
    let mut other = subject.request(&one, Behaviour::Obeys);
    other.fingerprint = "another".to_owned();
    runtime.create(&other).await.expect("create works");
    let found = inspect(subject, &one).await.expect("it is there");
    assert_eq!(found.run, ContainerRun::Created);
    assert_eq!(found.fingerprint, "another");
    hold(subject, &one, Behaviour::IgnoresStopSignal).await;
    let begun = Instant::now();
    runtime.stop(&one, GRACE_LONG_MS).await.expect("stop works");
    assert!(begun.elapsed() < Duration::from_millis(GRACE_LONG_MS));
    let run = inspect(subject, &one).await.expect("it is there").run;
    assert!(matches!(run, ContainerRun::Exited { .. }), "{run:?}");
    hold(subject, &one, Behaviour::Obeys).await;
    runtime.remove(&one).await.expect("remove works");
}

/// Neither what is not there nor what never had a gate; nor one that waits for other volumes.
pub async fn nothing_else_is_let_through(subject: &dyn Subject) {
    let one = service("no-gate");
    let runtime = subject.runtime();
    assert_eq!(release(subject, &one, "f1").await, Release::NotWaiting);
    start(subject, &one, Behaviour::Obeys).await;
    assert_eq!(release(subject, &one, "f1").await, Release::NotWaiting);
    assert_runs(subject, &one).await;
    runtime.stop(&one, GRACE_LONG_MS).await.expect("stop works");
    runtime.remove(&one).await.expect("remove works");
    hold(subject, &one, Behaviour::Obeys).await;
    let released = runtime.release(&one, "f1", &[]).await;
    assert_eq!(released.expect("release works"), Release::NotWaiting);
    assert_eq!(inspect(subject, &one).await, None);
}

/// What happens at a gate is nobody's business; what happens after it is.
pub async fn nothing_is_told_of_a_gate(subject: &dyn Subject) {
    let one = service("gate-events");
    let runtime = subject.runtime();
    let mut events = runtime.events().await.expect("events work");
    hold(subject, &one, Behaviour::Obeys).await;
    runtime.remove(&one).await.expect("remove works");
    assert_eq!(
        next_of(&mut events, &one).await,
        ContainerEvent::Removed(one.clone())
    );
    hold(subject, &one, Behaviour::EndsWith(3)).await;
    assert_eq!(release(subject, &one, "f1").await, Release::Passed);
    subject.started(&one, Behaviour::EndsWith(3));
    assert_eq!(
        next_of(&mut events, &one).await,
        ContainerEvent::Exited(one.clone(), 3)
    );
    runtime.remove(&one).await.expect("remove works");
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
