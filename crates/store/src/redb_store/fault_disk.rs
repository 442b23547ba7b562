//! A disk for tests that fails in the ways in which disks fail: it loses power with any part of the
//! latest writes done, sector by sector; it has no room; it cannot read; its sync fails.
//!
//! The tests beside it put a store on it. It chooses by its seed alone.

use redb::StorageBackend;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

/// A disk writes so much at once, in bytes; of more, any part may be done.
const SECTOR_BYTES: usize = 512;

/// A small generator of numbers (xorshift64*, Vigna 2016), so that a seed is a run.
#[derive(Debug, Clone)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Below `limit`.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }
}

/// How the disk fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The power goes: nothing works any more.
    PowerLoss,
    /// There is no room: nothing can be written any more. What is there can be read and synced.
    NoRoom,
    /// Reading fails from now on.
    ReadError,
    /// Syncing fails from now on.
    SyncError,
}

#[derive(Debug, Clone)]
enum Pending {
    Write(u64, Vec<u8>),
    Length(u64),
}

#[derive(Debug, Default)]
struct Platter {
    /// What is safe.
    synced: Vec<u8>,
    /// What a process sees.
    seen: Vec<u8>,
    /// What makes the difference.
    pending: Vec<Pending>,
    /// Actions until the fault.
    countdown: Option<(u64, Fault)>,
    fault: Option<Fault>,
    actions: u64,
    name: Name,
}

/// Whether what is on the disk has the name by which a store is looked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Name {
    #[default]
    None,
    /// A process sees it; a loss of power may take it away.
    Seen,
    Synced,
}

/// The disk, with one file on it; clones are of the same one.
#[derive(Debug, Clone, Default)]
pub(super) struct FaultDisk(Arc<Mutex<Platter>>);

fn put(image: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[offset..end].copy_from_slice(data);
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

impl FaultDisk {
    fn platter(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().unwrap()
    }

    /// After so many more actions it fails.
    pub(super) fn fail_after(&self, actions: u64, fault: Fault) {
        self.platter().countdown = Some((actions, fault));
    }

    /// How it fails now.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.platter().fault
    }

    /// Actions so far.
    pub(super) fn actions(&self) -> u64 {
        self.platter().actions
    }

    /// Whether a process finds the file under its name. Without one it is a file that is being made.
    pub(super) fn has_name(&self) -> bool {
        self.platter().name != Name::None
    }

    /// Gives the file its name.
    pub(super) fn give_name(&self) -> io::Result<()> {
        self.act(no_room)?.name = Name::Seen;
        Ok(())
    }

    /// Makes the name durable.
    pub(super) fn sync_name(&self) -> io::Result<()> {
        let mut platter = self.act(no_sync)?;
        if platter.name == Name::Seen {
            platter.name = Name::Synced;
        }
        Ok(())
    }

    /// The process ends and another one begins on a disk that works; the machine runs on.
    pub(super) fn restarted(&self) -> Self {
        let platter = self.platter();
        Self(Arc::new(Mutex::new(Platter {
            synced: platter.synced.clone(),
            seen: platter.seen.clone(),
            pending: platter.pending.clone(),
            name: platter.name,
            ..Platter::default()
        })))
    }

    /// The machine loses its power and comes back: of what was not synced any part is there.
    pub(super) fn after_power_loss(&self, chance: &mut Chance) -> Self {
        let platter = self.platter();
        let mut image = platter.synced.clone();
        for pending in &platter.pending {
            match pending {
                Pending::Length(length) if chance.below(2) == 0 => image.resize(at(*length), 0),
                Pending::Length(_) => {}
                Pending::Write(offset, data) => tear(&mut image, at(*offset), data, chance),
            }
        }
        let name = match platter.name {
            Name::Seen if chance.below(2) == 0 => Name::None,
            Name::Seen => Name::Synced,
            other => other,
        };
        Self(Arc::new(Mutex::new(Platter {
            synced: image.clone(),
            seen: image,
            name,
            ..Platter::default()
        })))
    }

    /// Counts an action; the error with which it fails, if it does.
    fn act(&self, fails: impl Fn(Fault) -> Option<i32>) -> io::Result<MutexGuard<'_, Platter>> {
        let mut platter = self.platter();
        platter.actions += 1;
        match platter.countdown {
            Some((0, fault)) => platter.fault = Some(fault),
            Some((left, fault)) => platter.countdown = Some((left - 1, fault)),
            None => {}
        }
        match platter.fault.and_then(fails) {
            Some(code) => Err(io::Error::from_raw_os_error(code)),
            None => Ok(platter),
        }
    }
}

/// All of a write, nothing, its beginning, or any of its sectors.
fn tear(image: &mut Vec<u8>, offset: usize, data: &[u8], chance: &mut Chance) {
    let sectors = u64::try_from(data.len().div_ceil(SECTOR_BYTES)).unwrap();
    let style = chance.below(4);
    let cut = chance.below(sectors + 1);
    let mut start = 0;
    let mut number = 0;
    while start < data.len() {
        // Sectors lie where the disk has them, not where the write begins.
        let end = data
            .len()
            .min(start + SECTOR_BYTES - (offset + start) % SECTOR_BYTES);
        let done = match style {
            0 => true,
            1 => false,
            2 => number < cut,
            _ => chance.below(2) == 0,
        };
        if done {
            put(image, offset + start, &data[start..end]);
        }
        number += 1;
        start = end;
    }
}

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

impl StorageBackend for FaultDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(u64::try_from(self.platter().seen.len()).unwrap())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platter = self.act(|fault| match fault {
            Fault::PowerLoss | Fault::ReadError => Some(EIO),
            Fault::NoRoom | Fault::SyncError => None,
        })?;
        let found = platter.seen.get(at(offset)..at(offset) + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut platter = self.act(no_room)?;
        platter.seen.resize(at(length), 0);
        platter.pending.push(Pending::Length(length));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.act(no_sync)?;
        platter.synced = platter.seen.clone();
        platter.pending.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut platter = self.act(no_room)?;
        put(&mut platter.seen, at(offset), data);
        platter.pending.push(Pending::Write(offset, data.to_vec()));
        Ok(())
    }
}

fn no_room(fault: Fault) -> Option<i32> {
    match fault {
        Fault::PowerLoss => Some(EIO),
        Fault::NoRoom => Some(ENOSPC),
        Fault::ReadError | Fault::SyncError => None,
    }
}

fn no_sync(fault: Fault) -> Option<i32> {
    match fault {
        Fault::PowerLoss | Fault::SyncError => Some(EIO),
        Fault::NoRoom | Fault::ReadError => None,
    }
}
