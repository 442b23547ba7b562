//! Who may do what: the roles of users, what is revoked, what was asked, and how long certificates
//! are good. Bodies of the API's routes for users, revocation and audit.
//!
//! Control checks and keeps all of it; agents and proxies are told what is revoked.

use crate::ids::{ClusterId, NodeId};
use crate::time::UnixMs;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// What a user may do. Each may do everything that the ones before it may.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum UserRole {
    /// Look at everything, change nothing.
    Viewer,
    /// Deploy, move and remove services, take the deletion of a volume back.
    Operator,
    /// Delete volumes, let servers and users in and out, read the audit log.
    Admin,
}

impl UserRole {
    /// All of them, the least powerful first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// Its name, as in certificates and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for UserRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A text is none of the roles.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a role; write viewer, operator or admin")]
pub struct InvalidUserRole(String);

impl FromStr for UserRole {
    type Err = InvalidUserRole;
    fn from_str(text: &str) -> Result<Self, InvalidUserRole> {
        let mut all = Self::ALL.into_iter();
        all.find(|role| role.name() == text)
            .ok_or_else(|| InvalidUserRole(text.to_owned()))
    }
}

/// A user: what control keeps of one, and an entry of the answer to `GET /v1/users`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserRecord {
    /// The name.
    pub name: String,
    /// What the user may do.
    pub role: UserRole,
    /// When the newest certificate was issued.
    pub issued: UnixMs,
    /// Until when it is good.
    pub expires: UnixMs,
    /// Its serial number, in hexadecimal digits.
    pub serial: String,
    /// Who let the user in.
    pub added_by: String,
    /// When every certificate of the user was revoked.
    pub revoked: Option<UnixMs>,
}

/// Whose certificates are revoked, or which one.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Revoked {
    /// A node's.
    Node(NodeId),
    /// A user's, by name.
    User(String),
    /// The one with this serial number, in hexadecimal digits.
    Serial(String),
}

impl fmt::Display for Revoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(id) => write!(f, "node/{id}"),
            Self::User(name) => write!(f, "user/{name}"),
            Self::Serial(serial) => write!(f, "serial/{serial}"),
        }
    }
}

/// Every certificate of somebody that was issued up to a moment is worth nothing. Later ones are good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Revocation {
    /// Whose, or which.
    pub whom: Revoked,
    /// Those issued up to this moment, by control's clock, which also dates certificates.
    pub until: UnixMs,
    /// Who revoked.
    pub by: String,
    /// Control's mark on it, where it is kept by a node: nobody else can make one, so that a node which
    /// tells of it when control has lost its own list is believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<String>,
}

impl Revocation {
    /// What the mark is on.
    pub fn marked_text(&self) -> String {
        format!(
            "revoked {} until {} by {}",
            self.whom, self.until.0, self.by
        )
    }
}

/// A revocation can be forgotten after this time, in milliseconds: no certificate of a member is issued
/// for as long.
pub const REVOCATION_KEPT_MS: u64 = 800 * 24 * 60 * 60 * 1_000;
/// Revocations that a cluster remembers at one time.
pub const REVOCATIONS_MAX: usize = 10_000;

/// `POST /v1/revocations`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RevokeRequest {
    /// All certificates of a node, named by name, address or id.
    Node(String),
    /// All certificates of a user.
    User(String),
    /// The certificate with this serial number, in hexadecimal digits.
    Serial(#[schemars(regex(pattern = r"^[0-9a-f]{32}$"))] String),
}

/// `POST /v1/nodes/renew`: nodes are to take new keys and certificates now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RenewNodesRequest {
    /// Which: a name, address or id; every connected one when absent.
    pub node: Option<String>,
}

/// `POST /v1/users`: lets a user in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AddUserRequest {
    /// The name.
    #[schemars(regex(pattern = r"^[a-zA-Z0-9_.@-]{1,64}$"))]
    pub name: String,
    /// What the user may do.
    pub role: UserRole,
    /// Certificate signing request (PEM); its key never reaches control.
    pub certificate_request: String,
}

