//! What the fuzzers do with this crate: everything that comes over a network before anybody is
//! believed, and the files of the proxy.
//!
//! libFuzzer calls it (`fuzz/`), and a test replays the corpora. No part of the program: it is
//! compiled for tests and fuzzers alone.

use crate::link::{LinkLimits, LinkMessage, accept};
use crate::pki::{Authority, Identity, JoinToken, NODE_VALIDITY, TokenProof, authority_cluster};
use crate::proxy;
use crate::tls::Credentials;
use flocker_core::route::{Decision, Origin, RouteTable};
use flocker_types::ids::{ClusterId, Generation, NodeId};
use flocker_types::link::{AgentMessage, ProxyMessage, ToAgent, ToProxy};
use flocker_types::route::{Route, RouteState};
use http_body_util::Full;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::sync::OnceLock;
use tokio::runtime::Runtime;
use uuid::Uuid;

/// Longest line that the harness lets through.
const LINE_BYTES_MAX: usize = 64 << 10;

thread_local! {
    static RUNTIME: Runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime can be made");
}

/// A link's body: lines that may be messages of each of the four kinds.
pub fn link_messages(bytes: &[u8]) {
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            read_link::<AgentMessage>(bytes).await;
            read_link::<ProxyMessage>(bytes).await;
            read_link::<ToAgent>(bytes).await;
            read_link::<ToProxy>(bytes).await;
        });
    });
}

/// Every message that gets through is one that we could have sent.
async fn read_link<In: LinkMessage + std::fmt::Debug + PartialEq>(bytes: &[u8]) {
    let limits = LinkLimits {
        message_bytes_max: LINE_BYTES_MAX,
        ..LinkLimits::default()
    };
    let body = Full::new(bytes::Bytes::copy_from_slice(bytes));
    let (mut link, _response) = accept::<In, In, _>(body, limits);
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
    let mut messages = 0;
    while let Some(message) = link.receiver.recv().await {
        assert!(!message.is_heartbeat(), "nobody is to see one");
        let json = serde_json::to_string(&message).expect("a message has a JSON form");
        assert!(!json.contains('\n'));
        let again: In = serde_json::from_str(&json).expect("it can be read again");
        assert_eq!(again, message);
        messages += 1;
    }
    assert!(messages <= lines, "{messages} messages in {lines} lines");
}

/// What a stranger sends first to a proxy, after the TLS handshake; and a TLS hello.
pub fn tunnel_head(bytes: &[u8]) {
    RUNTIME.with(|runtime| runtime.block_on(proxy::fuzzing::tunnel_head(bytes)));
    let mut acceptor = rustls::server::Acceptor::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        match acceptor.read_tls(&mut rest) {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => {
                let _ = accepted.client_hello().server_name();
                break;
            }
            Err(_) => break,
        }
    }
    proxy::fuzzing::port_table(&String::from_utf8_lossy(bytes));
}

fn authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(|| {
        Authority::create(ClusterId(Uuid::from_u128(1))).expect("an authority can be made")
    })
}

/// Join tokens, identities, certificates, certificate requests, PEM.
pub fn tokens_and_certificates(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(token) = text.parse::<JoinToken>() {
        assert_eq!(token.to_string().parse(), Ok(token));
    }
    if let Ok(proof) = text.parse::<TokenProof>() {
        assert_eq!(proof.to_string().to_lowercase(), meant(&text));
    }
    if let Ok(identity) = text.parse::<Identity>() {
        assert_eq!(identity.to_string(), text, "one identity has one text");
    }
    let raw = CertificateDer::from(bytes);
    let pem = CertificateDer::from_pem_slice(bytes).ok();
    for certificate in std::iter::once(raw).chain(pem) {
        if let Ok(identity) = Identity::from_certificate(&certificate) {
            assert_eq!(identity.to_string().parse(), Ok(identity));
        }
        let _ = authority_cluster(&certificate);
    }
    let _ = Credentials::from_pem(&text, &text, &text);
    let _ = Authority::from_pem(&text, &text);
    if text.contains("BEGIN CERTIFICATE REQUEST") {
        let identity = Identity {
            cluster: authority().cluster(),
            role: crate::pki::Role::Node(NodeId(Uuid::from_u128(2))),
        };
        // Whatever the request asks for, the certificate says what we say.
        if let Ok(issued) = authority().sign_request(&text, &identity, NODE_VALIDITY) {
            let certificate = CertificateDer::from_pem_slice(issued.as_bytes());
            let certificate = certificate.expect("what we issue is PEM");
            assert_eq!(Identity::from_certificate(&certificate), Ok(identity));
        }
    }
}

/// A proof as it is written, of one with capitals and look-alikes.
fn meant(text: &str) -> String {
    let lower = text.trim().to_lowercase();
    lower.replace('o', "0").replace(['i', 'l'], "1")
}

/// A file of saved routes, and a table in which they come into force one by one.
pub fn proxy_routes(bytes: &[u8]) {
    let routes = match proxy::fuzzing::saved_routes(bytes) {
        Some(routes) => routes,
        None => match serde_json::from_slice::<Vec<Route>>(bytes) {
            Ok(routes) => routes,
            Err(_) => return,
        },
    };
    let node = routes.iter().find_map(|route| match &route.state {
        RouteState::Serving(backend) => Some(backend.node),
        _ => None,
    });
    let node = node.unwrap_or(NodeId(Uuid::from_u128(1)));
    let mut one_by_one = RouteTable::new(node);
    for route in &routes {
        let before = one_by_one.route(&route.service).cloned();
        drop(one_by_one.apply(route.clone()));
        let after = one_by_one.route(&route.service);
        let older = before.is_some_and(|before| before.generation >= route.generation);
        assert!(older || after.is_none_or(|after| after.generation == route.generation));
        check_table(&one_by_one, node);
    }
    let mut at_once = RouteTable::new(node);
    drop(at_once.replace_all(routes.clone()));
    check_table(&at_once, node);
    for route in &routes {
        drop(one_by_one.gone(&route.service, Generation(u64::MAX)));
        assert!(one_by_one.route(&route.service).is_none());
    }
    assert!(one_by_one.listeners().is_empty() && one_by_one.addresses().is_empty());
}

/// Every listener leads to a port that its service's route names; what comes through a tunnel leaves
/// through no other.
fn check_table(table: &RouteTable, node: NodeId) {
    for (key, target) in table.listeners() {
        assert_ne!(key.port(), 0);
        let route = table.route(&target.service).expect("its service is known");
        let internal = |port: &flocker_types::route::RoutePort| port.internal;
        assert!(
            route
                .ports
                .iter()
                .map(internal)
                .any(|port| port == target.internal_port)
        );
        let decision = table.decide(&target.service, target.internal_port, Origin::Tunnel);
        if let Decision::Tunnel { .. } = decision {
            panic!("a tunnel leads to another");
        }
        let _ = node;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::replay;

    #[test]
    fn the_corpora_hold() {
        replay("link_messages", link_messages);
        replay("tunnel_head", tunnel_head);
        replay("tokens_and_certificates", tokens_and_certificates);
        replay("proxy_routes", proxy_routes);
    }
}
