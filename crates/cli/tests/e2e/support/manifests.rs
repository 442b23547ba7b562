//! Manifests that several tests use, as texts, and their way into a plan.

use flocker_manifest::{Manifest, ParseOptions, Source, combine, parse};
use flocker_types::api::PlanRequest;
use std::fmt::Write;

/// A manifest's file name and its text.
pub(crate) type File = (&'static str, String);

/// A PostgreSQL called `db` at this port, as a Flocker v1 manifest.
pub(crate) fn postgres(port: u16) -> File {
    let text = format!(
        r#"
version: 1
applications:
  db:
    image: postgres:15
    environment: {{POSTGRES_PASSWORD: secret}}
    ports: [{{internal: 5432, external: {port}}}]
    volume: {{mountpoint: /var/lib/postgresql/data}}
    restart_policy: {{name: always}}
"#
    );
    ("application.yml", text)
}

/// Redis services by their names and ports, as a Flocker v1 manifest.
pub(crate) fn redis(services: &[(&str, u16)]) -> File {
    let mut text = "version: 1\napplications:\n".to_owned();
    for (name, port) in services {
        write!(
            text,
            "  {name}:\n    image: redis:7\n    ports: [{{internal: 6379, external: {port}}}]\n    \
             volume: {{mountpoint: /data}}\n"
        )
        .unwrap();
    }
    ("application.yml", text)
}

/// A v1 deployment: each node with its services. A node that is not named is left out.
pub(crate) fn nodes(nodes: &[(&str, &[&str])]) -> File {
    let mut text = "version: 1\nnodes:\n".to_owned();
    for (node, services) in nodes {
        writeln!(text, "  {node}: [{}]", services.join(", ")).unwrap();
    }
    ("deployment.yml", text)
}

/// What the files of one deployment ask for. Panics with the messages that a user would get.
pub(crate) fn request(files: &[File]) -> PlanRequest {
    let (mut applications, mut deployment) = (Vec::new(), None);
    for (name, text) in files {
        let source = Source::new(*name, text.clone());
        match parse(&source, &ParseOptions::default()) {
            Ok(parsed) => match parsed.manifest {
                Manifest::Application(application) => applications.push(application),
                Manifest::Deployment(found) => deployment = Some(found),
            },
            Err(errors) => panic!("{name}: {errors:#?}"),
        }
    }
    let combined = combine(&applications, deployment.as_ref()).unwrap_or_else(|e| panic!("{e:#?}"));
    PlanRequest {
        application: combined.application,
        placement: combined.placement,
    }
}
