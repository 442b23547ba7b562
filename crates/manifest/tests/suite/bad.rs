//! What is wrong is said with its exact place and with advice: one table of bad inputs for each
//! format, in `tests/bad/`. A case is `=== title`, the file, `~~~`, and what must be said about it.

use crate::suite::support::{parse_text, show};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

const CASES_MIN: usize = 60;

struct Case<'t> {
    title: &'t str,
    input: &'t str,
    said: &'t str,
}

fn cases(table: &str) -> Vec<Case<'_>> {
    table
        .split("=== ")
        .filter(|case| !case.is_empty())
        .map(|case| {
            let (title, rest) = case.split_once('\n').unwrap_or((case, ""));
            let (input, said) = match rest.split_once("\n~~~\n") {
                Some((input, said)) => (&rest[..=input.len()], said),
                None => (rest, ""),
            };
            Case { title, input, said }
        })
        .collect()
}

/// Checks one table; returns its number of cases. What is really said about all of them goes to
/// a file, so that a deliberate change is reviewed and copied, not typed.
fn check(name: &str) -> usize {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/bad")
        .join(name);
    let table = fs::read_to_string(&path).expect("the table is in the repository");
    let mut actual = String::new();
    let mut wrong = String::new();
    let cases = cases(&table);
    for case in &cases {
        let said = match parse_text(case.input) {
            Ok(_) => "accepted\n".to_owned(),
            Err(found) => show(&found),
        };
        let written = writeln!(actual, "=== {}\n{}~~~\n{said}", case.title, case.input);
        assert!(written.is_ok());
        if said.trim() != case.said.trim() {
            wrong.push_str(&format!("{}:\n{}~~~\n{said}\n", case.title, case.input));
        }
    }
    let actual_path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&actual_path, actual).expect("the target directory can be written");
    assert!(
        wrong.is_empty(),
        "not as in {}; see {}:\n{wrong}",
        path.display(),
        actual_path.display()
    );
    cases.len()
}

#[test]
fn the_tables_are_long_enough() {
    let count: usize = ["yaml.txt", "v1.txt", "fig.txt", "compose.txt"]
        .iter()
        .map(|name| {
            let path = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("tests/bad")
                .join(name);
            cases(&fs::read_to_string(path).unwrap()).len()
        })
        .sum();
    assert!(count >= CASES_MIN, "{count} cases");
}

#[test]
fn yaml_that_is_no_manifest() {
    assert!(check("yaml.txt") > 0);
}

#[test]
fn bad_v1_files() {
    assert!(check("v1.txt") > 0);
}

#[test]
fn bad_fig_files() {
    assert!(check("fig.txt") > 0);
}

#[test]
fn bad_compose_files() {
    assert!(check("compose.txt") > 0);
}
