//! *data-outlives-control*: processes come and go and no container stops for it; what an agent does is
//! what its durable ledger says; what control knows that matters is in the store.

use super::Verdict;
use crate::node::Node;
use crate::store::Store;
use flocker_core::agent::Job;
use flocker_core::cluster::State;
use flocker_core::control::Control;
use flocker_types::ids::ServiceId;
use flocker_types::task::Want;

/// A job fits the ledger that is on the disk.
pub(super) fn job(node: &Node, job: &Job) -> Verdict {
    let want = |service: &ServiceId| node.ledger.directives.get(service).map(|d| &d.want);
    match job {
        Job::Run {
            service,
            volumes,
            container,
            ..
        } => match want(service) {
            Some(Want::Run {
                volumes: claims,
                container: wanted,
            }) if claims == volumes && *wanted == **container => Ok(()),
            other => Err(format!(
                "{} starts {service} and its ledger says {}",
                node.name,
                brief(other)
            )),
        },
        Job::Stop { service, .. } => match want(service) {
            Some(Want::Run { container, .. }) => {
                let runs = node.running(service);
                let same = runs.is_some_and(|runs| runs.request.spec == *container);
                if same {
                    let name = &node.name;
                    Err(format!("{name} stops {service}, which runs as it shall"))
                } else {
                    Ok(())
                }
            }
            Some(Want::Stopped | Want::Absent) => Ok(()),
            None => Err(format!(
                "{} stops {service} and nobody told it to",
                node.name
            )),
        },
        Job::RemoveContainer { service } if want(service) != Some(&Want::Absent) => Err(format!(
            "{} removes the container of {service} and its ledger says {}",
            node.name,
            brief(want(service))
        )),
        _ => Ok(()),
    }
}

fn brief(want: Option<&Want>) -> &'static str {
    match want {
        None => "nothing",
        Some(Want::Run { .. }) => "something else to run",
        Some(Want::Stopped) => "that it shall be stopped",
        Some(Want::Absent) => "that it shall be absent",
    }
}

/// What control had in memory is what the store has; but for what an operation waits for, which is only
/// shown.
pub(super) fn memory_is_stored(core: &Control, store: &Store) -> Verdict {
    let (_, Some(mut stored)) = store.load() else {
        return Err("the store has no cluster".to_owned());
    };
    let state: &State = core.state();
    for (id, record) in &mut stored.operations {
        if let Some(known) = state.operations.get(id) {
            let text = known.operation.waiting_for.clone();
            record.operation.waiting_for = text;
        }
    }
    let differs = [
        ("the cluster", state.meta != stored.meta),
        ("a node", state.nodes != stored.nodes),
        ("a service", state.services != stored.services),
        ("a volume", state.volumes != stored.volumes),
        ("an operation", state.operations != stored.operations),
        ("a token", state.tokens != stored.tokens),
    ];
    match differs.iter().find(|(_, differs)| *differs) {
        Some((what, _)) => Err(format!(
            "control knew something of {what} that its store has not"
        )),
        None => Ok(()),
    }
}
