//! A cluster of one control on the loopback interface, by the commands alone: real TLS, real files, no
//! agent.

use crate::support::{Running, User, until};
use serde_json::Value;
use std::net::TcpListener;

/// A user who has made a cluster, with control running.
struct Cluster {
    user: User,
    control: Running,
    port: u16,
}

/// Three free ports in a row, as far as one can know.
fn free_ports() -> u16 {
    until("three free ports", || {
        let listen = |port| TcpListener::bind(("0.0.0.0", port)).ok();
        let first = listen(0)?;
        let port = first.local_addr().ok()?.port();
        let (second, third) = (port.checked_add(1)?, port.checked_add(2)?);
        listen(second).and(listen(third)).map(|_| port)
    })
}

impl Cluster {
    fn new() -> Self {
        let user = User::new();
        let state = user.path("n1").to_str().expect("UTF-8").to_owned();
        // Somebody else may take the ports in between.
        let port = until("cluster", || {
            let port = free_ports();
            let ran = user.run(&[
                "init",
                "--no-start",
                "--address",
                "127.0.0.1",
                "--name",
                "n1",
                "--port",
                &port.to_string(),
                "--state-dir",
                &state,
                "--docker",
                "/nonexistent/docker.sock",
            ]);
            assert!(
                ran.code == Some(0) || ran.stderr.contains("cannot have port"),
                "{}",
                ran.text()
            );
            (ran.code == Some(0)).then_some(port)
        });
        let control = user.start(&["control", "--state-dir", &state]);
        let cluster = Self {
            user,
            control,
            port,
        };
        until("answer of control", || {
            (cluster.user.run(&["status"]).code == Some(0)).then_some(())
        });
        cluster
    }

    fn status(&self) -> Value {
        let text = self.user.run(&["status", "--json"]).ok();
        serde_json::from_str(&text).expect("JSON")
    }

    fn join(&self, name: &str, address: &str, token: &str) -> crate::support::Ran {
        let state = self.user.path(name);
        self.user.run(&[
            "join",
            &format!("127.0.0.1:{}", self.port),
            "--token",
            token,
            "--no-start",
            "--name",
            name,
            "--address",
            address,
            "--port",
            &free_ports().to_string(),
            "--state-dir",
            state.to_str().expect("UTF-8"),
            "--docker",
            "/nonexistent/docker.sock",
        ])
    }
}

#[test]
fn a_cluster_is_made_and_a_server_joins_it() {
    let cluster = Cluster::new();
    let user = &cluster.user;
    let view = cluster.status();
    assert_eq!(view["nodes"][0]["name"], "n1");
    assert_eq!(view["nodes"][0]["agent"]["kind"], "never");
    let text = user.run(&["status"]).ok();
    assert!(text.contains("n1    127.0.0.1  not yet  not yet"), "{text}");

    let ran = user.run(&["token", "--valid", "5m"]);
    let token = ran.stdout.trim().to_owned();
    assert!(
        ran.stdout.lines().count() == 1 && token.starts_with("flocker-join-"),
        "{}",
        ran.text()
    );
    let how = format!(
        "sudo flocker join 127.0.0.1:{} --token {token}",
        cluster.port
    );
    assert!(ran.stderr.contains(&how), "{}", ran.text());

    cluster.join("n2", "127.0.0.2", &token).ok();
    let view = cluster.status();
    assert_eq!(view["nodes"][1]["name"], "n2");
    assert_eq!(view["nodes"][1]["address"], "127.0.0.2");

    let again = cluster.join("n3", "127.0.0.3", &token);
    assert_eq!(again.code, Some(1), "{}", again.text());
    assert!(again.stderr.contains("hint: "), "{}", again.text());
    assert!(!user.path("n3/node.toml").exists());
    let twice = cluster.join("n2", "127.0.0.2", &token);
    assert!(
        twice.stderr.contains("this server is a node already"),
        "{}",
        twice.text()
    );
}

#[test]
fn orders_for_what_is_not_there_are_refused_with_a_hint() {
    let cluster = Cluster::new();
    let user = &cluster.user;
    for words in [
        &["move", "db", "n2"][..],
        &["rm", "db"],
        &["logs", "db"],
        &["volume", "inspect", "data"],
        &["volume", "restore", "data"],
        &["operation", "show", "0"],
    ] {
        let ran = user.run(words);
        assert_eq!(ran.code, Some(1), "{}", ran.text());
        assert!(ran.stdout.is_empty(), "{}", ran.text());
        assert!(
            ran.stderr.starts_with("error: ") && ran.stderr.contains("\nhint: "),
            "{}",
            ran.text()
        );
    }
    for words in [&["ps", "--json"][..], &["volume", "ls", "--json"]] {
        assert_eq!(user.run(words).ok().trim(), "[]");
    }
    assert!(
        user.run(&["ps"])
            .ok()
            .contains("`flocker deploy` starts some")
    );
    assert!(user.run(&["node", "ls"]).ok().contains("n1"));
    assert!(user.run(&["context", "ls"]).ok().contains("*  default"));
    assert_eq!(user.run(&["events", "--after", "1000000"]).ok(), "");
}

#[test]
fn a_second_cluster_does_not_replace_the_first() {
    let cluster = Cluster::new();
    let state = cluster.user.path("n1").to_str().unwrap().to_owned();
    let words = |context: &'static str, directory: &str| -> Vec<String> {
        [
            "init",
            "--no-start",
            "--address",
            "127.0.0.1",
            "--context",
            context,
            "--state-dir",
            directory,
        ]
        .map(str::to_owned)
        .to_vec()
    };
    for (words, says) in [
        (
            words("default", &state),
            "there is a context \"default\" already",
        ),
        (words("other", &state), "this server is a node already"),
    ] {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let ran = cluster.user.run(&words);
        assert_eq!(ran.code, Some(1), "{}", ran.text());
        assert!(ran.stderr.contains(says), "{}", ran.text());
    }
    assert_eq!(cluster.status()["nodes"].as_array().unwrap().len(), 1);
}

#[test]
fn control_ends_in_good_order_and_its_absence_is_explained() {
    let mut cluster = Cluster::new();
    let id = i32::try_from(cluster.control.0.id()).unwrap();
    let id = rustix::process::Pid::from_raw(id).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    let status = cluster.control.0.wait().unwrap();
    assert_eq!(status.code(), Some(0));
    let ran = cluster.user.run(&["status"]);
    let port = cluster.port.to_string();
    insta::assert_snapshot!(ran.text().replace(&port, "PORT"));
}
