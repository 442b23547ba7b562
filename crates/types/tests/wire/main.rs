//! The JSON of everything that crosses a process boundary or is kept: it can be read back as it was,
//! and a change of it is seen, because it is compared with files in `snapshots/`.
//!
//! Other versions of Flocker, and pools with data from earlier, read this JSON. Whoever changes a
//! snapshot changes the wire.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod examples;

use examples::{links, records};
use flocker_types::app::{RestartPolicy, ServiceSpec};
use flocker_types::link::{AgentMessage, MESSAGE_BYTES_MAX, ToAgent};
use flocker_types::volume::VolumeLabel;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::fmt::Debug;

/// Checks that each value survives the way over the wire, and gives their JSON, one a line.
fn there_and_back<T>(values: &[T]) -> String
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let mut lines = Vec::new();
    for value in values {
        let line = serde_json::to_string(value).unwrap_or_else(|e| panic!("{value:?}: {e}"));
        assert!(!line.contains('\n'), "one message, one line: {line}");
        let back: T = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line}: {e}"));
        assert_eq!(&back, value, "{line}");
        lines.push(line);
    }
    lines.join("\n")
}

/// The tags in messages, to see that none was forgotten.
fn kinds(lines: &str) -> BTreeSet<String> {
    lines
        .lines()
        .map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            value["kind"].as_str().unwrap().to_owned()
        })
        .collect()
}

#[test]
fn agent_to_control() {
    let lines = there_and_back(&links::agent_messages());
    insta::assert_snapshot!("agent_to_control", lines);
    assert_eq!(kinds(&lines).len(), 10);
}

#[test]
fn control_to_agent() {
    let lines = there_and_back(&links::to_agent());
    insta::assert_snapshot!("control_to_agent", lines);
    assert_eq!(kinds(&lines).len(), 10);
}

#[test]
fn proxy_to_control() {
    let lines = there_and_back(&links::proxy_messages());
    insta::assert_snapshot!("proxy_to_control", lines);
    assert_eq!(kinds(&lines).len(), 5);
}

#[test]
fn control_to_proxy() {
    let lines = there_and_back(&links::to_proxy());
    insta::assert_snapshot!("control_to_proxy", lines);
    assert_eq!(kinds(&lines).len(), 5);
}

#[test]
fn agent_to_agent() {
    let requests = there_and_back(&records::stream_requests());
    let replies = there_and_back(&records::stream_replies());
    assert_eq!((kinds(&requests).len(), kinds(&replies).len()), (3, 4));
    insta::assert_snapshot!("agent_to_agent", format!("{requests}\n{replies}"));
}

#[test]
fn plan() {
    insta::assert_snapshot!("plan", there_and_back(&records::plans()));
}

#[test]
fn operation() {
    insta::assert_snapshot!("operation", there_and_back(&records::operations()));
}

#[test]
fn beside_the_data() {
    let labels = there_and_back(&[examples::label(), examples::bare_label()]);
    let copy = there_and_back(&[examples::copy()]);
    insta::assert_snapshot!("beside_the_data", format!("{labels}\n{copy}"));
}

#[test]
fn service_description() {
    let specs = there_and_back(&[examples::full_spec(), examples::plain_spec()]);
    insta::assert_snapshot!("service_description", specs);
}

/// A newer peer may say more than we know, and a label may come from a newer version.
#[test]
fn unknown_fields_are_passed_over() {
    let mut label = serde_json::to_value(examples::label()).unwrap();
    label["from_the_future"] = serde_json::json!({"x": 1});
    let read: VolumeLabel = serde_json::from_value(label).unwrap();
    assert_eq!(read, examples::label());
    let message = r#"{"kind":"heartbeat","load":0.5}"#;
    assert_eq!(
        serde_json::from_str::<ToAgent>(message).unwrap(),
        ToAgent::Heartbeat
    );
}

/// Descriptions kept on pools stay readable when optional parts are absent.
#[test]
fn a_short_description_is_read() {
    let text = r#"{"image":"redis:7","stop_grace_ms":10000,"pause_budget_ms":2000}"#;
    let spec: ServiceSpec = serde_json::from_str(text).unwrap();
    assert_eq!(spec, examples::plain_spec());
    assert_eq!(spec.restart, RestartPolicy::Never);
}

#[test]
fn bad_messages_are_refused() {
    for bad in [
        "",
        "{}",
        r#"{"kind":"no such kind"}"#,
        r#"{"kind":"volume_gone"}"#,
        r#"{"kind":"volume_gone","volume":"not a uuid"}"#,
        r#"{"kind":"service","service":"-bad/name","generation":1,"state":{"kind":"absent"}}"#,
        r#"{"kind":"service","service":"a","generation":-1,"state":{"kind":"absent"}}"#,
    ] {
        assert!(serde_json::from_str::<AgentMessage>(bad).is_err(), "{bad}");
    }
}

/// Names are checked where they come in, on every wire.
#[test]
fn a_bad_name_in_a_message_is_named() {
    let text = r#"{"kind":"service","service":"a b","generation":1,"state":{"kind":"absent"}}"#;
    let error = serde_json::from_str::<AgentMessage>(text).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("\"a b\" is not a valid service name"),
        "{error}"
    );
}

/// The largest hello that the budgets foresee (1,000 volumes, 1,000 services) fits in a message.
#[test]
fn a_large_node_fits_in_one_message() {
    let messages = links::agent_messages();
    let AgentMessage::Hello(hello) = &messages[0] else {
        panic!("the first message is a hello");
    };
    let mut hello = hello.clone();
    let mut copy = examples::copy();
    copy.label = examples::label();
    copy.snapshots = vec![copy.snapshots[1].clone(); 50];
    hello.volumes = vec![copy; 1_000];
    hello.services = vec![hello.services[0].clone(); 1_000];
    let length = serde_json::to_string(&AgentMessage::Hello(hello))
        .unwrap()
        .len();
    assert!(length < MESSAGE_BYTES_MAX, "{length} bytes");
}
