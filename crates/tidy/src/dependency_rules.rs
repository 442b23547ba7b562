//! Rules about libraries from elsewhere: licences, bans, how many there are, and that each one we
//! ask for has its reason in `docs/dependencies.md`.

use crate::licence::{ACCEPTED, is_accepted};
use crate::repository::{SourceFile, assert_none, files, root};
use crate::workspace::{External, Member, workspace};
use std::collections::BTreeSet;

/// Crates from elsewhere that a build on Linux may need in all, tests included. Whoever raises it
/// says in the commit what the new ones are for.
const EXTERNALS_MAX: usize = 260;

/// Crates that must not come in, even by way of another one. `deny.toml` has the same list; a test
/// compares them.
const BANNED: &[(&str, &str)] = &[
    ("aws-lc-rs", "one cryptography provider, which is ring"),
    ("aws-lc-sys", "one cryptography provider, which is ring"),
    ("native-tls", "TLS is rustls"),
    ("openssl", "TLS is rustls"),
    ("openssl-sys", "TLS is rustls"),
    ("rustables", "its licence is the GPL"),
    ("sozu-lib", "its licence is the AGPL"),
];

fn licences(externals: &[External]) -> Vec<String> {
    externals
        .iter()
        .filter(|external| !external.licence.as_deref().is_some_and(is_accepted))
        .map(|external| {
            format!(
                "{} {}: its licence is {:?}",
                external.name, external.version, external.licence
            )
        })
        .collect()
}

fn bans(externals: &[External]) -> Vec<String> {
    let mut violations = Vec::new();
    for external in externals {
        for (_, reason) in BANNED.iter().filter(|(name, _)| *name == external.name) {
            violations.push(format!("{}: is banned: {reason}", external.name));
        }
    }
    violations
}

fn budget(count: usize) -> Vec<String> {
    if count <= EXTERNALS_MAX {
        return Vec::new();
    }
    vec![format!(
        "{count} crates from elsewhere, at most {EXTERNALS_MAX}"
    )]
}

/// Names of the lines of the form ``- `name`: why it is there``.
fn documented(text: &str) -> Vec<(&str, &str)> {
    text.lines()
        .filter_map(|line| line.strip_prefix("- `")?.split_once("`: "))
        .collect()
}

fn reasons(direct: &BTreeSet<String>, text: &str) -> Vec<String> {
    let documented = documented(text);
    let mut violations = Vec::new();
    for name in direct {
        if !documented.iter().any(|(documented, _)| documented == name) {
            violations.push(format!(
                "docs/dependencies.md: want a line \"- `{name}`: why it is there\""
            ));
        }
    }
    let mut seen = BTreeSet::new();
    for (name, reason) in documented {
        if !direct.contains(name) {
            violations.push(format!("docs/dependencies.md: nobody uses `{name}`"));
        }
        if reason.split_whitespace().count() < 3 {
            violations.push(format!("docs/dependencies.md: why is `{name}` there?"));
        }
        if !seen.insert(name) {
            violations.push(format!("docs/dependencies.md: `{name}` has two lines"));
        }
    }
    violations
}

/// Names in `[workspace.dependencies]` that no crate asks for.
fn unused_in_workspace(direct: &BTreeSet<String>, manifest: &str) -> Vec<String> {
    let section = manifest
        .split("\n[")
        .find_map(|section| section.strip_prefix("workspace.dependencies]\n"));
    section
        .unwrap_or_default()
        .lines()
        .filter_map(|line| Some(line.split_once('=')?.0.trim()))
        .filter(|name| !name.starts_with("flocker-") && !direct.contains(*name))
        .map(|name| format!("Cargo.toml: no crate uses {name}"))
        .collect()
}

/// Libraries that a crate asks for and whose name is nowhere in its Rust files.
fn unnamed(members: &[Member], files: &[SourceFile]) -> Vec<String> {
    let mut violations = Vec::new();
    for member in members {
        // The binary's package has the product's name, and its folder the name of its role.
        let folder = match member.name.strip_prefix("flocker-") {
            // Beside the crates, as the design has it.
            Some(role @ ("sim" | "model")) => format!("{role}/"),
            Some(role) => format!("crates/{role}/"),
            None => "crates/cli/".to_owned(),
        };
        let own: Vec<&SourceFile> = files
            .iter()
            .filter(|file| file.path.starts_with(&folder) && file.path.ends_with(".rs"))
            .collect();
        for name in member.dependencies.union(&member.test_dependencies) {
            let word = name.replace('-', "_");
            if !own.iter().any(|file| file.text.contains(&word)) {
                violations.push(format!("{folder}Cargo.toml: nothing here uses {name}"));
            }
        }
    }
    violations
}

