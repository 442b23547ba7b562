//! Control's records, made again from what the nodes hold (invariant *data-outlives-control*).
//!
//! Each node knows what it was told (its ledger), which copies of volumes it has (their labels) and
//! what its containers are made of. From all of them, and from an older state where a backup has one,
//! [`recover`] makes the state with which control goes on: whoever holds a volume in the highest epoch
//! holds it, whoever was told last to run a service runs it, and every new generation is above all that
//! any node can have seen. What no node knows is said, one sentence each; what could be either way is
//! refused, with what the operator has to say.
//!
//! `flocker recover` and `flocker control restore` call it, the simulator too. Pure. It never stops a
//! container that is the right one, and never deletes anything.

mod compare;
mod evidence;
mod outcome;
mod services;
mod volumes;

pub use compare::differences;
pub use evidence::{Attendance, Evidence, NodeEvidence};
pub use outcome::{Conflict, CopySeen, Recovered, Unknown, Without};

use crate::cluster::{Key, MetaRecord, NodeRecord, OperationRecord, State};
use crate::control::Control;
use evidence::Known;
use flocker_types::access::{Revocation, Revoked};
use flocker_types::ids::{Generation, NodeId, NodeName};
use flocker_types::operation::OperationStatus;
use flocker_types::task::{Failure, Retry};
use std::collections::{BTreeMap, BTreeSet};

/// New generations begin this far above the highest one that was seen: nodes that have not come, and
/// proxies, may have seen higher ones. A cluster that makes a thousand a second needs eleven days for
/// so many.
const GENERATION_LEAP: u64 = 1_000_000_000;

/// Makes the state again.
///
/// # Errors
/// Every [`Conflict`] that a person has to decide; then there is no state.
pub fn recover(evidence: &Evidence) -> Result<Recovered, Vec<Conflict>> {
    let known = Known::of(evidence);
    let volumes = volumes::decide(evidence, &known)?;
    let mut state = State::new(MetaRecord {
        generation: first_generation(evidence, &known),
        ..evidence.meta.clone()
    });
    let mut unknowns = Vec::new();
    nodes(evidence, &mut state, &mut unknowns);
    state.operations = ended_operations(evidence);
    if let Some(base) = &evidence.base {
        (state.users, state.revocations) = (base.users.clone(), base.revocations.clone());
    }
    state.revocations = revocations(evidence, state.revocations);
    state.volumes = volumes;
    let mut control = Control::new(state);
    services::rebuild(&mut control, evidence, &known, &mut unknowns);
    let mut state = control.into_state();
    volumes::name_apart(&mut state, &mut unknowns);
    unknowns.extend(never_known(evidence));
    touch_all(&mut state);
    Ok(Recovered { state, unknowns })
}

fn first_generation(evidence: &Evidence, known: &Known) -> Generation {
    let of_nodes = evidence.nodes.values().map(|n| n.memory.generation_max);
    let of_base = evidence.base.iter().map(|base| base.meta.generation);
    let told = known.directives.values().map(|d| d.generation);
    let highest = of_nodes
        .chain(of_base)
        .chain(told)
        .max()
        .unwrap_or_default();
    Generation(highest.0.saturating_add(GENERATION_LEAP))
}

/// Nothing that is revoked is ever taken back, so what the base and all nodes know is put together. Whoever
/// gathers the evidence has seen to it that control once said what nodes tell.
fn revocations(
    evidence: &Evidence,
    of_base: BTreeMap<Revoked, Revocation>,
) -> BTreeMap<Revoked, Revocation> {
    let mut all = of_base;
    let told = evidence
        .nodes
        .values()
        .flat_map(|node| &node.memory.revocations);
    for revocation in told {
        let known = all.get(&revocation.whom).map(|known| known.until);
        if known.is_none_or(|known| known < revocation.until) {
            let revocation = Revocation {
                mark: None,
                ..revocation.clone()
            };
            all.insert(revocation.whom.clone(), revocation);
        }
    }
    all
}

