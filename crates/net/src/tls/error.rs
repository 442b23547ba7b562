//! Why a TLS connection did not come about, in words that say what to do.
//!
//! Connecting and accepting make these errors; the link and the API client pass them on.

use crate::pki::{Identity, InvalidIdentity};
use rustls::{AlertDescription, CertificateError};
use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;

/// A TLS connection did not come about.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The TCP connection failed. Trying again may help.
    #[error("cannot connect to {peer}")]
    Connect {
        /// Where to.
        peer: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// Nobody answered in time. Trying again may help.
    #[error("{peer} did not answer within {limit_ms} ms while {phase}")]
    Timeout {
        /// Who.
        peer: SocketAddr,
        /// What was waited for.
        phase: &'static str,
        /// How long.
        limit_ms: u64,
    },
    /// What the peer showed was not accepted. Trying again does not help.
    #[error("{peer} is not accepted: {refusal}")]
    Refused {
        /// Who.
        peer: SocketAddr,
        /// Why.
        refusal: PeerRefusal,
    },
    /// What we showed was not accepted by the peer. Trying again does not help.
    #[error("{peer} does not accept us: {alert}")]
    RefusedByPeer {
        /// Who.
        peer: SocketAddr,
        /// What it gave as the reason.
        alert: String,
    },
    /// The connection broke, or the peer does not speak TLS. Trying again may help.
    #[error("the TLS handshake with {peer} failed")]
    Handshake {
        /// Who.
        peer: SocketAddr,
        /// What happened.
        source: io::Error,
    },
    /// Our own credentials cannot be used.
    #[error("TLS cannot be set up with these credentials")]
    Setup(#[from] rustls::Error),
}

/// What is wrong with a peer's certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerRefusal {
    /// Its time is over, or one of the clocks is wrong.
    #[error("its certificate has expired {ago} ago by this machine's clock")]
    Expired {
        /// For how long, in words.
        ago: String,
    },
    /// Its time has not come, or one of the clocks is wrong.
    #[error("its certificate becomes valid only in {ahead} by this machine's clock")]
    NotYetValid {
        /// How long until then, in words.
        ahead: String,
    },
    /// An admin has revoked it.
    #[error("its certificate is revoked")]
    Revoked,
    /// It belongs to another cluster, or to none.
    #[error("its certificate was not issued by this cluster's authority")]
    UnknownAuthority,
    /// It does not show the authority that the join token names.
    #[error("its authority is not the one that the join token names")]
    OtherAuthority,
    /// It is another member than expected.
    #[error("it is {presented}, expected {expected}")]
    WrongIdentity {
        /// Who it is.
        presented: String,
        /// Who it should be.
        expected: String,
    },
    /// The certificate names no identity.
    #[error(transparent)]
    NoIdentity(#[from] InvalidIdentity),
    /// It shows no certificate although one is needed.
    #[error("it shows no certificate")]
    NoCertificate,
    /// A user's certificate at a server, for example.
    #[error("its certificate is not meant for this purpose")]
    WrongPurpose,
    /// Anything else.
    #[error("its certificate is not valid ({0})")]
    Other(String),
}

impl PeerRefusal {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Expired { .. } => {
                "compare the clocks of both machines; if they are right, the certificate has to be \
                 issued anew"
            }
            Self::NotYetValid { .. } => {
                "compare the clocks of both machines and set the one that is wrong"
            }
            Self::Revoked => "it is not to be talked to until it has a new certificate",
            Self::UnknownAuthority => {
                "check the address: it may belong to another cluster, or to another program"
            }
            Self::OtherAuthority => {
                "check the address, and that the token is from this cluster; somebody may stand \
                 between this machine and control"
            }
            Self::WrongIdentity { .. } => {
                "check the address: it may have passed to another machine"
            }
            Self::NoIdentity(_) | Self::Other(_) => "check that it was issued by `flocker`",
            Self::NoCertificate => "give the credentials of a user or a node of this cluster",
            Self::WrongPurpose => "check that each process has the credentials that are its own",
        }
    }
}

