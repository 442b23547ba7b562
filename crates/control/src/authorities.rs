//! The cluster's authority, and the one that is to take its place, with the file that says how far that is.
//!
//! Everybody who signs or trusts for control asks here: the API, recovery, `flocker user add --local`. It
//! decides only which of the two signs for whom; when a phase is over, [`crate::rotation`] says. Every
//! change is on the disk before it is in force, and a crash in between is made good when it is loaded.

use crate::config::StateDirectory;
use flocker_net::pki::{Authority, AuthorityError, FileError, Role, read_text, write_secret};
use flocker_types::access::{AccessNotice, Revocation, RotationPhase};
use flocker_types::time::UnixMs;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use tokio::sync::watch;

/// The authorities of one cluster.
#[derive(Debug)]
pub struct Authorities {
    files: StateDirectory,
    inner: RwLock<Inner>,
    changed: watch::Sender<()>,
}

struct Inner {
    /// Control shows a certificate of this one.
    current: Arc<Authority>,
    rotation: Option<Rotation>,
}

/// A change of the authority that goes on.
#[derive(Clone)]
pub(crate) struct Rotation {
    pub(crate) phase: RotationPhase,
    pub(crate) begun: UnixMs,
    pub(crate) until: UnixMs,
    /// The identifier of the new one's key.
    pub(crate) new: String,
    /// The identifier of the old one's key.
    pub(crate) old: String,
    /// Until it has taken the old one's place.
    next: Option<Arc<Authority>>,
}

/// What is on the disk of a change that goes on.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Saved {
    phase: RotationPhase,
    begun: UnixMs,
    until: UnixMs,
    new: String,
    old: String,
    /// The new one, until its files are in the place of the old one's.
    next: Option<SavedAuthority>,
}

#[derive(Clone, Serialize, Deserialize)]
struct SavedAuthority {
    certificate: String,
    key: String,
}

// Never the key.
impl std::fmt::Debug for SavedAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SavedAuthority")
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "authority {}", self.current.key_id())
    }
}

/// The authorities cannot be read, or a change of them cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum AuthoritiesError {
    /// One of the two.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The file of the change.
    #[error("the file of the change of the authority cannot be used")]
    File(#[from] FileError),
    /// It is no such file.
    #[error("{} does not say how far the change of the authority is; put it back from a backup", path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// It cannot be removed.
    #[error("cannot remove {}", path.display())]
    Remove {
        /// Which file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
}

/// A change of the authority does not fit how things are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotNow {
    /// One goes on already.
    UnderWay,
    /// None goes on.
    None,
    /// Nodes do not trust the new one yet.
    Introducing,
}

impl Authorities {
    /// Reads them, and finishes what a crash has left half done.
    ///
    /// # Errors
    /// [`AuthoritiesError`] names the file.
    pub fn load(files: &StateDirectory) -> Result<Self, AuthoritiesError> {
        let saved = read_saved(files)?;
        let rotation = match saved {
            None => None,
            Some(saved) => Some(restore(files, saved)?),
        };
        let current = Authority::load(&files.authority_certificate(), &files.authority_key())?;
        Ok(Self {
            files: files.clone(),
            inner: RwLock::new(Inner {
                current: Arc::new(current),
                rotation,
            }),
            changed: watch::Sender::new(()),
        })
    }

