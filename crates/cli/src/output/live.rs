//! Progress of operations while somebody waits for them: lines that update on a terminal, a line for
//! each change of phase elsewhere. Goes to standard error.

use super::operation::{progress_line, stage, title};
use super::{Style, note};
use flocker_types::api::OperationView;
use flocker_types::ids::OperationId;
use flocker_types::operation::Phase;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// Lines that are redrawn at most; further operations are counted.
const LINES_MAX: usize = 16;
/// A rate is known only after this long, in milliseconds.
const RATE_MS_MIN: u128 = 500;
/// A rate is that of so much time.
const RATE_WINDOW: Duration = Duration::from_secs(4);

/// Shows how far operations are.
#[derive(Debug)]
pub(crate) struct Live {
    mode: Mode,
    drawn: usize,
    told: BTreeMap<OperationId, String>,
    pace: BTreeMap<OperationId, Pace>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Redraw,
    Append,
    Silent,
}

/// Whether somebody wants to see progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Yes.
    Shown,
    /// No.
    Hidden,
}

/// How fast the bytes of one round come.
#[derive(Debug)]
struct Pace {
    round: (Phase, usize),
    /// What control last said of the round before; it says so until the new one has news.
    stale: Option<u64>,
    /// Within [`RATE_WINDOW`].
    samples: VecDeque<(Instant, u64)>,
}

impl Pace {
    fn new(round: (Phase, usize)) -> Self {
        Self {
            round,
            stale: None,
            samples: VecDeque::new(),
        }
    }

    /// Takes note of what is done; says how fast it goes, in bytes a second, once that is known.
    fn note(&mut self, round: (Phase, usize), bytes: u64, now: Instant) -> Seen {
        if round != self.round {
            self.stale = self.samples.back().map(|(_, bytes)| *bytes);
            self.round = round;
            self.samples.clear();
        }
        if self.stale == Some(bytes) {
            return Seen::NothingNew;
        }
        self.stale = None;
        if self.samples.back().is_some_and(|(_, last)| bytes < *last) {
            self.samples.clear();
        }
        self.samples.push_back((now, bytes));
        let first = loop {
            match self.samples.front() {
                Some((at, _))
                    if self.samples.len() > 2 && now.duration_since(*at) > RATE_WINDOW =>
                {
                    self.samples.pop_front();
                }
                Some(first) => break *first,
                None => return Seen::NothingNew,
            }
        };
        let elapsed_ms = now.duration_since(first.0).as_millis();
        if elapsed_ms < RATE_MS_MIN {
            return Seen::Rate(None);
        }
        let rate = u128::from(bytes.saturating_sub(first.1)) * 1_000 / elapsed_ms;
        Seen::Rate(u64::try_from(rate).ok())
    }
}

/// What a look at the progress showed.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// What is said is of an earlier round.
    NothingNew,
    /// Bytes of this round, and their rate once it is known.
    Rate(Option<u64>),
}

impl Live {
    /// For where standard error goes.
    pub(crate) fn new(progress: Progress) -> Self {
        let mode = match (progress, Style::of_stderr()) {
            (Progress::Hidden, _) => Mode::Silent,
            (Progress::Shown, Style::Coloured) => Mode::Redraw,
            (Progress::Shown, Style::Plain) => Mode::Append,
        };
        Self {
            mode,
            drawn: 0,
            told: BTreeMap::new(),
            pace: BTreeMap::new(),
        }
    }

    /// Shows the operations as they are now.
    pub(crate) fn update<'v>(&mut self, views: impl Iterator<Item = &'v OperationView>) {
        match self.mode {
            Mode::Silent => {}
            Mode::Append => views.for_each(|view| self.append(view)),
            Mode::Redraw => self.redraw(views),
        }
    }

    /// Takes away what is redrawn.
    pub(crate) fn end(&mut self) {
        if self.drawn > 0 {
            self.draw(&[]);
        }
    }

    fn append(&mut self, view: &OperationView) {
        let line = format!("{}: {}", title(view), stage(view));
        if self.told.get(&view.operation.id) != Some(&line) {
            note(&line);
            self.told.insert(view.operation.id, line);
        }
    }

    fn redraw<'v>(&mut self, views: impl Iterator<Item = &'v OperationView>) {
        let now = Instant::now();
        let mut lines = Vec::new();
        for view in views.filter(|view| view.operation.finished.is_none()) {
            let operation = &view.operation;
            let round = (operation.phase, operation.rounds.len());
            let bytes = view.progress.map_or(0, |progress| progress.bytes_done);
            let pace = self.pace.entry(operation.id);
            let pace = pace.or_insert_with(|| Pace::new(round));
            lines.push(match pace.note(round, bytes, now) {
                Seen::Rate(rate) => progress_line(view, rate),
                Seen::NothingNew => {
                    let mut view = view.clone();
                    view.progress = None;
                    progress_line(&view, None)
                }
            });
        }
        if lines.len() > LINES_MAX {
            let more = lines.len() - (LINES_MAX - 1);
            lines.truncate(LINES_MAX - 1);
            lines.push(format!("... and {more} more"));
        }
        self.draw(&lines);
    }

    /// Writes over the lines that were drawn before.
    fn draw(&mut self, lines: &[String]) {
        let columns = columns();
        let mut text = String::new();
        if self.drawn > 0 {
            text.push_str(&format!("\u{1b}[{}A", self.drawn));
        }
        text.push_str("\r\u{1b}[J");
        for line in lines {
            text.extend(line.chars().take(columns));
            text.push('\n');
        }
        self.drawn = lines.len();
        let mut stderr = io::stderr().lock();
        // Progress that cannot be shown is no reason to fail.
        let _ = stderr
            .write_all(text.as_bytes())
            .and_then(|()| stderr.flush());
    }
}

/// Columns of the terminal, one less so that no line wraps.
fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stderr());
    match size.map(|size| usize::from(size.ws_col)) {
        Ok(columns) if columns > 1 => columns - 1,
        _ => 79,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: (Phase, usize) = (Phase::Copy, 0);
    const SECOND: (Phase, usize) = (Phase::Copy, 1);

    #[test]
    fn a_rate_is_of_the_last_seconds() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut pace = Pace::new(FIRST);
        assert_eq!(pace.note(FIRST, 0, start), Seen::Rate(None));
        assert_eq!(pace.note(FIRST, 100, after(100)), Seen::Rate(None));
        assert_eq!(
            pace.note(FIRST, 1_000, after(1_000)),
            Seen::Rate(Some(1_000))
        );
        assert_eq!(
            pace.note(FIRST, 9_000, after(5_000)),
            Seen::Rate(Some(2_000))
        );
    }

    #[test]
    fn a_new_round_begins_with_its_own_bytes() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut pace = Pace::new(FIRST);
        pace.note(FIRST, 5_000, start);
        assert_eq!(pace.note(SECOND, 5_000, after(1_000)), Seen::NothingNew);
        assert_eq!(pace.note(SECOND, 10, after(1_100)), Seen::Rate(None));
        assert_eq!(
            pace.note(SECOND, 2_010, after(2_100)),
            Seen::Rate(Some(2_000))
        );
    }
}
