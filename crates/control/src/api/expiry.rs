//! How long certificates are good, for the status, and what to do before they end.
//!
//! It says what is so; renewing is done by agents, proxies, control and users themselves.

use super::Api;
use crate::shell::wall_clock;
use flocker_net::pki::MemberCertificate;
use flocker_types::access::CertificateView;
use flocker_types::api::{ClusterView, NodeView};
use flocker_types::time::UnixMs;

/// The end of a certificate is warned of from so long before on, in milliseconds.
const WARNED_MS: u64 = 30 * 24 * 60 * 60 * 1_000;
/// A certificate that is good for a short time only is warned of in the last part of that, one in ...
const WARNED_PART: u64 = 4;

/// Control's, the authority's, the nodes' as far as they were seen, and the reader's own.
pub(super) fn certificates(
    api: &Api,
    view: &ClusterView,
    own: &MemberCertificate,
) -> Vec<CertificateView> {
    let now = wall_clock();
    let mut all = Vec::new();
    if let Ok((serial, expires)) = api.authorities.current().serial_and_end() {
        let advice = "every certificate ends with it: flocker authority rotate";
        all.push(CertificateView {
            whose: "the authority".to_owned(),
            serial,
            expires,
            warning: ending(expires, WARNED_MS, now).map(|ending| format!("{ending}: {advice}")),
        });
    }
    let control = "control renews it by itself: look at its log, or start it again";
    let control = shown("control", &api.credentials.certificate(), now, control);
    all.push(control);
    for node in &view.nodes {
        all.extend(of_node(api, node, now));
    }
    let own_words = format!("you ({})", own.identity.role);
    all.push(shown(&own_words, own, now, "flocker user renew"));
    all
}

fn of_node(api: &Api, node: &NodeView, now: UnixMs) -> Option<CertificateView> {
    let certificate = api.certificates.of(node.id)?;
    let again = format!(
        "flocker token --node {}, then on that server: flocker join {} --again --token TOKEN",
        node.name, api.facts.control
    );
    let whose = format!("node {}", node.name);
    if api.credentials.revocations().covers(&certificate) {
        return Some(CertificateView {
            whose,
            serial: certificate.serial,
            expires: certificate.expires,
            warning: Some(format!("it is revoked; to let the node in again: {again}")),
        });
    }
    let advice = match certificate.left_ms(now) {
        0 => again,
        _ => format!(
            "its agent renews it by itself: look at the agent's log, or flocker node renew {}",
            node.name
        ),
    };
    Some(shown(&whose, &certificate, now, &advice))
}

fn shown(
    whose: &str,
    certificate: &MemberCertificate,
    now: UnixMs,
    advice: &str,
) -> CertificateView {
    let warned_ms = WARNED_MS.min(certificate.validity_ms() / WARNED_PART);
    CertificateView {
        whose: whose.to_owned(),
        serial: certificate.serial.clone(),
        expires: certificate.expires,
        warning: ending(certificate.expires, warned_ms, now)
            .map(|ending| format!("{ending}: {advice}")),
    }
}

/// What is to be said of an end that is near.
fn ending(expires: UnixMs, warned_ms: u64, now: UnixMs) -> Option<String> {
    let left_ms = expires.0.saturating_sub(now.0);
    let (days, hours) = (left_ms / 86_400_000, left_ms / 3_600_000);
    match left_ms {
        0 => Some("it has expired".to_owned()),
        _ if left_ms > warned_ms => None,
        _ if days >= 2 => Some(format!("it expires in {days} days")),
        _ if hours >= 2 => Some(format!("it expires in {hours} hours")),
        _ => Some(format!("it expires in {} s", left_ms / 1_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_weeks_ahead_in_units_that_matter() {
        const DAY: u64 = 86_400_000;
        let expires = UnixMs(400 * DAY);
        let told = |before: u64| ending(expires, WARNED_MS, UnixMs(expires.0 - before));
        assert_eq!(told(31 * DAY), None);
        assert_eq!(told(30 * DAY).unwrap(), "it expires in 30 days");
        assert_eq!(told(DAY + 1).unwrap(), "it expires in 24 hours");
        assert_eq!(told(5_000).unwrap(), "it expires in 5 s");
        let late = ending(expires, WARNED_MS, UnixMs(500 * DAY));
        assert_eq!(late.unwrap(), "it has expired");
    }
}
