//! The properties. Some are looked at when something happens, some in every state, some at rest.
//!
//! They see every pool, engine and record at once, which no process can.

use crate::property::{Property, Violation, broken};
use crate::scenario::Scenario;
use crate::shared::Shared;
use crate::state::{Node, State, Store};
use flocker_core::agent::{Job, Ledger};
use flocker_core::cluster::{Key, Record, ServiceRecord, VolumeRecord};
use flocker_types::ids::{Generation, ServiceId, VolumeId};
use flocker_types::operation::OperationStatus;
use flocker_types::route::RouteState;
use flocker_types::task::VolumeClaim;

type Verdict = Result<(), Violation>;

fn volume_of(store: &Store, id: VolumeId) -> Option<&VolumeRecord> {
    match store.get(&Key::Volume(id)) {
        Some(Record::Volume(volume)) => Some(volume),
        _ => None,
    }
}

fn generation_of(store: &Store) -> Generation {
    match store.get(&Key::Meta) {
        Some(Record::Meta(meta)) => meta.generation,
        _ => Generation::default(),
    }
}

fn services(store: &Store) -> impl Iterator<Item = &ServiceRecord> {
    store.values().filter_map(|record| match record {
        Record::Service(service) => Some(&**service),
        _ => None,
    })
}

/// Control has written its store.
pub(crate) fn written(before: &Shared<Store>, state: &State) -> Verdict {
    let counted = generation_of(before);
    if generation_of(&state.store) < counted {
        let what = "the counter of generations went back";
        return Err(broken(Property::StaleRejected, what));
    }
    for service in services(&state.store) {
        directives_are_new(before, service, counted, generation_of(&state.store))?;
    }
    for volume in state.volumes() {
        let Some(was) = volume_of(before, volume.id) else {
            continue;
        };
        if (was.holder, was.epoch) != (volume.holder, volume.epoch) {
            committed(before, was, volume, state)?;
        }
    }
    Ok(())
}

fn directives_are_new(
    before: &Store,
    service: &ServiceRecord,
    counted: Generation,
    counts: Generation,
) -> Verdict {
    let was = match before.get(&Key::Service(service.id.clone())) {
        Some(Record::Service(was)) => Some(was),
        _ => None,
    };
    for (node, directive) in &service.directives {
        let known = was.and_then(|was| was.directives.get(node));
        let new = known != Some(directive);
        if new && (directive.generation <= counted || directive.generation > counts) {
            let what = format!("generation {} was used before", directive.generation);
            return Err(broken(Property::StaleRejected, what));
        }
    }
    Ok(())
}

fn committed(before: &Store, was: &VolumeRecord, is: &VolumeRecord, state: &State) -> Verdict {
    let fail = |what: &str| Err(broken(Property::CommitOnce, what));
    if is.holder == was.holder || is.epoch != was.epoch.next() {
        return fail("holder and epoch do not change together, by one");
    }
    let user = |service: &&ServiceRecord| service.volumes.contains(&is.id);
    let service = services(&state.store).find(user);
    let Some(service) = service.filter(|service| service.node == Some(is.holder)) else {
        return fail("the service does not change its node together with its volume");
    };
    let old = before.get(&Key::Service(service.id.clone()));
    if matches!(old, Some(Record::Service(old)) if old.node == service.node) {
        return fail("the service had changed its node before its volume");
    }
    if state.nodes.iter().any(|node| node.engine.writes(is.id)) {
        return fail("a container still writes the volume");
    }
    let holder = &state.nodes[state.index_of(is.holder)];
    let copy = holder.pool.volumes.get(&is.id);
    let head = is.head.as_ref();
    let content = copy.and_then(|copy| copy.content_at(head?));
    if content != Some(state.written(is.id)) {
        return fail("the new holder has not everything that was written");
    }
    Ok(())
}

/// An agent has written its ledger.
pub(crate) fn ledger_kept(before: &Ledger, after: &Ledger) -> Verdict {
    for (service, was) in &before.directives {
        let older = after.directives.get(service).is_none_or(|is| {
            is.generation < was.generation || is.generation == was.generation && is != was
        });
        if older {
            let what = format!("an agent obeys an older directive about {service}");
            return Err(broken(Property::StaleRejected, what));
        }
    }
    Ok(())
}

