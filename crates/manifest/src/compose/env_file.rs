//! Reads files of variables (`.env`, `env_file:`) by the rules of Compose.
//!
//! Quotes, escapes, comments, `export`, values over several lines, variables in values. Given the
//! text; opens no file.

use super::interpolate::{self, Lookup};
use crate::diagnostic::quoted;
use crate::report::Report;
use crate::source::{FileId, Span};
use std::collections::BTreeMap;

/// The variables of one file. `lookup` knows the ones from outside, which win inside values.
pub(crate) fn parse(
    file: FileId,
    text: &str,
    lookup: &Lookup<'_>,
    report: &mut Report,
) -> BTreeMap<String, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader {
        characters: text.replace("\r\n", "\n").chars().collect(),
        at: 0,
        line: 1,
        file,
    };
    let mut found = BTreeMap::new();
    while reader.skip_to_statement() {
        let line = reader.line;
        let read = reader.statement(&mut found, lookup, report);
        if read.is_none() && reader.line == line {
            reader.skip_line();
        }
    }
    found
}

struct Reader {
    characters: Vec<char>,
    at: usize,
    line: usize,
    file: FileId,
}

impl Reader {
    fn peek(&self) -> Option<char> {
        self.characters.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        if c == '\n' {
            self.line += 1;
        }
        Some(c)
    }

    fn skip_line(&mut self) {
        while self.next().is_some_and(|c| c != '\n') {}
    }

    /// Over white space and comments; false at the end of the file.
    fn skip_to_statement(&mut self) -> bool {
        loop {
            match self.peek() {
                None => return false,
                Some('#') => self.skip_line(),
                Some(c) if c.is_whitespace() => drop(self.next()),
                Some(_) => return true,
            }
        }
    }

    fn skip_blanks(&mut self) {
        while self.peek().is_some_and(|c| c != '\n' && c.is_whitespace()) {
            self.at += 1;
        }
    }

    /// The whole line, as a place.
    fn here(&self, report: &Report) -> Span {
        let length = report.lines(self.file).text(self.line).chars().count();
        Span {
            end_column: length + 1,
            ..Span::at(self.file, self.line, 1)
        }
    }

    /// One variable; `None` after an error.
    fn statement(
        &mut self,
        found: &mut BTreeMap<String, String>,
        lookup: &Lookup<'_>,
        report: &mut Report,
    ) -> Option<()> {
        let at = self.here(report);
        let (name, has_value) = self.name(at, report)?;
        if !has_value {
            if let Some(value) = lookup(&name) {
                found.insert(name, value);
            }
            return Some(());
        }
        self.skip_blanks();
        let known = |name: &str| lookup(name).or_else(|| found.get(name).cloned());
        let value = match self.peek() {
            Some(quote @ ('"' | '\'')) => {
                let text = self.in_quotes(quote, at, report)?;
                if quote == '"' {
                    interpolate::text(&unescaped(&text), &known, at, report)?
                } else {
                    text
                }
            }
            _ => {
                let text = self.rest_of_line();
                let text = text.split(" #").next().unwrap_or("").trim_end();
                interpolate::text(text, &known, at, report)?
            }
        };
        found.insert(name, value);
        Some(())
    }

    /// The name, and whether a value follows it; one without is the caller's.
    fn name(&mut self, at: Span, report: &mut Report) -> Option<(String, bool)> {
        let export: String = self.characters[self.at..].iter().take(7).collect();
        if export.starts_with("export") && export[6..].starts_with([' ', '\t']) {
            self.at += 6;
            self.skip_blanks();
        }
        let mut name = String::new();
        let has_value = loop {
            match self.peek() {
                None | Some('\n') => break false,
                Some('=' | ':') => {
                    self.at += 1;
                    break true;
                }
                Some(c) if c.is_alphanumeric() || c.is_whitespace() || "_.-[]".contains(c) => {
                    name.push(c);
                    self.at += 1;
                }
                Some(c) => {
                    report.error(
                        at,
                        format!(
                            "the name of a variable cannot contain {}",
                            quoted(&c.to_string())
                        ),
                        "write NAME=value; a value over several lines needs double quotes",
                    );
                    return None;
                }
            }
        };
        let name = name.trim_end();
        if name.is_empty() || name.contains(char::is_whitespace) {
            report.error(
                at,
                format!("{} is not the name of a variable", quoted(name)),
                "write NAME=value, with nothing but letters, digits and '_' in the name",
            );
            return None;
        }
        Some((name.to_owned(), has_value))
    }

