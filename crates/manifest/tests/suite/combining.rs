//! What only several files together show, and how they are joined.

use crate::suite::support::{application, combined, deployment, parse_text, show};

#[test]
fn a_port_that_two_services_publish_is_refused_where_the_second_does() {
    let text = "version: 1\napplications:\n  a: {image: x, ports: [{internal: 1, external: 80}]}\n  \
                b: {image: x, ports: [{internal: 2, external: 80}]}\n";
    assert_eq!(
        show(&parse_text(text).unwrap_err()),
        "4:49+2 error: the external port 80 is already published by 'a' (f.yml:3) (every node \
         answers at this port, for one service: give 'b' another)\n"
    );
}

#[test]
fn a_service_that_no_node_lists_does_not_run() {
    let text = "version: 1\napplications:\n  a: {image: x}\n  b: {image: x}\n";
    let whole = combined(text, "version: 1\nnodes: {n1: [a], n2: []}\n");
    assert_eq!(whole.application.services.len(), 1);
    assert_eq!(
        show(&whole.warnings),
        "4:3+1 warning: 'b' will not run: d.yml places it on no node (list it below one of the \
         nodes to run it)\n"
    );
}

#[test]
fn a_deployment_of_an_unknown_service_is_refused() {
    let parsed = application("version: 1\napplications:\n  redis: {image: x}\n");
    let nodes = deployment("version: 1\nnodes: {n1: [rediss]}\n");
    let found = flocker_manifest::combine(&[parsed], Some(&nodes)).unwrap_err();
    assert_eq!(
        show(&found),
        "2:14+6 error: no application file defines 'rediss' (did you mean 'redis'?)\n"
    );
}
