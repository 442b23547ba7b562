//! Who may depend on whom: dependencies point inward, and the inner crates are pure.
//!
//! `types <- core <- {storage, runtime, net, store} <- {control, agent} <- testkit <- cli`;
//! `manifest` knows only `types`, and only those who meet a person's files know it.

use crate::repository::{SourceFile, assert_none, files};
use crate::workspace::{Member, Workspace, workspace};
use std::collections::BTreeSet;

/// Crates of the workspace, outer ones later. A crate may use those of earlier rows, never those
/// of its own.
const LAYERS: &[&[&str]] = &[
    &["flocker-types", "flocker-gate"],
    &["flocker-core", "flocker-manifest"],
    &[
        "flocker-sim",
        "flocker-model",
        "flocker-storage",
        "flocker-runtime",
        "flocker-net",
        "flocker-store",
    ],
    &["flocker-control", "flocker-agent"],
    &["flocker-testkit"],
    &["flocker"],
];
/// Stands beside the layers: uses none and is used by none.
const APART: &[&str] = &["flocker-tidy"];
/// The only crates that may use `manifest`.
const READS_MANIFESTS: &[&str] = &["flocker-testkit", "flocker"];
/// Tests of these may use the testkit, although it is an outer crate.
const TESTED_WITH_TESTKIT: &[&str] = &["flocker-control", "flocker-agent"];
/// Crates without a runtime, and their folders.
const PURE: &[(&str, &str)] = &[
    ("flocker-types", "crates/types/"),
    ("flocker-core", "crates/core/"),
    ("flocker-manifest", "crates/manifest/"),
];
/// The runtime that no file of a pure crate may name.
const RUNTIME: &str = "tokio";
/// Everything through which time, chance or the outside could get into the core.
const OUTSIDE: &[&str] = &[
    "std::fs",
    "std::process",
    "std::thread",
    "std::env",
    "std::io",
    "Instant::now",
    "SystemTime",
    "TcpStream",
    "UdpSocket",
    "new_v4",
    "HashMap",
    "HashSet",
    "tracing::",
];

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&name))
}

fn may_use(user: &str, used: &str) -> bool {
    if used == "flocker-manifest" && !READS_MANIFESTS.contains(&user) {
        return false;
    }
    match (layer(user), layer(used)) {
        (Some(user), Some(used)) => used < user,
        _ => false,
    }
}

fn direction(members: &[Member]) -> Vec<String> {
    let own: BTreeSet<&str> = members.iter().map(|member| member.name.as_str()).collect();
    let mut violations = Vec::new();
    for member in members {
        let user = member.name.as_str();
        if layer(user).is_none() && !APART.contains(&user) {
            violations.push(format!("{user}: has no layer in crates/tidy"));
        }
        for used in member
            .dependencies
            .iter()
            .filter(|d| own.contains(d.as_str()))
        {
            if !may_use(user, used) {
                violations.push(format!("{user}: must not depend on {used}"));
            }
        }
        for used in member
            .test_dependencies
            .iter()
            .filter(|d| own.contains(d.as_str()))
        {
            let testkit = used == "flocker-testkit" && TESTED_WITH_TESTKIT.contains(&user);
            // How a crate turns on features of its own for its tests.
            let itself = used == user;
            if !testkit && !itself && !may_use(user, used) {
                violations.push(format!("{user}: its tests must not depend on {used}"));
            }
        }
    }
    violations
}

fn pure_crates(workspace: &Workspace, files: &[SourceFile]) -> Vec<String> {
    let mut violations = Vec::new();
    for (name, folder) in PURE {
        if workspace.linked_into(name).contains(RUNTIME) {
            violations.push(format!("{name}: is linked with {RUNTIME}"));
        }
        for file in files.iter().filter(|file| file.path.starts_with(folder)) {
            if file.text.contains(RUNTIME) {
                violations.push(format!("{}: names {RUNTIME}", file.path));
            }
        }
    }
    violations
}

/// The core's own code; its tests (files named `*test*`, and what follows `mod tests {`) may do more.
fn core_sees_nothing_outside(files: &[SourceFile]) -> Vec<String> {
    let mut violations = Vec::new();
    for file in files {
        if !file.path.starts_with("crates/core/src/") || file.path.contains("test") {
            continue;
        }
        let code = file
            .text
            .lines()
            .take_while(|line| !line.starts_with("mod tests {"));
        for (index, line) in code.enumerate() {
            if line.trim_start().starts_with("//") {
                continue;
            }
            for word in OUTSIDE.iter().filter(|word| line.contains(**word)) {
                violations.push(format!(
                    "{}:{}: `{word}`: the core gets time, chance and data from its caller, and \
                     its order from BTreeMap",
                    file.path,
                    index + 1
                ));
            }
        }
    }
    violations
}

