//! The state of a cluster as text, whole or by kind. Pure.
//!
//! `status`, `ps`, `volume ls`, `volume inspect` and `node ls` use it.

use super::operation::{progress_line, title};
use super::table::Table;
use super::{Style, access};
use crate::names::full_name;
use crate::quantity::{bytes, milliseconds, moment};
use flocker_types::api::{
    ClusterView, CopyView, LinkView, NodeView, OperationView, ServiceView, VolumeView,
};
use flocker_types::operation::OperationStatus;
use flocker_types::task::ContainerState;
use flocker_types::time::UnixMs;
use flocker_types::volume::Role;

/// Operations that have ended and are shown at most.
const ENDED_MAX: usize = 3;

/// Everything, on one screen for a small cluster.
pub(crate) fn render(view: &ClusterView, style: Style) -> String {
    let mut text = format!(
        "{} {}  {}\n",
        style.bold("cluster"),
        view.cluster,
        style.faint(&moment(view.at))
    );
    let mut part = |title: &str, body: String| {
        text.push_str(&format!("\n{}\n{body}", style.bold(title)));
    };
    part("Nodes", nodes(view, style));
    part("Services", services(view, style));
    if !view.volumes.is_empty() {
        part("Volumes", volumes(view, style));
    }
    let operations = operations(view, style);
    if !operations.is_empty() {
        part("Operations", operations);
    }
    if let Some(rotation) = &view.rotation {
        part("Authority", access::rotation(rotation, view.at));
    }
    let certificates = access::warnings(&view.certificates, style);
    if !certificates.is_empty() {
        part("Certificates", certificates);
    }
    text
}

