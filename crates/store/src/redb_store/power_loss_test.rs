//! The redb store on a disk that loses power: what reached the disk before the last sync is there,
//! and of what came after it any part may be.
//!
//! Every moment of a run is tried as the moment of the loss, with several choices of what survived.

use super::RedbStore;
use super::file::{builder, initialise};
use crate::state_store::{Commit, StateStore, Transaction, Write};
use redb::StorageBackend;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

#[derive(Debug, Clone)]
enum Action {
    Write(u64, Vec<u8>),
    SetLength(u64),
    Sync,
    /// Not the disk's: the store has said here that so many transactions are durable.
    Acknowledged(u32),
}

impl Action {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::Write(offset, data) => {
                let start = usize::try_from(*offset).unwrap();
                let end = start + data.len();
                if image.len() < end {
                    image.resize(end, 0);
                }
                image[start..end].copy_from_slice(data);
            }
            Self::SetLength(length) => image.resize(usize::try_from(*length).unwrap(), 0),
            Self::Sync | Self::Acknowledged(_) => {}
        }
    }
}

#[derive(Debug, Default)]
struct Disk {
    image: Vec<u8>,
    history: Vec<Action>,
}

#[derive(Debug, Clone, Default)]
struct RecordingDisk(Arc<Mutex<Disk>>);

impl RecordingDisk {
    fn with_image(image: Vec<u8>) -> Self {
        let history = Vec::new();
        Self(Arc::new(Mutex::new(Disk { image, history })))
    }

    fn act(&self, action: Action) {
        let mut disk = self.0.lock().unwrap();
        action.apply(&mut disk.image);
        disk.history.push(action);
    }
}

impl StorageBackend for RecordingDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(u64::try_from(self.0.lock().unwrap().image.len()).unwrap())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.0.lock().unwrap();
        let start = usize::try_from(offset).unwrap();
        let found = disk.image.get(start..start + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.act(Action::SetLength(length));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.act(Action::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.act(Action::Write(offset, data.to_vec()));
        Ok(())
    }
}

fn open(disk: &RecordingDisk) -> RedbStore {
    let database = builder().create_with_backend(disk.clone()).unwrap();
    initialise(&database).unwrap();
    RedbStore {
        database,
        path: PathBuf::from("recording disk"),
    }
}

/// Opens a store and commits; returns what the disk was told, in order.
fn run(commits: u32) -> Vec<Action> {
    let disk = RecordingDisk::default();
    let mut store = open(&disk);
    disk.act(Action::Acknowledged(0));
    for number in 1..=commits {
        let value = vec![u8::try_from(number).unwrap(); 3_000];
        let transaction = Transaction {
            expect: Vec::new(),
            writes: vec![
                Write::Put(format!("k/{number:03}"), value.clone()),
                Write::Put("latest".to_owned(), value),
                Write::Delete(format!("k/{:03}", number.saturating_sub(5))),
            ],
        };
        let revision = u64::from(number);
        assert_eq!(
            store.commit(&transaction).unwrap(),
            Commit::Done { revision }
        );
        disk.act(Action::Acknowledged(number));
    }
    disk.0.lock().unwrap().history.clone()
}

/// The disk after a loss of power: synced actions, and of the later ones those that `survives` names.
fn image_after_loss(history: &[Action], survives: impl Fn(usize) -> bool) -> Vec<u8> {
    let synced = history
        .iter()
        .rposition(|action| matches!(action, Action::Sync))
        .unwrap_or(0);
    let mut image = Vec::new();
    for (index, action) in history.iter().enumerate() {
        if index <= synced || survives(index) {
            action.apply(&mut image);
        }
    }
    image
}

/// The store must have every acknowledged transaction, and the next one whole or not at all.
fn check(store: &RedbStore, acknowledged: u32) {
    let entries = store.range("k/").unwrap();
    let latest = store.get("latest").unwrap();
    let found = latest.as_ref().map_or(0, |entry| u32::from(entry.value[0]));
    assert!(
        found == acknowledged || found == acknowledged + 1,
        "{acknowledged} acknowledged, {found} found"
    );
    let expected: Vec<String> = (found.saturating_sub(4).max(1)..=found)
        .map(|number| format!("k/{number:03}"))
        .collect();
    let keys: Vec<String> = entries.into_iter().map(|entry| entry.key).collect();
    assert_eq!(keys, expected);
}

#[test]
fn no_acknowledged_commit_is_lost_with_the_power() {
    let history = run(12);
    let first = history
        .iter()
        .position(|action| matches!(action, Action::Acknowledged(0)))
        .unwrap();
    let mut acknowledged = 0;
    let mut tried = 0;
    for moment in first..history.len() {
        if let Action::Acknowledged(number) = history[moment] {
            acknowledged = number;
        }
        let before = &history[..=moment];
        let choices: [fn(usize) -> bool; 4] = [
            |_| false,
            |_| true,
            |index| index % 2 == 0,
            |index| index % 2 == 1,
        ];
        for survives in choices {
            let image = image_after_loss(before, survives);
            let store = open(&RecordingDisk::with_image(image));
            check(&store, acknowledged);
            tried += 1;
        }
    }
    assert_eq!(acknowledged, 12);
    assert!(tried > 200, "only {tried} losses were tried");
}

/// The test above would see a commit that does not wait for the disk.
#[test]
fn a_loss_is_noticed_when_nothing_is_synced() {
    let history: Vec<Action> = run(3);
    let last_sync = history
        .iter()
        .rposition(|action| matches!(action, Action::Sync))
        .unwrap();
    let image = image_after_loss(&history[..last_sync], |_| false);
    let store = open(&RecordingDisk::with_image(image));
    let latest = store.get("latest").unwrap().unwrap();
    assert!(
        latest.value[0] < 3,
        "the last commit was not synced, yet it is there"
    );
}
