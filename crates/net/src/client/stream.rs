//! Answers that go on: events and logs.
//!
//! Made by [`super::ApiClient::stream_lines`]. It understands as much of server-sent events as
//! control uses: the data of each event, with comments skipped.

use super::ClientError;
use crate::lines::LineBuffer;
use crate::tls::LastWord;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use std::net::SocketAddr;

/// Longest line of a stream, in bytes.
pub const STREAM_LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A stream of texts, each an event's data or a line.
#[derive(Debug)]
pub struct LineStream {
    control: SocketAddr,
    last_word: LastWord,
    body: Option<Incoming>,
    lines: LineBuffer,
    format: Format,
    /// Data lines of the event that is under way.
    event: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Events,
    Lines,
}

impl LineStream {
    pub(super) fn new(
        control: SocketAddr,
        last_word: LastWord,
        response: Response<Incoming>,
    ) -> Self {
        let events = response
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        Self {
            control,
            last_word,
            body: Some(response.into_body()),
            lines: LineBuffer::new(STREAM_LINE_BYTES_MAX),
            format: if events {
                Format::Events
            } else {
                Format::Lines
            },
            event: Vec::new(),
        }
    }

    /// The next text; `None` once control has said all. Waits for as long as control has nothing to
    /// say; a control that is gone is noticed by the pings of the connection.
    pub async fn next(&mut self) -> Option<Result<String, ClientError>> {
        loop {
            match self.lines.next_line() {
                Ok(Some(line)) => match self.take(&line) {
                    Some(text) => return Some(Ok(text)),
                    None => continue,
                },
                Ok(None) => {}
                Err(_) => {
                    self.body = None;
                    return Some(Err(ClientError::TooLong {
                        path: "a stream".to_owned(),
                        bytes_max: STREAM_LINE_BYTES_MAX,
                    }));
                }
            }
            match self.body.as_mut()?.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.lines.push(&data);
                    }
                }
                Some(Err(source)) => {
                    self.body = None;
                    let error =
                        ClientError::broken(self.control, "a stream", source, &self.last_word);
                    return Some(Err(error));
                }
                None => {
                    self.body = None;
                    return self.last().map(Ok);
                }
            }
        }
    }

    fn take(&mut self, line: &Bytes) -> Option<String> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let text = String::from_utf8_lossy(line).into_owned();
        match self.format {
            Format::Lines if text.is_empty() => None,
            Format::Lines => Some(text),
            Format::Events if text.is_empty() && self.event.is_empty() => None,
            Format::Events if text.is_empty() => Some(std::mem::take(&mut self.event).join("\n")),
            Format::Events => {
                if let Some(data) = text.strip_prefix("data:") {
                    self.event
                        .push(data.strip_prefix(' ').unwrap_or(data).to_owned());
                }
                None
            }
        }
    }

    /// A last line may lack its end. An event that lacks its end is not whole and is dropped.
    fn last(&mut self) -> Option<String> {
        let empty = LineBuffer::new(STREAM_LINE_BYTES_MAX);
        let rest = std::mem::replace(&mut self.lines, empty).rest();
        (self.format == Format::Lines && !rest.is_empty())
            .then(|| String::from_utf8_lossy(&rest).into_owned())
    }
}