/// The nodes.
pub(crate) fn nodes(view: &ClusterView, style: Style) -> String {
    let mut table = Table::new(&[
        "NAME", "ADDRESS", "AGENT", "PROXY", "POOL", "FREE", "VERSION",
    ]);
    for node in &view.nodes {
        table.row(vec![
            node.name.to_string(),
            node.address.to_string(),
            link(node.agent, view.at, style),
            link(node.proxy, view.at, style),
            node.storage.map_or("-".to_owned(), |kind| kind.to_string()),
            free(node),
            node.version.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    table.render(style)
}

fn free(node: &NodeView) -> String {
    node.pool.map_or("-".to_owned(), |pool| {
        format!("{} of {}", bytes(pool.free_bytes), bytes(pool.size_bytes))
    })
}

fn link(link: LinkView, now: UnixMs, style: Style) -> String {
    match link {
        LinkView::Connected(_) => style.good("connected"),
        LinkView::Lost(since) => style.bad(&format!("lost {} ago", age(since, now))),
        LinkView::Never => style.notable("not yet"),
    }
}

fn age(since: UnixMs, now: UnixMs) -> String {
    milliseconds(now.0.saturating_sub(since.0) / 1_000 * 1_000)
}

/// The services, with what is not well with them.
pub(crate) fn services(view: &ClusterView, style: Style) -> String {
    if view.services.is_empty() {
        return "(none; `flocker deploy` starts some)\n".to_owned();
    }
    let mut table = Table::new(&["NAME", "NODE", "STATE", "ADDRESS", "PORTS", "IMAGE"]);
    for service in &view.services {
        table.row(vec![
            service.id.to_string(),
            service
                .node
                .as_ref()
                .map_or("-".to_owned(), ToString::to_string),
            state(service, view, style),
            service.cluster_address.to_string(),
            ports(service),
            service.spec.image.clone(),
        ]);
        for problem in &service.problems {
            table.remark(format!("{} {problem}", style.bad("!")));
        }
    }
    table.render(style)
}

fn ports(service: &ServiceView) -> String {
    let ports: Vec<String> = service
        .spec
        .ports
        .iter()
        .map(|port| format!("{}->{}", port.external, port.internal))
        .collect();
    match ports.is_empty() {
        true => "-".to_owned(),
        false => ports.join(","),
    }
}

fn state(service: &ServiceView, view: &ClusterView, style: Style) -> String {
    let of_operation = service.operation.and_then(|id| {
        let mut all = view.operations.iter();
        all.find(|operation| operation.operation.id == id)
    });
    if let Some(operation) = of_operation {
        let (kind, phase) = (operation.operation.kind, operation.operation.phase);
        return style.notable(&format!("{kind}: {phase}"));
    }
    if service.node.is_none() {
        return style.faint("removed");
    }
    match &service.state {
        ContainerState::Absent => style.bad("absent"),
        ContainerState::Created => style.notable("created"),
        ContainerState::Starting => style.notable("starting"),
        ContainerState::Running { since, .. } => {
            style.good(&format!("running {}", age(*since, view.at)))
        }
        ContainerState::Unhealthy { .. } => style.bad("unhealthy"),
        ContainerState::Stopped { exit_code, .. } => style.bad(&match exit_code {
            Some(code) => format!("stopped ({code})"),
            None => "stopped".to_owned(),
        }),
        ContainerState::Failed(_) => style.bad("failed"),
    }
}

/// The volumes and where they have copies.
pub(crate) fn volumes(view: &ClusterView, style: Style) -> String {
    if view.volumes.is_empty() {
        return "(none; services that mount some bring them)\n".to_owned();
    }
    let mut table = Table::new(&["NAME", "HOLDER", "EPOCH", "SIZE", "SERVICE", "OTHER COPIES"]);
    for volume in &view.volumes {
        let service = volume.service.as_ref();
        table.row(vec![
            full_name(&volume.application, volume.name.as_str()),
            volume.holder.to_string(),
            volume.epoch.to_string(),
            size(volume),
            service.map_or("-".to_owned(), ToString::to_string),
            other_copies(volume),
        ]);
        if let Some(until) = volume.destroy_after {
            table.remark(format!(
                "{} will be deleted in {}; `flocker volume restore` keeps it",
                style.bad("!"),
                milliseconds(until.0.saturating_sub(view.at.0))
            ));
        }
    }
    table.render(style)
}

fn holder_copy(volume: &VolumeView) -> Option<&CopyView> {
    let mut copies = volume.copies.iter();
    copies.find(|copy| copy.role == Role::Holder && copy.node == volume.holder)
}

fn size(volume: &VolumeView) -> String {
    let used = holder_copy(volume).and_then(|copy| copy.used_bytes);
    match (used, volume.size_bytes_max) {
        (Some(used), Some(limit)) => format!("{} of {}", bytes(used), bytes(limit)),
        (Some(used), None) => bytes(used),
        (None, Some(limit)) => format!("at most {}", bytes(limit)),
        (None, None) => "-".to_owned(),
    }
}

fn other_copies(volume: &VolumeView) -> String {
    let head = holder_copy(volume).and_then(|copy| copy.head.as_ref());
    let copies: Vec<String> = volume
        .copies
        .iter()
        .filter(|copy| copy.node != volume.holder)
        .map(
            |copy| match copy.head.is_some() && copy.head.as_ref() == head {
                true => copy.node.to_string(),
                false => format!("{} (older)", copy.node),
            },
        )
        .collect();
    match copies.is_empty() {
        true => "-".to_owned(),
        false => copies.join(", "),
    }
}

/// Everything about one volume.
pub(crate) fn volume(volume: &VolumeView, now: UnixMs, style: Style) -> String {
    let mut text = String::new();
    let mut fact = |name: &str, value: &str| {
        text.push_str(&format!(
            "{} {value}\n",
            style.faint(&format!("{name:<12}"))
        ));
    };
    fact(
        "volume",
        &style.bold(&full_name(&volume.application, volume.name.as_str())),
    );
    fact("id", &volume.id.to_string());
    fact(
        "holder",
        &format!("{}, since epoch {}", volume.holder, volume.epoch),
    );
    let service = volume.service.as_ref();
    fact(
        "service",
        &service.map_or("-".to_owned(), ToString::to_string),
    );
    fact("size", &size(volume));
    if let Some(until) = volume.destroy_after {
        let left = milliseconds(until.0.saturating_sub(now.0));
        fact("deleted in", &format!("{left} ({})", moment(until)));
    }
    text.push('\n');
    let mut table = Table::new(&["NODE", "ROLE", "EPOCH", "SIZE", "SNAPSHOTS", "HEAD"]);
    for copy in &volume.copies {
        let head = copy.head.as_ref();
        table.row(vec![
            copy.node.to_string(),
            copy.role.to_string(),
            copy.epoch.to_string(),
            copy.used_bytes.map_or("-".to_owned(), bytes),
            copy.snapshots.to_string(),
            head.map_or("-".to_owned(), ToString::to_string),
        ]);
    }
    text + &table.render(style)
}

/// What goes on, and the last that ended.
fn operations(view: &ClusterView, style: Style) -> String {
    let goes_on = |operation: &&OperationView| operation.operation.finished.is_none();
    let mut text = String::new();
    for operation in view.operations.iter().filter(goes_on) {
        let id = style.faint(&operation.operation.id.to_string());
        text.push_str(&format!("{id}  {}\n", progress_line(operation, None)));
    }
    let mut ended: Vec<&OperationView> = view
        .operations
        .iter()
        .filter(|operation| !goes_on(operation))
        .collect();
    ended.sort_by_key(|operation| std::cmp::Reverse(operation.operation.finished));
    for operation in ended.into_iter().take(ENDED_MAX) {
        text.push_str(&ended_line(operation, view.at, style));
    }
    text
}

fn ended_line(view: &OperationView, now: UnixMs, style: Style) -> String {
    let operation = &view.operation;
    let result = match &operation.status {
        OperationStatus::Failed { failure, .. } => {
            format!("{}: {failure}", style.bad("failed"))
        }
        _ => match operation.pause_ms {
            Some(pause_ms) => format!("{}, pause {}", style.good("done"), milliseconds(pause_ms)),
            None => style.good("done"),
        },
    };
    let ago = age(operation.finished.unwrap_or(now), now);
    let id = style.faint(&operation.id.to_string());
    format!("{id}  {}: {result}, {ago} ago\n", title(view))
}

#[cfg(test)]
#[path = "status_test.rs"]
mod tests;
