//! What a scalar without quotes means, by the rules of YAML 1.1 (which Flocker 0.x read) and of
//! YAML 1.2 (which Compose reads).

use super::{Form, Scalar};
use crate::diagnostic::quoted;

/// The meaning of a scalar. Where the two YAML versions differ, it says so.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Meaning {
    /// Nothing: empty, `~`, `null`.
    Null,
    /// `true` or `false`, in both versions.
    Truth(bool),
    /// `yes`, `no`, `on`, `off`: a truth value in YAML 1.1, text in 1.2.
    OldTruth(bool),
    /// A whole number, in both versions.
    Integer(i128),
    /// Digits that the versions read as different numbers, such as `0755`.
    AmbiguousInteger,
    /// `22:22` and the like: a number in base 60 in YAML 1.1, text in 1.2.
    Base60,
    /// A number with a fraction or an exponent.
    Fraction(f64),
    /// Text.
    Text,
}

impl Scalar {
    /// What it means.
    pub(crate) fn meaning(&self) -> Meaning {
        match self.form {
            Form::Text | Form::Failed => Meaning::Text,
            Form::Plain => plain_meaning(&self.text),
            Form::Completed => match plain_meaning(&self.text) {
                Meaning::Null => Meaning::Text,
                meaning => meaning,
            },
        }
    }

    /// Its text where Compose takes any value for a text: the values of variables, labels and the
    /// like. Numbers are read as numbers and written again as Compose writes them: `0755` is 493.
    pub(crate) fn as_value(&self) -> String {
        let written = match (self.form, self.meaning()) {
            (Form::Plain, Meaning::Truth(value)) => Some(value.to_string()),
            (Form::Plain, Meaning::Integer(value)) => Some(value.to_string()),
            (Form::Plain, Meaning::AmbiguousInteger) => octal(&self.text),
            (Form::Plain, Meaning::Fraction(value)) => Some(fraction(value)),
            (Form::Plain, Meaning::Text) => {
                let digits = self.text.strip_prefix("0o");
                digits.filter(|digits| !digits.is_empty()).and_then(octal)
            }
            _ => None,
        };
        written.unwrap_or_else(|| self.text.to_string())
    }

    /// What it is, in words.
    pub(crate) fn describe(&self) -> String {
        let text = &self.text;
        match self.meaning() {
            Meaning::Null => "nothing".to_owned(),
            Meaning::Truth(_) => format!("the truth value {text}"),
            Meaning::OldTruth(value) => format!("'{text}', which YAML 1.1 reads as {value}"),
            Meaning::Integer(_) => format!("the number {text}"),
            Meaning::AmbiguousInteger => format!("the octal number {text}"),
            Meaning::Base60 => format!("{text}, which YAML 1.1 reads as a number in base 60"),
            Meaning::Fraction(_) => format!("the number {text}"),
            Meaning::Text => format!("the text {}", quoted(text)),
        }
    }
}

/// Digits that begin with 0 are octal for Compose, where they can be.
fn octal(text: &str) -> Option<String> {
    let digits = text.trim_start_matches(['+', '-']).replace('_', "");
    let digits = digits.as_str();
    let value = i128::from_str_radix(digits, 8).or_else(|_| digits.parse());
    let value = value.ok()?;
    let sign = if text.starts_with('-') { "-" } else { "" };
    Some(format!("{sign}{value}"))
}

/// A fraction as Compose writes it: the shortest digits, an exponent for large and small ones.
fn fraction(value: f64) -> String {
    const PLAIN_MIN: f64 = 1e-4;
    const PLAIN_MAX: f64 = 1e21;
    let size = value.abs();
    if value == 0.0 || (PLAIN_MIN..PLAIN_MAX).contains(&size) {
        return value.to_string();
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, exponent) = match exponent.strip_prefix('-') {
                Some(exponent) => ('-', exponent),
                None => ('+', exponent),
            };
            format!("{digits}e{sign}{exponent:0>2}")
        }
        None => text,
    }
}

