//! A backup of control's store: one file of lines, in JSON, with a checksum over all of them.
//!
//! ```text
//! {"flocker_backup":{"format":1, cluster, when, by which version}}
//! {"record":{...}}                    each record of the store
//! {"authority":{"certificate","key"}} if it was asked for
//! {"end":{"records":N,"sha256":"of everything before this line"}}
//! ```
//!
//! The API makes it from the running loop's state, so that it is of one moment; `flocker control
//! backup` and `restore` write and read it. It knows nothing of where it is kept.

use flocker_core::cluster::{Record, State};
use flocker_types::ids::ClusterId;
use flocker_types::time::UnixMs;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// The format that this code writes, and the only one that it reads.
const FORMAT_NOW: u32 = 1;

/// What the first line says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupHeader {
    /// The file's format.
    pub format: u32,
    /// Whose state it is.
    pub cluster: ClusterId,
    /// Of when.
    pub taken: UnixMs,
    /// The version of control that made it.
    pub version: String,
}

/// The cluster's authority: whoever has the key can let anybody into the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityCopy {
    /// Its certificate, in PEM.
    pub certificate: String,
    /// Its private key, in PEM.
    pub key: String,
    /// While it is being changed: how far that is, with the new one's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<String>,
}

/// A backup.
#[derive(Debug, Clone, PartialEq)]
pub struct Backup {
    /// What it is.
    pub header: BackupHeader,
    /// Every record of the store.
    pub records: Vec<Record>,
    /// The authority, if it is in it.
    pub authority: Option<AuthorityCopy>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    FlockerBackup(BackupHeader),
    Record(Record),
    Authority(AuthorityCopy),
    End { records: usize, sha256: String },
}

/// Why a file is no usable backup. Reading it again does not help.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Something else.
    #[error("this is no backup of flocker's control: its first line does not say so")]
    NotABackup,
    /// Of another version.
    #[error(
        "the backup's format is {found}, and this version of flocker knows only {FORMAT_NOW}; use \
         the version that made it, or a newer one"
    )]
    Format {
        /// What it says.
        found: u32,
    },
    /// Its end is missing.
    #[error(
        "the backup is cut off: after line {lines} its end is missing; take another copy of it"
    )]
    Truncated {
        /// Lines that are there.
        lines: usize,
    },
    /// Its checksum is another.
    #[error("the backup is damaged: its content does not have the checksum at its end")]
    Damaged,
    /// A line is not what it should be.
    #[error(
        "line {line} of the backup cannot be read; a newer version of flocker may have made it"
    )]
    Line {
        /// Counted from one.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Nothing in it.
    #[error("the backup holds no cluster")]
    NoCluster,
}

