//! What is right is understood: the forms that formats allow, and what becomes of them.

use crate::suite::support::{application, application_named, parse_text, show};
use flocker_manifest::{
    ApplicationFormat, Manifest, ParseOptions, ParsedApplication, Source, parse,
};
use flocker_types::app::{
    DependencyCondition, HealthCheck, LinkTarget, PortMapping, RestartPolicy, ServiceSpec,
};
use std::collections::BTreeMap;

fn service(parsed: &ParsedApplication, name: &str) -> ServiceSpec {
    let name = name.parse().expect("a valid name");
    parsed.application.services[&name].clone()
}

fn ports(spec: &ServiceSpec) -> Vec<(u16, u16)> {
    spec.ports
        .iter()
        .map(|PortMapping { internal, external }| (*external, *internal))
        .collect()
}

fn parse_with(text: &str, options: &ParseOptions) -> ParsedApplication {
    match parse(&Source::new("f.yml", text), options) {
        Ok(parsed) => match parsed.manifest {
            Manifest::Application(parsed) => parsed,
            Manifest::Deployment(_) => panic!("a deployment"),
        },
        Err(found) => panic!("{}", show(&found)),
    }
}

#[test]
fn everything_that_v1_has() {
    let parsed = application(
        r#"
version: 1.0
applications:
  1:
    image: host:5000/foo
    environment:
    mem_limit: 0
    cpu_shares: 512
    restart_policy: {name: always}
  db:
    image: "mysql:5.6.17"
    ports: [{internal: 0x50, external: 80_80}]
    environment: {"A": "1", "Ü": "ü"}
    links: [{local_port: 80, remote_port: 8080, alias: dash-alias}]
    volume: {mountpoint: /var/../lib//db/, maximum_size: 2.1M, dataset_id: 0c-1}
    mem_limit: 100000000
    restart_policy: {name: on-failure, maximum_retry_count: 5}
"#,
    );
    assert_eq!(parsed.format, ApplicationFormat::V1);
    let one = service(&parsed, "1");
    assert_eq!(one.image, "host:5000/foo:latest");
    assert_eq!(one.memory_limit_bytes, None);
    assert_eq!(one.cpu_shares, Some(512));
    assert_eq!(one.restart, RestartPolicy::Always);
    let db = service(&parsed, "db");
    assert_eq!(ports(&db), [(8080, 80)]);
    assert_eq!(db.environment["Ü"], "ü");
    assert_eq!(db.mounts[0].target, "/lib/db");
    assert_eq!(db.mounts[0].size_bytes_max, Some(2_202_010));
    assert_eq!(db.mounts[0].volume.as_str(), "0c-1");
    assert_eq!(db.memory_limit_bytes, Some(100_000_000));
    assert_eq!(
        db.restart,
        RestartPolicy::OnFailure {
            retries_max: Some(5)
        }
    );
    assert_eq!(
        db.links[0].target,
        LinkTarget::Published {
            local_port: 80,
            remote_port: 8080
        }
    );
}

#[test]
fn an_application_called_image_does_not_make_a_v1_file_a_fig_file() {
    let parsed =
        application("version: true\napplications: {image: {image: x}, build: {image: y}}\n");
    assert_eq!(parsed.format, ApplicationFormat::V1);
    assert_eq!(parsed.application.services.len(), 2);
}

#[test]
fn a_fig_service_may_be_called_like_a_key_of_another_format() {
    let parsed = application("services: {image: x}\napplications: {image: y}\n");
    assert_eq!(parsed.format, ApplicationFormat::Fig);
    assert_eq!(parsed.application.services.len(), 2);
}

#[test]
fn keys_that_v1_never_read_are_warnings() {
    let parsed = parse_text("version: 1\nnote: x\nx-mine: y\nnodes: {n1: []}\n").unwrap();
    assert_eq!(
        show(&parsed.warnings),
        "2:1+4 warning: the key 'note' is ignored here (remove it, or put it where it belongs)\n"
    );
}

#[test]
fn fig_environments_and_limits() {
    let parsed = application(
        "a: {image: x, environment: [A=b=c, D, E=], mem_limit: 100000000, ports: ['80:81', 22:22]}",
    );
    let a = service(&parsed, "a");
    let expected = [("A", "b=c"), ("D", ""), ("E", "")];
    assert_eq!(
        a.environment,
        BTreeMap::from(expected.map(|(name, value)| (name.to_owned(), value.to_owned())))
    );
    assert_eq!(a.memory_limit_bytes, Some(100_000_000));
    assert_eq!(ports(&a), [(80, 81), (22, 22)]);
}

const SHOP: &str = r#"
x-common: &common
  restart: unless-stopped
  environment: &env {A: 1, B: yes}
services:
  web:
    <<: *common
    image: nginx
    command: nginx -g 'daemon off;'
    ports: ["80:80", "8000-8001:9000-9001/tcp", "0.0.0.0:90:91", {target: 5, published: "6"}]
    depends_on: {db: {condition: service_healthy, required: true}, cache: {condition: service_started}}
    links: ["db:database", cache]
  cache:
    image: redis:7
    restart: on-failure:3
    depends_on: [db]
    stop_signal: SIGRTMIN+3
    stop_grace_period: 1m30s
    mem_limit: 64m
    x-flocker: {size: 1G}
    volumes: [cache:/data]
  db:
    image: postgres:16
    restart: no
    environment: {<<: *env, C: "${X:-z}$$", FROM_CALLER: , N: 1.50}
    expose: [5432, "6000-6001/tcp"]
    volumes:
      - data:/var/lib/postgresql/data:rw
      - {type: volume, source: wal, target: /wal, read_only: false}
    healthcheck: {test: pg_isready, interval: 1s, timeout: 1m, retries: 5, start_period: 100ms}
    cpu_shares: "512"
    deploy: {replicas: 1, resources: {limits: {memory: 512M}}}
    x-flocker: {node: 10.0.0.1, pause_budget: 500ms}
volumes:
  data: {x-flocker: {size: 1.5G}}
  wal:
  cache: {}
"#;

#[test]
fn everything_that_a_compose_file_may_have() {
    let options = ParseOptions {
        directory_name: Some("_My Shop.d".to_owned()),
        variables: BTreeMap::from([("FROM_CALLER".to_owned(), "v".to_owned())]),
        ..ParseOptions::default()
    };
    let parsed = parse_with(SHOP, &options);
    assert_eq!(parsed.application.name.as_str(), "myshopd");
    assert_eq!(parsed.format, ApplicationFormat::Compose);
    assert!(parsed.placement.remove_absent);
    let placed: Vec<_> = parsed.placement.services.values().collect();
    assert_eq!(placed, ["10.0.0.1"]);

    let web = service(&parsed, "web");
    assert_eq!(web.image, "nginx:latest");
    assert_eq!(web.command.unwrap(), ["nginx", "-g", "daemon off;"]);
    assert_eq!(web.restart, RestartPolicy::Always);
    assert_eq!(web.environment["B"], "yes");
    let aliases: Vec<&str> = web.links.iter().map(|link| link.alias.as_str()).collect();
    assert_eq!(aliases, ["database", "cache", "db"]);
    assert_eq!(
        web.depends_on.into_values().collect::<Vec<_>>(),
        [DependencyCondition::Started, DependencyCondition::Healthy]
    );

    let cache = service(&parsed, "cache");
    assert_eq!(cache.mounts[0].size_bytes_max, Some(1 << 30));
    assert_eq!(cache.stop_grace_ms, 90_000);
    assert_eq!(cache.stop_signal.as_deref(), Some("SIGRTMIN+3"));
    assert_eq!(cache.memory_limit_bytes, Some(64 << 20));

    let db = service(&parsed, "db");
    assert_eq!(db.restart, RestartPolicy::Never);
    let environment: Vec<_> = db
        .environment
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    assert_eq!(
        environment,
        ["A=1", "B=yes", "C=z$", "FROM_CALLER=v", "N=1.5"]
    );
    assert_eq!(
        db.expose.into_iter().collect::<Vec<_>>(),
        [5432, 6000, 6001]
    );
    assert_eq!(db.mounts.len(), 2);
    assert_eq!(db.mounts[0].size_bytes_max, Some(3 << 29));
    assert_eq!(db.memory_limit_bytes, Some(512 << 20));
    assert_eq!(db.cpu_shares, Some(512));
    assert_eq!(db.pause_budget_ms, 500);
    assert_eq!(
        db.health_check,
        Some(HealthCheck {
            test: vec!["CMD-SHELL".to_owned(), "pg_isready".to_owned()],
            interval_ms: 1000,
            timeout_ms: 60_000,
            retries: 5,
            start_period_ms: 100,
            start_interval_ms: None,
        })
    );
}

#[test]
fn compose_ports_become_pairs() {
    let options = ParseOptions::default();
    let text = SHOP.replace("FROM_CALLER: ,", "");
    let web = service(&parse_with(&text, &options), "web");
    assert_eq!(
        ports(&web),
        [(80, 80), (8000, 9000), (8001, 9001), (90, 91), (6, 5)]
    );
}

#[test]
fn the_name_of_a_compose_application() {
    let named = |text: &str, application_name: Option<&str>, directory: &str| {
        let options = ParseOptions {
            application_name: application_name.map(|name| name.parse().expect("a valid name")),
            directory_name: Some(directory.to_owned()),
            ..ParseOptions::default()
        };
        parse_with(text, &options).application.name.to_string()
    };
    let with_name = "name: shop\nservices: {a: {image: x}}\n";
    let without = "services: {a: {image: x}}\n";
    assert_eq!(named(with_name, Some("given"), "d"), "given");
    assert_eq!(named(with_name, None, "d"), "shop");
    assert_eq!(named(without, None, "D 1"), "d1");
    assert_eq!(named(without, None, "..."), "default");
}

#[test]
fn variables_that_are_marked_secret_leave_the_environment() {
    let parsed = application_named(
        "compose.yml",
        r#"
services:
  api:
    image: example/api:3
    x-flocker: {secret_environment: [API_KEY, API_KEY]}
    environment:
      API_KEY: hunter2
      LEVEL: info
"#,
    );
    let spec = service(&parsed, "api");
    assert_eq!(spec.environment.keys().collect::<Vec<_>>(), ["LEVEL"]);
    let secret = &spec.secret_environment["API_KEY"];
    assert_eq!(secret.reveal(), Some("hunter2"));
    assert!(!format!("{parsed:?}").contains("hunter2"));
}
