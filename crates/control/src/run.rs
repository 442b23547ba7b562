//! Control as a process: open the state, listen, run the loop, end in good order.
//!
//! `flocker control` calls [`run`]. It retries nothing: whatever ends it is returned, and systemd
//! starts it again.

use crate::api::{self, Api, ClusterFacts};
use crate::config::{ControlConfig, StateDirectory};
use crate::init::{InitError, issue_for_control};
use crate::shell::{KeepError, Keeper, LoadError, Shell};
use flocker_core::cluster::State;
use flocker_core::control::Control;
use flocker_net::pki::{Authority, AuthorityError};
use flocker_net::serve::serve_tls;
use flocker_net::tls::{
    ALPN_HTTP1, ALPN_HTTP2, ClientCertificates, Credentials, TlsError, server_config,
};
use flocker_store::{RedbStore, StateStore, StoreError};
use flocker_types::ids::{ClusterId, NodeId};
use std::net::{IpAddr, SocketAddr};
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
    Authority(#[from] AuthorityError),
    /// Control's own certificate.
    #[error("control has no certificate")]
    Certificate(#[source] Box<InitError>),
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
    authority: Authority,
    credentials: Credentials,
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
        let authority = Authority::load(&files.authority_certificate(), &files.authority_key())?;
        if authority.cluster() != state.meta.cluster {
            return Err(ControlError::OtherCluster {
                authority: authority.cluster(),
                state: state.meta.cluster,
            });
        }
        // At each start, so that it never runs out for want of somebody to renew it.
        let credentials = issue_for_control(&authority, &files)
            .map_err(|error| ControlError::Certificate(Box::new(error)))?;
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
            authority,
            credentials,
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
        let (shell, handle) = Shell::new(Box::new(Control::new(self.state)), self.keeper);
        let api = Api::new(
            handle,
            self.authority,
            facts,
            self.config.link,
            stop.clone(),
        );
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
        })
    }
}
