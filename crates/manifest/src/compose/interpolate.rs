//! Puts the values of variables into a Compose file: `$NAME`, `${NAME}`, defaults, `$$`, by the
//! rules of Compose.
//!
//! Works on values, never on keys, before anything else reads them. The values come from the
//! caller; this module reads no environment. A variable that is not set is an empty text, as for
//! Compose, and a warning says so.

use crate::report::Report;
use crate::source::Span;
use crate::yaml::{Data, Form, Node};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Deepest nesting of `${A:-${B:-...}}`.
const DEPTH_MAX: usize = 8;
/// Most bytes that all values together may have after the variables were put in.
const RESULT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The values of variables.
pub(super) type Variables = BTreeMap<String, String>;

/// Why a text could not be completed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// The variable must be set; the file says why.
    Required(String, String),
    /// A `$` is followed by something else than a name, `{` or `$`.
    Malformed,
    /// A `${` has no `}`.
    Unclosed,
    /// Defaults inside defaults inside defaults ...
    TooDeep,
}

/// Where values come from.
pub(super) type Lookup<'l> = dyn Fn(&str) -> Option<String> + 'l;

/// Completes every value of the tree.
pub(super) fn all(root: &mut Node, variables: &Variables, report: &mut Report) {
    let mut left = RESULT_BYTES_MAX;
    complete(root, variables, &mut left, report);
}

fn complete(node: &mut Node, variables: &Variables, left: &mut usize, report: &mut Report) {
    match &mut node.data {
        Data::Sequence(items) => {
            for item in items {
                complete(item, variables, left, report);
            }
        }
        Data::Mapping(entries) => {
            for entry in entries {
                complete(&mut entry.value, variables, left, report);
            }
        }
        Data::Scalar(scalar) if scalar.text.contains('$') => {
            let lookup = |name: &str| variables.get(name).cloned();
            let text = text(&scalar.text, &lookup, node.span, report);
            match text {
                Some(text) if text.len() <= *left => {
                    *left -= text.len();
                    scalar.text = Arc::from(text);
                    if scalar.form == Form::Plain {
                        scalar.form = Form::Completed;
                    }
                }
                Some(_) => {
                    scalar.form = Form::Failed;
                    report.error(
                        node.span,
                        format!(
                            "the values of variables make the file larger than {RESULT_BYTES_MAX} bytes"
                        ),
                        "use shorter values",
                    );
                }
                None => scalar.form = Form::Failed,
            }
        }
        Data::Scalar(_) => {}
    }
}

/// One text with its variables put in; `None` after an error. `at` is where it is written.
pub(super) fn text(
    text: &str,
    lookup: &Lookup<'_>,
    at: Span,
    report: &mut Report,
) -> Option<String> {
    let mut unset = Vec::new();
    let completed = substitute(text, lookup, DEPTH_MAX, &mut unset);
    for name in unset {
        report.warning(
            at,
            format!("the variable {name} is not set; it is taken as empty"),
            format!(
                "set it in the environment or in .env, or give a default: ${{{name}:-value}}; for \
                 a real dollar sign write $$"
            ),
        );
    }
    match completed {
        Ok(text) => Some(text),
        Err(problem) => {
            let (message, hint) = explain(problem);
            report.error(at, message, hint);
            None
        }
    }
}

fn explain(problem: Problem) -> (String, String) {
    match problem {
        Problem::Required(name, reason) => (
            if reason.is_empty() {
                format!("the variable {name} is required")
            } else {
                format!("the variable {name} is required: {reason}")
            },
            "set it in the environment or in .env".to_owned(),
        ),
        Problem::Malformed => (
            "a '$' is not followed by the name of a variable".to_owned(),
            "for a real dollar sign write $$".to_owned(),
        ),
        Problem::Unclosed => (
            "a '${' is not closed".to_owned(),
            "write '}' after the name of the variable; for a real dollar sign write $$".to_owned(),
        ),
        Problem::TooDeep => (
            format!("variables are nested more than {DEPTH_MAX} deep"),
            "write a plain default".to_owned(),
        ),
    }
}