/// Quoted words of a list in `deny.toml`, from `start` to the closing bracket.
fn quoted<'a>(text: &'a str, start: &str) -> BTreeSet<&'a str> {
    let list = text.split_once(start).map_or("", |(_, rest)| rest);
    let list = list.split_once("\n]").map_or("", |(list, _)| list);
    list.lines()
        .filter_map(|line| line.split('"').nth(1))
        .collect()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

#[test]
fn libraries_are_permissive_and_few() {
    let externals = &workspace().externals;
    let mut violations = licences(externals);
    violations.extend(bans(externals));
    violations.extend(budget(externals.len()));
    assert_none(&violations);
}

#[test]
fn every_library_has_its_reason() {
    let direct = workspace().direct();
    let mut violations = reasons(&direct, &read("docs/dependencies.md"));
    violations.extend(unused_in_workspace(&direct, &read("Cargo.toml")));
    assert_none(&violations);
}

#[test]
fn every_crate_uses_what_it_asks_for() {
    assert_none(&unnamed(&workspace().members, &files()));
}

#[test]
fn deny_toml_says_the_same() {
    let deny = read("deny.toml");
    let accepted: BTreeSet<&str> = ACCEPTED.iter().copied().collect();
    assert_eq!(quoted(&deny, "\nallow = ["), accepted);
    let banned: BTreeSet<&str> = BANNED.iter().map(|(name, _)| *name).collect();
    assert_eq!(quoted(&deny, "\ndeny = ["), banned);
}

fn external(name: &str, licence: Option<&str>) -> External {
    External {
        name: name.to_owned(),
        version: "1.0.0".to_owned(),
        licence: licence.map(str::to_owned),
    }
}

#[test]
fn a_licence_that_is_not_accepted_is_found() {
    let externals = [
        external("good", Some("MIT OR Apache-2.0")),
        external("bad", Some("GPL-3.0-only")),
        external("silent", None),
    ];
    assert_eq!(
        licences(&externals),
        [
            "bad 1.0.0: its licence is Some(\"GPL-3.0-only\")",
            "silent 1.0.0: its licence is None"
        ]
    );
}

#[test]
fn a_banned_crate_is_found() {
    for (name, _) in BANNED {
        let externals = [external(name, Some("MIT")), external("ring", Some("MIT"))];
        assert_eq!(bans(&externals).len(), 1, "{name}");
    }
}

#[test]
fn too_many_crates_are_found() {
    assert_eq!(budget(EXTERNALS_MAX).len(), 0);
    assert_eq!(budget(EXTERNALS_MAX + 1).len(), 1);
}

#[test]
fn a_missing_or_idle_reason_is_found() {
    let direct = BTreeSet::from(["redb".to_owned(), "serde".to_owned()]);
    let text = "# Title\n- `serde`: because of it\n- `gone`: was good once\n- `serde`: twice\n";
    assert_eq!(
        reasons(&direct, text),
        [
            "docs/dependencies.md: want a line \"- `redb`: why it is there\"",
            "docs/dependencies.md: nobody uses `gone`",
            "docs/dependencies.md: why is `serde` there?",
            "docs/dependencies.md: `serde` has two lines",
        ]
    );
}

#[test]
fn an_unused_workspace_dependency_is_found() {
    let direct = BTreeSet::from(["serde".to_owned()]);
    let manifest = "[workspace]\nx = 1\n\n[workspace.dependencies]\nflocker-types = { path = \"\" }\n\nserde = \"1\"\nidle = \"2\"\n\n[profile.dev]\ndebug = 1\n";
    assert_eq!(
        unused_in_workspace(&direct, manifest),
        ["Cargo.toml: no crate uses idle"]
    );
}

#[test]
fn a_library_that_nothing_uses_is_found() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let member = Member {
        name: "flocker-net".to_owned(),
        dependencies: names(&["tokio-util", "idle"]),
        test_dependencies: names(&["proptest"]),
    };
    let files = [
        SourceFile::new("crates/net/src/lib.rs", "use tokio_util::codec;\n"),
        SourceFile::new("crates/net/Cargo.toml", "idle = \"1\"\n"),
        SourceFile::new("crates/agent/src/lib.rs", "use proptest::prelude;\n"),
    ];
    assert_eq!(
        unnamed(&[member], &files),
        [
            "crates/net/Cargo.toml: nothing here uses idle",
            "crates/net/Cargo.toml: nothing here uses proptest"
        ]
    );
}