/// An agent begins a job.
pub(crate) fn job_begun(state: &State, node: usize, job: &Job) -> Verdict {
    match job {
        Job::Run { volumes, .. } if !volumes.is_empty() && !state.nodes[node].confirmed => {
            let what = "a service with volumes is started before control has spoken";
            Err(broken(Property::StartAfterConfirm, what))
        }
        Job::Destroy { .. } => {
            let what = "a copy is deleted, and nobody asked for it";
            Err(broken(Property::RemovalIsExplicit, what))
        }
        _ => Ok(()),
    }
}

/// A replica became writable.
pub(crate) fn promoted(state: &State, node: usize, claim: &VolumeClaim, content: u32) -> Verdict {
    let id = claim.label.id;
    let record = volume_of(&state.store, id);
    let committed = record.is_some_and(|record| {
        record.holder == state.nodes[node].id && record.epoch == claim.label.epoch
    });
    if !committed {
        let what = "a replica is made writable where the store names another holder";
        return Err(broken(Property::OneWriter, what));
    }
    complete(state, id, Some(content))
}

fn complete(state: &State, id: VolumeId, content: Option<u32>) -> Verdict {
    let written = state.written(id);
    if content == Some(written) {
        return Ok(());
    }
    let what = format!("{written} writes were made, and the holder begins with {content:?}");
    Err(broken(Property::NothingLost, what))
}

/// A container was started.
pub(crate) fn started(
    state: &State,
    node: usize,
    service: &ServiceId,
    volumes: &[VolumeId],
) -> Verdict {
    for id in volumes {
        let copy = state.nodes[node].pool.volumes.get(id);
        if copy.is_none_or(|copy| copy.live.is_none()) {
            let what = format!("{service} starts without its volume");
            return Err(broken(Property::OneWriter, what));
        }
        complete(state, *id, copy.and_then(|copy| copy.live))?;
    }
    Ok(())
}

/// A holder has given up its copy.
pub(crate) fn demoted(state: &State, node: usize, volume: VolumeId, tail: bool) -> Verdict {
    if state.nodes[node].engine.writes(volume) {
        let what = "a copy is given up while a container writes it";
        return Err(broken(Property::OneWriter, what));
    }
    if tail {
        let what = "something was written after the final snapshot";
        return Err(broken(Property::NothingLost, what));
    }
    Ok(())
}

/// A node lets another one send a volume.
pub(crate) fn admitted(state: &State, from: usize, to: usize, volume: VolumeId) -> Verdict {
    let grant = state.nodes[to].ledger.grants.get(&volume);
    let copy = state.nodes[from].pool.volumes.get(&volume);
    let epoch = copy
        .filter(|copy| copy.live.is_some())
        .map(|copy| copy.label.epoch);
    let fits = grant
        .is_some_and(|grant| grant.source == state.nodes[from].id && Some(grant.epoch) == epoch);
    if fits {
        return Ok(());
    }
    let what = "a stream is let in that the durable ledger does not expect";
    Err(broken(Property::StaleRejected, what))
}

/// What holds in every state.
pub(crate) fn always(state: &State) -> Verdict {
    for volume in state.volumes() {
        let mut writers = state
            .nodes
            .iter()
            .filter(|node| node.engine.writes(volume.id));
        if let Some(writer) = writers.next() {
            if writers.next().is_some() {
                return Err(broken(
                    Property::OneWriter,
                    "two containers write one volume",
                ));
            }
            if writer.id != volume.holder {
                let what = "a container writes a volume that the store gives to another node";
                return Err(broken(Property::OneWriter, what));
            }
        }
        let holder = &state.nodes[state.index_of(volume.holder)];
        if let (Some(copy), Some(head)) = (holder.pool.volumes.get(&volume.id), &volume.head)
            && copy.label.epoch < volume.epoch
            && copy.content_at(head).is_none()
        {
            let what = format!("the committed head {head} is gone before its epoch began");
            return Err(broken(Property::HeadKept, what));
        }
    }
    Ok(())
}