fn substitute(
    text: &str,
    lookup: &Lookup<'_>,
    depth: usize,
    unset: &mut Vec<String>,
) -> Result<String, Problem> {
    if depth == 0 {
        return Err(Problem::TooDeep);
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let end = closing_brace(after).ok_or(Problem::Unclosed)?;
            out.push_str(&expression(&after[..end], lookup, depth, unset)?);
            rest = &after[end + 1..];
        } else {
            let name = name_at_start(rest).ok_or(Problem::Malformed)?;
            out.push_str(&value_of(name, lookup, unset));
            rest = &rest[name.len()..];
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// What stands between `${` and `}`: a name, and perhaps what to do when it has no value.
fn expression(
    text: &str,
    lookup: &Lookup<'_>,
    depth: usize,
    unset: &mut Vec<String>,
) -> Result<String, Problem> {
    let name = name_at_start(text).ok_or(Problem::Malformed)?;
    let operation = &text[name.len()..];
    let (operation, empty_counts_as_unset) = match operation.strip_prefix(':') {
        Some(operation) => (operation, true),
        None => (operation, false),
    };
    let value = lookup(name).filter(|value| !(empty_counts_as_unset && value.is_empty()));
    let mut characters = operation.chars();
    let operator = characters.next();
    let operand = characters.as_str();
    match (operator, value) {
        (None, _) if empty_counts_as_unset => Err(Problem::Malformed),
        (None | Some('-' | '?'), Some(value)) => Ok(value),
        (None, None) => Ok(value_of(name, lookup, unset)),
        (Some('-'), None) | (Some('+'), Some(_)) => substitute(operand, lookup, depth - 1, unset),
        (Some('+'), None) => Ok(String::new()),
        (Some('?'), None) => {
            let reason = substitute(operand, lookup, depth - 1, unset)?;
            Err(Problem::Required(name.to_owned(), reason))
        }
        (Some(_), _) => Err(Problem::Malformed),
    }
}

fn value_of(name: &str, lookup: &Lookup<'_>, unset: &mut Vec<String>) -> String {
    lookup(name).unwrap_or_else(|| {
        if !unset.iter().any(|known| known == name) {
            unset.push(name.to_owned());
        }
        String::new()
    })
}

/// Where the `}` is that belongs to a `${` just before the text.
fn closing_brace(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    let mut previous = ' ';
    for (at, c) in text.char_indices() {
        match c {
            '{' if previous == '$' => open += 1,
            '}' if open == 0 => return Some(at),
            '}' => open -= 1,
            _ => {}
        }
        previous = c;
    }
    None
}

fn name_at_start(text: &str) -> Option<&str> {
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .unwrap_or(text.len());
    let name = &text[..end];
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        .then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete_text(text: &str) -> Result<String, Problem> {
        let variables = BTreeMap::from([("A", "1"), ("E", ""), ("LONG_NAME", "x")]);
        let lookup = |name: &str| variables.get(name).map(|value| (*value).to_owned());
        substitute(text, &lookup, DEPTH_MAX, &mut Vec::new())
    }

    #[test]
    fn variables_are_put_in() {
        for (text, completed) in [
            ("$A", "1"),
            ("a${A}b$LONG_NAME-c", "a1bx-c"),
            ("$$A", "$A"),
            ("$$$$", "$$"),
            ("${U:-d}", "d"),
            ("${E:-d}${E-d}", "d"),
            ("${U-}", ""),
            ("${U:-${A}}", "1"),
            ("${U:-${V:-{}}}", "{}"),
            ("${A:+yes}${U:+yes}${E+y}", "yesy"),
            ("${A:?must}", "1"),
            ("a$U.${U}b", "a.b"),
        ] {
            assert_eq!(complete_text(text).as_deref(), Ok(completed), "{text}");
        }
        let required = Problem::Required("U".to_owned(), "say 1".to_owned());
        assert_eq!(complete_text("${U:?say $A}"), Err(required));
        for (text, problem) in [
            ("$1", Problem::Malformed),
            ("a$", Problem::Malformed),
            ("${A", Problem::Unclosed),
            ("${}", Problem::Malformed),
            ("${A:}", Problem::Malformed),
            ("${A/x}", Problem::Malformed),
        ] {
            assert_eq!(complete_text(text), Err(problem), "{text}");
        }
        let deep = format!("{}{}", "${U:-".repeat(99), "}".repeat(99));
        assert_eq!(complete_text(&deep), Err(Problem::TooDeep));
    }
}
