//! Reads `command:` and `entrypoint:`, splitting a line into words as a shell would, without
//! running one.

use crate::read::{self, Dialect};
use crate::report::Report;
use crate::yaml::{Data, Node};

/// Reads `command:`: a list of words, or a line to split. `None` for the image's own command.
pub(super) fn read(node: &Node, report: &mut Report) -> Option<Vec<String>> {
    let words = words(node, "command", report)?;
    if words.is_empty() {
        report.error(
            node.span,
            "the command is empty",
            "remove the key to use the image's own command",
        );
        return None;
    }
    Some(words)
}

/// Reads `entrypoint:` in the same forms; no words mean that the image's own is taken away.
pub(super) fn entrypoint(node: &Node, report: &mut Report) -> Option<Vec<String>> {
    words(node, "entrypoint", report)
}

fn words(node: &Node, key: &str, report: &mut Report) -> Option<Vec<String>> {
    if node.is_null() {
        return None;
    }
    let words = match &node.data {
        Data::Sequence(items) => {
            let words: Vec<String> = items
                .iter()
                .filter_map(|item| {
                    read::text(
                        item,
                        &format!("a word of '{key}'"),
                        Dialect::Compose,
                        report,
                    )
                })
                .map(str::to_owned)
                .collect();
            if words.len() < items.len() {
                return None;
            }
            words
        }
        Data::Scalar(_) => {
            let line = read::text(node, &format!("'{key}'"), Dialect::Compose, report)?;
            let Some(words) = split(line) else {
                report.error(
                    node.span,
                    "a quote in this command is not closed",
                    "close it, or write the command as a list: [\"sh\", \"-c\", \"...\"]",
                );
                return None;
            };
            words
        }
        Data::Mapping(_) => {
            report.error(
                node.span,
                format!("'{key}' must be text or a list, not a mapping"),
                "write the command as a list: [\"sh\", \"-c\", \"...\"]",
            );
            return None;
        }
    };
    if words.iter().any(|word| word.contains('\0')) {
        report.error(
            node.span,
            "a command cannot contain a NUL character",
            "remove the \\0",
        );
        return None;
    }
    Some(words)
}

/// The words of a line; `None` when a quote is not closed.
fn split(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        match c {
            c if c.is_ascii_whitespace() => words.extend(word.take()),
            '\'' => {
                let current = word.get_or_insert_default();
                loop {
                    match characters.next()? {
                        '\'' => break,
                        c => current.push(c),
                    }
                }
            }
            '"' => {
                let current = word.get_or_insert_default();
                loop {
                    match characters.next()? {
                        '"' => break,
                        '\\' => match characters.next()? {
                            c @ ('"' | '\\' | '$' | '`') => current.push(c),
                            '\n' => {}
                            c => current.extend(['\\', c]),
                        },
                        c => current.push(c),
                    }
                }
            }
            '\\' => match characters.next()? {
                '\n' => {}
                c => word.get_or_insert_default().push(c),
            },
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_like_a_shell_does() {
        for (line, words) in [
            ("a b  c\n", vec!["a", "b", "c"]),
            ("sh -c 'echo \"$A\" b'", vec!["sh", "-c", "echo \"$A\" b"]),
            ("\"a \\\" \\n\"", vec!["a \" \\n"]),
            ("a\\ b ''", vec!["a b", ""]),
            ("--x=\"1 2\"3", vec!["--x=1 23"]),
            ("", vec![]),
        ] {
            assert_eq!(split(line).unwrap(), words, "{line}");
        }
        for line in ["'a", "\"a", "a\\", "\"a\\"] {
            assert_eq!(split(line), None, "{line}");
        }
    }
}
