//! What is wrong with a manifest, where, and what to write instead; and how that is printed.
//!
//! Every other module of this crate makes diagnostics; the CLI and the API show them. Nothing here
//! prints: [`Diagnostic::render`] returns text.

use crate::source::Location;
use std::fmt::{self, Write as _};
use std::sync::Arc;

/// How much a diagnostic matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The manifest cannot be used.
    Error,
    /// The manifest can be used; something in it is probably not meant.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// How diagnostics are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenderStyle {
    /// Text only.
    Plain,
    /// With ANSI colours, for a terminal.
    Coloured,
}

/// One thing that is wrong, or odd, at one place in one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// Name of the file, as the caller gave it.
    pub file: String,
    /// Line, counting from 1.
    pub line: usize,
    /// Column in characters, counting from 1.
    pub column: usize,
    /// How many characters are meant, at least 1.
    pub length: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
    /// The source line (or the part of a very long one that holds the place).
    pub excerpt: String,
    /// Column of the first character of `excerpt`, counting from 1.
    pub excerpt_column: usize,
}

impl Diagnostic {
    /// A diagnostic for a place found before.
    pub(crate) fn new(severity: Severity, location: &Location, message: String) -> Self {
        Self {
            severity,
            file: location.file.to_string(),
            line: location.line,
            column: location.column,
            length: location.length,
            message,
            hint: None,
            excerpt: location.excerpt.clone(),
            excerpt_column: location.excerpt_column,
        }
    }

    /// The same with advice.
    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The diagnostic as text: `file:line:column: error: message`, the source line, carets under
    /// what is meant, and the hint. Ends with a line break.
    pub fn render(&self, style: RenderStyle) -> String {
        let paint = Paint::of(style, self.severity);
        let mut out = String::new();
        let Paint {
            bold,
            accent,
            faint,
            reset,
        } = paint;
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        let before = " ".repeat(self.column.saturating_sub(self.excerpt_column));
        let carets = "^".repeat(self.length);
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "{bold}{}:{}:{}:{reset} {accent}{}:{reset} {bold}{}{reset}",
            printable(&self.file),
            self.line,
            self.column,
            self.severity,
            printable(&self.message)
        );
        let _ = writeln!(out, "{faint}{number} |{reset} {}", printable(&self.excerpt));
        let _ = writeln!(
            out,
            "{faint}{margin} |{reset} {before}{accent}{carets}{reset}"
        );
        if let Some(hint) = &self.hint {
            let _ = writeln!(out, "{bold}hint:{reset} {}", printable(hint));
        }
        out
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(RenderStyle::Plain).trim_end())
    }
}

impl std::error::Error for Diagnostic {}

/// All diagnostics as text, an empty line between two.
pub fn render_all(diagnostics: &[Diagnostic], style: RenderStyle) -> String {
    let rendered: Vec<String> = diagnostics
        .iter()
        .map(|diagnostic| diagnostic.render(style))
        .collect();
    rendered.join("\n")
}

/// Puts diagnostics in the order of their positions, files in the order in which they were given.
pub(crate) fn sort(diagnostics: &mut Vec<Diagnostic>, files: &[Arc<str>]) {
    let rank = |file: &str| files.iter().position(|known| &**known == file);
    diagnostics.sort_by(|a, b| {
        (rank(&a.file), a.line, a.column, a.severity).cmp(&(
            rank(&b.file),
            b.line,
            b.column,
            b.severity,
        ))
    });
    // An alias repeats what its anchor holds, mistakes included.
    diagnostics.dedup();
}

/// A user's text inside a message: in quotes, control characters escaped, shortened.
pub(crate) fn quoted(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    let mut shown: String = text.chars().take(CHARS_MAX).collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        shown.push_str("...");
    }
    format!("'{}'", escaped(&shown))
}

fn escaped(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() {
                c.escape_default().to_string()
            } else {
                c.to_string()
            }
        })
        .collect()
}

/// Keeps one character per column and lets no terminal control sequence through.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => ' ',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// ANSI sequences of a style; all empty for plain text.
struct Paint {
    bold: &'static str,
    accent: &'static str,
    faint: &'static str,
    reset: &'static str,
}

impl Paint {
    fn of(style: RenderStyle, severity: Severity) -> Self {
        match style {
            RenderStyle::Plain => Self {
                bold: "",
                accent: "",
                faint: "",
                reset: "",
            },
            RenderStyle::Coloured => Self {
                bold: "\u{1b}[1m",
                accent: match severity {
                    Severity::Error => "\u{1b}[1;31m",
                    Severity::Warning => "\u{1b}[1;33m",
                },
                faint: "\u{1b}[2m",
                reset: "\u{1b}[0m",
            },
        }
    }
}
