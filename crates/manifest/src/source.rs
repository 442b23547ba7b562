//! One manifest file as text: where its lines are, and what a position in it looks like.
//!
//! Callers (the CLI, the API) read the file and hand it in; this module never touches a disk.

use std::sync::Arc;

/// Largest file that is read, in bytes.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;

/// Longest part of a source line that a diagnostic shows, in characters.
const EXCERPT_CHARS_MAX: usize = 160;

/// A manifest file: its name, as the user wrote it, and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The name shown in diagnostics, usually a path.
    pub name: String,
    /// The whole text.
    pub text: String,
}

impl Source {
    /// A file of that name with that text.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            text: text.into(),
        }
    }
}

/// A stretch of text within one file, in lines and characters. Lines and columns count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    /// Line of the first character.
    pub(crate) line: usize,
    /// Column of the first character.
    pub(crate) column: usize,
    /// Line after whose `end_column` the stretch ends.
    pub(crate) end_line: usize,
    /// Column just after the last character.
    pub(crate) end_column: usize,
}

impl Span {
    /// The single character at a position.
    pub(crate) fn at(line: usize, column: usize) -> Self {
        Self {
            line,
            column,
            end_line: line,
            end_column: column,
        }
    }
}

/// A place in a file that can be shown without the file: what diagnostics are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Location {
    /// Name of the file.
    pub(crate) file: Arc<str>,
    /// Line, counting from 1.
    pub(crate) line: usize,
    /// Column in characters, counting from 1.
    pub(crate) column: usize,
    /// Characters to underline, at least 1.
    pub(crate) length: usize,
    /// The line's text, or the part of it that is shown.
    pub(crate) excerpt: String,
    /// Column of the first character of `excerpt`.
    pub(crate) excerpt_column: usize,
}

/// The lines of a file, found once, so that any position can be shown cheaply.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    file: Arc<str>,
    lines: Vec<&'a str>,
}

impl<'a> Lines<'a> {
    /// Splits a text at every break that YAML knows: LF, CR, CR LF.
    pub(crate) fn of(source: &'a Source) -> Self {
        let text = source.text.strip_prefix('\u{feff}').unwrap_or(&source.text);
        let mut lines = Vec::new();
        let mut rest = text;
        while let Some(end) = rest.find(['\n', '\r']) {
            lines.push(&rest[..end]);
            let width = if rest[end..].starts_with("\r\n") {
                2
            } else {
                1
            };
            rest = &rest[end + width..];
        }
        lines.push(rest);
        Self {
            file: Arc::from(source.name.as_str()),
            lines,
        }
    }

    /// Text of a line, counting from 1; empty beyond the end.
    pub(crate) fn text(&self, line: usize) -> &'a str {
        line.checked_sub(1)
            .and_then(|index| self.lines.get(index))
            .copied()
            .unwrap_or("")
    }

    /// Number of lines.
    pub(crate) fn count(&self) -> usize {
        self.lines.len()
    }

    /// A stretch of text as something that can be shown. A stretch over several lines is shown up
    /// to the end of its first one.
    pub(crate) fn locate(&self, span: Span) -> Location {
        let line = span.line.clamp(1, self.lines.len());
        let text = self.text(line);
        let visible_end = text.trim_end().chars().count() + 1;
        let column = span.column.max(1);
        let end = if span.end_line > span.line {
            visible_end
        } else {
            span.end_column
        };
        let length = end.min(visible_end).saturating_sub(column).max(1);
        let skipped = column.saturating_sub(EXCERPT_CHARS_MAX / 2);
        let length = length.min(EXCERPT_CHARS_MAX / 2);
        Location {
            file: Arc::clone(&self.file),
            line,
            column,
            length,
            excerpt: text.chars().skip(skipped).take(EXCERPT_CHARS_MAX).collect(),
            excerpt_column: skipped + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_break_of_yaml_counts() {
        let source = Source::new("f", "a\r\nb\rc\nd");
        let lines = Lines::of(&source);
        assert_eq!(lines.count(), 4);
        assert_eq!(
            (1..=5).map(|line| lines.text(line)).collect::<Vec<_>>(),
            ["a", "b", "c", "d", ""]
        );
    }

    #[test]
    fn a_stretch_over_two_lines_is_shown_on_its_first() {
        let source = Source::new("f", "key: [1,   \n  2]");
        let location = Lines::of(&source).locate(Span {
            line: 1,
            column: 6,
            end_line: 2,
            end_column: 5,
        });
        assert_eq!((location.column, location.length), (6, 3));
    }
}
