//! The program from outside: exact output of what needs no cluster, and a round trip with control.

mod cluster;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use support::User;

/// The commands that a help text lists.
fn listed(help: &str) -> Vec<String> {
    help.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| line.starts_with("  "))
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect()
}

#[test]
fn every_command_has_a_help_text_with_an_example() {
    let user = User::new();
    let mut helps = BTreeMap::new();
    let mut todo = vec![Vec::<String>::new()];
    while let Some(words) = todo.pop() {
        let mut arguments: Vec<&str> = words.iter().map(String::as_str).collect();
        arguments.push("--help");
        let help = user.run(&arguments).ok();
        for command in listed(&help) {
            let mut deeper = words.clone();
            deeper.push(command);
            todo.push(deeper);
        }
        helps.insert(words.join("_"), help);
    }
    assert!(helps.len() > 30, "{:?}", helps.keys());
    for (name, help) in helps {
        let shows_use = help.contains("Example") || help.contains("Try it");
        assert!(shows_use, "{name}:\n{help}");
        insta::assert_snapshot!(format!("help_{name}"), help);
    }
}

#[test]
fn arguments_that_make_no_sense_end_with_2() {
    let user = User::new();
    for words in [
        &["dploy"][..],
        &["deploy"],
        &["move", "db"],
        &["token", "--valid", "soon"],
        &["init", "--port", "65535"],
        &["init", "--pool", "tape:/dev/st0"],
        &["join", "somewhere", "--token", "x"],
        &["sandbox", "kill", "n1", "toaster"],
    ] {
        let ran = user.run(words);
        assert_eq!(ran.code, Some(2), "{}", ran.text());
        assert!(ran.stdout.is_empty(), "{}", ran.text());
        insta::assert_snapshot!(
            format!("usage_{}", words.join("_").replace(['/', ':'], "-")),
            ran.stderr
        );
    }
}

#[test]
fn check_says_what_the_files_are() {
    let ran = User::new().run(&[
        "check",
        "0.4.0__acceptance-deployment.yml",
        "0.4.0__acceptance-test_moving_data-application.yml",
    ]);
    insta::assert_snapshot!(ran.text());
}

/// Examples in the old documentation that the old Flocker refused, too.
const NEVER_VALID: &[&str] = &[
    "0.1.0__inline-advanced-configuration-line78.yml",
    "0.4.0__inline-advanced-configuration-line149.yml",
];

#[test]
fn every_real_manifest_passes() {
    let user = User::new();
    let mut count = 0;
    for entry in fs::read_dir(support::manifests()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.ends_with(".yml") {
            continue;
        }
        count += 1;
        let ran = user.run(&["check", &name]);
        match NEVER_VALID.contains(&name.as_str()) {
            true => assert_eq!(ran.code, Some(1), "{name}: {}", ran.text()),
            false => assert!(ran.ok().contains(": ok, "), "{name}"),
        }
    }
    assert!(count >= 20, "{count}");
}

#[test]
fn check_shows_every_error_at_its_place() {
    let user = User::new();
    let path = user.path("compose.yml");
    fs::write(
        &path,
        "services:\n  web:\n    image: nginx:1.25\n    ports: [\"80:80\"]\n  api:\n    imag: x\n    \
         ports: [\"80:8080\"]\n",
    )
    .unwrap();
    let ran = user.run(&["check", path.to_str().unwrap()]);
    assert_eq!(ran.code, Some(1));
    let home = user.home.path().to_str().unwrap();
    insta::assert_snapshot!(ran.text().replace(home, "HOME"));
}

#[test]
fn check_combines_a_deployment_with_its_application() {
    let user = User::new();
    let deployment = user.path("deployment.yml");
    fs::write(&deployment, "version: 1\nnodes:\n  n1: [databse]\n").unwrap();
    let application = user.path("application.yml");
    let text = "version: 1\napplications:\n  database:\n    image: postgres:15\n";
    fs::write(&application, text).unwrap();
    let files = [deployment.to_str().unwrap(), application.to_str().unwrap()];
    let ran = user.run(&["check", files[0], files[1]]);
    let home = user.home.path().to_str().unwrap();
    insta::assert_snapshot!(ran.text().replace(home, "HOME"));
    // What cannot be deployed is not sent anywhere: no context is needed to learn it.
    let ran = user.run(&["deploy", files[0], files[1]]);
    assert!(
        ran.stderr.contains("did you mean 'database'?"),
        "{}",
        ran.text()
    );
    let ran = user.run(&["deploy", files[0]]);
    assert!(
        ran.stderr.contains("hint: give the application file too"),
        "{}",
        ran.text()
    );
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let ran = User::new().run(&["check", "nowhere.yml"]);
    insta::assert_snapshot!(ran.text());
}

