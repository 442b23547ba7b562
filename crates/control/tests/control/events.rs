//! The stream of events: from where the reader was, then live.

use crate::cluster::{Cluster, LIMIT};
use crate::raw;
use flocker_net::client::LineStream;
use flocker_types::api::EventRecord;
use http_body_util::BodyExt;

const HOUR_MS: u64 = 3_600_000;

async fn join(cluster: &Cluster, last: u8) {
    let (token, _) = cluster.token(HOUR_MS).await;
    cluster
        .join(&token, &format!("n{last}"), last)
        .await
        .unwrap();
}

async fn next(stream: &mut LineStream) -> EventRecord {
    let text = tokio::time::timeout(LIMIT, stream.next()).await.unwrap();
    serde_json::from_str(&text.unwrap().unwrap()).unwrap()
}

#[tokio::test]
async fn events_are_resumed_and_go_on() {
    let cluster = Cluster::start().await;
    for last in 2..=4 {
        join(&cluster, last).await;
    }
    let client = cluster.client();
    let mut all = client.stream_lines("/v1/events?after=0").await.unwrap();
    let first = next(&mut all).await;
    assert!(first.message.contains("n2"), "{first:?}");
    let mut rest = client.stream_lines("/v1/events?after=2").await.unwrap();
    let third = next(&mut rest).await;
    assert_eq!(third.sequence, 3);
    assert!(third.message.contains("n4"), "{third:?}");
    let mut new = client.stream_lines("/v1/events").await.unwrap();
    join(&cluster, 5).await;
    for stream in [&mut new, &mut rest] {
        let event = next(stream).await;
        assert_eq!(event.sequence, 4);
        assert!(event.message.contains("n5"), "{event:?}");
    }
    // The stream ends with control, so that the reader comes back to the next one.
    cluster.shutdown.cancel();
    let end = tokio::time::timeout(LIMIT, new.next()).await.unwrap();
    assert!(end.is_none_or(|end| end.is_err()));
}

#[tokio::test]
async fn an_event_carries_its_sequence_as_browsers_want_it() {
    let cluster = Cluster::start().await;
    join(&cluster, 2).await;
    join(&cluster, 3).await;
    let mut request = raw::get("/v1/events");
    request
        .headers_mut()
        .insert("last-event-id", "1".parse().unwrap());
    let response = raw::send(&cluster, Some(&cluster.user_credentials()), request).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();
    let frame = tokio::time::timeout(LIMIT, body.frame()).await.unwrap();
    let data = frame.unwrap().unwrap().into_data().unwrap();
    let text = String::from_utf8(data.to_vec()).unwrap();
    assert!(text.lines().any(|line| line == "id: 2"), "{text}");
    assert!(text.contains("data: {\"sequence\":2,"), "{text}");
}
