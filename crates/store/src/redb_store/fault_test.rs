//! The redb store on a disk that fails at any moment in any of the ways of [`Fault`]: what was
//! acknowledged is there when it is opened again, and what was not is there whole or not at all.

use super::fault_disk::{Chance, Fault, FaultDisk};
use super::file::{builder, initialise, make};
use super::{Problem, RedbStore, trouble};
use crate::state_store::{Commit, StateStore, StoreTrouble, Transaction, Write};
use redb::StorageBackend;
use std::collections::BTreeMap;
use std::path::PathBuf;

const FAULTS: [Fault; 4] = [
    Fault::PowerLoss,
    Fault::NoRoom,
    Fault::ReadError,
    Fault::SyncError,
];
/// Keys that transactions write and delete in turn.
const KEYS: u64 = 7;

/// As the store's file is opened, or made when there is none of its name.
fn open(disk: &FaultDisk) -> Result<RedbStore, Problem> {
    if disk.has_name() {
        return open_in_place(disk);
    }
    disk.set_len(0).map_err(Problem::Io)?;
    let database = make(
        || Ok(builder().create_with_backend(disk.clone())?),
        || disk.give_name().map_err(Problem::Directory),
        || disk.sync_name().map_err(Problem::Directory),
    )?;
    Ok(store(database))
}

/// Whatever is on the disk is taken for a store.
fn open_in_place(disk: &FaultDisk) -> Result<RedbStore, Problem> {
    let database = builder().create_with_backend(disk.clone())?;
    initialise(&database)?;
    disk.sync_name().map_err(Problem::Directory)?;
    Ok(store(database))
}

fn store(database: redb::Database) -> RedbStore {
    RedbStore {
        database,
        path: PathBuf::from("fault disk"),
    }
}

/// The writes of the transaction of this number: one value from ten bytes to several pages.
fn writes(number: u64) -> Vec<Write> {
    let length = usize::try_from(10 + number.wrapping_mul(2_654_435_761) % 9_000).unwrap();
    let value = number.to_be_bytes().into_iter().cycle().take(length);
    vec![
        Write::Put("number".to_owned(), number.to_be_bytes().to_vec()),
        Write::Put(format!("key/{}", number % KEYS), value.collect()),
        Write::Delete(format!("key/{}", (number + 3) % KEYS)),
    ]
}

/// What must be there after so many transactions.
fn expected(numbers: u64) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for write in (1..=numbers).flat_map(writes) {
        match write {
            Write::Put(key, value) => drop(all.insert(key, value)),
            Write::Delete(key) => drop(all.remove(&key)),
        }
    }
    all
}

/// How many transactions the store has; it must be exactly what they make.
fn check(store: &RedbStore, acknowledged: u64, begun: u64, story: &str) -> u64 {
    let found: BTreeMap<String, Vec<u8>> = store
        .range("")
        .unwrap()
        .into_iter()
        .map(|entry| (entry.key, entry.value))
        .collect();
    let number = found.get("number").map_or(0, |bytes| {
        u64::from_be_bytes(bytes.as_slice().try_into().unwrap())
    });
    assert!(
        number == acknowledged || number == begun,
        "{story}: {acknowledged} acknowledged, {begun} begun, {number} found"
    );
    assert!(found == expected(number), "{story}: {number} is not whole");
    number
}

/// Opens what a fault left: whatever it was and whenever it came, that works.
fn reopen(disk: &FaultDisk, story: &str) -> RedbStore {
    open(disk).unwrap_or_else(|error| panic!("{story}: {error:?}"))
}

/// What a life of a store came to.
struct Life {
    acknowledged: u64,
    begun: u64,
}

/// Opens and commits until the disk fails, or forty transactions are through.
fn live(disk: &FaultDisk, from: u64) -> Life {
    let mut life = Life {
        acknowledged: from,
        begun: from,
    };
    let Ok(mut store) = open(disk) else {
        return life;
    };
    for number in from + 1..=from + 40 {
        life.begun = number;
        let transaction = Transaction {
            expect: Vec::new(),
            writes: writes(number),
        };
        match store.commit(&transaction) {
            Ok(Commit::Done { .. }) => life.acknowledged = number,
            Ok(Commit::Conflict(_)) => panic!("no expectation, no conflict"),
            Err(error) => {
                if disk.fault() == Some(Fault::NoRoom) {
                    assert_eq!(error.trouble, StoreTrouble::Full, "{error:?}");
                }
                break;
            }
        }
    }
    life
}

