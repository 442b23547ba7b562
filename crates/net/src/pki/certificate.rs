//! What a member's certificate says beyond whom it speaks for: its number and its time.
//!
//! Revocation, renewal and the warnings before its end go by it. It verifies nothing: TLS has.

use super::authority::CLOCK_SKEW_MAX;
use super::identity::{Identity, InvalidIdentity};
use flocker_types::time::UnixMs;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A certificate of a member, as its peers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberCertificate {
    /// Whom it speaks for.
    pub identity: Identity,
    /// Its number, in hexadecimal digits; no other certificate of the authority has it.
    pub serial: String,
    /// When it was issued, by control's clock, to the second.
    pub issued: UnixMs,
    /// Until when it is good.
    pub expires: UnixMs,
    /// The identifier of the key of the authority that has issued it.
    pub issuer: String,
}

impl MemberCertificate {
    /// Reads a certificate.
    ///
    /// # Errors
    /// [`InvalidIdentity`] unless it is one of a member.
    pub fn read(certificate: &CertificateDer<'_>) -> Result<Self, InvalidIdentity> {
        let identity = Identity::from_certificate(certificate)?;
        let (serial, expires) = serial_and_end(certificate)?;
        let (_, parsed) =
            X509Certificate::from_der(certificate).map_err(|_| InvalidIdentity::Unreadable)?;
        // Certificates are good from a while before they are issued; see `CLOCK_SKEW_MAX`.
        let skew_s = CLOCK_SKEW_MAX.as_secs();
        let begins_s = u64::try_from(parsed.validity().not_before.timestamp()).unwrap_or_default();
        Ok(Self {
            identity,
            serial,
            issued: UnixMs(begins_s.saturating_add(skew_s).saturating_mul(1_000)),
            expires,
            issuer: key_id(&parsed, WhoseKey::Issuers),
        })
    }

    /// As [`MemberCertificate::read`], from PEM.
    ///
    /// # Errors
    /// See [`MemberCertificate::read`].
    pub fn from_pem(certificate_pem: &str) -> Result<Self, InvalidIdentity> {
        let der = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|_| InvalidIdentity::Unreadable)?;
        Self::read(&der)
    }

    /// Of its time, in milliseconds, how much is left at `now`.
    pub fn left_ms(&self, now: UnixMs) -> u64 {
        self.expires.0.saturating_sub(now.0)
    }

    /// For how long it was issued, in milliseconds.
    pub fn validity_ms(&self) -> u64 {
        self.expires.0.saturating_sub(self.issued.0)
    }
}

/// Of which key a certificate says the identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WhoseKey {
    Own,
    Issuers,
}

/// The identifier of a key, in hexadecimal digits; empty in a certificate that does not say it. It proves
/// nothing: whose certificate it is, TLS has verified.
fn key_id(certificate: &X509Certificate<'_>, whose: WhoseKey) -> String {
    let said = |extension: &ParsedExtension<'_>| match (extension, whose) {
        (ParsedExtension::SubjectKeyIdentifier(id), WhoseKey::Own) => Some(hexadecimal(id.0)),
        (ParsedExtension::AuthorityKeyIdentifier(id), WhoseKey::Issuers) => {
            id.key_identifier.as_ref().map(|id| hexadecimal(id.0))
        }
        _ => None,
    };
    let mut extensions = certificate.extensions().iter();
    let found = extensions.find_map(|extension| said(extension.parsed_extension()));
    found.unwrap_or_default()
}

/// The identifier of an authority's own key.
pub(crate) fn authority_key_id(authority: &CertificateDer<'_>) -> String {
    let parsed = X509Certificate::from_der(authority);
    parsed.map_or_else(
        |_| String::new(),
        |(_, parsed)| key_id(&parsed, WhoseKey::Own),
    )
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digits = |text: String, byte: &u8| text + &format!("{byte:02x}");
    bytes.iter().fold(String::new(), digits)
}

/// The number of a certificate, and the end of its time.
pub(super) fn serial_and_end(
    certificate: &CertificateDer<'_>,
) -> Result<(String, UnixMs), InvalidIdentity> {
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|_| InvalidIdentity::Unreadable)?;
    let serial = hexadecimal(parsed.raw_serial());
    let ends_s = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or_default();
    Ok((serial, UnixMs(ends_s.saturating_mul(1_000))))
}

#[cfg(test)]
mod tests {
    use super::super::{Authority, Role};
    use super::*;
    use flocker_types::ids::{ClusterId, NodeId};
    use std::time::{Duration, SystemTime, UNIX_EPOCH};
    use uuid::Uuid;

    #[test]
    fn a_certificate_says_when_it_was_issued_and_ends() {
        let cluster = ClusterId(Uuid::from_u128(1));
        let role = Role::Node(NodeId(Uuid::from_u128(2)));
        let identity = Identity { cluster, role };
        let authority = Authority::create(cluster).unwrap();
        let now = UNIX_EPOCH + Duration::from_millis(1_700_000_000_250);
        let read = |now: SystemTime| {
            let issued = authority.issue_at(&identity, Duration::from_secs(60), now);
            MemberCertificate::from_pem(&issued.unwrap().certificate_pem).unwrap()
        };
        let (first, second) = (read(now), read(now));
        assert_eq!(first.identity, identity);
        assert_eq!(first.issued, UnixMs(1_700_000_000_000));
        assert_eq!(first.validity_ms(), 60_000);
        assert_eq!(first.left_ms(UnixMs(1_700_000_059_000)), 1_000);
        assert_eq!(first.left_ms(UnixMs(1_800_000_000_000)), 0);
        assert_eq!(first.serial.len(), 32);
        assert_eq!(first.issuer, authority.key_id());
        assert!(first.issuer.len() >= 40, "{}", first.issuer);
        assert_ne!(
            authority.key_id(),
            Authority::create(cluster).unwrap().key_id()
        );
        assert_ne!(first.serial, second.serial);
    }
}