impl TlsError {
    /// What to do about it, when that is known.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Connect { .. } => Some("check the address, and that a process listens there"),
            Self::Timeout { .. } => {
                Some("check the address, the network between, and any firewall")
            }
            Self::Refused { refusal, .. } => Some(refusal.hint()),
            Self::RefusedByPeer { .. } => Some(
                "check that these credentials belong to that cluster, and both machines' clocks",
            ),
            Self::Handshake { .. } => {
                Some("check that the address is one of Flocker's, and of the right process")
            }
            Self::Setup(_) => None,
        }
    }

    /// Whether trying again, with nothing changed, can help.
    pub fn retry_can_help(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. } | Self::Timeout { .. } | Self::Handshake { .. }
        )
    }

    pub(super) fn from_handshake(peer: SocketAddr, source: io::Error) -> Self {
        match rustls_error(&source) {
            Some(rustls::Error::InvalidCertificate(error)) => Self::Refused {
                peer,
                refusal: refusal(error),
            },
            Some(rustls::Error::NoCertificatesPresented) => Self::Refused {
                peer,
                refusal: PeerRefusal::NoCertificate,
            },
            Some(rustls::Error::AlertReceived(alert)) => {
                Self::from_alert(peer, *alert).unwrap_or(Self::Handshake { peer, source })
            }
            _ => Self::Handshake { peer, source },
        }
    }

    /// The refusal somewhere below `error`, if the peer did not accept our certificate. With TLS 1.3
    /// a client learns that only when it first reads from its stream; this is for that error.
    pub fn refused_by_peer(peer: SocketAddr, error: &(dyn StdError + 'static)) -> Option<Self> {
        Self::from_alert(peer, alert_in(error)?)
    }

    pub(super) fn from_alert(peer: SocketAddr, alert: AlertDescription) -> Option<Self> {
        alert_text(alert).map(|alert| Self::RefusedByPeer { peer, alert })
    }
}

/// The alert with which the peer ended the connection, if it did.
pub(super) fn alert_in(error: &(dyn StdError + 'static)) -> Option<AlertDescription> {
    match rustls_error(error)? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

/// Looks through the causes. An `io::Error` hides the error that it wraps from `source`.
fn rustls_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    const DEPTH_MAX: usize = 16;
    let mut next = Some(error);
    for _ in 0..DEPTH_MAX {
        let error = next?;
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        let wrapped: Option<&'a (dyn StdError + 'static)> = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .map(|inner| inner as _);
        next = wrapped.or_else(|| error.source());
    }
    None
}

fn refusal(error: &CertificateError) -> PeerRefusal {
    match error {
        CertificateError::Expired => PeerRefusal::Expired {
            ago: "some time".to_owned(),
        },
        CertificateError::ExpiredContext { time, not_after } => PeerRefusal::Expired {
            ago: duration_text(time.as_secs().saturating_sub(not_after.as_secs())),
        },
        CertificateError::NotValidYet => PeerRefusal::NotYetValid {
            ahead: "some time".to_owned(),
        },
        CertificateError::NotValidYetContext { time, not_before } => PeerRefusal::NotYetValid {
            ahead: duration_text(not_before.as_secs().saturating_sub(time.as_secs())),
        },
        CertificateError::Revoked => PeerRefusal::Revoked,
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            PeerRefusal::UnknownAuthority
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            PeerRefusal::WrongPurpose
        }
        CertificateError::Other(other) => match other.0.downcast_ref::<PeerRefusal>() {
            Some(refusal) => refusal.clone(),
            None => PeerRefusal::Other(other.0.to_string()),
        },
        other => PeerRefusal::Other(other.to_string()),
    }
}

fn duration_text(seconds: u64) -> String {
    const STEPS: [(u64, &str); 3] = [(86_400, "day"), (3_600, "hour"), (60, "minute")];
    let (length, unit) = STEPS
        .into_iter()
        .find(|(length, _)| seconds >= *length)
        .unwrap_or((1, "second"));
    let count = seconds / length;
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural}")
}

/// Only alerts about our certificate; the others are broken connections of some kind.
fn alert_text(alert: AlertDescription) -> Option<String> {
    let text = match alert {
        AlertDescription::CertificateRequired => "it wants a certificate, and none was shown",
        AlertDescription::UnknownCA => "our certificate was not issued by its cluster's authority",
        AlertDescription::CertificateExpired => {
            "our certificate has expired, or is not valid yet, by its clock"
        }
        AlertDescription::CertificateRevoked => "our certificate is revoked",
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::AccessDenied
        | AlertDescription::DecryptError => "our certificate is not valid there",
        _ => return None,
    };
    Some(text.to_owned())
}

/// Who somebody is, for messages about one cluster; the cluster too when it is another one.
pub(super) fn describe(identity: &Identity, own: Option<&Identity>) -> String {
    match own {
        Some(own) if own.cluster != identity.cluster => {
            format!("{} of cluster {}", identity.role, identity.cluster)
        }
        _ => identity.role.to_string(),
    }
}