/// Three lives on one disk, each with a fault at some moment, and a look at it after each.
fn run(seed: u64) {
    let mut chance = Chance::new(seed);
    let mut disk = FaultDisk::default();
    let mut number = 0;
    for life in 0..3 {
        let fault = FAULTS[usize::try_from(chance.below(4)).unwrap()];
        let after = chance.below(600);
        let story = format!("seed {seed}, life {life}: {fault:?} after {after} actions");
        disk.fail_after(after, fault);
        let Life {
            acknowledged,
            begun,
        } = live(&disk, number);
        // Whatever the fault was, the power may go as well.
        disk = match fault == Fault::PowerLoss || chance.below(2) == 0 {
            true => disk.after_power_loss(&mut chance),
            false => disk.restarted(),
        };
        let store = reopen(&disk, &story);
        number = check(&store, acknowledged, begun, &story);
        drop(store);
        // Also what the look itself has written may be lost again.
        disk = disk.after_power_loss(&mut chance);
    }
}

#[test]
fn whatever_the_disk_does_the_acknowledged_is_there() {
    for seed in 0..200 {
        run(seed);
    }
}

/// A loss at every single moment of a run, each with several choices of what survives.
#[test]
fn every_moment_of_a_run_may_be_the_last() {
    let whole = FaultDisk::default();
    assert_eq!(live(&whole, 0).acknowledged, 40);
    let mut tried = 0;
    for moment in (0..whole.actions()).step_by(3) {
        let disk = FaultDisk::default();
        disk.fail_after(moment, Fault::PowerLoss);
        let life = live(&disk, 0);
        for choice in 0..2 {
            let mut chance = Chance::new(moment * 2 + choice);
            let after = disk.after_power_loss(&mut chance);
            let story = format!("power lost at action {moment}, choice {choice}");
            let store = reopen(&after, &story);
            check(&store, life.acknowledged, life.begun, &story);
            tried += 1;
        }
    }
    assert!(tried > 250, "only {tried} moments were tried");
}

/// What is lost at each single moment while the first file is made, and how many of those leave something
/// that is refused by `open_again`.
fn refused_after_a_first_start(
    first: fn(&FaultDisk) -> Result<RedbStore, Problem>,
    open_again: fn(&FaultDisk) -> Result<RedbStore, Problem>,
) -> u64 {
    let whole = FaultDisk::default();
    drop(first(&whole).unwrap());
    let mut refused = 0;
    for moment in 0..whole.actions() {
        for choice in 0..20 {
            let disk = FaultDisk::default();
            disk.fail_after(moment, Fault::PowerLoss);
            drop(first(&disk));
            let after = disk.after_power_loss(&mut Chance::new(moment * 20 + choice));
            match open_again(&after) {
                Ok(store) => assert_eq!(store.range("").unwrap(), Vec::new()),
                Err(_) => refused += 1,
            }
        }
    }
    refused
}

#[test]
fn power_lost_while_the_first_file_is_made_leaves_a_store_or_nothing() {
    assert_eq!(refused_after_a_first_start(open, open), 0);
}

/// The test above would see a store that is made under its own name.
#[test]
fn a_store_made_under_its_own_name_can_be_refused_for_ever() {
    assert!(refused_after_a_first_start(open_in_place, open_in_place) > 0);
}

/// A store that could not write goes on when there is room again, and has lost nothing.
#[test]
fn a_full_disk_is_told_and_survived() {
    let mut disk = FaultDisk::default();
    let first = live(&disk, 0);
    disk = disk.restarted();
    disk.fail_after(0, Fault::NoRoom);
    match open(&disk) {
        Ok(mut store) => {
            let transaction = Transaction {
                expect: Vec::new(),
                writes: writes(first.begun + 1),
            };
            let error = store.commit(&transaction).unwrap_err();
            assert_eq!(error.trouble, StoreTrouble::Full);
        }
        Err(problem) => assert_eq!(trouble(&problem), StoreTrouble::Full, "{problem:?}"),
    }
    disk = disk.restarted();
    let store = open(&disk).unwrap();
    check(
        &store,
        first.acknowledged,
        first.begun + 1,
        "after a full disk",
    );
    drop(store);
    assert_eq!(
        live(&disk, first.acknowledged).acknowledged,
        first.acknowledged + 40
    );
}

/// The tests above would see a disk that forgets what it has synced.
#[test]
fn a_lost_sync_is_noticed() {
    let disk = FaultDisk::default();
    let Life { acknowledged, .. } = live(&disk, 0);
    let fresh = FaultDisk::default();
    assert_eq!(live(&fresh, 0).acknowledged, acknowledged);
    let earlier = FaultDisk::default();
    earlier.fail_after(disk.actions() / 2, Fault::PowerLoss);
    let half = live(&earlier, 0);
    let store = open(&earlier.after_power_loss(&mut Chance::new(1))).unwrap();
    let seen = check(&store, half.acknowledged, half.begun, "half");
    assert!(
        seen < acknowledged,
        "half of the actions cannot be all of the transactions"
    );
}
