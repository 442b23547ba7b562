//! The API described, as OpenAPI 3.1: `GET /v1/openapi.json`, and `docs/openapi.json`, which a test
//! keeps equal to it.
//!
//! Schemas come from the very types that requests are read into. Which route takes what is in
//! [`operations`]; who may use it comes from the router.

mod operations;

use super::access::Who;
use axum::Json;
use operations::{Answer, Kind, OPERATIONS, Operation, Parameter, Place, SchemaOf};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use std::sync::OnceLock;

use flocker_types::api::ApiError;

/// `GET /v1/openapi.json`.
pub(super) async fn describe() -> Json<&'static Value> {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    Json(DOCUMENT.get_or_init(document))
}

/// The description.
fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = SchemaGenerator::new(settings);
    let mut paths: Map<String, Value> = Map::new();
    for operation in OPERATIONS {
        let Some((method, path)) = operation.route.split_once(' ') else {
            continue;
        };
        let described = describe_operation(operation, &mut generator);
        let place = paths.entry(path).or_insert_with(|| json!({}));
        if let Value::Object(methods) = place {
            methods.insert(method.to_ascii_lowercase(), described);
        }
    }
    let schemas = generator.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Flocker",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Containers and their data, moved between servers as one thing.",
            "description": "Served by control over TLS (port 4523 by default). Who asks is known by the certificate that \
                control's authority has issued. Every refusal is an ApiError: what is wrong, and how to go on.",
            "license": { "name": env!("CARGO_PKG_LICENSE"), "identifier": env!("CARGO_PKG_LICENSE") },
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "certificate": {
                    "type": "mutualTLS",
                    "description": "A certificate of the cluster; a user's has a role: viewer, operator or admin.",
                },
            },
        },
    })
}

fn describe_operation(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let mut described = Map::new();
    described.insert("operationId".to_owned(), operation.id.into());
    described.insert("summary".to_owned(), operation.summary.into());
    let who = super::routes()
        .into_iter()
        .find(|(_, route, _)| *route == operation.route)
        .map(|(rule, ..)| rule.who);
    if let Some(who) = who {
        described.insert("x-flocker-who".to_owned(), in_words(who).into());
        if who != Who::Anybody {
            described.insert("security".to_owned(), json!([{ "certificate": [] }]));
        }
    }
    if !operation.parameters.is_empty() {
        let parameters = operation.parameters.iter().map(describe_parameter);
        described.insert("parameters".to_owned(), parameters.collect());
    }
    if let Some(body) = operation.body {
        let content = in_json(body, generator);
        described.insert(
            "requestBody".to_owned(),
            json!({ "required": true, "content": content }),
        );
    }
    described.insert("responses".to_owned(), responses(operation, generator));
    Value::Object(described)
}

fn in_words(who: Who) -> String {
    match who {
        Who::Anybody => "anybody".to_owned(),
        Who::Member => "users and nodes".to_owned(),
        Who::Node => "nodes".to_owned(),
        Who::User(role) => format!("users from {role} on"),
    }
}

fn describe_parameter(parameter: &Parameter) -> Value {
    let schema = match parameter.kind {
        Kind::Name => json!({ "type": "string", "pattern": "^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$" }),
        Kind::Uuid => json!({ "type": "string", "format": "uuid" }),
        Kind::Number(most) => json!({ "type": "integer", "minimum": 0, "maximum": most }),
        Kind::Text => json!({ "type": "string" }),
        Kind::OneOf(values) => json!({ "type": "string", "enum": values }),
    };
    let place = match parameter.place {
        Place::Path => "path",
        Place::Query => "query",
    };
    json!({
        "name": parameter.name,
        "in": place,
        "required": parameter.place == Place::Path,
        "description": parameter.about,
        "schema": schema,
    })
}

fn in_json(schema: SchemaOf, generator: &mut SchemaGenerator) -> Value {
    json!({ "application/json": { "schema": schema(generator) } })
}

