//! A container that was made for a directive to come, on a node where an older one still says that there
//! shall be none.

use super::usage_test::{agent_with, at};
use super::*;
use flocker_types::app::ServiceSpec;
use flocker_types::ids::{Generation, OperationId};
use flocker_types::task::{ContainerSpec, Prepared, Task, TaskOutcome, TaskReport, Work};
use std::net::Ipv4Addr;
use uuid::Uuid;

fn service() -> ServiceId {
    "shop/db".parse().unwrap()
}

/// The jobs that begin when this happens.
fn jobs(agent: &mut Agent, event: Event) -> Vec<(JobId, Job)> {
    let output = agent.step(at(), event);
    let begun = |command| match command {
        Command::Begin(id, job) => Some((id, job)),
        _ => None,
    };
    output.commands.into_iter().filter_map(begun).collect()
}

fn absent(generation: u64) -> Event {
    Event::Control(ToAgent::Directive(Directive {
        service: service(),
        generation: Generation(generation),
        want: Want::Absent,
    }))
}

fn prepare() -> Event {
    let container = ContainerSpec {
        spec: ServiceSpec::of_image("db:1"),
        hosts: Vec::new(),
        link_environment: Vec::new(),
        image_id: None,
        volumes: Vec::new(),
        cluster_address: None,
    };
    Event::Control(ToAgent::Task(Task {
        id: TaskId {
            operation: OperationId(Uuid::from_u128(4)),
            sequence: 1,
        },
        work: Work::Prepare {
            service: service(),
            container: Box::new(container),
            incoming: Vec::new(),
            image_peers: Vec::new(),
        },
        stall_limit_ms: 1_000,
    }))
}

fn done(job: JobId) -> Event {
    let prepared = Prepared {
        image_id: "sha256:1".to_owned(),
        exposed_ports: Vec::new(),
        address: Ipv4Addr::new(10, 213, 0, 2),
    };
    Event::JobDone {
        job,
        result: Ok(JobOutcome::Prepared(prepared)),
    }
}

#[test]
fn what_was_prepared_outlives_the_directive_before_it_and_not_the_next() {
    let mut agent = agent_with(Vec::new());
    assert_eq!(jobs(&mut agent, absent(5)), []);
    let begun = jobs(&mut agent, prepare());
    let [(job, Job::Prepare { .. })] = &begun[..] else {
        panic!("{begun:?}")
    };
    let output = agent.step(at(), done(*job));
    let reported = |command: &Command| {
        let told = match command {
            Command::Send(AgentMessage::Task(TaskReport { result, .. })) => result,
            _ => return false,
        };
        matches!(told, Ok(TaskOutcome::Prepared(_)))
    };
    assert!(output.commands.iter().any(reported), "{output:?}");
    let begins = |command: &Command| matches!(command, Command::Begin(..));
    assert!(!output.commands.iter().any(begins), "{output:?}");
    assert_eq!(jobs(&mut agent, Event::Tick), []);
    // An older one, or the same again, changes nothing.
    assert_eq!(jobs(&mut agent, absent(5)), []);
    let begun = jobs(&mut agent, absent(6));
    assert!(
        matches!(&begun[..], [(_, Job::RemoveContainer { .. })]),
        "{begun:?}"
    );
}

#[test]
fn what_a_failed_preparation_left_goes() {
    let mut agent = agent_with(Vec::new());
    jobs(&mut agent, absent(5));
    let begun = jobs(&mut agent, prepare());
    let failed = Event::JobDone {
        job: begun[0].0,
        result: Err(Failure {
            message: "a test says so".to_owned(),
            retry: Retry::MayHelp,
        }),
    };
    let begun = jobs(&mut agent, failed);
    assert!(
        matches!(&begun[..], [(_, Job::RemoveContainer { .. })]),
        "{begun:?}"
    );
}

/// The operation was given up, and control said so, while the preparation went on.
#[test]
fn what_was_prepared_for_an_older_word_goes() {
    let mut agent = agent_with(Vec::new());
    let begun = jobs(&mut agent, prepare());
    assert_eq!(jobs(&mut agent, absent(5)), []);
    let begun = jobs(&mut agent, done(begun[0].0));
    assert!(
        matches!(&begun[..], [(_, Job::RemoveContainer { .. })]),
        "{begun:?}"
    );
}
