//! Making control's store again: from the nodes alone, or from a backup that the nodes correct.
//!
//! `flocker recover` and `flocker control restore` use it in the place of a running control, on its
//! port and with its store locked, so that no second one can run meanwhile. What the state becomes is
//! decided by [`flocker_core::recover`]. Until [`Recovery::write`] nothing is changed anywhere.

mod files;
mod gate;

pub(crate) use gate::Gate;

use crate::api::recovering;
use crate::authorities::{Authorities, AuthoritiesError};
use crate::config::{ControlConfig, StateDirectory};
use crate::init::{InitError, issue_for_control};
use crate::shell::{KeepError, wall_clock};
use files::Place;
use flocker_core::cluster::{MetaRecord, Network, State};
use flocker_core::recover::{Attendance, Conflict, Evidence, NodeEvidence, Recovered, recover};
use flocker_net::pki::MemberCertificate;
use flocker_net::serve::serve_tls;
use flocker_net::tls::{
    ALPN_HTTP1, ALPN_HTTP2, ClientCertificates, Revocations, TlsError, server_config,
};
use flocker_store::StoreError;
use flocker_types::ids::{ClusterId, Generation, NodeId, VolumeId};
use gate::Arrival;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// Arrivals that may wait.
const ARRIVALS_MAX: usize = 64;
/// When every agent has come, their proxies are waited for this long, in milliseconds.
const PROXIES_MS_MAX: u64 = 5_000;

/// What is to be made again.
#[derive(Debug)]
pub struct RecoveryRequest {
    /// How control runs here.
    pub config: ControlConfig,
    /// The cluster, as this server's own file has it.
    pub cluster: ClusterId,
    /// Addresses of services.
    pub service_network: Network,
    /// Addresses of containers.
    pub container_network: Network,
    /// What the nodes are to correct.
    pub base: RecoveryBase,
}

/// From what a recovery sets out.
#[derive(Debug)]
pub enum RecoveryBase {
    /// From what the store still has; from nothing when it is gone or damaged.
    Store,
    /// From a backup.
    Backup {
        /// What is in it.
        state: Box<State>,
        /// What is done with a store that is there.
        existing: ExistingStore,
    },
}

/// What becomes of a store that a backup is to replace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExistingStore {
    /// It is not to be replaced.
    Refuse,
    /// It is set aside.
    SetAside,
}

/// Who has to come.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// These nodes, by name; those of the base always.
    pub names: BTreeSet<String>,
    /// So many.
    pub count: Option<usize>,
    /// Not these, although they are known.
    pub without: BTreeSet<String>,
}

