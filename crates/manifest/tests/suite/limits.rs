//! Input made to do harm is refused within its limits, and nothing at all makes the parser panic.

use crate::suite::support::{parse_text, show};
use flocker_manifest::{FILE_BYTES_MAX, ParseOptions, Source, combine, parse, render_all};
use flocker_manifest::{Manifest, RenderStyle};
use proptest::prelude::*;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

fn refused(text: &str) -> String {
    show(&parse_text(text).expect_err("this must be refused"))
}

#[test]
fn a_file_that_is_too_large() {
    assert_eq!(
        refused(&"#".repeat(FILE_BYTES_MAX + 1)),
        "1:1+1 error: the file has 1048577 bytes; a manifest may have 1048576 (1 MiB) (check \
         that this is a manifest; if it is, split it into several application files)\n"
    );
}

#[test]
fn deep_nesting() {
    for (open, close) in [("[", "]"), ("{a: ", "}")] {
        let text = format!("a: {}{}", open.repeat(100_000), close.repeat(100_000));
        let said = refused(&text);
        assert!(said.contains("lists and mappings are nested"), "{said}");
    }
    let block: String = (0..500)
        .map(|depth| format!("{}a:\n", " ".repeat(depth)))
        .collect();
    assert!(refused(&block).contains("nested more than 64 deep"));
}

#[test]
fn aliases_that_multiply() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let repeated = format!("*a{}, ", level - 1).repeat(10);
        text.push_str(&format!("a{level}: &a{level} [{repeated}]\n"));
    }
    assert!(refused(&text).contains("more than 50000 values"));
}

#[test]
fn control_characters() {
    assert_eq!(
        refused("version: 1\napplications: {a\0: {image: x}}\n"),
        "2:17+1 error: the file contains the control character U+0000 (remove it, or write it as \
         an escape in a text in double quotes)\n"
    );
}

#[test]
fn escape_sequences_do_not_reach_the_terminal() {
    let found = parse_text("version: 1\napplications: {\"\\e[31m\": {image: \"\\e]0;\"}}\n");
    let shown = render_all(&found.unwrap_err(), RenderStyle::Plain);
    assert!(!shown.contains('\u{1b}'), "{shown}");
}

#[test]
fn many_services_of_a_compose_file() {
    let services: String = (0..501)
        .map(|i| format!("  s{i}: {{image: x}}\n"))
        .collect();
    let said = refused(&format!("services:\n{services}"));
    assert!(said.contains("at most 500 services"), "{said}");
}

#[test]
fn values_of_variables_that_multiply() {
    let options = ParseOptions {
        variables: [("A".to_owned(), "x".repeat(100_000))].into(),
        ..ParseOptions::default()
    };
    let text = format!(
        "services: {{a: {{image: x, command: \"{}\"}}}}",
        "$A ".repeat(100)
    );
    let found = parse(&Source::new("f", text), &options).unwrap_err();
    assert!(show(&found).contains("larger than 4194304 bytes"));
}

#[test]
fn a_flood_of_errors_is_cut_off() {
    let keys: String = (0..20_000).map(|i| format!("    k{i}: 1\n")).collect();
    let text = format!("services:\n  a:\n    image: x\n{keys}");
    assert!(parse_text(&text).unwrap_err().len() <= 400);
}

#[test]
fn a_list_of_very_many_items() {
    let text = format!("version: 1\nnodes: {{n1: [{}]}}", "a, ".repeat(20_000));
    assert!(refused(&text).contains("at most 5000 items"));
}

