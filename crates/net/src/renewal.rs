//! Keeps the certificate of a running process good: renews it through control with a new key in time,
//! takes over what another process of the node has renewed, and keeps what control says is revoked.
//!
//! Agents and proxies run it beside their work. Nothing that runs is closed by it: connections keep the
//! certificate with which they were made. It decides nothing but when to try.

use crate::client::{ApiClient, ClientError};
use crate::pki::{AuthorityError, Issued, MemberCertificate, key_and_request};
use crate::tls::{CredentialFiles, Credentials, CredentialsError};
use flocker_types::access::{
    AccessNotice, CertificateResponse, HeldRequest, NodeProcess, RenewRequest,
};
use flocker_types::time::UnixMs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;
use tokio::time::timeout;

/// Between two looks, in milliseconds, at the longest and at the shortest. In between it is a part of the
/// certificate's time.
const LOOK_MS_MAX: u64 = 15_000;
const LOOK_MS_MIN: u64 = 500;
/// So many looks are taken in a certificate's time.
const LOOKS_OF_A_LIFE: u64 = 40;
/// Control is told again what it has been told after so many looks: it may have lost it.
const LOOKS_TOLD: u32 = 240;

/// Whose task renewing is, where two processes use the same certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// This one renews, in good time.
    First,
    /// This one takes over what the other has renewed, and renews when the other does not.
    Second,
}

impl Turn {
    /// The part of a certificate's time that is left when it is renewed, in hundredths.
    fn left_percent(self) -> u64 {
        match self {
            Self::First => 40,
            Self::Second => 34,
        }
    }

    /// The agent is the first.
    fn process(self) -> NodeProcess {
        match self {
            Self::First => NodeProcess::Agent,
            Self::Second => NodeProcess::Proxy,
        }
    }
}

/// Where a process keeps what it must not forget about certificates, and whom it asks.
#[derive(Debug, Clone)]
pub struct CertificatePlace {
    /// Where control answers.
    pub control: SocketAddr,
    /// The directory of the certificate.
    pub directory: PathBuf,
    /// Names of the files in it.
    pub files: CredentialFiles,
    /// This process's own file of what is revoked.
    pub revoked: PathBuf,
}

