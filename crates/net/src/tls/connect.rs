//! Opening TLS connections to members of the cluster.
//!
//! Agents use it for volume streams, the link and the API client for control, and `flocker join`
//! for the one connection that is made before there are credentials.

use super::error::TlsError;
use super::verify::IdentityVerifier;
use super::{Credentials, Expect, provider};
use crate::pki::{DNS_NAME, Fingerprint, MemberCertificate};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::sign::SingleCertAndKey;
use rustls_pki_types::ServerName;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long connecting may take, TCP and TLS together, in milliseconds.
pub const CONNECT_MS_MAX: u64 = 5_000;

/// How to connect.
#[derive(Debug, Clone, Copy)]
pub struct ConnectOptions<'a> {
    /// Protocols that we offer (ALPN), best first; empty for none.
    pub alpn: &'a [&'a [u8]],
    /// How long it may take, TCP and TLS together, in milliseconds.
    pub connect_ms_max: u64,
}

impl Default for ConnectOptions<'_> {
    fn default() -> Self {
        Self {
            alpn: &[],
            connect_ms_max: CONNECT_MS_MAX,
        }
    }
}

/// Connects to a member of our cluster and shows it our certificate.
///
/// That the peer accepts our certificate is known only when the first byte comes back.
///
/// # Errors
/// [`TlsError`] says what is wrong, [`TlsError::hint`] what to do.
pub async fn connect(
    peer: SocketAddr,
    credentials: &Credentials,
    expect: &Expect,
    options: ConnectOptions<'_>,
) -> Result<TlsStream<TcpStream>, TlsError> {
    let verifier = IdentityVerifier::member(credentials, expect);
    let own = SingleCertAndKey::from(credentials.certified_key());
    handshake(peer, verifier, Some(own), options).await
}

/// Connects to control of the cluster whose authority has this fingerprint, without a certificate.
///
/// # Errors
/// [`TlsError`] says what is wrong, [`TlsError::hint`] what to do.
pub async fn connect_pinned(
    peer: SocketAddr,
    authority: Fingerprint,
    options: ConnectOptions<'_>,
) -> Result<TlsStream<TcpStream>, TlsError> {
    handshake(peer, IdentityVerifier::pinned(authority), None, options).await
}

/// The certificate that the other end of a connection of ours has shown; none only for one that is not of
/// a member.
pub fn peer_certificate(stream: &TlsStream<TcpStream>) -> Option<MemberCertificate> {
    let shown = stream.get_ref().1.peer_certificates()?;
    MemberCertificate::read(shown.first()?).ok()
}

async fn handshake(
    peer: SocketAddr,
    verifier: IdentityVerifier,
    own: Option<SingleCertAndKey>,
    options: ConnectOptions<'_>,
) -> Result<TlsStream<TcpStream>, TlsError> {
    let config = client_config(verifier, own, options.alpn)?;
    let deadline = Instant::now() + Duration::from_millis(options.connect_ms_max);
    let late = |phase| TlsError::Timeout {
        peer,
        phase,
        limit_ms: options.connect_ms_max,
    };
    let refused = |source| TlsError::Connect { peer, source };
    let stream = timeout_at(deadline, TcpStream::connect(peer))
        .await
        .map_err(|_| late("connecting"))?
        .map_err(refused)?;
    // Small messages go out at once; whoever sends much fills the segments anyway.
    stream.set_nodelay(true).map_err(refused)?;
    let name = ServerName::try_from(DNS_NAME).expect("the constant is a valid DNS name");
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
    // Boxed: a handshake's state is large, and callers should not carry it about.
    timeout_at(deadline, Box::pin(connecting))
        .await
        .map_err(|_| late("agreeing on TLS"))?
        .map_err(|source| TlsError::from_handshake(peer, source))
}

fn client_config(
    verifier: IdentityVerifier,
    own: Option<SingleCertAndKey>,
    alpn: &[&[u8]],
) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match own {
        Some(own) => builder.with_client_cert_resolver(Arc::new(own)),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    // Each connection has a configuration of its own, so there is nothing to resume.
    config.resumption = Resumption::disabled();
    Ok(config)
}
