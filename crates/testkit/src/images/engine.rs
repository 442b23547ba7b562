//! The few calls of the Docker Engine API that bring images into an engine.
//!
//! Called by [`super`]. Speaks HTTP/1.0, in which the engine ends its answers by closing the
//! connection; needs neither the `docker` command nor a client library.

use super::ImageError;
use serde_json::Value;
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// Longest answer that is kept; those of loads and pulls are progress reports.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
const QUESTION_LIMIT: Duration = Duration::from_secs(20);
const LOAD_LIMIT: Duration = Duration::from_secs(300);

/// An engine, by its socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Engine<'a> {
    pub(super) socket: &'a Path,
}

/// A connection whose answer's head has been read.
struct Answer {
    status: u16,
    body: BufReader<UnixStream>,
}

impl Engine<'_> {
    /// The id of the image that has this name in the engine.
    pub(super) async fn image_id(self, name: &str) -> Result<Option<String>, ImageError> {
        let path = format!("/images/{name}/json");
        let (status, body) = self.call("GET", &path, None, QUESTION_LIMIT).await?;
        match status {
            200 => {
                let image: Value = serde_json::from_slice(&body).unwrap_or_default();
                Ok(image["Id"].as_str().map(str::to_owned))
            }
            404 => Ok(None),
            _ => Err(self.refused(&path, &body)),
        }
    }

    /// Loads what `docker save` or our own archive wrote.
    pub(super) async fn load(self, archive: &Path) -> Result<(), ImageError> {
        let path = "/images/load?quiet=1";
        let (status, body) = self.call("POST", path, Some(archive), LOAD_LIMIT).await?;
        self.check_report(path, status, &body)
    }

    /// Pulls an image from its registry.
    pub(super) async fn pull(self, name: &str, limit: Duration) -> Result<(), ImageError> {
        let (image, tag) = name.split_once(':').unwrap_or((name, "latest"));
        let path = format!("/images/create?fromImage={image}&tag={tag}");
        let (status, body) = self.call("POST", &path, None, limit).await?;
        self.check_report(&path, status, &body)
    }

    /// Writes an image of the engine to a file, as `docker save` does.
    pub(super) async fn save(self, name: &str, to: &Path) -> Result<(), ImageError> {
        let path = format!("/images/{name}/get");
        let copied = tokio::time::timeout(LOAD_LIMIT, async {
            let mut answer = self.ask("GET", &path, None).await?;
            if answer.status != 200 {
                return Err(io::Error::other(format!("status {}", answer.status)));
            }
            let mut file = tokio::fs::File::create(to).await?;
            tokio::io::copy(&mut answer.body, &mut file).await?;
            file.sync_all().await
        });
        let copied = copied
            .await
            .map_err(io::Error::from)
            .and_then(|result| result);
        copied.map_err(|error| self.refused(&path, error.to_string().as_bytes()))
    }

    async fn call(
        self,
        method: &str,
        path: &str,
        upload: Option<&Path>,
        limit: Duration,
    ) -> Result<(u16, Vec<u8>), ImageError> {
        let asked = tokio::time::timeout(limit, async {
            let answer = self.ask(method, path, upload).await?;
            let mut body = Vec::new();
            answer
                .body
                .take(ANSWER_BYTES_MAX)
                .read_to_end(&mut body)
                .await?;
            Ok((answer.status, body))
        });
        let answered = asked
            .await
            .map_err(io::Error::from)
            .and_then(|result| result);
        answered.map_err(|error: io::Error| self.refused(path, error.to_string().as_bytes()))
    }

    async fn ask(self, method: &str, path: &str, upload: Option<&Path>) -> io::Result<Answer> {
        let mut stream = UnixStream::connect(self.socket).await?;
        let file = match upload {
            Some(path) => Some(tokio::fs::File::open(path).await?),
            None => None,
        };
        let length = match &file {
            Some(file) => file.metadata().await?.len(),
            None => 0,
        };
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: docker\r\nContent-Type: application/x-tar\r\n\
             Content-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        if let Some(mut file) = file {
            // An engine that refuses early closes; what it said is read below.
            let _refused_early = tokio::io::copy(&mut file, &mut stream).await;
        }
        let mut body = BufReader::new(stream);
        let mut line = String::new();
        body.read_line(&mut line).await?;
        let status = line
            .split_whitespace()
            .nth(1)
            .and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| io::Error::other("it closed without an answer"))?;
        while !line.trim().is_empty() {
            line.clear();
            body.read_line(&mut line).await?;
        }
        Ok(Answer { status, body })
    }

    /// Loads and pulls say 200 before they begin; a failure is in the last line of the report.
    fn check_report(self, path: &str, status: u16, body: &[u8]) -> Result<(), ImageError> {
        let failed = String::from_utf8_lossy(body).contains("\"errorDetail\"");
        if status == 200 && !failed {
            return Ok(());
        }
        Err(self.refused(path, body))
    }

    fn refused(self, path: &str, body: &[u8]) -> ImageError {
        let text = String::from_utf8_lossy(body);
        let last = text.lines().last().unwrap_or_default();
        ImageError::Engine {
            socket: self.socket.to_owned(),
            doing: path.to_owned(),
            reason: last.to_owned(),
        }
    }
}
