//! What each route takes and answers, for the description of the API. One line of the table is one route;
//! a test compares it with the router.

use crate::api::views::{Health, Version};
use flocker_types::access::{
    AddUserRequest, AuditView, CertificateResponse, DropAuthorityRequest, HeldRequest,
    RenewNodesRequest, RenewRequest, RevokeRequest, RotateRequest, UserRecord,
};
use flocker_types::api::{
    ClusterView, DeployRequest, EventRecord, JoinRequest, JoinResponse, LogLine, MoveRequest,
    OperationView, PlanRequest, RemoveRequest, RemoveVolumeRequest, RestoreVolumeRequest, Started,
    TokenRequest, TokenResponse,
};
use flocker_types::plan::Plan;
use schemars::{JsonSchema, Schema, SchemaGenerator};

/// Makes a type's schema.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// What a route answers when it does what was asked.
#[derive(Clone, Copy)]
pub(super) enum Answer {
    /// 200 with JSON.
    Json(SchemaOf),
    /// 202 with JSON: something goes on.
    Accepted(SchemaOf),
    /// 204, nothing.
    Nothing,
    /// 200 with server-sent events, each of this form in JSON.
    Events(SchemaOf),
    /// 200 with lines, each of this form in JSON.
    Lines(SchemaOf),
    /// 200 with text.
    Text,
}

/// Something in a path or after the question mark.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) place: Place,
    pub(super) kind: Kind,
    pub(super) about: &'static str,
}

/// Where a parameter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In the path.
    Path,
    /// After the question mark; it may be absent.
    Query,
}

/// What a parameter is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// A name of Docker's form.
    Name,
    /// A UUID.
    Uuid,
    /// A whole number, at most this.
    Number(u64),
    /// A text.
    Text,
    /// One of these.
    OneOf(&'static [&'static str]),
}

/// A route, described.
#[derive(Clone, Copy)]
pub(super) struct Operation {
    /// Method and path, as in the router.
    pub(super) route: &'static str,
    /// A name for programs that are made from the description.
    pub(super) id: &'static str,
    /// What it does.
    pub(super) summary: &'static str,
    pub(super) parameters: &'static [Parameter],
    pub(super) body: Option<SchemaOf>,
    pub(super) answer: Answer,
    /// Refusals beyond those that every route has.
    pub(super) refusals: &'static [u16],
}

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

const fn path(name: &'static str, kind: Kind, about: &'static str) -> Parameter {
    Parameter {
        name,
        place: Place::Path,
        kind,
        about,
    }
}

const fn query(name: &'static str, kind: Kind, about: &'static str) -> Parameter {
    Parameter {
        name,
        place: Place::Query,
        kind,
        about,
    }
}

/// There is no such thing.
const MISSING: u16 = 404;
/// It contradicts what is going on.
const CONFLICT: u16 = 409;
/// Too many tried.
const TOO_MANY: u16 = 429;
/// Something that is needed is not there now.
const UNAVAILABLE: u16 = 503;
/// The disk of the store is nearly full.
const NO_ROOM: u16 = 507;

const fn get(
    route: &'static str,
    id: &'static str,
    summary: &'static str,
    answer: Answer,
) -> Operation {
    Operation {
        route,
        id,
        summary,
        parameters: &[],
        body: None,
        answer,
        refusals: &[UNAVAILABLE],
    }
}

const fn post(
    route: &'static str,
    id: &'static str,
    summary: &'static str,
    body: SchemaOf,
    answer: Answer,
) -> Operation {
    let refusals = &[MISSING, CONFLICT, UNAVAILABLE, NO_ROOM];
    Operation {
        route,
        id,
        summary,
        parameters: &[],
        body: Some(body),
        answer,
        refusals,
    }
}

impl Operation {
    const fn refused(self, refusals: &'static [u16]) -> Self {
        Self { refusals, ..self }
    }

    const fn with(self, parameters: &'static [Parameter]) -> Self {
        Self {
            parameters,
            refusals: &[MISSING, UNAVAILABLE],
            ..self
        }
    }
}

const OPERATION: &[Parameter] = &[path("id", Kind::Uuid, "The operation.")];
const EVENTS: &[Parameter] = &[query(
    "after",
    Kind::Number(u64::MAX),
    "Go on after the event with this number, as the header Last-Event-ID does; new ones only when absent.",
)];
const LOGS: &[Parameter] = &[
    path(
        "application",
        Kind::Name,
        "The application; `default` where the manifest names none.",
    ),
    path("name", Kind::Name, "The service."),
    query(
        "tail",
        Kind::Number(u32::MAX as u64),
        "Begin with the last so many lines.",
    ),
    query(
        "follow",
        Kind::OneOf(&["yes", "no"]),
        "Whether to go on as lines come.",
    ),
];
const AUDIT: &[Parameter] = &[
    query("who", Kind::Text, "Only requests of this user or node."),
    query(
        "since",
        Kind::Number(u64::MAX),
        "Only from then on, in milliseconds since 1970.",
    ),
    query(
        "until",
        Kind::Number(u64::MAX),
        "Only until then, in milliseconds since 1970.",
    ),
    query(
        "limit",
        Kind::Number(u64::MAX),
        "At most so many, the latest.",
    ),
];