/// `POST /v1/certificates/renew`: a new certificate for whoever shows the present one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RenewRequest {
    /// Certificate signing request (PEM) for a new key.
    pub certificate_request: String,
}

/// A new certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CertificateResponse {
    /// The cluster.
    pub cluster: ClusterId,
    /// The certificate (PEM).
    pub certificate: String,
    /// The certificates of the authorities that are to be trusted (PEM).
    pub authority: String,
}

/// `POST /v1/certificates/held`: a process of a node says what it trusts. What it shows, the connection
/// says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeldRequest {
    /// Which of the node's two.
    pub process: NodeProcess,
    /// The authorities that it trusts, by the identifiers of their keys.
    pub authorities: Vec<String>,
}

/// A process of a node that shows the node's certificate.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum NodeProcess {
    /// The agent.
    Agent,
    /// The proxy.
    Proxy,
}

/// `POST /v1/authority/rotate`: a new authority is to take the place of the present one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RotateRequest {
    /// For at least so long both are trusted, in milliseconds.
    pub overlap_ms: u64,
}

/// `POST /v1/authority/drop`: the old authority is not to be trusted any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DropAuthorityRequest {
    /// What is done when somebody has nothing else yet.
    pub left_behind: LeftBehind,
}

/// What is done with those who have only a certificate of the old authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeftBehind {
    /// Nothing is dropped before they have a new one.
    WaitedFor,
    /// They are shut out.
    ShutOut,
}

/// How far a change of the authority is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RotationPhase {
    /// Nodes are told to trust the new one too.
    Introducing,
    /// Nodes take certificates of the new one.
    Issuing,
    /// The old one is gone from control; nodes are told to trust it no more.
    Dropping,
}

/// A change of the authority that goes on, in the answer to `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RotationView {
    /// How far it is.
    pub phase: RotationPhase,
    /// When it was begun.
    pub begun: UnixMs,
    /// Until then both are trusted at least.
    pub until: UnixMs,
    /// The nodes that this phase waits for.
    pub nodes: Vec<String>,
    /// The users who have no certificate of the new authority.
    pub users: Vec<String>,
}

/// An entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditRecord {
    /// Grows by one with each request.
    pub sequence: u64,
    /// When it was asked.
    pub at: UnixMs,
    /// Who asked, by the certificate.
    pub who: String,
    /// From which address.
    pub address: IpAddr,
    /// Method and path.
    pub request: String,
    /// What was asked for, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What came of it.
    pub answer: AuditAnswer,
    /// Why, where it was refused or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Refusals of clients without a certificate just before this one that were too many to be written.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unwritten: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands it over by reference"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuditAnswer {
    /// It was begun; control stopped before it had an answer.
    Begun,
    /// It was done, or begun to be done as an operation.
    Allowed,
    /// Who asked may not.
    Refused,
    /// Who asked may, but it could not be done.
    Failed,
}

impl fmt::Display for AuditAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Begun => "begun",
            Self::Allowed => "allowed",
            Self::Refused => "refused",
            Self::Failed => "failed",
        })
    }
}

/// Answer to `GET /v1/audit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditView {
    /// The newest that were asked for, oldest first.
    pub records: Vec<AuditRecord>,
    /// The oldest that the log still has.
    pub oldest: Option<UnixMs>,
}

/// A certificate, in the answer to `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CertificateView {
    /// Whose, in words.
    pub whose: String,
    /// Its serial number.
    pub serial: String,
    /// Until when it is good.
    pub expires: UnixMs,
    /// When that is soon, or over, or it is revoked: what is so, and what to do.
    pub warning: Option<String>,
}

/// What control tells agents and proxies about certificates, beside their other messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "about")]
pub enum AccessNotice {
    /// These are revoked. What was revoked before stays so, named or not.
    Revoked {
        /// All, or the new ones.
        revocations: Vec<Revocation>,
    },
    /// Take a new key and certificate now.
    Renew,
}