#[test]
fn called_as_flocker_deploy_it_is_the_old_command() {
    let user = User::new();
    let program = user.path("flocker-deploy");
    symlink(env!("CARGO_BIN_EXE_flocker"), &program).unwrap();
    let home = user.home.path().to_str().unwrap();
    let there = user.path("there.yml");
    fs::write(&there, "version: 1\n").unwrap();
    let there = there.to_str().unwrap();
    let missing = user.path("missing.yml");
    let missing = missing.to_str().unwrap();
    for (name, words) in [
        ("no_words", &[][..]),
        ("help", &["--help"]),
        ("one_word", &[there]),
        // The deployment is looked for first.
        ("both_missing", &[missing, "also-missing.yml"]),
        ("application_missing", &[there, missing]),
        ("not_manifests", &[there, there]),
    ] {
        let ran = user.run_as(&program, words);
        assert_eq!(
            ran.code,
            Some(if name == "help" { 0 } else { 1 }),
            "{}",
            ran.text()
        );
        insta::assert_snapshot!(
            format!("flocker_deploy_{name}"),
            ran.text().replace(home, "HOME")
        );
    }
    let version = user.run_as(&program, &["--version"]).ok();
    assert_eq!(version.trim(), env!("CARGO_PKG_VERSION"));
}

#[test]
fn without_a_context_it_says_how_to_get_one() {
    let user = User::new();
    let ran = user.run(&["status"]);
    let home = user.home.path().to_str().unwrap();
    insta::assert_snapshot!(ran.text().replace(home, "HOME"));
    let ran = user.run(&["status", "--context", "../x"]);
    assert!(
        ran.stderr.contains("cannot be a context's name"),
        "{}",
        ran.text()
    );
}

#[test]
fn a_role_on_a_server_that_is_no_node_says_what_to_do() {
    let user = User::new();
    for role in ["control", "agent", "proxy"] {
        let ran = user.run(&[role, "--state-dir", "/nonexistent/flocker"]);
        assert_eq!(ran.code, Some(1));
        assert!(
            ran.stderr.contains("hint: make this server a node first"),
            "{}",
            ran.text()
        );
    }
}

#[test]
fn the_version_is_the_packages() {
    let user = User::new();
    let version = env!("CARGO_PKG_VERSION");
    let build = user.run(&["version"]).ok();
    let mut lines = build.lines();
    assert_eq!(lines.next(), Some(format!("flocker {version}").as_str()));
    let facts: Vec<&str> = lines
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(
        facts,
        ["commit", "compiler", "target", "profile"],
        "{build}"
    );
    assert_eq!(
        user.run(&["--version"]).ok(),
        format!("flocker {version}\n")
    );
    let json = user.run(&["version", "--json"]).ok();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["version"], version);
}

#[test]
fn a_server_that_is_no_node_is_looked_at_and_not_changed() {
    let user = User::new();
    let ran = user.run(&["doctor", "--json", "--state-dir", "/nonexistent/flocker"]);
    let findings: Vec<serde_json::Value> = serde_json::from_str(&ran.stdout).unwrap();
    let areas: BTreeSet<&str> = findings
        .iter()
        .filter_map(|finding| finding["area"].as_str())
        .collect();
    let wanted = [
        "address", "clock", "disk", "engine", "networks", "pool", "ports", "system",
    ];
    assert_eq!(areas, wanted.into(), "{}", ran.text());
    let bad = findings.iter().filter(|finding| finding["state"] == "bad");
    assert_eq!(
        ran.code,
        Some(if bad.count() == 0 { 0 } else { 1 }),
        "{}",
        ran.text()
    );
    for finding in findings.iter().filter(|finding| finding["state"] != "well") {
        assert!(
            finding["hint"].is_string(),
            "{finding} does not say how to mend it"
        );
    }
    assert!(!std::path::Path::new("/nonexistent").exists());
}

#[test]
fn a_damaged_node_is_told_apart_from_none() {
    let user = User::new();
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("node.toml"), "cluster = 1\n").unwrap();
    let state_dir = directory.path().to_str().unwrap();
    let ran = user.run(&["doctor", "--state-dir", state_dir]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.contains("BAD      node"), "{}", ran.text());
    assert!(
        ran.stdout.contains("node.toml cannot be used"),
        "{}",
        ran.text()
    );
}

#[test]
fn the_examples_can_be_deployed() {
    let user = User::new();
    let examples = support::manifests().join("../../../../examples");
    let file = |name: &str| examples.join(name).to_str().unwrap().to_owned();
    for files in [
        &["shop/shop.yml"][..],
        &["shop/servers.yml", "shop/shop.yml"],
        &["v1/deployment.yml", "v1/application.yml"],
        &["v1/deployment-moved.yml", "v1/application.yml"],
    ] {
        let paths: Vec<String> = files.iter().map(|name| file(name)).collect();
        let mut words = vec!["check"];
        words.extend(paths.iter().map(String::as_str));
        let ran = user.run(&words);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{files:?}");
    }
}