    /// Just this one, for tests and fuzzers.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn only(authority: Authority, files: &StateDirectory) -> Self {
        Self {
            files: files.clone(),
            inner: RwLock::new(Inner {
                current: Arc::new(authority),
                rotation: None,
            }),
            changed: watch::Sender::new(()),
        }
    }

    /// The one of which control shows a certificate, and which join tokens name.
    pub fn current(&self) -> Arc<Authority> {
        Arc::clone(&self.read().current)
    }

    /// Who signs for somebody. Control alone looks at users' certificates, and it trusts both; nodes show
    /// theirs to each other, so they take new ones only when all trust the new authority.
    pub fn signer(&self, role: &Role) -> Arc<Authority> {
        let inner = self.read();
        let next = inner.rotation.as_ref().and_then(|rotation| {
            let for_nodes = rotation.phase != RotationPhase::Introducing;
            let new = match role {
                Role::Control => false,
                Role::Node(_) => for_nodes,
                Role::User { .. } => true,
            };
            rotation.next.clone().filter(|_| new)
        });
        next.unwrap_or_else(|| Arc::clone(&inner.current))
    }

    /// The certificates that are to be trusted (PEM), the one of control's own first.
    pub fn trusted_pem(&self) -> String {
        let inner = self.read();
        let next = inner.rotation.as_ref().and_then(|one| one.next.as_ref());
        let next = next.map_or("", |next| next.certificate_pem());
        format!("{}{next}", inner.current.certificate_pem())
    }

    /// Puts control's mark on what nodes are to keep.
    pub(crate) fn mark(&self, notice: &mut AccessNotice) {
        if let AccessNotice::Revoked { revocations } = notice {
            let inner = self.read();
            let newest = inner.rotation.as_ref().and_then(|one| one.next.as_ref());
            let authority = newest.unwrap_or(&inner.current);
            for revocation in revocations {
                revocation.mark = Some(authority.mark(&revocation.marked_text()));
            }
        }
    }

    /// Whether control has once told nodes of this.
    pub(crate) fn has_marked(&self, revocation: &Revocation) -> bool {
        let Some(mark) = &revocation.mark else {
            return false;
        };
        let inner = self.read();
        let next = inner.rotation.as_ref().and_then(|one| one.next.as_ref());
        let mut all = std::iter::once(&inner.current).chain(next);
        all.any(|authority| authority.has_marked(&revocation.marked_text(), mark))
    }

    /// The change that goes on, if one does.
    pub(crate) fn rotation(&self) -> Option<Rotation> {
        self.read().rotation.clone()
    }

    /// Tells when something has changed.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Makes a new authority, which is trusted from now on beside the present one.
    pub(crate) fn begin(
        &self,
        now: UnixMs,
        overlap_ms: u64,
    ) -> Result<Result<(), NotNow>, AuthoritiesError> {
        let current = self.current();
        if self.rotation().is_some() {
            return Ok(Err(NotNow::UnderWay));
        }
        let next = Authority::create(current.cluster())?;
        let rotation = Rotation {
            phase: RotationPhase::Introducing,
            begun: now,
            until: UnixMs(now.0.saturating_add(overlap_ms)),
            new: next.key_id(),
            old: current.key_id(),
            next: Some(Arc::new(next)),
        };
        save(&self.files, &rotation)?;
        self.put(current, Some(rotation));
        Ok(Ok(()))
    }

    /// All nodes trust the new one: they get its certificates.
    pub(crate) fn issue(&self) -> Result<(), AuthoritiesError> {
        let Some(rotation) = self.rotation() else {
            return Ok(());
        };
        let rotation = Rotation {
            phase: RotationPhase::Issuing,
            ..rotation
        };
        save(&self.files, &rotation)?;
        self.put(self.current(), Some(rotation));
        Ok(())
    }

    /// The new one takes the place of the old one, whose key is gone after that.
    pub(crate) fn drop_old(&self) -> Result<Result<(), NotNow>, AuthoritiesError> {
        let Some(rotation) = self.rotation() else {
            return Ok(Err(NotNow::None));
        };
        let next = match (rotation.phase, &rotation.next) {
            (RotationPhase::Introducing, _) => return Ok(Err(NotNow::Introducing)),
            (RotationPhase::Issuing, Some(next)) => Arc::clone(next),
            (RotationPhase::Issuing | RotationPhase::Dropping, _) => return Ok(Err(NotNow::None)),
        };
        let mut rotation = Rotation {
            phase: RotationPhase::Dropping,
            ..rotation
        };
        save(&self.files, &rotation)?;
        replace_files(&self.files, &next, &mut rotation)?;
        self.put(next, Some(rotation));
        Ok(Ok(()))
    }

    /// Nobody trusts the old one any more.
    pub(crate) fn end(&self) -> Result<(), AuthoritiesError> {
        let path = self.files.rotation();
        std::fs::remove_file(&path).map_err(|source| AuthoritiesError::Remove { path, source })?;
        self.put(self.current(), None);
        Ok(())
    }

    fn put(&self, current: Arc<Authority>, rotation: Option<Rotation>) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        *inner = Inner { current, rotation };
        drop(inner);
        self.changed.send_replace(());
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        // It is replaced as a whole, so a panic leaves it whole.
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_saved(files: &StateDirectory) -> Result<Option<Saved>, AuthoritiesError> {
    let path = files.rotation();
    let text = match read_text(&path) {
        Ok(text) => text,
        Err(FileError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let saved = serde_json::from_str(&text);
    saved
        .map(Some)
        .map_err(|source| AuthoritiesError::Format { path, source })
}

fn restore(files: &StateDirectory, saved: Saved) -> Result<Rotation, AuthoritiesError> {
    let next = match &saved.next {
        Some(next) => Some(Arc::new(Authority::from_pem(&next.certificate, &next.key)?)),
        None => None,
    };
    let mut rotation = Rotation {
        phase: saved.phase,
        begun: saved.begun,
        until: saved.until,
        new: saved.new,
        old: saved.old,
        next,
    };
    // Killed between the decision to drop the old one and its end.
    if let (RotationPhase::Dropping, Some(next)) = (rotation.phase, rotation.next.clone()) {
        replace_files(files, &next, &mut rotation)?;
    }
    Ok(rotation)
}

/// Puts the new authority's files in the place of the old one's, then forgets the copy of its key.
fn replace_files(
    files: &StateDirectory,
    next: &Authority,
    rotation: &mut Rotation,
) -> Result<(), AuthoritiesError> {
    next.save(&files.authority_certificate(), &files.authority_key())?;
    rotation.next = None;
    save(files, rotation)
}

fn save(files: &StateDirectory, rotation: &Rotation) -> Result<(), AuthoritiesError> {
    let path = files.rotation();
    let saved = Saved {
        phase: rotation.phase,
        begun: rotation.begun,
        until: rotation.until,
        new: rotation.new.clone(),
        old: rotation.old.clone(),
        next: rotation.next.as_ref().map(|next| SavedAuthority {
            certificate: next.certificate_pem().to_owned(),
            key: next.key_pem(),
        }),
    };
    let text = serde_json::to_string(&saved).map_err(|source| AuthoritiesError::Format {
        path: path.clone(),
        source,
    })?;
    Ok(write_secret(&path, &text)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flocker_types::access::UserRole;
    use flocker_types::ids::{ClusterId, NodeId};
    use uuid::Uuid;

    fn roles() -> [Role; 3] {
        let user = Role::User {
            name: "ann".to_owned(),
            role: UserRole::Viewer,
        };
        [Role::Control, Role::Node(NodeId(Uuid::from_u128(1))), user]
    }

    /// Who signs, and whether both are trusted.
    fn signers(authorities: &Authorities) -> ([String; 3], usize) {
        let signers = roles().map(|role| authorities.signer(&role).key_id());
        let trusted = authorities
            .trusted_pem()
            .matches("BEGIN CERTIFICATE")
            .count();
        (signers, trusted)
    }

    fn made(directory: &tempfile::TempDir) -> (StateDirectory, String) {
        let files = StateDirectory::new(directory.path());
        let old = Authority::create(ClusterId(Uuid::from_u128(9))).unwrap();
        old.save(&files.authority_certificate(), &files.authority_key())
            .unwrap();
        (files, old.key_id())
    }

    #[test]
    fn each_phase_signs_as_it_should_and_is_found_again_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let (files, old) = made(&directory);
        let load = || Authorities::load(&files).unwrap();
        assert_eq!(signers(&load()), ([&old, &old, &old].map(String::clone), 1));
        assert_eq!(load().drop_old().unwrap(), Err(NotNow::None));
        load().begin(UnixMs(5), 10).unwrap().unwrap();
        let new = load().rotation().unwrap().new;
        assert_eq!(load().rotation().unwrap().until, UnixMs(15));
        assert_eq!(load().begin(UnixMs(6), 10).unwrap(), Err(NotNow::UnderWay));
        assert_eq!(load().drop_old().unwrap(), Err(NotNow::Introducing));
        assert_eq!(signers(&load()), ([&old, &old, &new].map(String::clone), 2));
        load().issue().unwrap();
        assert_eq!(signers(&load()), ([&old, &new, &new].map(String::clone), 2));
        load().drop_old().unwrap().unwrap();
        assert_eq!(signers(&load()), ([&new, &new, &new].map(String::clone), 1));
        assert_eq!(load().drop_old().unwrap(), Err(NotNow::None));
        let text = std::fs::read_to_string(files.rotation()).unwrap();
        assert!(!text.contains("PRIVATE KEY"), "{text}");
        load().end().unwrap();
        assert!(load().rotation().is_none());
        assert_eq!(load().current().key_id(), new);
    }

    /// The files of an authority are two; a crash may come between them, or before or after.
    #[test]
    fn a_crash_while_the_old_one_is_dropped_is_made_good() {
        for cut in 0..3 {
            let directory = tempfile::tempdir().unwrap();
            let (files, _) = made(&directory);
            let authorities = Authorities::load(&files).unwrap();
            authorities.begin(UnixMs(5), 10).unwrap().unwrap();
            authorities.issue().unwrap();
            let rotation = authorities.rotation().unwrap();
            let next = rotation.next.clone().unwrap();
            let dropping = Rotation {
                phase: RotationPhase::Dropping,
                ..rotation.clone()
            };
            save(&files, &dropping).unwrap();
            if cut > 0 {
                write_secret(&files.authority_key(), &next.key_pem()).unwrap();
            }
            if cut > 1 {
                write_secret(&files.authority_certificate(), next.certificate_pem()).unwrap();
            }
            let again = Authorities::load(&files).unwrap();
            assert_eq!(again.current().key_id(), rotation.new, "cut {cut}");
            assert_eq!(again.rotation().unwrap().phase, RotationPhase::Dropping);
            assert_eq!(signers(&again).1, 1);
        }
    }
}
