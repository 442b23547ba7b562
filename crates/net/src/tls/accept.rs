//! Accepting TLS connections from members of the cluster.
//!
//! Agents use it for volume streams, [`crate::serve`] for control's API. It says who the peer is;
//! whether that peer may come in is for its callers.

use super::error::{PeerRefusal, TlsError};
use super::verify::LiveClients;
use super::{Credentials, Revocations, provider};
use crate::pki::MemberCertificate;
use rustls::ServerConfig;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How long a handshake may take, in milliseconds.
pub const HANDSHAKE_MS_MAX: u64 = 5_000;

/// A client that was refused has this long to hear why, in milliseconds.
const PART_MS_MAX: u64 = 1_000;
/// What a refused client may have sent meanwhile and is read for that, in bytes.
const PART_BYTES_MAX: u64 = 64 * 1024;

/// Whether clients have to show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They have to, one of our cluster that is not revoked.
    Required,
    /// They may come without, to join. One that they show must be of our cluster. One that is revoked is
    /// let in, to hear why it is refused: whoever serves has to ask [`ServerTls::revocations`].
    Optional,
}

/// What [`accept`] needs: made once, it follows the credentials when those are replaced.
#[derive(Debug, Clone)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    revocations: Revocations,
}

impl ServerTls {
    /// What is revoked.
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }
}

/// Shows whatever certificate the credentials have at this moment.
#[derive(Debug)]
struct LiveCertificate(Credentials);

impl ResolvesServerCert for LiveCertificate {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.certified_key())
    }
}

/// A configuration for [`accept`].
///
/// # Errors
/// [`TlsError::Setup`] if TLS cannot be set up.
pub fn server_config(
    credentials: &Credentials,
    clients: ClientCertificates,
    alpn: &[&[u8]],
) -> Result<ServerTls, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(LiveClients::new(credentials.clone(), clients)))
        .with_cert_resolver(Arc::new(LiveCertificate(credentials.clone())));
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    // Our clients do not resume sessions, so no tickets are sent and none are kept.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(ServerTls {
        config: Arc::new(config),
        revocations: credentials.revocations().clone(),
    })
}

/// Does the handshake on a connection that was accepted, and says who is there. `None` only with
/// [`ClientCertificates::Optional`].
///
/// # Errors
/// [`TlsError`] says what is wrong with the peer.
pub async fn accept(
    stream: TcpStream,
    peer: SocketAddr,
    tls: &ServerTls,
    handshake_ms_max: u64,
) -> Result<(TlsStream<TcpStream>, Option<MemberCertificate>), TlsError> {
    stream
        .set_nodelay(true)
        .map_err(|source| TlsError::Handshake { peer, source })?;
    let accepting = TlsAcceptor::from(Arc::clone(&tls.config)).accept(stream);
    // Boxed: a handshake's state is large, and callers should not carry it about.
    let accepting = Box::pin(accepting.into_fallible());
    let stream = timeout(Duration::from_millis(handshake_ms_max), accepting)
        .await
        .map_err(|_| TlsError::Timeout {
            peer,
            phase: "agreeing on TLS",
            limit_ms: handshake_ms_max,
        })?
        .map_err(|(source, stream)| {
            tokio::spawn(part(stream));
            TlsError::from_handshake(peer, source)
        })?;
    let certificate = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(<[_]>::first);
    let certificate = certificate
        .map(MemberCertificate::read)
        .transpose()
        .map_err(|error| TlsError::Refused {
            peer,
            refusal: PeerRefusal::NoIdentity(error),
        })?;
    Ok((stream, certificate))
}

/// Closes the connection of a client that was refused so that it hears why. It may have sent
/// something already; closing with that unread would make the kernel reset the connection, and the
/// alert could be lost with it.
async fn part(mut stream: TcpStream) {
    let parting = async {
        stream.shutdown().await?;
        let mut unread = stream.take(PART_BYTES_MAX);
        tokio::io::copy(&mut unread, &mut tokio::io::sink()).await
    };
    // However it ends, there is nobody left to tell.
    let _ = timeout(Duration::from_millis(PART_MS_MAX), parting).await;
}
