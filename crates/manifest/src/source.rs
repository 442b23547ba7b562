//! Manifest files as text: where their lines are, and what a position in them looks like.
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

/// Which of the files that are read together: the first has the number 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct FileId(pub(crate) usize);

/// A stretch of text within one file, in lines and characters. Lines and columns count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    /// The file.
    pub(crate) file: FileId,
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
    pub(crate) fn at(file: FileId, line: usize, column: usize) -> Self {
        Self {
            file,
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

/// The lines of a file, found once, so that any position can be shown cheaply, in a file of one
/// very long line too.
#[derive(Debug)]
pub(crate) struct Lines {
    file: Arc<str>,
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    text: String,
    /// Where every `STEP_CHARS`th character begins, in bytes.
    steps: Vec<usize>,
    /// Characters.
    chars: usize,
    /// Characters without trailing white space.
    visible_chars: usize,
}

/// Distance of the known positions within a line, in characters.
const STEP_CHARS: usize = 128;

impl Line {
    fn of(text: &str) -> Self {
        let starts = text.char_indices().map(|(at, _)| at);
        Self {
            steps: starts.step_by(STEP_CHARS).collect(),
            chars: text.chars().count(),
            visible_chars: text.trim_end().chars().count(),
            text: text.to_owned(),
        }
    }

    /// The text from a character on; empty beyond the end.
    fn tail_from(&self, index: usize) -> &str {
        let Some(step) = self.steps.get(index / STEP_CHARS) else {
            return "";
        };
        let tail = &self.text[*step..];
        let skipped = tail.char_indices().nth(index % STEP_CHARS);
        skipped.map_or("", |(at, _)| &tail[at..])
    }
}

impl Lines {
    /// Splits a text at every break that YAML knows: LF, CR, CR LF.
    pub(crate) fn of(source: &Source) -> Self {
        let text = source.text.strip_prefix('\u{feff}').unwrap_or(&source.text);
        let mut lines = Vec::new();
        let mut rest = text;
        while let Some(end) = rest.find(['\n', '\r']) {
            lines.push(Line::of(&rest[..end]));
            let width = if rest[end..].starts_with("\r\n") {
                2
            } else {
                1
            };
            rest = &rest[end + width..];
        }
        lines.push(Line::of(rest));
        Self {
            file: Arc::from(source.name.as_str()),
            lines,
        }
    }

    /// The file's name.
    pub(crate) fn file(&self) -> &Arc<str> {
        &self.file
    }

    /// Text of a line, counting from 1; empty beyond the end.
    pub(crate) fn text(&self, line: usize) -> &str {
        self.line(line).map_or("", |line| &line.text)
    }

    /// Text of a line from a column on, both counting from 1.
    pub(crate) fn text_from(&self, line: usize, column: usize) -> &str {
        self.line(line)
            .map_or("", |line| line.tail_from(column.saturating_sub(1)))
    }

    fn line(&self, line: usize) -> Option<&Line> {
        self.lines.get(line.checked_sub(1)?)
    }

    /// Number of lines.
    pub(crate) fn count(&self) -> usize {
        self.lines.len()
    }

    /// A stretch of text as something that can be shown. A stretch over several lines is shown up
    /// to the end of its first one.
    pub(crate) fn locate(&self, span: Span) -> Location {
        let line = span.line.clamp(1, self.lines.len());
        let visible_end = self.line(line).map_or(0, |line| line.visible_chars) + 1;
        // The YAML parser is now and then wrong about the column (after an odd byte order mark, say).
        let column_max = self.line(line).map_or(0, |line| line.chars) + 1;
        let column = span.column.clamp(1, column_max);
        let end = if span.end_line > span.line {
            visible_end
        } else {
            span.end_column
        };
        let length = end.min(visible_end).saturating_sub(column).max(1);
        let skipped = column.saturating_sub(EXCERPT_CHARS_MAX / 2);
        Location {
            file: Arc::clone(&self.file),
            line,
            column,
            length: length.min(EXCERPT_CHARS_MAX / 2),
            excerpt: self
                .text_from(line, skipped + 1)
                .chars()
                .take(EXCERPT_CHARS_MAX)
                .collect(),
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
    fn a_place_far_in_a_line_is_found() {
        let text = format!("{}ö{}", "ä".repeat(299), "u".repeat(100));
        let source = Source::new("f", text);
        let lines = Lines::of(&source);
        assert!(lines.text_from(1, 300).starts_with("öu"));
        assert_eq!(lines.text_from(1, 400), "u");
        assert_eq!(lines.text_from(1, 401), "");
        assert_eq!(lines.text_from(2, 1), "");
    }

    #[test]
    fn a_place_beyond_the_line_is_shown_at_its_end() {
        let source = Source::new("f", "key");
        let location = Lines::of(&source).locate(Span::at(FileId(0), 1, 119));
        assert_eq!((location.column, location.length), (4, 1));
        assert_eq!(
            (location.excerpt.as_str(), location.excerpt_column),
            ("key", 1)
        );
    }

    #[test]
    fn a_stretch_over_two_lines_is_shown_on_its_first() {
        let source = Source::new("f", "key: [1,   \n  2]");
        let location = Lines::of(&source).locate(Span {
            file: FileId(0),
            line: 1,
            column: 6,
            end_line: 2,
            end_column: 5,
        });
        assert_eq!((location.column, location.length), (6, 3));
    }
}
