//! Published ports in their short form, `"80:8080"`: Fig and Compose.

use crate::diagnostic::quoted;
use crate::parsed::Draft;
use crate::report::Report;
use crate::source::Span;
use crate::yaml::{Meaning, Node};
use flocker_types::app::PortMapping;

/// Most ports that one service publishes.
const PORTS_MAX: usize = 256;

/// Which short forms a format has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rules {
    /// `host:container` only.
    Fig,
    /// Also ranges, addresses and protocols, some of them refused with a reason.
    Compose,
}

/// Reads one item of `ports:` into the draft.
pub(crate) fn short(item: &Node, rules: Rules, draft: &mut Draft, report: &mut Report) {
    let Some(scalar) = item.as_scalar() else {
        report.error(
            item.span,
            format!(
                "a port must be text such as \"80:8080\", not {}",
                item.describe()
            ),
            "write \"NODE_PORT:CONTAINER_PORT\" in quotes",
        );
        return;
    };
    if item.is_failed() {
        return;
    }
    let text = &*scalar.text;
    match scalar.meaning() {
        Meaning::Text => {}
        Meaning::Base60 => report.warning(
            item.span,
            format!("without quotes, older YAML readers take {text} for a number in base 60"),
            format!("put it in quotes: \"{text}\""),
        ),
        Meaning::Integer(_) => {}
        _ => {
            report.error(
                item.span,
                format!(
                    "a port must be text such as \"80:8080\", not {}",
                    item.describe()
                ),
                "write \"NODE_PORT:CONTAINER_PORT\" in quotes",
            );
            return;
        }
    }
    let pairs = match rules {
        Rules::Fig => fig_pair(text, item.span, report),
        Rules::Compose => compose_pairs(text, item.span, draft, report),
    };
    for pair in pairs.unwrap_or_default() {
        publish(pair, item.span, draft, report);
    }
}

/// Adds one published port to the draft.
pub(crate) fn publish(port: PortMapping, at: Span, draft: &mut Draft, report: &mut Report) {
    if draft.spec.ports.len() == PORTS_MAX {
        report.error(
            at,
            format!("a service can publish at most {PORTS_MAX} ports"),
            "publish a smaller range",
        );
        return;
    }
    if draft.spec.ports.contains(&port) {
        return;
    }
    let location = report.locate(at);
    draft.marks.ports.push((port.external, location));
    draft.spec.ports.push(port);
}

fn fig_pair(text: &str, span: Span, report: &mut Report) -> Option<Vec<PortMapping>> {
    let Some((external, internal)) = text.split_once(':') else {
        missing_node_port(text, span, report);
        return None;
    };
    let external = number(external, span, report)?;
    let internal = number(internal, span, report)?;
    Some(vec![PortMapping { internal, external }])
}

fn missing_node_port(text: &str, span: Span, report: &mut Report) {
    let shown = text.split('/').next().unwrap_or(text);
    report.error(
        span,
        format!(
            "the port {} does not say at which port the nodes answer",
            quoted(text)
        ),
        format!("write \"{shown}:{shown}\": the port on the nodes, then the one in the container"),
    );
}

/// A port without one on the nodes: Compose publishes it at a random port, which nobody can rely
/// on; here the other services reach it.
pub(crate) fn expose_only(
    ports: std::ops::RangeInclusive<u16>,
    at: Span,
    draft: &mut Draft,
    report: &mut Report,
) {
    let first = ports.start();
    report.warning(
        at,
        format!(
            "the port {first} does not say at which port the nodes answer: only the other services \
             reach it"
        ),
        format!("write \"{first}:{first}\" to publish it on every node"),
    );
    draft.spec.expose.extend(ports);
}

/// True for an address that stands for all addresses of a node.
pub(crate) fn is_every_address(text: &str) -> bool {
    matches!(text, "" | "0.0.0.0" | "::" | "[::]")
}

fn compose_pairs(
    text: &str,
    span: Span,
    draft: &mut Draft,
    report: &mut Report,
) -> Option<Vec<PortMapping>> {
    let (addresses, protocol) = match text.rsplit_once('/') {
        Some((addresses, protocol)) => (addresses, Some(protocol)),
        None => (text, None),
    };
    if let Some(protocol) = protocol {
        check_protocol(protocol, span, report)?;
    }
    let Some((rest, internal)) = addresses.rsplit_once(':') else {
        let internal = range(addresses, span, report)?;
        expose_only(internal, span, draft, report);
        return None;
    };
    let external = match rest.rsplit_once(':') {
        None => rest,
        Some((address, external)) if is_every_address(address) => external,
        Some((address, external)) => {
            let ports = if external.is_empty() {
                format!("{internal}:{internal}")
            } else {
                format!("{external}:{internal}")
            };
            report.error(
                span,
                format!("a port cannot be published at one address ({}) only", quoted(address)),
                format!("every node answers at a published port, at all its addresses: write \"{ports}\""),
            );
            return None;
        }
    };
    let (internal, external) = (
        range(internal, span, report)?,
        range(external, span, report)?,
    );
    if internal.len() != external.len() {
        report.error(
            span,
            format!(
                "{} ports of the nodes cannot lead to {} ports of the container",
                external.len(),
                internal.len()
            ),
            "write two ranges of the same length, or single ports",
        );
        return None;
    }
    let pairs = internal.zip(external);
    Some(
        pairs
            .map(|(internal, external)| PortMapping { internal, external })
            .collect(),
    )
}

/// TCP is what is carried today.
pub(crate) fn check_protocol(protocol: &str, span: Span, report: &mut Report) -> Option<()> {
    if protocol.eq_ignore_ascii_case("tcp") {
        return Some(());
    }
    if protocol.eq_ignore_ascii_case("udp") {
        report.error(
            span,
            "UDP ports are not supported yet",
            "remove this port; TCP ports need no '/tcp'",
        );
    } else {
        report.error(
            span,
            format!("{} is not a protocol of ports", quoted(protocol)),
            "write 'tcp', or nothing",
        );
    }
    None
}

/// One port or `first-last`.
pub(crate) fn range(
    text: &str,
    span: Span,
    report: &mut Report,
) -> Option<std::ops::RangeInclusive<u16>> {
    let Some((first, last)) = text.split_once('-') else {
        let port = number(text, span, report)?;
        return Some(port..=port);
    };
    let (first, last) = (number(first, span, report)?, number(last, span, report)?);
    if usize::from(last.saturating_sub(first)) >= PORTS_MAX {
        report.error(
            span,
            format!("a range can have at most {PORTS_MAX} ports"),
            "publish a smaller range",
        );
        return None;
    }
    if first > last {
        report.error(
            span,
            format!("the range {} ends before it begins", quoted(text)),
            format!("write \"{last}-{first}\""),
        );
        return None;
    }
    Some(first..=last)
}

fn number(text: &str, span: Span, report: &mut Report) -> Option<u16> {
    let is_digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(port) if is_digits && port > 0 => Some(port),
        _ => {
            let message = if is_digits {
                format!("a port must be between 1 and 65535, not {text}")
            } else {
                format!("{} is not a port number", quoted(text))
            };
            report.error(
                span,
                message,
                "write \"NODE_PORT:CONTAINER_PORT\", for example \"8080:80\"",
            );
            None
        }
    }
}
