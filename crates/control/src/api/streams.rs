//! Routes whose answers go on: events and logs.
//!
//! Both end with control. A reader that is slow is told what it missed, or loses its log; it never
//! keeps anybody else waiting.

use super::Api;
use super::extract::{PathOf, QueryOf, User};
use super::refusal::Refusal;
use crate::shell::{LogPiece, LogReader};
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};
use flocker_core::control::Request;
use flocker_types::api::{ApiError, ErrorCode};
use flocker_types::ids::{ApplicationName, ServiceId, ServiceName};
use flocker_types::link::Follow;
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// A refusal that comes within this time shows as the status of the answer, in milliseconds. Later
/// it is the last line.
const LOG_REFUSAL_MS: u64 = 1_000;
/// Between two signs of life on a quiet stream of events, in seconds.
const KEEP_ALIVE_S: u64 = 15;
/// Where a browser, or another reader of server-sent events, says where it was.
const LAST_EVENT_ID: &str = "last-event-id";

/// Query of `GET /v1/events`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    /// Go on after the event with this number; new events only when absent.
    after: Option<u64>,
}

/// Query of `GET /v1/services/{application}/{name}/logs`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogsQuery {
    /// Only the last so many lines.
    tail: Option<u32>,
    /// Whether to go on as lines come.
    #[serde(default = "no")]
    follow: Follow,
}

fn no() -> Follow {
    Follow::No
}

/// `GET /v1/events`: what happens, as server-sent events; each is an
/// [`EventRecord`](flocker_types::api::EventRecord) whose `id` is its sequence.
///
/// `?after=SEQ`, or the header `Last-Event-ID`, goes on after that event; without it only new events
/// come. The latest 10,000 are kept, in memory: where events are missing a comment says how many,
/// and the sequence shows it. Sequences begin anew when control is started again.
pub(super) async fn events(
    State(api): State<Arc<Api>>,
    _user: User,
    QueryOf(query): QueryOf<EventsQuery>,
    headers: HeaderMap,
) -> impl IntoResponse {
    let header = headers.get(LAST_EVENT_ID);
    let last_id = header.and_then(|value| value.to_str().ok()?.parse().ok());
    let reader = api.handle.events(query.after.or(last_id));
    let batches = stream::unfold(reader, async |mut reader| {
        let batch = reader.next().await;
        Some((batch, reader))
    });
    let events = batches.flat_map(|batch| {
        let missed = (batch.missed > 0)
            .then(|| Event::default().comment(format!("{} events are gone", batch.missed)));
        let events = batch.events.into_iter().filter_map(|record| {
            let event = Event::default().id(record.sequence.to_string());
            event
                .json_data(record.as_ref())
                .inspect_err(|error| tracing::error!(%error, "an event has no JSON form"))
                .ok()
        });
        stream::iter(missed.into_iter().chain(events).map(Ok::<_, Infallible>))
    });
    let until = api.stopping.clone().cancelled_owned();
    let keep_alive = KeepAlive::new().interval(Duration::from_secs(KEEP_ALIVE_S));
    Sse::new(events.take_until(until)).keep_alive(keep_alive)
}

/// `GET /v1/services/{application}/{name}/logs`: a container's log, each line a
/// [`LogLine`](flocker_types::api::LogLine) in JSON, separated by line ends.
///
/// `?tail=N` begins with the last N lines, `?follow=yes` goes on as lines come. 404 when there is no
/// such service, 503 when its node is not connected. A log that breaks off later ends with a line
/// that is an [`ApiError`].
pub(super) async fn logs(
    State(api): State<Arc<Api>>,
    user: User,
    PathOf((application, name)): PathOf<(ApplicationName, ServiceName)>,
    QueryOf(query): QueryOf<LogsQuery>,
) -> Result<Response, Refusal> {
    let request = Request::Logs {
        service: ServiceId { application, name },
        tail: query.tail,
        follow: query.follow,
    };
    let mut reader = api.handle.logs(&user.name, request).await?;
    let first = match timeout(Duration::from_millis(LOG_REFUSAL_MS), reader.recv()).await {
        Ok(None) => return Err(broken_off().into()),
        Ok(Some(Err(refused))) => return Err(refused.into()),
        Ok(Some(Ok(piece))) => Some(piece),
        Err(_) => None,
    };
    let start = (first, Some(reader));
    let pieces = stream::unfold(start, async |(first, reader)| {
        let mut reader = reader?;
        let next = match first {
            Some(piece) => Ok(piece),
            None => reader.recv().await.unwrap_or_else(|| Err(broken_off())),
        };
        Some(next_lines(next, reader))
    });
    let mut response = Response::new(Body::from_stream(pieces));
    let kind = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

type LogState = (Option<LogPiece>, Option<LogReader>);

/// What to send, and what to go on with.
fn next_lines(
    next: Result<LogPiece, ApiError>,
    reader: LogReader,
) -> (Result<Bytes, serde_json::Error>, LogState) {
    match next {
        Ok(piece) => {
            let go_on = (!piece.end).then_some(reader);
            (json_lines(&piece.lines), (None, go_on))
        }
        Err(error) => (json_lines(&[error]), (None, None)),
    }
}

fn json_lines<T: serde::Serialize>(values: &[T]) -> Result<Bytes, serde_json::Error> {
    let mut lines = BytesMut::new();
    for value in values {
        serde_json::to_writer((&mut lines).writer(), value)?;
        lines.put_u8(b'\n');
    }
    Ok(lines.freeze())
}

fn broken_off() -> ApiError {
    ApiError {
        code: ErrorCode::Unavailable,
        message: "the log broke off: it was not read fast enough, or control is stopping"
            .to_owned(),
        hint: Some("ask for it again".to_owned()),
    }
}
