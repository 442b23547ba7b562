//! The cluster's certificate authority, the identities it vouches for, and join tokens.
//!
//! `flocker init` and control create and use the authority; every process reads identities out of
//! its peers' certificates. It opens no connection: [`crate::tls`] does.

mod authority;
mod certificate;
mod files;
mod identity;
mod seal;
mod token;

pub(crate) use authority::authority_cluster;
pub use authority::{
    Authority, AuthorityError, CLOCK_SKEW_MAX, Issued, KeyAndRequest, NODE_VALIDITY, USER_VALIDITY,
    key_and_request,
};
pub use certificate::MemberCertificate;
pub(crate) use certificate::authority_key_id;
pub use files::{FileError, read_text, write_secret};
pub use identity::{
    DNS_NAME, Identity, InvalidIdentity, Role, USER_NAME_BYTES_MAX, check_user_name,
};
pub use seal::{NotOurSeal, Sealer};
pub use token::{
    Fingerprint, InvalidToken, JoinToken, TokenProof, TokenRecord, TokenRefused, fingerprint,
};

use ring::rand::{SecureRandom, SystemRandom};

/// The kernel gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the kernel's random number generator failed")]
pub struct NoRandomness;

/// Random bytes for secrets and serial numbers, from the kernel.
pub(crate) fn random_bytes<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| NoRandomness)?;
    Ok(bytes)
}