fn plain_meaning(text: &str) -> Meaning {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Meaning::Null,
        "true" | "True" | "TRUE" => return Meaning::Truth(true),
        "false" | "False" | "FALSE" => return Meaning::Truth(false),
        "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return Meaning::OldTruth(true),
        "no" | "No" | "NO" | "off" | "Off" | "OFF" => return Meaning::OldTruth(false),
        _ => {}
    }
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Meaning::Text;
    }
    if let Some(meaning) = integer(digits, negative) {
        return meaning;
    }
    if is_base_60(digits) {
        return Meaning::Base60;
    }
    let has_only_number_characters = text
        .chars()
        .all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'));
    match text.parse::<f64>() {
        Ok(value) if has_only_number_characters => Meaning::Fraction(value),
        _ => Meaning::Text,
    }
}

fn integer(digits: &str, negative: bool) -> Option<Meaning> {
    let (radix, body) = match (digits.strip_prefix("0x"), digits.strip_prefix("0b")) {
        (Some(body), _) => (16, body),
        (_, Some(body)) => (2, body),
        (None, None) => (10, digits),
    };
    let body: String = body.chars().filter(|c| *c != '_').collect();
    if body.is_empty() || !body.chars().all(|c| c.is_digit(radix)) || digits.starts_with('_') {
        return None;
    }
    if radix == 10 && body.len() > 1 && body.starts_with('0') {
        return Some(Meaning::AmbiguousInteger);
    }
    // Longer numbers than this have no meaning in any manifest; they stay out of every range.
    let value = i128::from_str_radix(&body, radix).unwrap_or(i128::MAX);
    Some(Meaning::Integer(if negative { -value } else { value }))
}

fn is_base_60(digits: &str) -> bool {
    let mut parts = digits.split(':');
    let first = parts.next().unwrap_or("");
    let mut others = 0;
    for part in parts {
        others += 1;
        let small = matches!(part.len(), 1 | 2)
            && part.bytes().all(|b| b.is_ascii_digit())
            && (part.len() == 1 || part.as_bytes()[0] < b'6');
        if !small {
            return false;
        }
    }
    others > 0
        && first.starts_with(|c: char| ('1'..='9').contains(&c))
        && first.bytes().all(|b| b.is_ascii_digit() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_compose_writes_them() {
        for (text, value) in [
            ("1.50", "1.5"),
            ("0755", "493"),
            ("0x10", "16"),
            ("1e3", "1000"),
            ("1_000", "1000"),
            ("+5", "5"),
            ("-5", "-5"),
            (".5", "0.5"),
            ("1.0", "1"),
            ("1e-7", "1e-07"),
            ("1.5e30", "1.5e+30"),
            ("089", "89"),
            ("0o17", "15"),
            ("True", "true"),
            ("yes", "yes"),
            ("1.2.3", "1.2.3"),
            ("22:22", "22:22"),
        ] {
            let scalar = Scalar {
                text: text.into(),
                form: Form::Plain,
            };
            assert_eq!(scalar.as_value(), value, "{text}");
        }
    }

    #[test]
    fn plain_scalars_mean_what_the_yaml_versions_say() {
        for (text, meaning) in [
            ("", Meaning::Null),
            ("yes", Meaning::OldTruth(true)),
            ("true", Meaning::Truth(true)),
            ("1", Meaning::Integer(1)),
            ("-1", Meaning::Integer(-1)),
            ("0", Meaning::Integer(0)),
            ("0x10", Meaning::Integer(16)),
            ("100_000", Meaning::Integer(100_000)),
            ("0755", Meaning::AmbiguousInteger),
            ("1.0", Meaning::Fraction(1.0)),
            ("1e3", Meaning::Fraction(1000.0)),
            ("22:22", Meaning::Base60),
            ("80:80", Meaning::Text),
            ("8080:59", Meaning::Base60),
            ("1.2.3", Meaning::Text),
            ("10G", Meaning::Text),
            (".", Meaning::Text),
            ("nan", Meaning::Text),
            ("1:", Meaning::Text),
        ] {
            assert_eq!(plain_meaning(text), meaning, "{text}");
        }
    }
}