    fn rest_of_line(&mut self) -> String {
        let mut text = String::new();
        while let Some(c) = self.next().filter(|c| *c != '\n') {
            text.push(c);
        }
        text
    }

    fn in_quotes(&mut self, quote: char, at: Span, report: &mut Report) -> Option<String> {
        self.at += 1;
        let mut text = String::new();
        while let Some(c) = self.next() {
            match c {
                c if c == quote => return Some(text),
                '\\' if self.peek() == Some(quote) => {
                    text.push(quote);
                    self.at += 1;
                }
                '\\' => {
                    text.push('\\');
                    text.extend(self.next());
                }
                c => text.push(c),
            }
        }
        report.error(at, "the quote of this value is not closed", "close it");
        None
    }
}

/// The escapes of a value in double quotes; `\$` becomes `$$`, which is put in as `$` later.
fn unescaped(text: &str) -> String {
    const OCTAL_DIGITS_MAX: usize = 3;
    let mut out = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let before = rest.clone();
        match rest.next() {
            Some('$') => out.push_str("$$"),
            Some('a') => out.push('\u{7}'),
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('v') => out.push('\u{b}'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some(c @ ('"' | '\\')) => out.push(c),
            Some('0') => {
                let digits: String = rest
                    .clone()
                    .take(OCTAL_DIGITS_MAX)
                    .take_while(|c| c.is_digit(8))
                    .collect();
                let code = u32::from_str_radix(&digits, 8)
                    .ok()
                    .and_then(char::from_u32);
                match code.filter(|_| digits.len() == OCTAL_DIGITS_MAX) {
                    Some(c) => {
                        out.push(c);
                        rest = skip(rest, digits.len());
                    }
                    None => out.push_str("\\0"),
                }
            }
            Some(_) | None => {
                out.push('\\');
                rest = before;
            }
        }
    }
    out
}

fn skip(mut characters: std::str::Chars<'_>, count: usize) -> std::str::Chars<'_> {
    for _ in 0..count {
        characters.next();
    }
    characters
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;

    fn parse_text(text: &str) -> (BTreeMap<String, String>, usize) {
        let mut report = Report::new();
        let file = report.add_file(&Source::new("x.env", text));
        let lookup = |name: &str| (name == "OUTER").then(|| "outer".to_owned());
        let found = parse(file, text, &lookup, &mut report);
        (found, report.finish().len())
    }

    #[test]
    fn values_are_what_compose_makes_of_them() {
        // The expected values are those of Docker Compose 2.26.1.
        for (text, value) in [
            ("A=1 # c", "1"),
            ("export A = two words # comment", "two words"),
            ("A=\"x # y\\n${U:-q}\"", "x # y\nq"),
            ("A='$B\\n'", "$B\\n"),
            ("A=", ""),
            ("A: yaml", "yaml"),
            ("A=\"multi\nline\"", "multi\nline"),
            ("A=a#b", "a#b"),
            ("A=\"q\" # c", "q"),
            ("B=1\nA=${B}b", "1b"),
            ("OUTER=mine\nA=$OUTER", "outer"),
            ("A=a\\nb", "a\\nb"),
            ("A=\"a\\$b\"", "a$b"),
            ("A=$$x", "$x"),
            ("A=a\"b\"c", "a\"b\"c"),
            ("A='it\\'s'", "it's"),
            ("A=1\nA=2", "2"),
            ("A=\"\\0101\"\r\n", "A"),
            ("\u{feff}# c\n\nA=x", "x"),
        ] {
            let (found, said) = parse_text(text);
            assert_eq!(found["A"], value, "{text}");
            assert_eq!(said, 0, "{text}");
        }
        let (found, _) = parse_text("OUTER\nNOBODY");
        assert_eq!(found, BTreeMap::from([("OUTER".into(), "outer".into())]));
    }

    #[test]
    fn what_is_wrong_is_said_and_the_rest_is_read() {
        for text in [
            "A B=1\nC=1",
            "A!=1\nC=1",
            "=1\nC=1",
            "A=${x\nC=1",
            "C=1\nA=\"x",
        ] {
            let (found, said) = parse_text(text);
            assert_eq!(found["C"], "1", "{text}");
            assert_eq!(said, 1, "{text}");
        }
    }
}