/// What holds when nothing is on its way, everything runs, and time brings nothing any more.
pub(crate) fn at_rest(state: &State, scenario: &Scenario) -> Verdict {
    for record in state.store.values() {
        if let Record::Operation(record) = record {
            let calm = state.faults == 0 && state.hurries == 0;
            match &record.operation.status {
                OperationStatus::Succeeded => {}
                OperationStatus::Failed { failure, phase } if calm => {
                    let what = format!("{phase}: {failure}");
                    return Err(broken(Property::CalmSucceeds, what));
                }
                OperationStatus::Failed { .. } => {}
                OperationStatus::Running | OperationStatus::Aborting { .. } => {
                    let operation = &record.operation;
                    let (phase, waiting) = (operation.phase, &operation.waiting_for);
                    let what = format!("an operation waits for ever: {phase}, for {waiting:?}");
                    return Err(broken(Property::OperationEnds, what));
                }
            }
        }
    }
    if state.asked < scenario.requests.len() {
        let what = "the next operation cannot begin";
        return Err(broken(Property::OperationEnds, what));
    }
    for service in services(&state.store) {
        service_at_rest(state, service)?;
        routes_at_rest(state, service)?;
    }
    state
        .volumes()
        .try_for_each(|volume| volume_at_rest(state, volume))
}

fn service_at_rest(state: &State, service: &ServiceRecord) -> Verdict {
    let fail = |what: String| Err(broken(Property::OperationEnds, what));
    if service.operation.is_some() {
        return fail("a service still has its operation".to_owned());
    }
    for node in &state.nodes {
        let runs = node.engine.runs(&service.id);
        if runs != (service.node == Some(node.id)) {
            let where_ = service.node.map(|id| state.index_of(id) + 1);
            let number = state.index_of(node.id) + 1;
            let verb = if runs { "runs" } else { "does not run" };
            return fail(format!(
                "it {verb} on n{number}; its record says {where_:?}"
            ));
        }
    }
    Ok(())
}

fn routes_at_rest(state: &State, service: &ServiceRecord) -> Verdict {
    let led_to = match &service.route.state {
        RouteState::Serving(backend) => Some(backend.node),
        RouteState::Down => None,
        RouteState::Held { .. } => {
            let what = "clients are held for ever";
            return Err(broken(Property::HoldEnds, what));
        }
    };
    if led_to != service.node {
        let what = "the route does not lead to where the service runs";
        return Err(broken(Property::HoldEnds, what));
    }
    for proxy in &state.proxies {
        let route = proxy.table.route(&service.id);
        if route.is_none_or(|route| **route != service.route) {
            let what = "a proxy has another route in force";
            return Err(broken(Property::HoldEnds, what));
        }
    }
    Ok(())
}

fn volume_at_rest(state: &State, volume: &VolumeRecord) -> Verdict {
    let fail = |what: String| Err(broken(Property::LabelsFit, what));
    if !volume.created {
        return Ok(());
    }
    let holder = &state.nodes[state.index_of(volume.holder)];
    let Some(held) = holder.pool.volumes.get(&volume.id) else {
        return fail("the holder has no copy".to_owned());
    };
    if held.live != Some(state.written(volume.id)) {
        let what = format!("the holder's copy has {:?} of the writes", held.live);
        return Err(broken(Property::NothingLost, what));
    }
    if held.label.epoch != volume.epoch {
        return fail(format!(
            "the holder's label is of epoch {}",
            held.label.epoch
        ));
    }
    let user = services(&state.store).find(|service| service.volumes.contains(&volume.id));
    if let Some(user) = user.filter(|user| user.node.is_some()) {
        let described = held.label.service.as_ref();
        if described.is_none_or(|described| described.id != user.id || described.spec != user.spec)
        {
            return fail("the holder's label does not describe the service".to_owned());
        }
    }
    let others = state.nodes.iter().filter(|node| node.id != volume.holder);
    for copy in others.filter_map(|node: &Node| node.pool.volumes.get(&volume.id)) {
        if copy.live.is_some() {
            return fail("a copy of an old holder is still writable".to_owned());
        }
        let mut common = copy.snapshots.iter();
        let calm = state.faults == 0 && state.hurries == 0;
        if calm && !common.any(|(name, _, _)| held.content_at(name).is_some()) {
            return fail("a replica shares no snapshot with the holder".to_owned());
        }
    }
    Ok(())
}
