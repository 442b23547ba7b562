//! What the measurement says: medians with their spread, one row for each phase.

use flocker_types::api::OperationView;
use flocker_types::operation::Phase;
use std::io::Write;
use std::time::Duration;

/// Prints a line; one that nobody reads any more is no reason to stop.
pub(crate) fn say(line: &str) {
    let _closed = writeln!(std::io::stdout(), "{line}");
}

/// One move: what was measured, in milliseconds.
pub(crate) struct Row {
    values: Vec<(String, f64)>,
}

impl Row {
    /// Of a move as the cluster recorded it and its clients felt it.
    pub(crate) fn of(view: &OperationView, longest_wait: Duration) -> Self {
        let operation = &view.operation;
        let phases = [
            Phase::Hold,
            Phase::Stop,
            Phase::LastDelta,
            Phase::Commit,
            Phase::Start,
            Phase::Release,
        ];
        let mut row = Self { values: Vec::new() };
        for phase in phases {
            let spent = operation.phase_ms.get(&phase).copied().unwrap_or_default();
            row.add(&phase.to_string(), millis(spent));
        }
        row.add("pause", millis(operation.pause_ms.unwrap_or_default()));
        let predicted = operation.predicted.map(|prediction| prediction.pause_ms());
        row.add("predicted", millis(predicted.unwrap_or_default()));
        row.add("longest client wait", longest_wait.as_secs_f64() * 1e3);
        row.add(
            "rounds",
            f64::from(u32::try_from(operation.rounds.len()).unwrap_or(u32::MAX)),
        );
        row
    }

    /// From lines `NAME MILLISECONDS`.
    pub(crate) fn read(text: &str) -> Self {
        let values = text.lines().filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Self {
            values: values.collect(),
        }
    }

    /// One more value.
    pub(crate) fn add(&mut self, name: &str, value: f64) {
        self.values.push((name.to_owned(), value));
    }
}

fn millis(value: u64) -> f64 {
    f64::from(u32::try_from(value).unwrap_or(u32::MAX))
}

/// Rows of the same kind.
pub(crate) struct Table {
    title: String,
    rows: Vec<Row>,
}

impl Table {
    /// Without a row.
    pub(crate) fn new(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            rows: Vec::new(),
        }
    }

    /// One more row, with the same names as the others.
    pub(crate) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Medians, with the least and the most.
    pub(crate) fn print(&self) {
        say(&format!(
            "\n{}, {} times, in ms",
            self.title,
            self.rows.len()
        ));
        say("                          median      least       most");
        let Some(first) = self.rows.first() else {
            return;
        };
        for (index, (name, _)) in first.values.iter().enumerate() {
            let values = self.rows.iter().filter_map(|row| row.values.get(index));
            let mut values: Vec<f64> = values.map(|(_, value)| *value).collect();
            values.sort_by(f64::total_cmp);
            let (least, most) = (values.first(), values.last());
            say(&format!(
                "  {name:<20} {:>10.1} {:>10.1} {:>10.1}",
                median(&values),
                least.copied().unwrap_or_default(),
                most.copied().unwrap_or_default()
            ));
        }
    }
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match (sorted.len() % 2, sorted.get(middle)) {
        (_, None) => 0.0,
        (1, Some(value)) => *value,
        (_, Some(value)) => {
            let before = sorted.get(middle.wrapping_sub(1)).unwrap_or(value);
            f64::midpoint(*before, *value)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[1.0, 2.0, 9.0]).to_string(), "2");
        assert_eq!(median(&[1.0, 2.0, 4.0, 9.0]).to_string(), "3");
        assert_eq!(median(&[]).to_string(), "0");
    }

    #[test]
    fn a_scripts_lines_become_a_row() {
        let row = Row::read("docker stop 95.5\nnoise\nstart 80\n");
        assert_eq!(row.values.len(), 2);
        assert_eq!(row.values[0].0, "docker stop");
    }
}
