//! The route that shows the audit log.

use super::Api;
use super::access::Chain;
use super::extract::QueryOf;
use super::refusal::Refusal;
use crate::audit::AuditQuery;
use axum::Json;
use axum::extract::State;
use flocker_types::access::AuditView;
use flocker_types::api::{ApiError, ErrorCode};
use flocker_types::time::UnixMs;
use serde::Deserialize;
use std::sync::Arc;

/// Records in one answer, when nothing is said.
const RECORDS_DEFAULT: usize = 100;
/// Records in one answer at most.
pub const AUDIT_RECORDS_MAX: usize = 10_000;

/// Query of `GET /v1/audit`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditFilter {
    /// Only of this user (by name) or node (by id).
    who: Option<String>,
    /// Only from then on, in milliseconds since 1970.
    since: Option<u64>,
    /// Only until then.
    until: Option<u64>,
    /// The newest so many.
    limit: Option<usize>,
}

/// `GET /v1/audit`: who asked for what. Answers 200 with an [`AuditView`].
///
/// `?who=NAME`, `?since=MS` and `?until=MS` choose, `?limit=N` (100 when absent, at most
/// [`AUDIT_RECORDS_MAX`]) takes the newest.
pub(super) async fn audit(
    State(api): State<Arc<Api>>,
    QueryOf(filter): QueryOf<AuditFilter>,
) -> Result<Json<AuditView>, Refusal> {
    let query = AuditQuery {
        who: filter.who,
        since: filter.since.map(UnixMs),
        until: filter.until.map(UnixMs),
        limit: filter
            .limit
            .unwrap_or(RECORDS_DEFAULT)
            .min(AUDIT_RECORDS_MAX),
    };
    api.audit.query(query).await.map(Json).map_err(|error| {
        Refusal::from(ApiError {
            code: ErrorCode::Internal,
            message: Chain(&error).to_string(),
            hint: Some("look at the disk of control's server".to_owned()),
        })
    })
}
