//! The table of what the cells of the crash matrix showed: a line for each, in a file that is read
//! before and written after every cell, so that the matrix can be completed in several stretches.

use super::cells::Cell;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

const COLUMNS: [&str; 15] = [
    "operation",
    "step aimed at",
    "process",
    "fault",
    "step hit",
    "fault in ms",
    "outcome",
    "end",
    "runs on",
    "rows acknowledged",
    "rows found",
    "healed after ms",
    "longest wait ms",
    "date",
    "commit",
];

/// What one cell showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// The cell's names.
    pub(super) key: [String; 4],
    /// In which step the operation was when the fault came.
    pub(super) hit: String,
    /// How long the fault lasted.
    pub(super) lasted_ms: u64,
    /// `held`, or what was not as it must be.
    pub(super) outcome: String,
    /// How the operation ended.
    pub(super) end: String,
    /// Where the service ran after it.
    pub(super) runs_on: String,
    /// Rows that were acknowledged.
    pub(super) acknowledged: u64,
    /// Rows that were found: those, and at most one more for each client.
    pub(super) found: u64,
    /// From the end of the fault until the operation had ended and rows were acknowledged again.
    pub(super) healed_after_ms: u64,
    /// The longest wait of a client for one row.
    pub(super) longest_wait_ms: u64,
    /// When.
    pub(super) date: String,
    /// With which version.
    pub(super) commit: String,
}

/// What the outcome is when all is as it must be.
pub(super) const HELD: &str = "held";

impl Row {
    /// A cell that has been run to its end.
    pub(super) fn of(cell: &Cell, hit: &str, lasted: Duration) -> Self {
        Self {
            key: cell.key().map(str::to_owned),
            hit: hit.to_owned(),
            lasted_ms: u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX),
            outcome: HELD.to_owned(),
            end: String::new(),
            runs_on: String::new(),
            acknowledged: 0,
            found: 0,
            healed_after_ms: 0,
            longest_wait_ms: 0,
            date: String::new(),
            commit: String::new(),
        }
    }

    /// A cell that did not come to its end.
    pub(super) fn failed(cell: &Cell, lasted: Duration, why: &str) -> Self {
        let mut row = Self::of(cell, "", lasted);
        row.outcome = why.split_whitespace().collect::<Vec<_>>().join(" ");
        row
    }

    pub(super) fn has_held(&self) -> bool {
        self.outcome == HELD
    }

    /// Whether it was hit where that was wanted.
    pub(super) fn is_hit(&self) -> bool {
        self.hit == self.key[1]
    }

    pub(super) fn line(&self) -> String {
        let numbers = [
            self.acknowledged,
            self.found,
            self.healed_after_ms,
            self.longest_wait_ms,
        ];
        let mut line = self.key.join("\t");
        let rest = [&self.hit, &self.lasted_ms.to_string()];
        let texts = [&self.outcome, &self.end, &self.runs_on];
        for text in rest.into_iter().chain(texts) {
            write!(line, "\t{}", text.replace(['\t', '\n'], " ")).unwrap();
        }
        for number in numbers {
            write!(line, "\t{number}").unwrap();
        }
        write!(line, "\t{}\t{}", self.date, self.commit).unwrap();
        line
    }

    fn read(line: &str) -> Self {
        let parts: Vec<&str> = line.split('\t').collect();
        assert_eq!(
            parts.len(),
            COLUMNS.len(),
            "not a line of the table: {line}"
        );
        let text = |index: usize| parts[index].to_owned();
        let number = |index: usize| parts[index].parse().unwrap();
        Self {
            key: [text(0), text(1), text(2), text(3)],
            hit: text(4),
            lasted_ms: number(5),
            outcome: text(6),
            end: text(7),
            runs_on: text(8),
            acknowledged: number(9),
            found: number(10),
            healed_after_ms: number(11),
            longest_wait_ms: number(12),
            date: text(13),
            commit: text(14),
        }
    }
}

/// The table, in the order of the cells.
#[derive(Debug)]
pub(super) struct Table {
    file: PathBuf,
    pub(super) rows: Vec<Row>,
}

impl Table {
    /// Reads it; an empty one when there is none.
    pub(super) fn open(file: &Path) -> Self {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        Self {
            file: file.to_owned(),
            rows: text.lines().skip(1).map(Row::read).collect(),
        }
    }

    /// What a cell showed the last time.
    pub(super) fn row(&self, cell: &Cell) -> Option<&Row> {
        self.rows.iter().find(|row| row.key == cell.key())
    }

    /// Writes the summary beside it.
    pub(super) fn summarize(&self) {
        let file = self.file.with_extension("md");
        std::fs::write(file, super::summary::of(self)).unwrap();
    }

    /// Puts a row in place of an older one of the same cell, and writes the table.
    pub(super) fn put(&mut self, row: Row) {
        // Another run may add to the same table.
        let name = Path::new(env!("CARGO_TARGET_TMPDIR")).join("crash-matrix.lock");
        let lock = std::fs::File::create(name).unwrap();
        lock.lock().unwrap();
        self.rows = Self::open(&self.file).rows;
        self.rows.retain(|other| other.key != row.key);
        self.rows.push(row);
        let order = Cell::every();
        let place = |row: &Row| order.iter().position(|cell| row.key == cell.key());
        self.rows.sort_by_key(place);
        let mut text = COLUMNS.join("\t");
        for row in &self.rows {
            write!(text, "\n{}", row.line()).unwrap();
        }
        let draft = self.file.with_extension("new");
        std::fs::write(&draft, text + "\n").unwrap();
        std::fs::rename(&draft, &self.file).unwrap();
        self.summarize();
    }
}

/// Where the table of the whole matrix is.
pub(super) fn file_in_docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs")
        .join(name)
}
