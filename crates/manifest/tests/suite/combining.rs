//! What only several files together show, and how they are joined.

use crate::suite::support::{
    application, application_named, combined, deployment, parse_text, show,
};

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

fn whole(files: &[(&str, &str)]) -> Result<flocker_manifest::Combined, String> {
    let parsed: Vec<_> = files
        .iter()
        .map(|(file, text)| application_named(file, text))
        .collect();
    flocker_manifest::combine(&parsed, None).map_err(|found| {
        let lines = found
            .iter()
            .map(|one| format!("{}: {}", one.file, show(std::slice::from_ref(one))));
        lines.collect()
    })
}

#[test]
fn two_files_of_one_application() {
    let first = "version: 1\napplications: {a: {image: x, ports: [{internal: 1, external: 80}]}}\n";
    let second = "b: {image: x, volumes: [/d]}\n";
    let all = whole(&[("1.yml", first), ("2.yml", second)]).unwrap();
    assert_eq!(all.application.services.len(), 2);
    assert_eq!(all.application.name.as_str(), "default");
    assert!(!all.placement.remove_absent);
}

#[test]
fn what_two_files_cannot_both_have() {
    let first = "version: 1\napplications:\n  a: {image: x, volume: {mountpoint: /d, dataset_id: v}}\n  \
                 b: {image: x, ports: [{internal: 1, external: 80}]}\n";
    let second = "b: {image: x}\nv: {image: x, volumes: [/d], ports: [\"80:80\"]}\n";
    assert_eq!(
        whole(&[("1.yml", first), ("2.yml", second)]).unwrap_err(),
        "2.yml: 1:1+1 error: 'b' is already defined (1.yml:4) (rename one of the two, or name \
         each file once)\n\
         2.yml: 2:25+2 error: the volume 'v' is already used by 'a' (1.yml:3) (a volume belongs \
         to one service: give this one a volume of its own)\n\
         2.yml: 2:38+7 error: the external port 80 is already published by 'b' (1.yml:4) (every \
         node answers at this port, for one service: give 'v' another)\n"
    );
}

#[test]
fn two_applications_are_not_one() {
    let first = "name: shop\nservices: {a: {image: x}}\n";
    let second = "name: blog\nservices: {b: {image: x}}\n";
    assert_eq!(
        whole(&[("1.yml", first), ("2.yml", second)]).unwrap_err(),
        "2.yml: 2:12+1 error: this file describes the application 'blog', but 1.yml describes \
         'shop' (give them one name, or deploy them one after the other)\n"
    );
}

#[test]
fn a_link_to_a_port_that_nobody_publishes_is_a_warning() {
    let text = "version: 1\napplications:\n  a: {image: x, links: [{local_port: 80, remote_port: \
                8080, alias: b}]}\n";
    let all = whole(&[("1.yml", text)]).unwrap();
    assert_eq!(
        show(&all.warnings),
        "3:55+4 warning: no service of these files publishes the port 8080 (the link will reach \
         whoever publishes it in the cluster; to link to a service of these files, write its \
         external port)\n"
    );
}

#[test]
fn a_deployment_places_the_services_of_a_compose_file() {
    let text = "services:\n  a: {image: x, x-flocker: {node: n1}}\n  b: {image: x, x-flocker: \
                {node: n3}}\n";
    let all = combined(text, "version: 1\nnodes:\n  n1: []\n  n2: [a]\n");
    let placed: Vec<_> = all.placement.services.values().collect();
    assert_eq!(placed, ["n2", "n3"]);
    assert!(!all.placement.remove_absent);
    assert_eq!(all.placement.exact_nodes.len(), 2);
    assert_eq!(
        show(&all.warnings),
        "4:8+1 warning: the deployment places 'a' on 'n2', f.yml:2 on 'n1' (the deployment file \
         counts; make the two agree)\n"
    );
}
