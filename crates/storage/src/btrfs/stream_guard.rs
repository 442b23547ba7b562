//! Reads a btrfs send stream before `btrfs receive` does, and ends it with an error where it would do
//! anything but make the one snapshot that was announced out of this volume's own data.
//!
//! `btrfs receive -C` confines paths, but not identities: a stream can name any snapshot of the whole
//! filesystem by its UUID, and take over what is in it. So the first command must make the snapshot,
//! out of the announced base if there is one; data may be shared only with snapshots of this volume;
//! no path leads upwards; nothing follows the end. Whether the commands are well formed otherwise is
//! the receiving process's business.
//!
//! Only the btrfs store puts it round a stream. It keeps one command in memory.

use std::collections::BTreeSet;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};

/// A snapshot's identity.
pub(crate) type Identity = [u8; 16];

const MAGIC: &[u8; 17] = b"btrfs-stream\0\x01\0\0\0";
/// Length of the body, command, CRC.
const HEADER_BYTES: usize = 10;
/// The kernel's own limit is 64 KiB in version 1.
const COMMAND_BYTES_MAX: usize = 256 << 10;
const READ_BYTES: usize = 64 << 10;

const SUBVOLUME: u16 = 1;
const SNAPSHOT: u16 = 2;
const CLONE: u16 = 16;
const END: u16 = 21;
const COMMAND_MAX: u16 = 22;

const UUID: u16 = 1;
const PATH: u16 = 15;
const PATH_TO: u16 = 16;
const PATH_LINK: u16 = 17;
const CLONE_UUID: u16 = 20;
const CLONE_PATH: u16 = 22;

/// What a stream may do.
#[derive(Debug, Clone)]
pub(crate) struct Allowed {
    /// The snapshot's name.
    pub(crate) name: String,
    /// Identities of the snapshot that it builds on; empty for a full stream.
    pub(crate) base: BTreeSet<Identity>,
    /// Identities of this volume's snapshots.
    pub(crate) own: BTreeSet<Identity>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Magic,
    First,
    Inside,
    Ended,
}

/// The checks, without IO: takes bytes in and gives whole commands out.
#[derive(Debug)]
pub(crate) struct Checker {
    allowed: Allowed,
    stage: Stage,
    pending: Vec<u8>,
}

impl Checker {
    pub(crate) fn new(allowed: Allowed) -> Self {
        Self {
            allowed,
            stage: Stage::Magic,
            pending: Vec::new(),
        }
    }

    /// Takes in what came, and adds to `checked` what may go on.
    pub(crate) fn take(&mut self, bytes: &[u8], checked: &mut Vec<u8>) -> Result<(), String> {
        self.pending.extend_from_slice(bytes);
        let pending = std::mem::take(&mut self.pending);
        let mut rest = &pending[..];
        loop {
            if self.stage == Stage::Ended && !rest.is_empty() {
                return Err("it goes on after its end".to_owned());
            }
            let Some(length) = self.next_length(rest)? else {
                break;
            };
            let (unit, more) = rest.split_at(length);
            self.check(unit)?;
            checked.extend_from_slice(unit);
            rest = more;
        }
        self.pending = rest.to_vec();
        Ok(())
    }

    /// Whether all of it has come.
    pub(crate) fn finish(&self) -> Result<(), String> {
        match self.stage == Stage::Ended && self.pending.is_empty() {
            true => Ok(()),
            false => Err("it ends before its end".to_owned()),
        }
    }

    /// How long the next unit is, if it is here whole.
    fn next_length(&self, rest: &[u8]) -> Result<Option<usize>, String> {
        let length = if self.stage == Stage::Magic {
            MAGIC.len()
        } else {
            let Some(header) = rest.first_chunk::<4>() else {
                return Ok(None);
            };
            let body = usize::try_from(u32::from_le_bytes(*header)).unwrap_or(usize::MAX);
            if body > COMMAND_BYTES_MAX {
                return Err(format!("a command of {body} bytes"));
            }
            HEADER_BYTES + body
        };
        Ok((rest.len() >= length).then_some(length))
    }

