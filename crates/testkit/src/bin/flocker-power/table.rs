//! What the runs showed: a line each in a file of tab-separated values, which is also how the test
//! knows what it has done already.
//!
//! Written to after every run, so that a test that is ended at any time can be continued.

use anyhow::{Context, Result};
use flocker_types::operation::Phase;
use flocker_types::volume::StorageKind;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

const HEAD: &str = "run\tstorage\tside\taimed_at\thit\tseed\toff_ms\tunflushed_blocks\tlost_blocks\t\
                    end\truns_on\thealed_after_ms\trows\tresult";

/// The phases in which the plug is pulled. A move waits for no other service, so it has no first phase.
pub(crate) const PHASES: [Phase; 9] = [
    Phase::Prepare,
    Phase::Copy,
    Phase::Hold,
    Phase::Stop,
    Phase::LastDelta,
    Phase::Commit,
    Phase::Start,
    Phase::Release,
    Phase::Keep,
];

/// Which machine of a move loses power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The one that the service leaves.
    Source,
    /// The one that it goes to.
    Target,
}

impl Side {
    pub(crate) const BOTH: [Self; 2] = [Self::Source, Self::Target];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Target => "target",
        }
    }
}

/// A run, as it is recorded.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) run: u64,
    pub(crate) storage: StorageKind,
    pub(crate) side: Side,
    pub(crate) aimed_at: Phase,
    /// What control showed right after the cut; the same as `aimed_at` unless that was too short.
    pub(crate) hit: String,
    pub(crate) seed: u64,
    /// From the cut until the machine was switched on again.
    pub(crate) off_ms: u128,
    pub(crate) unflushed_blocks: u64,
    pub(crate) lost_blocks: u64,
    /// How the move ended.
    pub(crate) end: String,
    /// Whether the service ran on the move's source or target in the end.
    pub(crate) runs_on: String,
    /// From switching on until everything was well: machine booted, move ended, rows acknowledged.
    pub(crate) healed_after_ms: u128,
    /// Acknowledged rows, all of which were there.
    pub(crate) rows: u64,
    /// `clean`, or what was not as it must be.
    pub(crate) result: String,
}

impl Row {
    fn line(&self) -> String {
        let plain = |text: &str| text.replace(['\t', '\n'], " ");
        format!(
            "{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}",
            self.run,
            self.storage,
            self.side.name(),
            self.aimed_at,
            self.hit,
            self.seed,
            self.off_ms,
            self.unflushed_blocks,
            self.lost_blocks,
            plain(&self.end),
            self.runs_on,
            self.healed_after_ms,
            self.rows,
            plain(&self.result),
        )
    }
}

/// What of earlier runs matters for what is done next.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Done {
    storage: String,
    side: String,
    aimed_at: String,
    hit: String,
    is_clean: bool,
}

/// The file of all runs.
#[derive(Debug)]
pub(crate) struct Table {
    path: PathBuf,
    done: Vec<Done>,
    last_run: u64,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Aim {
    pub(crate) side: Side,
    pub(crate) phase: Phase,
    /// How often this phase was aimed at and a later one was hit.
    pub(crate) misses: usize,
}

impl Table {
    /// Reads what there is.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        if !path.exists() {
            fs::write(path, format!("{HEAD}\n"))
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let (done, last_run) = parse(&text);
        Ok(Self {
            path: path.to_owned(),
            done,
            last_run,
        })
    }

    /// The number of the next run.
    pub(crate) fn next_run(&self) -> u64 {
        self.last_run + 1
    }

    /// Writes a run down for good.
    pub(crate) fn add(&mut self, row: &Row) -> Result<()> {
        let line = row.line();
        let mut file = OpenOptions::new().append(true).open(&self.path)?;
        writeln!(file, "{line}")?;
        file.sync_all()?;
        self.done.extend(parse(&line).0);
        self.last_run = row.run;
        Ok(())
    }

    /// The phase and side that have been hit least often, those with fewer misses first; none when
    /// each has been hit often enough or will not be hit however often one tries.
    pub(crate) fn next_aim(&self, storage: StorageKind, wanted: usize) -> Option<Aim> {
        let phases = PHASES.into_iter();
        let cells = phases.flat_map(|phase| Side::BOTH.map(|side| (phase, side)));
        let aims = cells.filter_map(|(phase, side)| {
            let hits = self.count(storage, side, |done| done.hit == phase.to_string());
            let misses = self.count(storage, side, |done| {
                done.aimed_at == phase.to_string() && done.hit != done.aimed_at
            });
            let is_open = hits < wanted && misses < wanted * 2;
            is_open.then_some((
                hits + misses / 2,
                Aim {
                    side,
                    phase,
                    misses,
                },
            ))
        });
        aims.min_by_key(|(tried, _)| *tried).map(|(_, aim)| aim)
    }

    fn count(&self, storage: StorageKind, side: Side, is_so: impl Fn(&Done) -> bool) -> usize {
        let of_cell = |done: &&Done| {
            done.storage == storage.to_string() && done.side == side.name() && done.is_clean
        };
        let matching = self.done.iter().filter(of_cell);
        matching.filter(|done| is_so(done)).count()
    }
}

fn parse(text: &str) -> (Vec<Done>, u64) {
    let mut last_run = 0;
    let rows = text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split('\t').collect();
        let [run, storage, side, aimed_at, hit, .., result] = fields[..] else {
            return None;
        };
        // The head has no number.
        last_run = last_run.max(run.parse().ok()?);
        Some(Done {
            storage: storage.to_owned(),
            side: side.to_owned(),
            aimed_at: aimed_at.to_owned(),
            hit: hit.to_owned(),
            is_clean: result == "clean",
        })
    });
    (rows.collect(), last_run)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(run: u64, side: Side, aimed_at: Phase, hit: Phase) -> Row {
        Row {
            run,
            storage: StorageKind::Zfs,
            side,
            aimed_at,
            hit: hit.to_string(),
            seed: 5,
            off_ms: 6,
            unflushed_blocks: 7,
            lost_blocks: 8,
            end: "failed in copy:\tnode away".to_owned(),
            runs_on: "source".to_owned(),
            healed_after_ms: 9,
            rows: 10,
            result: "clean".to_owned(),
        }
    }

    #[test]
    fn a_test_goes_on_where_the_file_has_holes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("runs.tsv");
        let mut table = Table::open(&path).unwrap();
        let mut hits = Vec::new();
        while let Some(aim) = table.next_aim(StorageKind::Zfs, 2) {
            let run = table.next_run();
            // The commit is too short to be hit.
            let hit = match aim.phase {
                Phase::Commit => Phase::Start,
                other => other,
            };
            hits.push((aim.side, hit));
            table.add(&row(run, aim.side, aim.phase, hit)).unwrap();
            table = Table::open(&path).unwrap();
            assert_eq!(table.next_run(), run + 1);
        }
        for phase in PHASES.into_iter().filter(|phase| *phase != Phase::Commit) {
            for side in Side::BOTH {
                let count = hits.iter().filter(|hit| **hit == (side, phase)).count();
                assert!(count >= 2, "{side:?} {phase}");
            }
        }
        // Another storage begins from nothing.
        assert!(table.next_aim(StorageKind::Btrfs, 2).is_some());
    }
}
