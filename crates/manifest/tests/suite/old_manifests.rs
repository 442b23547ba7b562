//! Every manifest that Flocker 0.1 to 1.0 shipped still reads, and the two that never did still
//! do not.

use crate::suite::support::{parse_text, show};
use flocker_manifest::{
    ApplicationFormat, Manifest, ParseOptions, ParsedApplication, ParsedDeployment, Source,
    combine, parse,
};
use flocker_types::app::{LinkTarget, PortMapping};
use std::fs;
use std::path::Path;

const INVALID: [&str; 2] = [
    "0.1.0__inline-advanced-configuration-line78.yml",
    "0.4.0__inline-advanced-configuration-line149.yml",
];

fn directory() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifests")
}

fn read(file: &str) -> String {
    fs::read_to_string(directory().join(file)).expect("the manifest is in the repository")
}

fn application(file: &str) -> ParsedApplication {
    match parse(&Source::new(file, read(file)), &ParseOptions::default()) {
        Ok(parsed) => match parsed.manifest {
            Manifest::Application(application) => application,
            Manifest::Deployment(_) => panic!("{file} is a deployment"),
        },
        Err(found) => panic!("{file}:\n{}", show(&found)),
    }
}

fn deployment(file: &str) -> ParsedDeployment {
    match parse(&Source::new(file, read(file)), &ParseOptions::default()) {
        Ok(parsed) => match parsed.manifest {
            Manifest::Deployment(deployment) => deployment,
            Manifest::Application(_) => panic!("{file} is an application"),
        },
        Err(found) => panic!("{file}:\n{}", show(&found)),
    }
}

#[test]
fn every_valid_file_reads_without_a_word() {
    let mut count = 0;
    for entry in fs::read_dir(directory()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.ends_with(".yml") || INVALID.contains(&name.as_str()) {
            continue;
        }
        count += 1;
        match parse_text(&read(&name)) {
            Ok(parsed) => assert_eq!(show(&parsed.warnings), "", "{name}"),
            Err(found) => panic!("{name}:\n{}", show(&found)),
        }
    }
    assert_eq!(count, 25);
}

#[test]
fn the_two_wrong_ones_are_refused_with_a_position() {
    assert_eq!(
        show(&parse_text(&read(INVALID[0])).unwrap_err()),
        "4:5+20 error: the node 'node017.example.com' must be a list, not the text \
         'site-clusterhq.com' (write the applications of the node as a list: [\"name\"], or [] \
         for none)\n"
    );
    assert_eq!(
        show(&parse_text(&read(INVALID[1])).unwrap_err()),
        "14:4+17 error: this line is indented like no key above it (indent it exactly like the \
         keys it belongs to)\n"
    );
}

#[test]
fn the_linked_example_is_understood_whole() {
    let elk = application("0.1.4__gettingstarted-examples-elk-application.yml");
    assert_eq!(elk.format, ApplicationFormat::V1);
    assert_eq!(elk.application.name.as_str(), "default");
    let moved = deployment("0.1.4__gettingstarted-examples-elk-deployment-moved.yml");
    let whole = combine(&[elk], Some(&moved)).unwrap();
    assert_eq!(show(&whole.warnings), "");
    let nodes: Vec<(&str, &str)> = whole
        .placement
        .services
        .iter()
        .map(|(service, node)| (service.as_str(), node.as_str()))
        .collect();
    assert_eq!(
        nodes,
        [
            ("elasticsearch", "172.16.255.251"),
            ("kibana", "172.16.255.250"),
            ("logstash", "172.16.255.250"),
        ]
    );
    assert_eq!(whole.placement.exact_nodes.len(), 2);
    assert!(!whole.placement.remove_absent);
    let services = &whole.application.services;
    let elasticsearch = &services[&"elasticsearch".parse().unwrap()];
    assert_eq!(elasticsearch.image, "clusterhq/elasticsearch:latest");
    assert_eq!(elasticsearch.mounts[0].volume.as_str(), "elasticsearch");
    assert_eq!(elasticsearch.mounts[0].target, "/var/lib/elasticsearch");
    let logstash = &services[&"logstash".parse().unwrap()];
    assert_eq!(logstash.links[0].alias, "es");
    assert_eq!(
        logstash.links[0].target,
        LinkTarget::Published {
            local_port: 9200,
            remote_port: 9200
        }
    );
}

#[test]
fn the_fig_example_is_understood_whole() {
    let fig = application("1.0.0__gettingstarted-fig.yml");
    assert_eq!(fig.format, ApplicationFormat::Fig);
    let whole = combine(
        &[fig],
        Some(&deployment("1.0.0__gettingstarted-deployment-node2.yml")),
    );
    let services = whole.unwrap().application.services;
    let web = &services[&"web".parse().unwrap()];
    assert_eq!(
        web.ports,
        [PortMapping {
            internal: 80,
            external: 80
        }]
    );
    let targets: Vec<_> = web.links.iter().map(|link| &link.target).collect();
    assert_eq!(
        targets,
        [
            &LinkTarget::Published {
                local_port: 6379,
                remote_port: 6379
            },
            &LinkTarget::Service("redis".parse().unwrap()),
        ]
    );
    let redis = &services[&"redis".parse().unwrap()];
    assert_eq!(redis.mounts[0].volume.as_str(), "redis");
    assert_eq!(redis.mounts[0].target, "/data");
}