impl Backup {
    /// A backup of this state.
    pub fn of(state: &State, taken: UnixMs) -> Self {
        Self {
            header: BackupHeader {
                format: FORMAT_NOW,
                cluster: state.meta.cluster,
                taken,
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            records: state.records(),
            authority: None,
        }
    }

    /// The file's content.
    ///
    /// # Errors
    /// Never for records of ours; the serialiser's signature has one.
    pub fn encode(&self) -> Result<String, serde_json::Error> {
        let mut text = String::new();
        let mut line = |line: &Line| -> Result<(), serde_json::Error> {
            text.push_str(&serde_json::to_string(line)?);
            text.push('\n');
            Ok(())
        };
        line(&Line::FlockerBackup(self.header.clone()))?;
        for record in &self.records {
            line(&Line::Record(record.clone()))?;
        }
        if let Some(authority) = &self.authority {
            line(&Line::Authority(authority.clone()))?;
        }
        let end = Line::End {
            records: self.records.len(),
            sha256: sha256(text.as_bytes()),
        };
        text.push_str(&serde_json::to_string(&end)?);
        text.push('\n');
        Ok(text)
    }

    /// Reads a file's content.
    ///
    /// # Errors
    /// [`BackupError`]: nothing of it is used.
    pub fn decode(text: &str) -> Result<Self, BackupError> {
        let first = text.lines().next().unwrap_or_default();
        let header = header(first)?;
        let lines = text.lines().count();
        let truncated = BackupError::Truncated { lines };
        // The last line has to be whole, to its end.
        let Some(body) = text.strip_suffix('\n') else {
            return Err(truncated);
        };
        let (before, last) = body.rsplit_once('\n').unwrap_or(("", body));
        let Ok(Line::End {
            records,
            sha256: checksum,
        }) = serde_json::from_str(last)
        else {
            return Err(truncated);
        };
        let checked = &text[..before.len() + 1];
        if sha256(checked.as_bytes()) != checksum {
            return Err(BackupError::Damaged);
        }
        let mut backup = Self {
            header,
            records: Vec::new(),
            authority: None,
        };
        for (index, line) in before.lines().enumerate().skip(1) {
            let read = serde_json::from_str(line);
            let line = index + 1;
            match read.map_err(|source| BackupError::Line { line, source })? {
                Line::Record(record) => backup.records.push(record),
                Line::Authority(authority) => backup.authority = Some(authority),
                Line::FlockerBackup(_) | Line::End { .. } => return Err(BackupError::Damaged),
            }
        }
        match backup.records.len() == records {
            true => Ok(backup),
            false => Err(BackupError::Damaged),
        }
    }

    /// The state in it.
    ///
    /// # Errors
    /// [`BackupError::NoCluster`].
    pub fn state(&self) -> Result<State, BackupError> {
        State::from_records(self.records.iter().cloned()).ok_or(BackupError::NoCluster)
    }
}

fn header(line: &str) -> Result<BackupHeader, BackupError> {
    // The number alone first: a newer format may have a header of another form.
    #[derive(Deserialize)]
    struct First {
        flocker_backup: Number,
    }
    #[derive(Deserialize)]
    struct Number {
        format: u32,
    }
    let first: First = serde_json::from_str(line).map_err(|_| BackupError::NotABackup)?;
    match first.flocker_backup.format {
        FORMAT_NOW => {}
        found => return Err(BackupError::Format { found }),
    }
    match serde_json::from_str(line) {
        Ok(Line::FlockerBackup(header)) => Ok(header),
        Ok(_) => Err(BackupError::NotABackup),
        Err(source) => Err(BackupError::Line { line: 1, source }),
    }
}

fn sha256(bytes: &[u8]) -> String {
    let mut context = Context::new(&SHA256);
    context.update(bytes);
    let mut text = String::new();
    for byte in context.finish().as_ref() {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use flocker_core::cluster::MetaRecord;
    use flocker_types::ids::Generation;

    fn backup() -> Backup {
        let state = State::new(MetaRecord {
            cluster: ClusterId(uuid::Uuid::from_u128(7)),
            generation: Generation(5),
            service_network: "10.214.0.0/16".parse().unwrap(),
            container_network: "10.213.0.0/16".parse().unwrap(),
        });
        let authority = AuthorityCopy {
            certificate: "a\nb\n".to_owned(),
            key: "c\n".to_owned(),
            rotation: None,
        };
        Backup {
            authority: Some(authority),
            ..Backup::of(&state, UnixMs(9))
        }
    }

    #[test]
    fn reads_what_it_wrote() {
        let backup = backup();
        let text = backup.encode().unwrap();
        assert_eq!(Backup::decode(&text).unwrap(), backup);
        assert_eq!(backup.state().unwrap().meta.generation, Generation(5));
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_noticed() {
        let text = backup().encode().unwrap();
        for length in 0..text.len() {
            let cut = Backup::decode(&text[..length]);
            assert!(cut.is_err(), "cut after {length} bytes");
        }
        for index in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[index] = if bytes[index] == b'x' { b'y' } else { b'x' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(Backup::decode(&changed).is_err(), "byte {index} changed");
        }
    }

    #[test]
    fn a_newer_format_and_another_file_are_told_apart() {
        let newer = r#"{"flocker_backup":{"format":2,"all":"different"}}"#;
        let error = Backup::decode(newer).unwrap_err();
        assert!(matches!(error, BackupError::Format { found: 2 }));
        let other = Backup::decode("SQLite format 3").unwrap_err();
        assert!(matches!(other, BackupError::NotABackup));
    }
}
