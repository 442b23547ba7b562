//! Which certificates are worth nothing although they are in their time.
//!
//! Part of every [`Credentials`](super::Credentials): whoever connects or listens with them checks its
//! peers against it, and ends what runs when a peer is revoked. Nothing is ever taken back, so lists
//! from different times can be put together in any order. It does not decide who is revoked: control does.

use crate::pki::{FileError, MemberCertificate, Role, read_text, write_secret};
use flocker_types::access::{REVOCATION_KEPT_MS, Revocation, Revoked};
use flocker_types::time::UnixMs;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use tokio::sync::watch;

/// What is revoked, as far as this process knows. Clones are of the same list.
#[derive(Debug, Clone)]
pub struct Revocations(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    by_whom: RwLock<BTreeMap<Revoked, Revocation>>,
    changed: watch::Sender<()>,
}

/// The file of revocations cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RevocationsError {
    /// Reading or writing failed. Trying again helps once the file can be read or written.
    #[error("the list of revoked certificates cannot be kept")]
    File(#[from] FileError),
    /// It is no such list. Trying again does not help.
    #[error(
        "{} is not a list of revoked certificates; remove it, then control sends it anew",
        path.display()
    )]
    Format {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl Default for Revocations {
    fn default() -> Self {
        Self(Arc::new(Inner {
            by_whom: RwLock::default(),
            changed: watch::Sender::new(()),
        }))
    }
}

impl Revocations {
    /// Adds what was revoked; those who wait see it at once.
    pub fn add(&self, new: &[Revocation]) {
        let mut by_whom = self
            .0
            .by_whom
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        for revocation in new {
            let kept = by_whom
                .entry(revocation.whom.clone())
                .or_insert_with(|| revocation.clone());
            let marked_anew = kept.until == revocation.until && revocation.mark.is_some();
            if kept.until < revocation.until || marked_anew {
                *kept = revocation.clone();
            }
        }
        drop(by_whom);
        self.0.changed.send_replace(());
    }

    /// All of them.
    pub fn all(&self) -> Vec<Revocation> {
        self.read().values().cloned().collect()
    }

    /// Up to when the certificates of somebody are revoked, if they are. New ones must be dated later.
    pub fn until(&self, role: &Role) -> Option<UnixMs> {
        let whom = whom(role)?;
        self.read().get(&whom).map(|revocation| revocation.until)
    }

    /// Whether a certificate is worth nothing.
    pub fn covers(&self, certificate: &MemberCertificate) -> bool {
        let by_whom = self.read();
        if by_whom.is_empty() {
            return false;
        }
        let as_member = whom(&certificate.identity.role).and_then(|whom| by_whom.get(&whom));
        as_member.is_some_and(|revocation| certificate.issued <= revocation.until)
            || by_whom.contains_key(&Revoked::Serial(certificate.serial.clone()))
    }

    /// Returns when the certificate is revoked, which may be never.
    pub async fn until_covers(&self, certificate: &MemberCertificate) {
        let mut changed = self.0.changed.subscribe();
        while !self.covers(certificate) {
            // The sender is in `self`, so waiting cannot fail.
            let _ = changed.changed().await;
        }
    }

    /// Adds what [`Revocations::save`] wrote; nothing when there is no such file.
    ///
    /// # Errors
    /// [`RevocationsError`]: who uses credentials must know what is revoked.
    pub fn load(&self, path: &Path) -> Result<(), RevocationsError> {
        let text = match read_text(path) {
            Ok(text) => text,
            Err(FileError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => {
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let list: Vec<Revocation> =
            serde_json::from_str(&text).map_err(|source| RevocationsError::Format {
                path: path.to_owned(),
                source,
            })?;
        self.add(&list);
        Ok(())
    }

    /// Writes them for the next start of this process, but those that `now` makes pointless.
    ///
    /// # Errors
    /// [`RevocationsError`]; they are in force in this process all the same.
    pub fn save(&self, path: &Path, now: UnixMs) -> Result<(), RevocationsError> {
        let mut list = self.all();
        list.retain(|one| one.until.0.saturating_add(REVOCATION_KEPT_MS) >= now.0);
        let text = serde_json::to_string(&list).map_err(|source| RevocationsError::Format {
            path: path.to_owned(),
            source,
        })?;
        Ok(write_secret(path, &text)?)
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<Revoked, Revocation>> {
        // Nothing in the critical sections panics; were it so, the list would still be whole.
        self.0
            .by_whom
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Control is never revoked: who has its key has the cluster, and a new authority is needed.
fn whom(role: &Role) -> Option<Revoked> {
    match role {
        Role::Control => None,
        Role::Node(id) => Some(Revoked::Node(*id)),
        Role::User { name, .. } => Some(Revoked::User(name.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::Identity;
    use flocker_types::access::UserRole;
    use flocker_types::ids::ClusterId;
    use uuid::Uuid;

    fn certificate(role: UserRole, issued: u64, serial: &str) -> MemberCertificate {
        let name = "ann".to_owned();
        MemberCertificate {
            identity: Identity {
                cluster: ClusterId(Uuid::from_u128(1)),
                role: Role::User { name, role },
            },
            serial: serial.to_owned(),
            issued: UnixMs(issued),
            expires: UnixMs(issued + 1_000),
            issuer: String::new(),
        }
    }

    fn revoked(whom: Revoked, until: u64) -> Revocation {
        Revocation {
            whom,
            until: UnixMs(until),
            by: "root".to_owned(),
            mark: None,
        }
    }

    #[test]
    fn older_certificates_of_whatever_role_are_revoked_and_newer_ones_are_not() {
        let list = Revocations::default();
        let ann = Revoked::User("ann".to_owned());
        list.add(&[revoked(ann.clone(), 50)]);
        for role in UserRole::ALL {
            assert!(list.covers(&certificate(role, 50, "aa")));
            assert!(!list.covers(&certificate(role, 51, "aa")));
        }
        // An older list takes nothing back.
        list.add(&[
            revoked(ann, 40),
            revoked(Revoked::Serial("bb".to_owned()), 1),
        ]);
        assert!(list.covers(&certificate(UserRole::Admin, 50, "aa")));
        assert!(list.covers(&certificate(UserRole::Admin, 99, "bb")));
    }

    #[tokio::test]
    async fn who_waits_hears_of_it_and_the_file_keeps_it() {
        let list = Revocations::default();
        let mine = certificate(UserRole::Viewer, 5, "cc");
        let waiting = list.until_covers(&mine);
        let revoke = async {
            list.add(&[revoked(Revoked::User("bob".to_owned()), 9)]);
            tokio::task::yield_now().await;
            list.add(&[revoked(Revoked::Serial("cc".to_owned()), 9)]);
        };
        tokio::join!(waiting, revoke);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("revoked.json");
        list.save(&path, UnixMs(10)).unwrap();
        let again = Revocations::default();
        again.load(&path).unwrap();
        assert_eq!(again.all(), list.all());
        assert!(again.covers(&mine));
        list.save(&path, UnixMs(REVOCATION_KEPT_MS + 10)).unwrap();
        let later = Revocations::default();
        later.load(&path).unwrap();
        assert!(later.all().is_empty());
        std::fs::write(&path, "{").unwrap();
        assert!(later.load(&path).is_err());
    }
}