fn responses(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let (status, description, content) = match operation.answer {
        Answer::Json(schema) => ("200", "Done.", Some(in_json(schema, generator))),
        Answer::Accepted(schema) => ("202", "It goes on.", Some(in_json(schema, generator))),
        Answer::Nothing => ("204", "Done.", None),
        Answer::Events(schema) => {
            // What the stream's `data` is has no place of its own in OpenAPI 3.1.
            let item = schema(generator);
            let content = json!({ "text/event-stream": {
                "schema": { "type": "string", "contentMediaType": "application/json", "contentSchema": item },
            } });
            (
                "200",
                "Events, for as long as they are read.",
                Some(content),
            )
        }
        Answer::Lines(schema) => {
            let item = schema(generator);
            let content = json!({ "application/x-ndjson": {
                "schema": { "type": "string", "contentMediaType": "application/json", "contentSchema": item },
            } });
            ("200", "Lines, each of which is JSON.", Some(content))
        }
        Answer::Text => {
            let content = json!({ "text/plain": { "schema": { "type": "string" } } });
            ("200", "Done.", Some(content))
        }
    };
    let mut answers = Map::new();
    let mut done = Map::new();
    done.insert("description".to_owned(), description.into());
    if let Some(content) = content {
        done.insert("content".to_owned(), content);
    }
    answers.insert(status.to_owned(), Value::Object(done));
    let refusal = in_json(SchemaGenerator::subschema_for::<ApiError>, generator);
    let mut refused = vec![400, 403];
    if operation.body.is_some() {
        refused.extend([408, 413, 415]);
    }
    refused.extend(operation.refusals);
    for status in refused {
        let described = json!({ "description": reason(status), "content": refusal });
        answers.insert(status.to_string(), described);
    }
    Value::Object(answers)
}

/// What a refusal's status means.
fn reason(status: u16) -> &'static str {
    match status {
        400 => "The request makes no sense.",
        403 => "Who asks may not.",
        404 => "There is no such thing.",
        408 => "The body did not arrive in time.",
        409 => "It contradicts what is going on, or what has changed since.",
        413 => "The body is too long.",
        415 => "The body is not said to be JSON.",
        429 => "Too many tried, or tried with tokens that were refused; later.",
        503 => "Something that is needed is not there now.",
        507 => "The disk of the store is nearly full.",
        _ => "Refused.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flocker_net::link::{AGENT_PATH, PROXY_PATH};
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let routes = super::super::routes();
        let links = [AGENT_PATH, PROXY_PATH];
        let routed: BTreeSet<&str> = routes
            .iter()
            .map(|(_, route, _)| *route)
            .filter(|route| !links.iter().any(|link| route.ends_with(link)))
            .collect();
        let described: BTreeSet<&str> = OPERATIONS.iter().map(|one| one.route).collect();
        assert_eq!(routed, described);
        let ids: BTreeSet<&str> = OPERATIONS.iter().map(|one| one.id).collect();
        assert_eq!(ids.len(), OPERATIONS.len(), "names are given once");
    }

    #[test]
    fn parameters_in_paths_are_described() {
        for operation in OPERATIONS {
            let in_path = operation.route.matches('{').count();
            let place = |parameter: &&Parameter| parameter.place == Place::Path;
            assert_eq!(operation.parameters.iter().filter(place).count(), in_path);
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let mut todo = vec![&document];
        let mut references = 0;
        while let Some(value) = todo.pop() {
            match value {
                Value::Array(values) => todo.extend(values),
                Value::Object(map) => {
                    if let Some(Value::String(to)) = map.get("$ref") {
                        let pointer = to.trim_start_matches('#');
                        assert!(document.pointer(pointer).is_some(), "{to} leads nowhere");
                        references += 1;
                    }
                    todo.extend(map.values());
                }
                _ => {}
            }
        }
        assert!(references > 100, "{references}");
    }

    #[test]
    fn the_file_in_the_documentation_is_what_control_answers() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
        let text = format!("{:#}\n", document());
        if std::env::var_os("FLOCKER_UPDATE").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            written == text,
            "docs/openapi.json is not what the code says; see what has changed for clients, then: \
             FLOCKER_UPDATE=1 cargo nextest run -p flocker-control openapi"
        );
    }
}
