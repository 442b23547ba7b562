//! Everything that the command line prints goes through here: data to standard output, messages and
//! progress to standard error.
//!
//! Colours appear only where a terminal reads, and never with `NO_COLOR`. The renderers beside this
//! module make text from values and print nothing.

pub(crate) mod access;
pub(crate) mod live;
pub(crate) mod operation;
pub(crate) mod plan;
pub(crate) mod status;
pub(crate) mod table;

use crate::failure::{Failure, Told};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// How text is marked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Not at all.
    Plain,
    /// With ANSI colours.
    Coloured,
}

impl Style {
    /// What standard output takes.
    pub(crate) fn of_stdout() -> Self {
        Self::when(io::stdout().is_terminal())
    }

    /// What standard error takes.
    pub(crate) fn of_stderr() -> Self {
        Self::when(io::stderr().is_terminal())
    }

    fn when(terminal: bool) -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        if terminal && !unwanted && !dumb {
            Self::Coloured
        } else {
            Self::Plain
        }
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Self::Coloured if !text.is_empty() => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            _ => text.to_owned(),
        }
    }

    /// A heading, a name.
    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// Something less important.
    pub(crate) fn faint(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// It is well.
    pub(crate) fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// It changes, or deserves a look.
    pub(crate) fn notable(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// It is not well.
    pub(crate) fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }
}

/// Prints data, which ends with a line break unless it is empty.
pub(crate) fn data(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| match text.ends_with('\n') || text.is_empty() {
            true => Ok(()),
            false => stdout.write_all(b"\n"),
        })
        .and_then(|()| stdout.flush());
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::ReaderGone,
        _ => Failure::because("standard output cannot be written", &error),
    })
}

/// Prints a value of the API as JSON.
pub(crate) fn json<T: Serialize>(value: &T) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::because("the answer cannot be written as JSON", &error))?;
    data(&text)
}

/// Tells the user something. That it cannot be told is no reason to fail.
pub(crate) fn note(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes());
    if !text.ends_with('\n') {
        let _ = stderr.write_all(b"\n");
    }
}

/// As [`note`], of something that is probably not meant.
pub(crate) fn warning(text: &str) {
    note(&format!(
        "{} {text}",
        Style::of_stderr().notable("warning:")
    ));
}

/// As [`note`], of what to do next.
pub(crate) fn hint(text: &str) {
    note(&format!("{} {text}", Style::of_stderr().bold("hint:")));
}

/// Tells the user why the command failed.
pub(crate) fn failure(told: &Told) {
    note(&render_failure(told, Style::of_stderr()));
}

fn render_failure(told: &Told, style: Style) -> String {
    let mut text = format!("{} {}\n", style.bad("error:"), told.message);
    for cause in &told.causes {
        text.push_str(&format!("  {} {cause}\n", style.faint("because:")));
    }
    if let Some(hint) = &told.hint {
        text.push_str(&format!("{} {hint}\n", style.bold("hint:")));
    }
    text
}

/// Asks a question on the terminal; none where there is no terminal to ask at.
pub(crate) fn confirm(question: &str) -> Option<Answer> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return None;
    }
    let mut stderr = io::stderr().lock();
    let asked = write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush());
    let mut line = String::new();
    let read = asked.and_then(|()| io::stdin().read_line(&mut line));
    let yes = read.is_ok() && matches!(line.trim(), "y" | "Y" | "yes" | "Yes" | "YES");
    Some(if yes { Answer::Yes } else { Answer::No })
}

/// What the user answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Do it.
    Yes,
    /// Do not.
    No,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> Told {
        Told {
            message: "no connection to control".to_owned(),
            causes: vec![
                "cannot connect to 10.0.0.1:4523".to_owned(),
                "refused".to_owned(),
            ],
            hint: Some("is it running?".to_owned()),
        }
    }

    #[test]
    fn a_failure_says_what_why_and_how_to_go_on() {
        insta::assert_snapshot!(render_failure(&told(), Style::Plain), @r"
        error: no connection to control
          because: cannot connect to 10.0.0.1:4523
          because: refused
        hint: is it running?
        ");
    }

    #[test]
    fn colours_surround_the_marks_only() {
        let text = render_failure(&told(), Style::Coloured);
        assert!(
            text.starts_with("\u{1b}[31merror:\u{1b}[0m no connection"),
            "{text:?}"
        );
        assert_eq!(Style::Coloured.bold(""), "");
    }
}