/// Why a store is not made again.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The store cannot be had.
    #[error("control's state store cannot be used")]
    Store(#[from] StoreError),
    /// There is one already.
    #[error("there is a store already: {}; nothing was written", path.display())]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// A file cannot be moved or made.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// Another cluster's.
    #[error("{what} is of cluster {found}, and this server is of cluster {cluster}")]
    OtherCluster {
        /// What does not fit.
        what: &'static str,
        /// Of which cluster it is.
        found: ClusterId,
        /// The server's own.
        cluster: ClusterId,
    },
    /// The authority.
    #[error(
        "the cluster's authority is not usable; without it no node believes control. Put its files \
         back from a backup that holds them (flocker control restore)"
    )]
    Authority(#[from] AuthoritiesError),
    /// Control's certificate.
    #[error("control has no certificate")]
    Certificate(#[source] Box<InitError>),
    /// TLS.
    #[error("control cannot serve TLS")]
    Tls(#[from] TlsError),
    /// The port cannot be had.
    #[error("cannot listen on {address}, where the nodes look for control")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The new store cannot be written.
    #[error("the new store cannot be written; the old one is as it was")]
    Keep(#[from] KeepError),
}

/// What came of waiting for the nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gathered {
    /// The nodes that have come, by name.
    pub nodes: BTreeSet<String>,
    /// Those that have to come and have not.
    pub missing: BTreeSet<String>,
    /// Nodes that came and could not be understood, with the reason.
    pub troubles: BTreeMap<String, String>,
    /// Whether there are as many as were asked for.
    pub enough: bool,
}

/// A store that is being made again.
pub struct Recovery {
    request: RecoveryRequest,
    authorities: Authorities,
    /// What is revoked, as far as is known by now.
    revocations: Revocations,
    place: Place,
    base: Option<State>,
    nodes: BTreeMap<NodeId, NodeEvidence>,
    /// What each agent has shown.
    certificates: BTreeMap<NodeId, MemberCertificate>,
    tunnels: BTreeMap<NodeId, SocketAddr>,
    troubles: BTreeMap<NodeId, String>,
    arrivals: mpsc::Receiver<Arrival>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Recovery {
    /// Takes control's place: its store and its port.
    ///
    /// # Errors
    /// [`RecoveryError`]; control may be running.
    pub async fn open(request: RecoveryRequest) -> Result<Self, RecoveryError> {
        let files = StateDirectory::new(&request.config.state_dir);
        let authorities = Authorities::load(&files)?;
        let authority = authorities.current();
        same_cluster("the authority", authority.cluster(), request.cluster)?;
        let address = request.config.api_listen;
        let listen = |source| RecoveryError::Listen { address, source };
        // First, because a control that runs has the port, whatever became of its store.
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let (place, found) = Place::take(&files).await?;
        let base = match &request.base {
            RecoveryBase::Store => found,
            RecoveryBase::Backup { existing, .. }
                if *existing == ExistingStore::Refuse && place.has_something() =>
            {
                let path = files.store();
                return Err(RecoveryError::Exists { path });
            }
            RecoveryBase::Backup { state, .. } => Some(state.as_ref().clone()),
        };
        if let Some(base) = &base {
            same_cluster("the state", base.meta.cluster, request.cluster)?;
        }
        let validity = request.config.certificate_validity;
        let credentials =
            issue_for_control(&authority, &authorities.trusted_pem(), &files, validity)
                .map_err(|error| RecoveryError::Certificate(Box::new(error)))?;
        let revoked: Vec<_> = base
            .iter()
            .flat_map(|base| base.revocations.values())
            .collect();
        let revoked: Vec<_> = revoked.into_iter().cloned().collect();
        credentials.revocations().add(&revoked);
        let protocols: &[&[u8]] = &[ALPN_HTTP2, ALPN_HTTP1];
        let tls = server_config(&credentials, ClientCertificates::Optional, protocols)?;
        let stop = CancellationToken::new();
        let (sender, arrivals) = mpsc::channel(ARRIVALS_MAX);
        let gate = Gate::new(&credentials, request.config.link, sender, stop.clone());
        let serving = tokio::spawn(serve_tls(
            listener,
            tls,
            recovering::router(gate),
            request.config.serve,
            stop.clone(),
        ));
        Ok(Self {
            request,
            authorities,
            revocations: credentials.revocations().clone(),
            place,
            base,
            nodes: BTreeMap::new(),
            certificates: BTreeMap::new(),
            tunnels: BTreeMap::new(),
            troubles: BTreeMap::new(),
            arrivals,
            stop,
            serving,
        })
    }

    /// What it sets out from, if there is anything.
    pub fn base(&self) -> Option<&State> {
        self.base.as_ref()
    }

    /// Waits until everybody who is wanted has come, for `limit` at the longest. Says through `tell`
    /// who comes.
    pub async fn gather(
        &mut self,
        wanted: &Wanted,
        limit: Duration,
        mut tell: impl FnMut(&Gathered),
    ) -> Gathered {
        let deadline = Instant::now() + limit;
        let mut complete_since = None;
        loop {
            let gathered = self.gathered(wanted);
            let until = match self.is_complete(wanted, &gathered) {
                false => deadline,
                true if self
                    .nodes
                    .keys()
                    .all(|node| self.tunnels.contains_key(node)) =>
                {
                    return gathered;
                }
                true => {
                    let since = *complete_since.get_or_insert_with(Instant::now);
                    deadline.min(since + Duration::from_millis(PROXIES_MS_MAX))
                }
            };
            match timeout_at(until, self.arrivals.recv()).await {
                Ok(Some(arrival)) => self.take(arrival),
                Ok(None) | Err(_) => return gathered,
            }
            let now = self.gathered(wanted);
            if now != gathered {
                tell(&now);
            }
        }
    }

    fn take(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Agent(found, certificate) => self.take_agent(*found, certificate),
            Arrival::Proxy { node, tunnel } => drop(self.tunnels.insert(node, tunnel)),
            Arrival::Trouble { node, reason } => drop(self.troubles.insert(node, reason)),
        }
    }

    /// A node is believed about what is revoked as far as control has once told it so. Who is revoked by
    /// that is not asked any further, and what it has told counts for nothing.
    fn take_agent(&mut self, mut found: NodeEvidence, certificate: MemberCertificate) {
        let node = found.hello.node;
        let told = &mut found.memory.revocations;
        told.retain(|revocation| self.authorities.has_marked(revocation));
        self.revocations.add(told);
        self.troubles.remove(&node);
        self.nodes.insert(node, found);
        self.certificates.insert(node, certificate);
        let is_revoked = |node: &NodeId| {
            let shown = self.certificates.get(node);
            shown.is_some_and(|shown| self.revocations.covers(shown))
        };
        let revoked: Vec<NodeId> = self.nodes.keys().copied().filter(is_revoked).collect();
        for node in revoked {
            self.nodes.remove(&node);
            let reason = "its certificate is revoked".to_owned();
            self.troubles.insert(node, reason);
        }
    }

    fn is_complete(&self, wanted: &Wanted, gathered: &Gathered) -> bool {
        let says = self.base.is_some() || wanted.count.is_some() || !wanted.names.is_empty();
        says && gathered.missing.is_empty() && gathered.enough
    }

    fn gathered(&self, wanted: &Wanted) -> Gathered {
        let nodes: BTreeSet<String> = self.nodes.keys().map(|id| self.name(*id)).collect();
        let of_base = self.base.iter().flat_map(|base| base.nodes.keys());
        let known = of_base.map(|id| self.name(*id));
        let missing = wanted
            .names
            .iter()
            .cloned()
            .chain(known)
            .filter(|name| !nodes.contains(name) && !wanted.without.contains(name))
            .collect();
        Gathered {
            enough: wanted.count.is_none_or(|count| nodes.len() >= count) && !nodes.is_empty(),
            troubles: self
                .troubles
                .iter()
                .map(|(id, reason)| (self.name(*id), reason.clone()))
                .collect(),
            nodes,
            missing,
        }
    }

    fn name(&self, id: NodeId) -> String {
        let said = self.nodes.get(&id).and_then(|n| n.hello.name.clone());
        let of_base = || Some(self.base.as_ref()?.nodes.get(&id)?.name.clone());
        said.or_else(of_base)
            .map_or_else(|| format!("node-{}", id.short()), |name| name.to_string())
    }

    /// The state that follows from what has come, and what the operator prefers.
    ///
    /// # Errors
    /// Every conflict that the operator has to decide.
    pub fn rebuild(
        &self,
        wanted: &Wanted,
        preferred: BTreeMap<VolumeId, NodeId>,
    ) -> Result<Recovered, Vec<Conflict>> {
        let gathered = self.gathered(wanted);
        let away = wanted.without.difference(&gathered.nodes).cloned();
        let missing: BTreeSet<String> = gathered.missing.into_iter().chain(away).collect();
        let said = wanted.count.is_some() || !wanted.names.is_empty();
        // A backup does not know the nodes that joined after it.
        let whole = said || matches!(self.request.base, RecoveryBase::Store) && self.base.is_some();
        let mut nodes = self.nodes.clone();
        for (id, node) in &mut nodes {
            node.tunnel = self.tunnels.get(id).copied();
        }
        recover(&Evidence {
            meta: MetaRecord {
                cluster: self.request.cluster,
                generation: Generation::default(),
                service_network: self.request.service_network,
                container_network: self.request.container_network,
            },
            now: wall_clock(),
            base: self.base.clone(),
            nodes,
            attendance: match (missing.is_empty(), whole) {
                (false, _) => Attendance::Missing(missing),
                (true, true) => Attendance::Complete,
                (true, false) => Attendance::NotKnown,
            },
            preferred,
        })
    }

    /// The node of this name that has come.
    pub fn node_named(&self, name: &str) -> Option<NodeId> {
        self.nodes.keys().copied().find(|id| self.name(*id) == name)
    }

    /// The volumes whose id begins like this, or that have this name, on the nodes that have come.
    pub fn volumes_called(&self, text: &str) -> BTreeSet<VolumeId> {
        let labels = self.nodes.values().flat_map(|node| &node.hello.volumes);
        let labels = labels.map(|copy| &copy.label);
        labels
            .filter(|label| {
                label.id.to_string().starts_with(text)
                    || label.name.as_str() == text
                    || format!("{}/{}", label.application, label.name) == text
            })
            .map(|label| label.id)
            .collect()
    }

    /// Puts the state in the place of the old store and lets go of the port. Returns where the old
    /// store was set aside, if there was one.
    ///
    /// # Errors
    /// [`RecoveryError`]; then the old store is as it was.
    pub async fn write(self, state: State) -> Result<Option<PathBuf>, RecoveryError> {
        let kept = self.place.write(state);
        self.stop.cancel();
        // It ends by itself; what it was is of no interest any more.
        self.serving.await.ok();
        kept
    }
}

fn same_cluster(
    what: &'static str,
    found: ClusterId,
    cluster: ClusterId,
) -> Result<(), RecoveryError> {
    match found == cluster {
        true => Ok(()),
        false => Err(RecoveryError::OtherCluster {
            what,
            found,
            cluster,
        }),
    }
}