/// A certificate was not renewed.
#[derive(Debug, thiserror::Error)]
enum RenewalError {
    #[error("no new key could be made")]
    Key(#[from] AuthorityError),
    #[error("control did not renew the certificate")]
    Control(#[from] ClientError),
    #[error("the new certificate cannot be used or kept")]
    Keep(#[from] CredentialsError),
}

/// Keeps one process's credentials. Clones are of the same one.
#[derive(Debug, Clone)]
pub struct CertificateKeeper {
    credentials: Credentials,
    place: Arc<CertificatePlace>,
    asked: Arc<Notify>,
    /// One list is written after the other.
    saving: Arc<Mutex<()>>,
}

impl CertificateKeeper {
    /// Keeps these.
    pub fn new(credentials: Credentials, place: CertificatePlace) -> Self {
        Self {
            credentials,
            place: Arc::new(place),
            asked: Arc::default(),
            saving: Arc::default(),
        }
    }

    /// Acts on what control says.
    pub fn notice(&self, notice: AccessNotice) {
        match notice {
            AccessNotice::Renew => self.asked.notify_one(),
            AccessNotice::Revoked { revocations } => {
                let list = self.credentials.revocations().clone();
                // In force first, then on the disk, for a start without control.
                list.add(&revocations);
                tracing::warn!(count = revocations.len(), "certificates are revoked");
                let (place, saving) = (Arc::clone(&self.place), Arc::clone(&self.saving));
                tokio::task::spawn_blocking(move || {
                    let _turn = saving.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Err(error) = list.save(&place.revoked, now()) {
                        let reason = chain(&error);
                        tracing::error!(reason, "what is revoked is not kept over a restart");
                    }
                });
            }
        }
    }

    /// Renews in time, for ever.
    pub async fn run(&self, turn: Turn) {
        let mut wanted = Wanted::No;
        let mut told = Told::default();
        loop {
            self.take_over();
            let present = self.credentials.certificate();
            if wanted == Wanted::Yes || is_due(&present, now(), turn) {
                match self.renew().await {
                    Ok(new) => {
                        wanted = Wanted::No;
                        let days = new.validity_ms() / 86_400_000;
                        tracing::info!(serial = new.serial, days, "the certificate was renewed");
                    }
                    Err(error) => {
                        let (reason, left_s) = (chain(&error), present.left_ms(now()) / 1_000);
                        tracing::warn!(
                            reason,
                            left_s,
                            "the certificate was not renewed; trying again"
                        );
                    }
                }
            }
            self.tell(turn, &mut told).await;
            let pause = Duration::from_millis(look_ms(&self.credentials.certificate()));
            if timeout(pause, self.asked.notified()).await.is_ok() {
                wanted = Wanted::Yes;
            }
        }
    }

    /// Another process may have renewed it, or a person put a new one there.
    fn take_over(&self) {
        let place = &self.place;
        let newer = match Credentials::load(&place.directory, place.files) {
            Ok(newer) => newer,
            Err(error) => {
                let reason = chain(&error);
                return tracing::warn!(reason, "the certificate on the disk cannot be used");
            }
        };
        let (ours, theirs) = (self.credentials.certificate(), newer.certificate());
        if theirs.serial == ours.serial || theirs.issued < ours.issued {
            return;
        }
        match self.credentials.replace(&newer) {
            Ok(()) => tracing::info!(serial = theirs.serial, "a newer certificate is in use"),
            Err(error) => tracing::error!(reason = chain(&error), "not taken over"),
        }
    }

    /// Control has to know what every process shows and trusts before it can change the authority.
    async fn tell(&self, turn: Turn, told: &mut Told) {
        let authorities = self.credentials.authorities();
        let held = (self.credentials.certificate().serial, authorities.clone());
        if told.held.as_ref() == Some(&held) && told.looks < LOOKS_TOLD {
            told.looks += 1;
            return;
        }
        let request = HeldRequest {
            process: turn.process(),
            authorities,
        };
        let client = ApiClient::new(self.place.control, self.credentials.clone());
        let answer: Result<(), _> = client.post("/v1/certificates/held", &request).await;
        match answer {
            Ok(()) => {
                *told = Told {
                    held: Some(held),
                    looks: 0,
                }
            }
            Err(error) => {
                let reason = chain(&error);
                tracing::debug!(reason, "control was not told what is trusted here");
            }
        }
    }

    async fn renew(&self) -> Result<MemberCertificate, RenewalError> {
        let place = &self.place;
        let client = ApiClient::new(place.control, self.credentials.clone());
        let (issued, authority) = renewed(&client).await?;
        let newer = Credentials::from_pem(&issued.certificate_pem, &issued.key_pem, &authority)?;
        // First on the disk: an old certificate in memory is still good, an old one at the next start
        // may not be.
        Credentials::save(&place.directory, place.files, &issued, &authority)?;
        self.credentials.replace(&newer)?;
        Ok(newer.certificate())
    }
}

/// What control was told last: the certificate and the authorities, and how long ago.
#[derive(Debug, Default)]
struct Told {
    held: Option<(String, Vec<String>)>,
    looks: u32,
}

/// Whether a renewal was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Yes,
    No,
}

/// A new key and a certificate for it from control, and the authorities to trust.
async fn renewed(client: &ApiClient) -> Result<(Issued, String), RenewalError> {
    let key = key_and_request()?;
    let request = RenewRequest {
        certificate_request: key.request_pem,
    };
    let path = "/v1/certificates/renew";
    let response: CertificateResponse = client.post(path, &request).await?;
    let issued = Issued {
        certificate_pem: response.certificate,
        key_pem: key.key_pem,
    };
    Ok((issued, response.authority))
}

/// Whether so much of a certificate's time has passed that it is renewed: more than a third is left then.
pub fn is_due(certificate: &MemberCertificate, now: UnixMs, turn: Turn) -> bool {
    let left = certificate.left_ms(now).saturating_mul(100);
    left < certificate
        .validity_ms()
        .saturating_mul(turn.left_percent())
}

/// Until the next look at a certificate, in milliseconds.
pub fn look_ms(certificate: &MemberCertificate) -> u64 {
    (certificate.validity_ms() / LOOKS_OF_A_LIFE).clamp(LOOK_MS_MIN, LOOK_MS_MAX)
}

fn now() -> UnixMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let milliseconds = since.unwrap_or_default().as_millis();
    UnixMs(u64::try_from(milliseconds).unwrap_or(u64::MAX))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Cluster, node};

    #[test]
    fn renewal_comes_while_more_than_a_third_is_left() {
        let certificate = Cluster::new().credentials(node(1)).certificate();
        let validity = certificate.validity_ms();
        let at = |percent: u64| UnixMs(certificate.issued.0 + validity / 100 * percent);
        for (percent, first, second) in [
            (0, false, false),
            (59, false, false),
            (61, true, false),
            (65, true, false),
            (67, true, true),
            (150, true, true),
        ] {
            assert_eq!(is_due(&certificate, at(percent), Turn::First), first);
            assert_eq!(is_due(&certificate, at(percent), Turn::Second), second);
        }
        assert_eq!(look_ms(&certificate), LOOK_MS_MAX);
    }

    #[tokio::test]
    async fn what_another_process_renewed_is_taken_over_and_older_ones_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let cluster = Cluster::new();
        let issue = |ago: u64| {
            let at = SystemTime::now() - Duration::from_secs(ago);
            let identity = cluster.identity(node(1));
            let validity = Duration::from_secs(3_600);
            cluster.authority.issue_at(&identity, validity, at).unwrap()
        };
        let authority = cluster.authority.certificate_pem();
        let files = CredentialFiles::NODE;
        let save = |issued| Credentials::save(directory.path(), files, issued, authority).unwrap();
        let (first, second) = (issue(60), issue(30));
        save(&first);
        let credentials = Credentials::load(directory.path(), files).unwrap();
        let place = CertificatePlace {
            control: "127.0.0.1:1".parse().unwrap(),
            directory: directory.path().to_owned(),
            files,
            revoked: directory.path().join("revoked.json"),
        };
        let keeper = CertificateKeeper::new(credentials.clone(), place);
        let serial = || credentials.certificate().serial;
        let before = serial();
        save(&second);
        keeper.take_over();
        let after = serial();
        assert_ne!(before, after);
        save(&first);
        keeper.take_over();
        assert_eq!(serial(), after);
        std::fs::write(directory.path().join(files.certificate), "nonsense").unwrap();
        keeper.take_over();
        assert_eq!(serial(), after);
    }
}
