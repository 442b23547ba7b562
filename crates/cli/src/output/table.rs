//! Tables: columns as wide as their widest cell, two spaces between, headings in capitals.
//!
//! Renderers fill it. Cells may carry colours; their widths are counted without them.

use super::Style;

/// Rows under headings.
#[derive(Debug)]
pub(crate) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Row>,
}

#[derive(Debug)]
enum Row {
    Cells(Vec<String>),
    /// A line of its own beneath the row before it.
    Remark(String),
}

impl Table {
    /// An empty one.
    pub(crate) fn new(headings: &[&'static str]) -> Self {
        Self {
            headings: headings.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(Row::Cells(cells));
    }

    /// Adds a remark to the last row.
    pub(crate) fn remark(&mut self, text: String) {
        self.rows.push(Row::Remark(text));
    }

    /// The table as text.
    pub(crate) fn render(&self, style: Style) -> String {
        let mut widths: Vec<usize> = self.headings.iter().map(|heading| heading.len()).collect();
        for row in &self.rows {
            let Row::Cells(cells) = row else { continue };
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = (*width).max(visible(cell));
            }
        }
        let mut text = String::new();
        let headings = self.headings.iter().map(|heading| style.faint(heading));
        line(&mut text, &headings.collect::<Vec<_>>(), &widths);
        for row in &self.rows {
            match row {
                Row::Cells(cells) => line(&mut text, cells, &widths),
                Row::Remark(remark) => {
                    text.push_str("  ");
                    text.push_str(remark);
                    text.push('\n');
                }
            }
        }
        text
    }
}

fn line(text: &mut String, cells: &[String], widths: &[usize]) {
    let last = cells.iter().rposition(|cell| !cell.is_empty()).unwrap_or(0);
    for (index, (cell, width)) in cells.iter().zip(widths).enumerate().take(last + 1) {
        text.push_str(cell);
        if index < last {
            let missing = width.saturating_sub(visible(cell)) + 2;
            text.extend(std::iter::repeat_n(' ', missing));
        }
    }
    text.push('\n');
}

/// Characters that take room: all but colours.
pub(crate) fn visible(text: &str) -> usize {
    let mut count = 0;
    let mut in_colour = false;
    for character in text.chars() {
        match character {
            '\u{1b}' => in_colour = true,
            'm' if in_colour => in_colour = false,
            _ if in_colour => {}
            _ => count += 1,
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_with_and_without_colours() {
        let table = |style: Style| {
            let mut table = Table::new(&["NAME", "STATE", "NOTE"]);
            table.row(vec!["db".into(), style.good("running"), String::new()]);
            table.remark("! slow".into());
            table.row(vec!["a-long-name".into(), style.bad("failed"), "x".into()]);
            table.render(style)
        };
        let plain = table(Style::Plain);
        insta::assert_snapshot!(plain, @r"
        NAME         STATE    NOTE
        db           running
          ! slow
        a-long-name  failed   x
        ");
        let coloured = table(Style::Coloured);
        for (plain, coloured) in plain.lines().zip(coloured.lines()) {
            assert_eq!(visible(coloured), plain.chars().count());
        }
    }
}
