//! The audit log: who asked control for what, when, from where, and what came of it.
//!
//! The API's gate writes, `GET /v1/audit` reads. Every request that changes something is on the disk
//! before it is carried out, and its answer before it leaves; so is every refusal. What is asked for is
//! said in words that name services, nodes and users, never by the request's body: there are secrets in
//! those. A request that cannot be logged is not carried out.

mod files;

pub(crate) use files::AuditQuery;

use crate::shell::wall_clock;
use files::{Files, Limits};
use flocker_types::access::{AuditAnswer, AuditRecord, AuditView};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longest text of a path, a subject or a reason, in bytes.
const TEXT_BYTES_MAX: usize = 1_024;
/// Refusals of clients without a certificate that are written within [`STRANGERS_MS`]: such clients could
/// push everything else out of the log.
const STRANGERS_MAX: u32 = 60;
/// See [`STRANGERS_MAX`], in milliseconds.
const STRANGERS_MS: u64 = 60_000;

/// The log. Clones are of the same one.
#[derive(Debug, Clone)]
pub(crate) struct AuditLog {
    directory: PathBuf,
    writer: Arc<Mutex<Writer>>,
}

#[derive(Debug)]
struct Writer {
    files: Files,
    strangers: Strangers,
}

/// Refusals of clients without a certificate, of late.
#[derive(Debug)]
struct Strangers {
    since: Instant,
    written: u32,
    unwritten: u64,
}

/// The log cannot be written or read. Trying again helps once the disk has room and works.
#[derive(Debug, thiserror::Error)]
#[error("the audit log in {} cannot be {what}", directory.display())]
pub struct AuditError {
    directory: PathBuf,
    what: &'static str,
    source: io::Error,
}

impl AuditError {
    /// Whether there was no room.
    pub(crate) fn is_full(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }
}

/// Who asks for what.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// By the certificate.
    pub(crate) who: String,
    /// From where.
    pub(crate) address: IpAddr,
    /// Method and path.
    pub(crate) request: String,
}

/// A request that has been written down and has no answer yet.
#[derive(Debug)]
pub(crate) struct Entry(AuditRecord);

/// What came of a request.
#[derive(Debug)]
pub(crate) struct Ended {
    /// What it was for, in words.
    pub(crate) subject: Option<String>,
    /// Whether it was done.
    pub(crate) answer: AuditAnswer,
    /// Why not.
    pub(crate) reason: Option<String>,
}

impl AuditLog {
    /// Goes on with the log in this directory, or begins one.
    pub(crate) fn open(directory: &Path) -> Result<Self, AuditError> {
        Self::open_with(directory, Limits::default())
    }

    fn open_with(directory: &Path, limits: Limits) -> Result<Self, AuditError> {
        let files = Files::open(directory, limits).map_err(|source| AuditError {
            directory: directory.to_owned(),
            what: "opened",
            source,
        })?;
        let strangers = Strangers {
            since: Instant::now(),
            written: 0,
            unwritten: 0,
        };
        Ok(Self {
            directory: directory.to_owned(),
            writer: Arc::new(Mutex::new(Writer { files, strangers })),
        })
    }

    /// Writes a request down before it is carried out.
    pub(crate) async fn begin(&self, asked: Asked) -> Result<Entry, AuditError> {
        let mut record = record(asked, AuditAnswer::Begun, None);
        self.write(move |writer| {
            record.sequence = writer.next_sequence();
            writer.files.append(&record)?;
            Ok(Entry(record))
        })
        .await
    }

    /// Writes down what came of it.
    pub(crate) async fn end(&self, entry: Entry, ended: Ended) -> Result<(), AuditError> {
        let record = AuditRecord {
            subject: ended.subject.map(cut),
            answer: ended.answer,
            reason: ended.reason.map(cut),
            ..entry.0
        };
        self.write(move |writer| writer.files.append(&record)).await
    }

    /// Writes down that somebody was refused.
    pub(crate) async fn refused(
        &self,
        asked: Asked,
        client: Client,
        reason: &str,
    ) -> Result<(), AuditError> {
        let mut record = record(asked, AuditAnswer::Refused, Some(reason.to_owned()));
        self.write(move |writer| {
            if client == Client::Stranger && !writer.strangers.may_be_written() {
                return Ok(());
            }
            record.sequence = writer.next_sequence();
            record.unwritten = std::mem::take(&mut writer.strangers.unwritten);
            writer.files.append(&record)
        })
        .await
    }

    /// The newest records that are wanted.
    pub(crate) async fn query(&self, query: AuditQuery) -> Result<AuditView, AuditError> {
        let directory = self.directory.clone();
        let read = tokio::task::spawn_blocking(move || files::query(&directory, &query)).await;
        let (records, oldest) = read
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|source| self.error("read", source))?;
        Ok(AuditView { records, oldest })
    }

    async fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce(&mut Writer) -> io::Result<T> + Send + 'static,
    ) -> Result<T, AuditError> {
        let writer = Arc::clone(&self.writer);
        let written = tokio::task::spawn_blocking(move || {
            // After a panic in here the files are still whole: a torn line is known as such.
            write(&mut writer.lock().unwrap_or_else(PoisonError::into_inner))
        });
        let written = written.await;
        written
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|source| self.error("written", source))
    }

    fn error(&self, what: &'static str, source: io::Error) -> AuditError {
        AuditError {
            directory: self.directory.clone(),
            what,
            source,
        }
    }
}

/// Whether who asks is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    /// By a certificate of the cluster.
    Member,
    /// Not at all.
    Stranger,
}

impl Writer {
    fn next_sequence(&mut self) -> u64 {
        let sequence = self.files.next_sequence;
        self.files.next_sequence += 1;
        sequence
    }
}

impl Strangers {
    fn may_be_written(&mut self) -> bool {
        if self.since.elapsed() >= Duration::from_millis(STRANGERS_MS) {
            self.since = Instant::now();
            self.written = 0;
        }
        let may = self.written < STRANGERS_MAX;
        match may {
            true => self.written += 1,
            false => self.unwritten += 1,
        }
        may
    }
}

fn record(asked: Asked, answer: AuditAnswer, reason: Option<String>) -> AuditRecord {
    AuditRecord {
        sequence: 0,
        at: wall_clock(),
        who: asked.who,
        address: asked.address,
        request: cut(asked.request),
        subject: None,
        answer,
        reason: reason.map(cut),
        unwritten: 0,
    }
}

/// Texts that a client has a say in have a limit.
fn cut(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        text.push('…');
    }
    text
}

#[cfg(test)]
#[path = "audit_test.rs"]
mod tests;