/// Every route for people and programs. (The links of nodes are no requests: see `flocker_types::link`.)
pub(super) const OPERATIONS: &[Operation] = &[
    post(
        "POST /v1/plan",
        "plan",
        "What a deployment would do, step by step, with estimates. Changes nothing.",
        of::<PlanRequest>,
        Answer::Json(of::<Plan>),
    ),
    post(
        "POST /v1/deploy",
        "deploy",
        "Executes a plan as it was shown; refused when the cluster has changed since.",
        of::<DeployRequest>,
        Answer::Accepted(of::<Started>),
    ),
    post(
        "POST /v1/services/move",
        "moveService",
        "Moves a service with its data to another node.",
        of::<MoveRequest>,
        Answer::Accepted(of::<Started>),
    ),
    post(
        "POST /v1/services/remove",
        "removeService",
        "Stops a service. Its volumes stay.",
        of::<RemoveRequest>,
        Answer::Accepted(of::<Started>),
    ),
    post(
        "POST /v1/volumes/remove",
        "removeVolume",
        "Deletes a volume on every node, after a time in which it can be restored.",
        of::<RemoveVolumeRequest>,
        Answer::Nothing,
    ),
    post(
        "POST /v1/volumes/restore",
        "restoreVolume",
        "Takes the deletion of a volume back while there is time.",
        of::<RestoreVolumeRequest>,
        Answer::Nothing,
    ),
    get(
        "GET /v1/status",
        "status",
        "Everything at one moment.",
        Answer::Json(of::<ClusterView>),
    ),
    get(
        "GET /v1/operations/{id}",
        "operation",
        "An operation as it is now.",
        Answer::Json(of::<OperationView>),
    )
    .with(OPERATION),
    get(
        "GET /v1/operations/{id}/end",
        "operationEnd",
        "Waits until an operation has ended, an hour at the longest (then 503: ask again).",
        Answer::Json(of::<OperationView>),
    )
    .with(OPERATION),
    get(
        "GET /v1/events",
        "events",
        "What happens, as server-sent events whose ids are their sequence numbers.",
        Answer::Events(of::<EventRecord>),
    )
    .with(EVENTS),
    get(
        "GET /v1/services/{application}/{name}/logs",
        "logs",
        "A container's log, from the node where it runs.",
        Answer::Lines(of::<LogLine>),
    )
    .with(LOGS),
    post(
        "POST /v1/tokens",
        "makeToken",
        "A token with which one server may join.",
        of::<TokenRequest>,
        Answer::Json(of::<TokenResponse>),
    ),
    post(
        "POST /v1/join",
        "join",
        "Makes whoever has a token a node. The one request that needs no certificate.",
        of::<JoinRequest>,
        Answer::Json(of::<JoinResponse>),
    )
    .refused(&[CONFLICT, TOO_MANY, UNAVAILABLE, NO_ROOM]),
    get(
        "GET /v1/users",
        "users",
        "Who was let in.",
        Answer::Json(of::<Vec<UserRecord>>),
    ),
    post(
        "POST /v1/users",
        "addUser",
        "Lets a user in, by a certificate.",
        of::<AddUserRequest>,
        Answer::Json(of::<CertificateResponse>),
    ),
    post(
        "POST /v1/revocations",
        "revoke",
        "Shuts a user or a node out at once.",
        of::<RevokeRequest>,
        Answer::Nothing,
    ),
    post(
        "POST /v1/nodes/renew",
        "renewNodes",
        "Has nodes take new keys and certificates now.",
        of::<RenewNodesRequest>,
        Answer::Nothing,
    ),
    post(
        "POST /v1/certificates/renew",
        "renewCertificate",
        "A new certificate for whoever asks.",
        of::<RenewRequest>,
        Answer::Json(of::<CertificateResponse>),
    ),
    post(
        "POST /v1/certificates/held",
        "sayWhatIsHeld",
        "A node's agent or proxy says which authorities it trusts.",
        of::<HeldRequest>,
        Answer::Nothing,
    ),
    post(
        "POST /v1/authority/rotate",
        "rotateAuthority",
        "Begins to put a new authority in the place of the present one; refused while that goes on.",
        of::<RotateRequest>,
        Answer::Nothing,
    ),
    post(
        "POST /v1/authority/drop",
        "dropAuthority",
        "Trusts the old authority no more; refused while somebody would be shut out who is to be waited for.",
        of::<DropAuthorityRequest>,
        Answer::Nothing,
    ),
    get(
        "GET /v1/audit",
        "audit",
        "Who asked for what, when, from where, and what came of it.",
        Answer::Json(of::<AuditView>),
    )
    .with(AUDIT),
    get(
        "GET /v1/backup",
        "backup",
        "The whole store as of one moment.",
        Answer::Text,
    ),
    get(
        "GET /v1/health",
        "health",
        "Control answers, and its loop goes round.",
        Answer::Json(of::<Health>),
    ),
    get(
        "GET /v1/version",
        "version",
        "Which version, of which cluster.",
        Answer::Json(of::<Version>),
    ),
    get(
        "GET /v1/openapi.json",
        "describe",
        "This description.",
        Answer::Json(of::<serde_json::Map<String, serde_json::Value>>),
    ),
];