    fn check(&mut self, unit: &[u8]) -> Result<(), String> {
        if self.stage == Stage::Magic {
            if unit != MAGIC {
                return Err("it is not a send stream of version 1".to_owned());
            }
            self.stage = Stage::First;
            return Ok(());
        }
        let command = u16::from_le_bytes([unit[4], unit[5]]);
        let attributes = attributes(&unit[HEADER_BYTES..])?;
        let value = |wanted| {
            let found = attributes.iter().find(|(kind, _)| *kind == wanted);
            found.map(|(_, value)| *value)
        };
        let twice = (1..attributes.len()).any(|at| {
            attributes[..at]
                .iter()
                .any(|(kind, _)| *kind == attributes[at].0)
        });
        if twice {
            return Err("a command says something twice".to_owned());
        }
        let identity = |wanted| value(wanted).and_then(|value| Identity::try_from(value).ok());
        match (self.stage, command) {
            (Stage::First, SUBVOLUME | SNAPSHOT) => {
                if value(PATH) != Some(self.allowed.name.as_bytes()) {
                    let name = &self.allowed.name;
                    return Err(format!("it does not begin with the snapshot {name}"));
                }
                let base = identity(CLONE_UUID);
                let fits = match command {
                    SNAPSHOT => base.is_some_and(|base| self.allowed.base.contains(&base)),
                    _ => self.allowed.base.is_empty(),
                };
                if !fits {
                    return Err("it does not build on the snapshot that was announced".to_owned());
                }
                let own = identity(UUID).ok_or("its snapshot has no identity")?;
                self.allowed.own.insert(own);
                self.stage = Stage::Inside;
            }
            (Stage::First, _) | (_, SUBVOLUME | SNAPSHOT) => {
                return Err("it makes more than one snapshot, or none".to_owned());
            }
            (_, END) => self.stage = Stage::Ended,
            (_, CLONE) => {
                let of = identity(CLONE_UUID);
                if !of.is_some_and(|of| self.allowed.own.contains(&of)) {
                    return Err("it takes data of a snapshot that is not this volume's".to_owned());
                }
            }
            (_, 1..=COMMAND_MAX) => {}
            (_, other) => return Err(format!("a command {other} that version 1 does not have")),
        }
        // What a symbolic link leads to may be anything; a hard link's target is a path in the volume.
        let is_symlink = command == 8;
        for kind in [PATH, PATH_TO, PATH_LINK, CLONE_PATH] {
            let free = kind == PATH_LINK && is_symlink;
            if !free && value(kind).is_some_and(|path| !stays_inside(path)) {
                return Err("a path leads out of the volume".to_owned());
            }
        }
        Ok(())
    }
}

/// Neither absolute nor upwards. The snapshot's own directory is the empty path.
fn stays_inside(path: &[u8]) -> bool {
    path.is_empty()
        || path
            .split(|byte| *byte == b'/')
            .all(|part| !matches!(part, b"" | b"." | b"..") && !part.contains(&0))
}

fn attributes(mut body: &[u8]) -> Result<Vec<(u16, &[u8])>, String> {
    let mut found = Vec::new();
    while !body.is_empty() {
        let cut = || "a command is cut off".to_owned();
        let (head, rest) = body.split_first_chunk::<4>().ok_or_else(cut)?;
        let kind = u16::from_le_bytes([head[0], head[1]]);
        let length = usize::from(u16::from_le_bytes([head[2], head[3]]));
        let (value, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
        found.push((kind, value));
        body = rest;
    }
    Ok(found)
}

/// See the module.
pub(crate) struct GuardedStream<R> {
    inner: R,
    checker: Checker,
    checked: Vec<u8>,
    given: usize,
    chunk: Box<[u8]>,
}

impl<R> GuardedStream<R> {
    pub(crate) fn new(inner: R, allowed: Allowed) -> Self {
        Self {
            inner,
            checker: Checker::new(allowed),
            checked: Vec::new(),
            given: 0,
            chunk: vec![0; READ_BYTES].into(),
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for GuardedStream<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let bad = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        while this.given == this.checked.len() {
            this.checked.clear();
            this.given = 0;
            let mut chunk = ReadBuf::new(&mut this.chunk);
            ready!(Pin::new(&mut this.inner).poll_read(context, &mut chunk))?;
            if chunk.filled().is_empty() {
                return Poll::Ready(this.checker.finish().map_err(bad));
            }
            let taken = this.checker.take(chunk.filled(), &mut this.checked);
            taken.map_err(bad)?;
        }
        let ready = &this.checked[this.given..];
        let length = ready.len().min(buffer.remaining());
        buffer.put_slice(&ready[..length]);
        this.given += length;
        Poll::Ready(Ok(()))
    }
}
