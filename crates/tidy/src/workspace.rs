//! What `cargo metadata` says of the workspace: its crates and everything they are built from. The
//! rules about layers and dependencies call it.

use crate::repository::root;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

/// A crate of the workspace.
#[derive(Debug, Clone, Default)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// Crates it is linked with or built by.
    pub(crate) dependencies: BTreeSet<String>,
    /// Crates that only its tests use.
    pub(crate) test_dependencies: BTreeSet<String>,
}

/// A crate from elsewhere.
#[derive(Debug, Clone)]
pub(crate) struct External {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) licence: Option<String>,
}

/// The workspace as it is built on this machine.
#[derive(Debug, Clone, Default)]
pub(crate) struct Workspace {
    pub(crate) members: Vec<Member>,
    pub(crate) externals: Vec<External>,
    /// For each crate, by name, the names of those it is linked with. Crates that are there in two
    /// versions count as one.
    pub(crate) links: BTreeMap<String, BTreeSet<String>>,
}

impl Workspace {
    /// Names of crates from elsewhere that the workspace's own crates ask for.
    pub(crate) fn direct(&self) -> BTreeSet<String> {
        let own: BTreeSet<&String> = self.members.iter().map(|member| &member.name).collect();
        self.members
            .iter()
            .flat_map(|member| member.dependencies.union(&member.test_dependencies))
            .filter(|name| !own.contains(name))
            .cloned()
            .collect()
    }

    /// Everything that a crate is linked with, directly or not.
    pub(crate) fn linked_into(&self, name: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut open = vec![name.to_owned()];
        while let Some(name) = open.pop() {
            for next in self.links.get(&name).into_iter().flatten() {
                if found.insert(next.clone()) {
                    open.push(next.clone());
                }
            }
        }
        found
    }
}

/// The real workspace, read once.
pub(crate) fn workspace() -> &'static Workspace {
    static WORKSPACE: OnceLock<Workspace> = OnceLock::new();
    WORKSPACE.get_or_init(|| parse(&metadata()))
}

fn host() -> String {
    let rustc = Path::new(env!("CARGO")).with_file_name("rustc");
    let output = Command::new(rustc).arg("-vV").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("host: "));
    line.unwrap().to_owned()
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        // Only what is built here: the rest was perhaps never fetched.
        .args(["--filter-platform", &host()])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().unwrap()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap()
}

fn parse(metadata: &Value) -> Workspace {
    let mut workspace = Workspace::default();
    let mut names = BTreeMap::new();
    for package in list(metadata, "packages") {
        names.insert(text(package, "id"), text(package, "name"));
        if package["source"].is_null() {
            workspace.members.push(member(package));
        } else {
            workspace.externals.push(External {
                name: text(package, "name").to_owned(),
                version: text(package, "version").to_owned(),
                licence: package["license"].as_str().map(str::to_owned),
            });
        }
    }
    for node in list(&metadata["resolve"], "nodes") {
        let linked = list(node, "deps")
            .iter()
            .filter(|dependency| {
                list(dependency, "dep_kinds")
                    .iter()
                    .any(|kind| kind["kind"].is_null())
            })
            .map(|dependency| names[text(dependency, "pkg")].to_owned());
        let links = workspace.links.entry(names[text(node, "id")].to_owned());
        links.or_default().extend(linked);
    }
    workspace
}

fn member(package: &Value) -> Member {
    let mut member = Member {
        name: text(package, "name").to_owned(),
        ..Member::default()
    };
    for dependency in list(package, "dependencies") {
        let name = text(dependency, "name").to_owned();
        if dependency["kind"] == "dev" {
            member.test_dependencies.insert(name);
        } else {
            member.dependencies.insert(name);
        }
    }
    member
}

#[test]
fn the_workspace_is_read() {
    let workspace = workspace();
    let store = workspace.members.iter().find(|m| m.name == "flocker-store");
    let store = store.expect("it is a member");
    assert!(store.dependencies.contains("redb"));
    assert!(store.test_dependencies.contains("proptest"));
    assert!(!store.dependencies.contains("proptest"));
    assert!(workspace.direct().contains("redb"));
    assert!(!workspace.direct().contains("flocker-types"));
    let redb = workspace.externals.iter().find(|e| e.name == "redb");
    assert_eq!(redb.unwrap().licence.as_deref(), Some("MIT OR Apache-2.0"));
    let linked = workspace.linked_into("flocker");
    assert!(linked.contains("flocker-types") && linked.contains("serde_core"));
}
