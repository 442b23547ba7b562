//! Progress of operations while somebody waits for them: lines that update on a terminal, a line for
//! each change of phase elsewhere. Goes to standard error.

use super::operation::{progress_line, stage, title};
use super::{Style, note};
use flocker_types::api::OperationView;
use flocker_types::ids::OperationId;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Instant;

/// Lines that are redrawn at most; further operations are counted.
const LINES_MAX: usize = 16;
/// A rate is known only after this long, in milliseconds.
const RATE_MS_MIN: u128 = 500;

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

/// How fast bytes come.
#[derive(Debug, Clone, Copy)]
struct Pace {
    since: Instant,
    bytes_then: u64,
    bytes_last: u64,
}

impl Pace {
    fn rate(&mut self, bytes: u64, now: Instant) -> Option<u64> {
        if bytes < self.bytes_last {
            // The next round has begun.
            (self.since, self.bytes_then) = (now, bytes);
        }
        self.bytes_last = bytes;
        let elapsed_ms = now.duration_since(self.since).as_millis();
        if elapsed_ms < RATE_MS_MIN {
            return None;
        }
        let rate = u128::from(bytes.saturating_sub(self.bytes_then)) * 1_000 / elapsed_ms;
        u64::try_from(rate).ok()
    }
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
            let bytes = view.progress.map_or(0, |progress| progress.bytes_done);
            let pace = self.pace.entry(view.operation.id).or_insert(Pace {
                since: now,
                bytes_then: bytes,
                bytes_last: bytes,
            });
            let rate = pace.rate(bytes, now);
            lines.push(progress_line(view, rate));
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
    use std::time::Duration;

    #[test]
    fn a_rate_is_of_the_round_that_goes_on() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut pace = Pace {
            since: start,
            bytes_then: 0,
            bytes_last: 0,
        };
        assert_eq!(pace.rate(100, after(100)), None);
        assert_eq!(pace.rate(1_000, after(1_000)), Some(1_000));
        assert_eq!(pace.rate(10, after(1_100)), None, "a new round");
        assert_eq!(pace.rate(2_010, after(2_100)), Some(2_000));
    }
}