fn nodes(evidence: &Evidence, state: &mut State, unknowns: &mut Vec<Unknown>) {
    for (id, node) in &evidence.nodes {
        let before = evidence.base.as_ref().and_then(|base| base.nodes.get(id));
        let said = node
            .hello
            .name
            .clone()
            .or_else(|| before.map(|n| n.name.clone()));
        let name = said.unwrap_or_else(|| {
            let name = NodeName::new(format!("node-{}", id.short())).expect("digits and a dash");
            unknowns.push(Unknown::NodeName(name.clone()));
            name
        });
        let tunnel = node.tunnel.or_else(|| before.and_then(|n| n.tunnel));
        state.nodes.insert(
            *id,
            NodeRecord {
                id: *id,
                name,
                address: node.hello.node_address,
                stream_address: Some(node.hello.stream_address),
                tunnel,
                joined: before.map_or(evidence.now, |n| n.joined),
            },
        );
    }
    let absent = evidence.absent_of_base();
    for (id, record) in absent {
        state.nodes.insert(id, record.clone());
    }
    tell_names_apart(state);
}

/// A name that two nodes have (one of them joined again as another node) stays with the first.
fn tell_names_apart(state: &mut State) {
    let mut taken: BTreeSet<NodeName> = BTreeSet::new();
    for (id, record) in &mut state.nodes {
        if !taken.insert(record.name.clone()) {
            let longer = NodeName::new(format!("{}-{}", record.name, id.short()));
            record.name = longer.unwrap_or_else(|_| record.name.clone());
        }
    }
}

/// Those that the base knows. The ones that went on in it cannot: their tasks are as old as it is.
fn ended_operations(
    evidence: &Evidence,
) -> std::collections::BTreeMap<flocker_types::ids::OperationId, OperationRecord> {
    let Some(base) = &evidence.base else {
        return std::collections::BTreeMap::new();
    };
    let mut operations = base.operations.clone();
    for record in operations.values_mut() {
        if record.operation.finished.is_some() {
            continue;
        }
        let failure = Failure {
            message: "control's store was restored while it went on".to_owned(),
            retry: Retry::MayHelp,
        };
        let phase = record.operation.phase;
        record.task = None;
        record.operation.status = OperationStatus::Failed { failure, phase };
        record.operation.waiting_for = String::new();
        record.operation.finished = Some(evidence.now);
    }
    operations
}

/// What is on no node at all.
fn never_known(evidence: &Evidence) -> Vec<Unknown> {
    let without = match evidence.base {
        Some(_) => Without::Later,
        None => Without::Everything,
    };
    let mut unknowns = vec![Unknown::Operations(without), Unknown::Users(without)];
    if evidence.base.is_none() {
        unknowns.extend([Unknown::Learned, Unknown::JoinTimes, Unknown::Deletions]);
    }
    unknowns.push(Unknown::Tokens);
    match evidence.attendance() {
        Attendance::Complete => {}
        Attendance::Missing(names) => unknowns.push(Unknown::NodesMissing(names)),
        Attendance::NotKnown => unknowns.push(Unknown::NodesNotKnown),
    }
    unknowns
}

fn touch_all(state: &mut State) {
    let mut keys = vec![Key::Meta];
    keys.extend(state.nodes.keys().copied().map(Key::Node));
    keys.extend(state.services.keys().cloned().map(Key::Service));
    keys.extend(state.volumes.keys().copied().map(Key::Volume));
    keys.extend(state.operations.keys().copied().map(Key::Operation));
    keys.extend(state.users.keys().cloned().map(Key::User));
    keys.extend(state.revocations.keys().cloned().map(Key::Revocation));
    keys.into_iter().for_each(|key| state.touch(key));
}

/// A node's name, for people.
fn node_name(evidence: &Evidence, id: NodeId) -> String {
    let said = evidence.nodes.get(&id).and_then(|n| n.hello.name.clone());
    let before = || Some(evidence.base.as_ref()?.nodes.get(&id)?.name.clone());
    said.or_else(before)
        .map_or_else(|| format!("node-{}", id.short()), |name| name.to_string())
}