/// Files of one long line, made so that careless code needs a minute or a gigabyte for them.
#[test]
fn files_that_are_dear_to_read() {
    let ports: String = (0..12_000)
        .map(|i| {
            format!(
                "s{i}: {{image: x, ports: [{{internal: 1, external: {}}}]}}, ",
                i + 1
            )
        })
        .collect();
    let aliases: String = (0..5000).map(|i| format!("\"b:a{i}\", ")).collect();
    let published: String = (1..=256).map(|i| format!("\"{i}:{i}\", ")).collect();
    let services: String = (0..500).map(|i| format!("s{i}: {{image: x}}, ")).collect();
    let started = Instant::now();
    for text in [
        format!("{{version: 1, applications: {{{ports}}}}}"),
        format!("{{a: {{image: x, links: [{aliases}]}}, b: {{image: x, ports: [{published}]}}}}"),
        format!("{{services: {{{services}}}}}"),
        "ä, ".repeat(300_000),
        "\"".repeat(1_000_000),
        "- ".repeat(500_000),
        "? ".repeat(500_000),
        "&a ".repeat(300_000),
        "a: ".repeat(300_000),
        "\n".repeat(1_000_000),
        "'".repeat(1_000_000),
        "#".repeat(1_000_000),
        "a\n".repeat(500_000),
        "[a, ".repeat(30),
        "| ".repeat(500_000),
    ] {
        let before = Instant::now();
        exercise(&text);
        let took = before.elapsed();
        println!("{took:?} {}", text.chars().take(40).collect::<String>());
    }
    assert!(started.elapsed() < Duration::from_secs(60));
}

/// Everything that a caller does with a text.
fn exercise(text: &str) {
    match parse_text(text) {
        Ok(parsed) => {
            let _ = render_all(&parsed.warnings, RenderStyle::Coloured);
            if let Manifest::Application(application) = parsed.manifest {
                let joined = combine(&[application.clone(), application], None);
                assert!(
                    joined.is_err() || joined.is_ok_and(|all| all.application.services.is_empty())
                );
            }
        }
        Err(found) => {
            assert!(!found.is_empty());
            for one in &found {
                assert!(one.line >= 1 && one.column >= 1 && one.length >= 1);
                assert!(one.hint.is_some(), "no hint: {one}");
            }
            let _ = render_all(&found, RenderStyle::Plain);
        }
    }
}

static REAL_TEXTS: LazyLock<Vec<String>> = LazyLock::new(real_texts);

fn real_texts() -> Vec<String> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut texts = Vec::new();
    for entry in fs::read_dir(tests.join("manifests")).expect("the manifests are there") {
        let path = entry.expect("an entry").path();
        texts.push(fs::read_to_string(path).expect("text"));
    }
    for table in ["yaml.txt", "v1.txt", "fig.txt", "compose.txt"] {
        let table = fs::read_to_string(tests.join("bad").join(table)).expect("text");
        let cases = table.split("=== ").filter_map(|case| case.split_once('\n'));
        texts.extend(cases.map(|(_, case)| case.split("~~~\n").next().unwrap_or("").to_owned()));
    }
    texts
}

#[derive(Debug, Clone)]
struct Edit {
    at: prop::sample::Index,
    removed: usize,
    inserted: String,
}

fn edit() -> impl Strategy<Value = Edit> {
    let inserted = prop_oneof![
        "[-:#&*!|>'\"%@`{}\\[\\],?~ \n\t$<=]{0,4}",
        "\\PC{0,3}",
        prop::sample::select(vec![
            "\n  ",
            "<<: *a\n",
            "&a ",
            "*a",
            "---\n",
            "|\n",
            "? ",
            "!!str ",
            "\r\n",
            "\u{feff}",
            "-9223372036854775809",
            "0x",
            "99999999999999999999",
            "${A:-",
            "x-flocker: {",
        ])
        .prop_map(str::to_owned),
    ];
    (any::<prop::sample::Index>(), 0_usize..6, inserted).prop_map(|(at, removed, inserted)| Edit {
        at,
        removed,
        inserted,
    })
}

fn apply(text: &str, edits: &[Edit]) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    for edit in edits {
        let start = edit.at.index(characters.len() + 1);
        let end = (start + edit.removed).min(characters.len());
        characters.splice(start..end, edit.inserted.chars());
    }
    characters.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        exercise(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn random_yaml_never_panics(text in "([a-c ]{0,3}[-:#&*!|>'\"%{}\\[\\],?~$<=\n\t ]{0,3}){0,40}") {
        exercise(&text);
    }

    #[test]
    fn mutated_manifests_never_panic(
        base in any::<prop::sample::Index>(),
        edits in prop::collection::vec(edit(), 1..8),
    ) {
        exercise(&apply(&REAL_TEXTS[base.index(REAL_TEXTS.len())], &edits));
    }
}