fn lints_are_inherited(files: &[SourceFile]) -> Vec<String> {
    files
        .iter()
        .filter(|file| file.path.starts_with("crates/") && file.path.ends_with("/Cargo.toml"))
        .filter(|file| !file.text.contains("\n[lints]\nworkspace = true\n"))
        .map(|file| format!("{}: has not the workspace's lints", file.path))
        .collect()
}

#[test]
fn dependencies_point_inward() {
    assert_none(&direction(&workspace().members));
}

#[test]
fn the_inner_crates_are_pure() {
    let files = files();
    let mut violations = pure_crates(workspace(), &files);
    violations.extend(core_sees_nothing_outside(&files));
    assert_none(&violations);
}

#[test]
fn every_crate_has_the_lints() {
    assert_none(&lints_are_inherited(&files()));
}

fn example(name: &str, dependencies: &[&str], test_dependencies: &[&str]) -> Member {
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Member {
        name: name.to_owned(),
        dependencies: set(dependencies),
        test_dependencies: set(test_dependencies),
    }
}

#[test]
fn a_dependency_that_points_outward_is_found() {
    let all: Vec<&str> = LAYERS.iter().flat_map(|row| row.iter().copied()).collect();
    for (user, used) in [
        ("flocker-types", "flocker-core"),
        ("flocker-core", "flocker-manifest"),
        ("flocker-manifest", "flocker-core"),
        ("flocker-core", "flocker-storage"),
        ("flocker-net", "flocker-store"),
        ("flocker-control", "flocker-agent"),
        ("flocker-agent", "flocker-manifest"),
        ("flocker-agent", "flocker-testkit"),
        ("flocker", "flocker-tidy"),
    ] {
        let mut members: Vec<Member> = all
            .iter()
            .filter(|name| **name != user)
            .map(|name| example(name, &[], &[]))
            .collect();
        members.push(example("flocker-tidy", &[], &[]));
        members.push(example(user, &[used], &[]));
        let violations = direction(&members);
        assert_eq!(violations, [format!("{user}: must not depend on {used}")]);
    }
}

#[test]
fn a_test_dependency_that_points_outward_is_found() {
    let testkit = example("flocker-testkit", &[], &[]);
    let store = example("flocker-store", &[], &["flocker-testkit", "proptest"]);
    let agent = example("flocker-agent", &[], &["flocker-testkit"]);
    let violations = direction(&[testkit, store, agent]);
    assert_eq!(
        violations,
        ["flocker-store: its tests must not depend on flocker-testkit"]
    );
    let runtime = example("flocker-runtime", &[], &["flocker-runtime"]);
    assert_eq!(direction(&[runtime]), [""; 0]);
    let runtime = example("flocker-runtime", &["flocker-runtime"], &[]);
    assert_eq!(direction(&[runtime]).len(), 1);
    let stranger = example("flocker-stranger", &[], &[]);
    assert_eq!(direction(&[stranger]).len(), 1);
}

#[test]
fn a_runtime_in_a_pure_crate_is_found() {
    let mut workspace = Workspace::default();
    let mut link = |from: &str, to: &str| {
        let links = workspace.links.entry(from.to_owned()).or_default();
        links.insert(to.to_owned());
    };
    link("flocker-core", "innocent");
    link("innocent", RUNTIME);
    let files = [
        SourceFile::new("crates/manifest/Cargo.toml", "tokio = \"1\"\n"),
        SourceFile::new("crates/agent/src/lib.rs", "use tokio::net;\n"),
    ];
    assert_eq!(
        pure_crates(&workspace, &files),
        [
            "flocker-core: is linked with tokio",
            "crates/manifest/Cargo.toml: names tokio"
        ]
    );
}

#[test]
fn the_outside_in_the_core_is_found() {
    let files = [
        SourceFile::new(
            "crates/core/src/a.rs",
            "// std::fs is not for us\nlet now = Instant::now();\nmod tests {\nstd::fs\n",
        ),
        SourceFile::new("crates/core/src/a_test.rs", "std::fs"),
        SourceFile::new("crates/agent/src/a.rs", "std::fs"),
    ];
    let violations = core_sees_nothing_outside(&files);
    assert_eq!(violations.len(), 1, "{violations:?}");
    assert!(violations[0].starts_with("crates/core/src/a.rs:2: "));
}

#[test]
fn a_crate_without_the_lints_is_found() {
    let files = [
        SourceFile::new(
            "crates/a/Cargo.toml",
            "[package]\n\n[lints]\nworkspace = true\n",
        ),
        SourceFile::new("crates/b/Cargo.toml", "[package]\n"),
    ];
    assert_eq!(
        lints_are_inherited(&files),
        ["crates/b/Cargo.toml: has not the workspace's lints"]
    );
}
