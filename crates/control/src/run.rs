//! Control as a process: open the state, listen, run the loop, end in good order.
//!
//! `flocker control` calls [`run`]. It retries nothing: whatever ends it is returned, and systemd
//! starts it again.

use crate::api::{self, Api, ClusterFacts, Office};
use crate::audit::{AuditError, AuditLog};
use crate::authorities::{Authorities, AuthoritiesError};
use crate::certificates::Certificates;
use crate::config::{ControlConfig, StateDirectory};
use crate::init::{InitError, issue_for_control};
use crate::rotation::Turning;
use crate::shell::{KeepError, Keeper, LoadError, Shell, wall_clock};
use flocker_core::cluster::State;
use flocker_core::control::Control;
use flocker_net::pki::{NoRandomness, Sealer};
use flocker_net::renewal::{Turn, is_due, look_ms};
use flocker_net::serve::serve_tls;
use flocker_net::tls::{
    ALPN_HTTP1, ALPN_HTTP2, ClientCertificates, Credentials, TlsError, server_config,
};
use flocker_store::{RedbStore, StateStore, StoreError};
use flocker_types::ids::{ClusterId, NodeId};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Why control did not start, or does not run any more.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The store cannot be opened.
    #[error("control's state store is not usable")]
    Store(#[from] StoreError),
    /// The state cannot be read.
    #[error("control cannot start from its state store")]
    Load(#[from] LoadError),
    /// The state cannot be written any more. Starting again reads what is durable.
    #[error("control stops, before anything that is not durable has left it")]
    Keep(#[from] KeepError),
    /// The authority's files.
    #[error("the cluster's authority is not usable")]
    Authority(#[from] AuthoritiesError),
    /// Control's own certificate.
    #[error("control has no certificate")]
    Certificate(#[source] Box<InitError>),
    /// Nothing could be written down that is asked for.
    #[error("control does not start without its audit log")]
    Audit(#[from] AuditError),
    /// No key for what it seals. Trying again may help.
    #[error("control could not make a key")]
    Key(#[from] NoRandomness),
    /// TLS.
    #[error("control cannot serve TLS")]
    Tls(#[from] TlsError),
    /// Files of two clusters are mixed. Trying again does not help.
    #[error(
        "the authority in the state directory is that of cluster {authority}, but the state is that \
         of cluster {state}; restore both from the same backup"
    )]
    OtherCluster {
        /// Of the authority.
        authority: ClusterId,
        /// Of the state.
        state: ClusterId,
    },
    /// The node is none of the cluster's. Trying again does not help.
    #[error(
        "control shall run on node {node}, which is none of its cluster's; give the id of this \
         server's node, or an address to advertise"
    )]
    UnknownNode {
        /// Which.
        node: NodeId,
    },
    /// The port cannot be had.
    #[error("control cannot listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The loop ended by a mistake of ours.
    #[error("control's loop broke; this is a mistake in flocker, please report it")]
    Broken(#[source] tokio::task::JoinError),
}

/// Control with its port open and its state read, not yet running.
pub struct Bound {
    config: ControlConfig,
    listener: TcpListener,
    address: SocketAddr,
    authorities: Arc<Authorities>,
    credentials: Credentials,
    audit: AuditLog,
    sealer: Sealer,
    keeper: Keeper,
    state: State,
}

/// Runs control until `shutdown`, or until its state cannot be made durable.
///
/// # Errors
/// [`ControlError`]; the process should end with it.
pub async fn run(config: ControlConfig, shutdown: CancellationToken) -> Result<(), ControlError> {
    let bound = Bound::open(config).await?;
    bound.run(shutdown).await
}

impl Bound {
    /// Reads the state and opens the port.
    ///
    /// # Errors
    /// [`ControlError`] says which part is not as it should be.
    pub async fn open(config: ControlConfig) -> Result<Self, ControlError> {
        let files = StateDirectory::new(&config.state_dir);
        let store = RedbStore::open(&files.store())?;
        Self::open_with(config, Box::new(store)).await
    }

    /// As [`Bound::open`], with a store of the caller's.
    ///
    /// # Errors
    /// See [`Bound::open`].
    pub async fn open_with(
        config: ControlConfig,
        store: Box<dyn StateStore>,
    ) -> Result<Self, ControlError> {
        let files = StateDirectory::new(&config.state_dir);
        let (keeper, state) = Keeper::load(store)?;
        let authorities = Authorities::load(&files)?;
        let authority = authorities.current();
        if authority.cluster() != state.meta.cluster {
            return Err(ControlError::OtherCluster {
                authority: authority.cluster(),
                state: state.meta.cluster,
            });
        }
        // At each start; `keep_own` sees to it afterwards.
        let (trusted, validity) = (authorities.trusted_pem(), config.certificate_validity);
        let credentials = issue_for_control(&authority, &trusted, &files, validity)
            .map_err(|error| ControlError::Certificate(Box::new(error)))?;
        let revoked: Vec<_> = state.revocations.values().cloned().collect();
        credentials.revocations().add(&revoked);
        let audit = AuditLog::open(&files.audit())?;
        let sealer = Sealer::create()?;
        let listen_error = |source| ControlError::Listen {
            address: config.api_listen,
            source,
        };
        let listener = TcpListener::bind(config.api_listen)
            .await
            .map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        Ok(Self {
            config,
            listener,
            address,
            authorities: Arc::new(authorities),
            credentials,
            audit,
            sealer,
            keeper,
            state,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Runs until `shutdown`, or until the state cannot be made durable.
    ///
    /// # Errors
    /// [`ControlError`]; the process should end with it.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), ControlError> {
        let facts = self.facts()?;
        let (control, cluster) = (facts.control, facts.cluster);
        let tls = server_config(
            &self.credentials,
            ClientCertificates::Optional,
            &[ALPN_HTTP2, ALPN_HTTP1],
        )?;
        let stop = shutdown.child_token();
        let core = Control::new(self.state).with_limits(self.config.operation);
        let (shell, handle) = Shell::new(Box::new(core), self.keeper);
        let shell = shell.marking(Arc::clone(&self.authorities));
        let files = StateDirectory::new(&self.config.state_dir);
        let validity = self.config.certificate_validity;
        let certificates = Certificates::open(files.certificates(), cluster);
        let turning = Turning {
            handle: handle.clone(),
            authorities: Arc::clone(&self.authorities),
            certificates: certificates.clone(),
            revocations: self.credentials.revocations().clone(),
        };
        let keeping = keep_own(
            self.credentials.clone(),
            Arc::clone(&self.authorities),
            files,
            validity,
        );
        let keeping = async { tokio::join!(keeping, turning.run()) };
        let keeping = tokio::spawn(stop.clone().run_until_cancelled_owned(keeping));
        let office = Office {
            authorities: self.authorities,
            certificates,
            credentials: self.credentials,
            validity,
            sealer: self.sealer,
            audit: self.audit,
        };
        let api = Api::new(handle, office, facts, self.config.link, stop.clone());
        #[cfg(feature = "test-halt")]
        let shell = shell.halting(crate::shell::Halt::new(self.config.state_dir.join("halt")));
        let mut looping = shell.spawn(stop.clone());
        let serving = tokio::spawn(serve_tls(
            self.listener,
            tls,
            api::router(api),
            self.config.serve,
            stop.clone(),
        ));
        tracing::info!(%cluster, %control, listen = %self.address, "control runs");
        let ended = (&mut looping).await;
        // With the loop gone nobody answers any more, whatever the reason.
        stop.cancel();
        serving.await.map_err(ControlError::Broken)?;
        keeping.await.map_err(ControlError::Broken)?;
        ended.map_err(ControlError::Broken)??;
        tracing::info!("control has stopped");
        Ok(())
    }

    fn facts(&self) -> Result<ClusterFacts, ControlError> {
        let control = match (self.config.advertise, self.address.ip()) {
            (Some(address), _) => address,
            (None, ip) if !ip.is_unspecified() => self.address,
            (None, _) => {
                let node = self.config.node;
                let record = self.state.nodes.get(&node);
                let record = record.ok_or(ControlError::UnknownNode { node })?;
                SocketAddr::new(IpAddr::V4(record.address), self.address.port())
            }
        };
        let meta = &self.state.meta;
        Ok(ClusterFacts {
            cluster: meta.cluster,
            control,
            service_network: meta.service_network.to_string(),
            container_network: meta.container_network.to_string(),
            state_dir: self.config.state_dir.clone(),
        })
    }
}

/// Gives control a new key and certificate in time, and when the authority changes, for ever. Connections
/// that are open keep the old one.
async fn keep_own(
    credentials: Credentials,
    authorities: Arc<Authorities>,
    files: StateDirectory,
    validity: Duration,
) {
    let mut changes = authorities.changes();
    let mut owed = false;
    loop {
        let present = credentials.certificate();
        let pause = Duration::from_millis(look_ms(&present));
        owed |= tokio::time::timeout(pause, changes.changed()).await.is_ok();
        if !owed && !is_due(&present, wall_clock(), Turn::First) {
            continue;
        }
        let (current, trusted) = (authorities.current(), authorities.trusted_pem());
        let newer = issue_for_control(&current, &trusted, &files, validity)
            .and_then(|newer| Ok(credentials.replace(&newer)?));
        match newer {
            Ok(()) => {
                owed = false;
                tracing::info!("control has renewed its certificate");
            }
            Err(error) => tracing::error!(%error, "control has not renewed its certificate"),
        }
    }
}
