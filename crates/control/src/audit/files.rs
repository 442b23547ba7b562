//! The files of the audit log: lines that are only ever appended, in files that are begun anew when they
//! are full. The oldest file goes when there are too many.
//!
//! [`super::AuditLog`] owns the one writer. It knows nothing of requests.

use flocker_types::access::AuditRecord;
use flocker_types::time::UnixMs;
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A file is full from this size on, in bytes.
pub(super) const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Files that are kept.
pub(super) const FILES_MAX: usize = 9;

const PREFIX: &str = "audit-";
const SUFFIX: &str = ".log";

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) file_bytes_max: u64,
    pub(super) files_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes_max: FILE_BYTES_MAX,
            files_max: FILES_MAX,
        }
    }
}

/// The writer.
#[derive(Debug)]
pub(super) struct Files {
    directory: PathBuf,
    limits: Limits,
    current: File,
    bytes: u64,
    line: Line,
    pub(super) next_sequence: u64,
}

/// What the end of the current file looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// The last line is complete.
    Complete,
    /// Control died, or the disk was full, in the middle of a line.
    Torn,
}

/// What is wanted of the log.
#[derive(Debug, Clone, Default)]
pub(crate) struct AuditQuery {
    /// Only of this user or node.
    pub(crate) who: Option<String>,
    /// Only from then on.
    pub(crate) since: Option<UnixMs>,
    /// Only until then.
    pub(crate) until: Option<UnixMs>,
    /// The newest so many.
    pub(crate) limit: usize,
}

impl AuditQuery {
    fn wants(&self, record: &AuditRecord) -> bool {
        // "user NAME (role)", "node ID"
        let name = record.who.split(' ').nth(1);
        let is_theirs = self.who.as_deref().is_none_or(|who| name == Some(who));
        is_theirs
            && self.since.is_none_or(|since| record.at >= since)
            && self.until.is_none_or(|until| record.at <= until)
    }
}

impl Files {
    /// Goes on where the log in `directory` ends, or begins one.
    pub(super) fn open(directory: &Path, limits: Limits) -> io::Result<Self> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        let last = list(directory)?.pop();
        let (path, next_sequence) = match last {
            Some(path) => {
                let newest = read(&path)?.last().map(|record| record.sequence);
                let next = newest.map_or(number(&path), |newest| newest + 1);
                (path, next)
            }
            None => (path_of(directory, 1), 1),
        };
        let ends_well = ends_with_a_line_break(&path)?;
        let current = append_to(&path)?;
        sync_directory(directory)?;
        Ok(Self {
            directory: directory.to_owned(),
            limits,
            bytes: current.metadata()?.len(),
            current,
            line: if ends_well {
                Line::Complete
            } else {
                Line::Torn
            },
            next_sequence,
        })
    }

    /// Makes a record durable.
    pub(super) fn append(&mut self, record: &AuditRecord) -> io::Result<()> {
        let mut line = Vec::new();
        if self.line == Line::Torn {
            line.push(b'\n');
        }
        serde_json::to_writer(&mut line, record)?;
        line.push(b'\n');
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if self.bytes > 0 && self.bytes.saturating_add(length) > self.limits.file_bytes_max {
            self.begin_next(record.sequence)?;
        }
        // Whatever becomes of it, the next line begins anew.
        self.line = Line::Torn;
        self.current.write_all(&line)?;
        self.current.sync_data()?;
        self.line = Line::Complete;
        self.bytes = self.bytes.saturating_add(length);
        Ok(())
    }

    fn begin_next(&mut self, first: u64) -> io::Result<()> {
        self.current = append_to(&path_of(&self.directory, first))?;
        self.bytes = self.current.metadata()?.len();
        self.line = Line::Complete;
        let all = list(&self.directory)?;
        let surplus = all.len().saturating_sub(self.limits.files_max);
        for old in &all[..surplus] {
            std::fs::remove_file(old)?;
        }
        sync_directory(&self.directory)
    }
}

/// The newest records that are wanted, oldest first, and the time of the oldest there is.
pub(super) fn query(
    directory: &Path,
    query: &AuditQuery,
) -> io::Result<(Vec<AuditRecord>, Option<UnixMs>)> {
    let files = list(directory)?;
    let mut found = Vec::new();
    // A request's last line counts; going back it is the first.
    let mut seen = BTreeSet::new();
    for path in files.iter().rev() {
        for record in read(path)?.into_iter().rev() {
            if seen.insert(record.sequence) && query.wants(&record) {
                found.push(record);
                if found.len() == query.limit {
                    break;
                }
            }
        }
        if found.len() >= query.limit {
            break;
        }
    }
    found.reverse();
    found.sort_by_key(|record| record.sequence);
    let oldest = match files.first() {
        Some(first) => read(first)?.first().map(|record| record.at),
        None => None,
    };
    Ok((found, oldest))
}

/// The records of a file. A line that is none was torn by a crash or a full disk.
fn read(path: &Path) -> io::Result<Vec<AuditRecord>> {
    let mut records = Vec::new();
    for line in BufReader::new(File::open(path)?).split(b'\n') {
        records.extend(serde_json::from_slice::<AuditRecord>(&line?).ok());
    }
    Ok(records)
}

fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if number(&path) > 0 {
            paths.push(path);
        }
    }
    paths.sort_by_key(|path| number(path));
    Ok(paths)
}

fn path_of(directory: &Path, first: u64) -> PathBuf {
    directory.join(format!("{PREFIX}{first:020}{SUFFIX}"))
}

/// The first sequence in a file, from its name; zero for a file that is none of ours.
fn number(path: &Path) -> u64 {
    let name = path.file_name().and_then(|name| name.to_str());
    let digits = name.and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX));
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

fn ends_with_a_line_break(path: &Path) -> io::Result<bool> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(bytes.last().is_none_or(|last| *last == b'\n')),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
