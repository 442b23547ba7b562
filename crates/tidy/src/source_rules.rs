//! Rules about the text of files. Length of functions is clippy's `too_many_lines`.

use crate::allow_list::AllowList;
use crate::repository::{SourceFile, assert_none, files};

/// A longer file needs an entry in `tidy-allow.txt`.
const FILE_LINES_MAX: usize = 500;
/// A longer file needs to be split.
const FILE_LINES_HARD_MAX: usize = 800;

/// Words that no Rust file may have, and what to do instead. Written in two parts each, so that
/// this file has none of them.
const BANNED: &[(&str, &str)] = &[
    (concat!("to", "do!("), "build it, or leave it out"),
    (concat!("unimple", "mented!("), "build it, or leave it out"),
    (concat!("FIX", "ME"), "put it right, or open an issue"),
    (concat!("db", "g!("), "remove it, or use tracing"),
    (
        concat!("#[al", "low("),
        "use #[expect(lint, reason = \"...\")]",
    ),
    (
        concat!("#![al", "low("),
        "use #![expect(lint, reason = \"...\")]",
    ),
    (concat!("#[ig", "nore"), "make the test run, or remove it"),
];
/// The one banned word for which there can be a good reason.
const THREAD_SLEEP: &str = concat!("thread::", "sleep");

fn rust(files: &[SourceFile]) -> impl Iterator<Item = &SourceFile> {
    files.iter().filter(|file| file.path.ends_with(".rs"))
}

fn opens_with_module_doc(files: &[SourceFile]) -> Vec<String> {
    rust(files)
        .filter(|file| !file.text.starts_with("//! "))
        .map(|file| {
            format!(
                "{}: must open with `//! `: what it owns, who calls it, what it never does",
                file.path
            )
        })
        .collect()
}

fn short_enough(files: &[SourceFile], allow: &AllowList) -> Vec<String> {
    let mut violations = Vec::new();
    for file in rust(files) {
        let lines = file.text.lines().count();
        let path = &file.path;
        if lines > FILE_LINES_HARD_MAX {
            violations.push(format!(
                "{path}: {lines} lines, at most {FILE_LINES_HARD_MAX}: split it by role"
            ));
        } else if lines > FILE_LINES_MAX && !allow.excepts("long-file", path) {
            violations.push(format!(
                "{path}: {lines} lines, more than {FILE_LINES_MAX}: split it by role, or say in \
                 tidy-allow.txt why not"
            ));
        }
    }
    violations
}

fn banned_words(files: &[SourceFile], allow: &AllowList) -> Vec<String> {
    let mut violations = Vec::new();
    for file in rust(files) {
        for (index, line) in file.text.lines().enumerate() {
            let mut found = |word: &str, instead: &str| {
                violations.push(format!("{}:{}: `{word}`: {instead}", file.path, index + 1));
            };
            for (word, instead) in BANNED {
                if line.contains(word) {
                    found(word, instead);
                }
            }
            if line.contains(THREAD_SLEEP) && !allow.excepts("thread-sleep", &file.path) {
                found(THREAD_SLEEP, "wait for what is to happen, with a deadline");
            }
        }
    }
    violations
}

/// What a merge that went wrong leaves behind, in any kind of file.
fn conflict_markers(files: &[SourceFile]) -> Vec<String> {
    let mut violations = Vec::new();
    for file in files {
        for (index, line) in file.text.lines().enumerate() {
            if line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> ") {
                violations.push(format!("{}:{}: a merge conflict", file.path, index + 1));
            }
        }
    }
    violations
}

fn allow_list() -> AllowList {
    AllowList::parse(include_str!("../tidy-allow.txt")).unwrap()
}

#[test]
fn the_repository_obeys_the_source_rules() {
    let (files, allow) = (files(), allow_list());
    let mut violations = opens_with_module_doc(&files);
    violations.extend(short_enough(&files, &allow));
    violations.extend(banned_words(&files, &allow));
    violations.extend(conflict_markers(&files));
    violations.extend(allow.unused());
    assert_none(&violations);
}

#[test]
fn a_file_without_module_doc_is_found() {
    let files = [
        SourceFile::new("good.rs", "//! Owns x.\nfn f() {}\n"),
        SourceFile::new("README.md", "# Title\n"),
        SourceFile::new("bad.rs", "// Owns x.\n"),
        SourceFile::new("empty.rs", ""),
    ];
    let violations = opens_with_module_doc(&files);
    assert_eq!(violations.len(), 2, "{violations:?}");
    assert!(violations[0].starts_with("bad.rs") && violations[1].starts_with("empty.rs"));
}

#[test]
fn a_long_file_is_found() {
    let allow = AllowList::parse(
        "long-file listed.rs one table, read as one\nlong-file huge.rs too much for any reason",
    )
    .unwrap();
    let files = [
        SourceFile::new("fits.rs", &"\n".repeat(500)),
        SourceFile::new("long.rs", &"\n".repeat(501)),
        SourceFile::new("listed.rs", &"\n".repeat(800)),
        SourceFile::new("huge.rs", &"\n".repeat(801)),
    ];
    let violations = short_enough(&files, &allow);
    assert_eq!(violations.len(), 2, "{violations:?}");
    assert!(violations[0].starts_with("long.rs: 501") && violations[1].starts_with("huge.rs: 801"));
}

#[test]
fn each_banned_word_is_found() {
    let allow = AllowList::parse("thread-sleep excepted.rs the one place that polls").unwrap();
    for (word, _) in BANNED.iter().chain(&[(THREAD_SLEEP, "")]) {
        let files = [SourceFile::new("bad.rs", &format!("//! x\n  {word}1)\n"))];
        let violations = banned_words(&files, &allow);
        assert_eq!(violations.len(), 1, "{word}");
        assert!(violations[0].starts_with("bad.rs:2: "), "{violations:?}");
    }
    let sleeps = [SourceFile::new("excepted.rs", THREAD_SLEEP)];
    assert_eq!(banned_words(&sleeps, &allow), [""; 0]);
}

#[test]
fn a_merge_conflict_is_found() {
    let files = [SourceFile::new(
        "a.md",
        "a\n<<<<<<< HEAD\nb\n=======\n>>>>>>> x\n",
    )];
    assert_eq!(conflict_markers(&files).len(), 2);
}
