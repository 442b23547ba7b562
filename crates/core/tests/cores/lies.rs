//! What a node says of things that are not its own changes nothing. The fuzzer `hostile_node` tries the
//! same by the million.

use crate::world::{World, database, deployment, node_id, service};
use flocker_core::control::{Request, Response};
use flocker_types::api::{LogLine, LogStream};
use flocker_types::ids::{Epoch, Generation};
use flocker_types::link::{AgentMessage, Follow};
use flocker_types::task::{ContainerState, ServiceStatus};
use flocker_types::volume::{Role, VolumeCopy};

#[test]
fn a_node_is_not_believed_about_what_it_was_never_told_to_have() {
    let mut world = World::new(3);
    world.deploy(&deployment(&[(database("db", 5432), "n1")], &["n1"]));
    let (holder, liar) = (node_id(1), node_id(3));
    let before = world.control.as_ref().unwrap().state().clone();
    let volume = before.volumes.values().next().unwrap().clone();
    let mut label = volume.label(before.meta.cluster, Epoch(99));
    label.size_bytes_max = Some(1);
    world.hear(
        liar,
        AgentMessage::Volume(VolumeCopy {
            label,
            role: Role::Holder,
            snapshots: Vec::new(),
            used_bytes: Some(1),
        }),
    );
    world.hear(liar, AgentMessage::VolumeGone { volume: volume.id });
    for name in ["db", "unheard-of"] {
        let status = ServiceStatus {
            service: service(name),
            generation: Generation(u64::MAX),
            state: ContainerState::Starting,
        };
        world.hear(liar, AgentMessage::Service(status));
    }
    world.settle();
    let after = world.control.as_ref().unwrap().state().clone();
    assert_eq!(after.volumes, before.volumes);
    assert_eq!(after.services, before.services);
    assert_eq!(world.runs_on("db"), Some(holder));
}

#[test]
fn a_node_puts_no_lines_into_the_log_of_anothers_container() {
    let mut world = World::new(2);
    world.deploy(&deployment(&[(database("db", 5432), "n1")], &["n1"]));
    let request = world.ask(Request::Logs {
        service: service("db"),
        tail: None,
        follow: Follow::Yes,
    });
    let lines = |text: &str| AgentMessage::Log {
        request,
        lines: vec![LogLine {
            stream: LogStream::Stdout,
            text: text.to_owned(),
        }],
        end: None,
    };
    world.hear(node_id(2), lines("forged"));
    assert!(world.replies.remove(&request).is_none());
    world.hear(node_id(1), lines("true"));
    let answer = world.replies.remove(&request);
    assert!(
        matches!(answer, Some(Ok(Response::Log { .. }))),
        "{answer:?}"
    );
}
