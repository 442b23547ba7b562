//! Making a new cluster: its authority, its state store with the first node, control's certificate.
//!
//! `flocker init` calls it once, on the server where control will run. It starts nothing and asks
//! nobody; where there is a cluster already it changes nothing.

use crate::config::StateDirectory;
use crate::shell::{KeepError, Keeper, wall_clock};
use flocker_core::cluster::{Change, MetaRecord, Network, NodeRecord, Record};
use flocker_net::pki::{Authority, AuthorityError, Identity, Issued, NODE_VALIDITY, Role};
use flocker_net::tls::{CredentialFiles, Credentials, CredentialsError};
use flocker_store::{RedbStore, StateStore, StoreError};
use flocker_types::ids::{ClusterId, Generation, NodeId, NodeName};
use std::net::Ipv4Addr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The cluster to be.
#[derive(Debug, Clone)]
pub struct InitRequest {
    /// Its id.
    pub cluster: ClusterId,
    /// The id of its first node: the one on which control runs.
    pub node: NodeId,
    /// That node's name.
    pub node_name: NodeName,
    /// That node's address, at which the other nodes reach it.
    pub address: Ipv4Addr,
    /// Addresses of services.
    pub service_network: Network,
    /// Addresses of containers on each node.
    pub container_network: Network,
}

/// There is no new cluster.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// One is there. Trying again does not help.
    #[error(
        "there is a cluster in {} already; remove that directory if it is not wanted any more, or \
         choose another one", directory.display()
    )]
    Exists {
        /// Where.
        directory: PathBuf,
    },
    /// The directory cannot be made.
    #[error("cannot create the directory {}", directory.display())]
    Directory {
        /// Which.
        directory: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// Addresses would mean two things. Trying again does not help.
    #[error("{first} and {second} overlap; choose networks that nothing else uses")]
    Overlap {
        /// A network or an address, and what it is for.
        first: String,
        /// Another one.
        second: String,
    },
    /// The store.
    #[error("the state store cannot be made")]
    Store(#[from] StoreError),
    /// Writing to it.
    #[error("the first records cannot be written")]
    Keep(#[from] KeepError),
    /// The authority.
    #[error("the cluster's authority cannot be made")]
    Authority(#[from] AuthorityError),
    /// Control's certificate.
    #[error("control's certificate cannot be made")]
    Credentials(#[from] CredentialsError),
}

/// Makes a new cluster in `state_dir` and returns its authority, with which the caller issues the
/// certificates of the first node and the first user.
///
/// # Errors
/// [`InitError`]; what was made before the failure does not hinder another attempt.
pub fn initialise(state_dir: &Path, request: &InitRequest) -> Result<Authority, InitError> {
    check_networks(request)?;
    let files = StateDirectory::new(state_dir);
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state_dir)
        .map_err(|source| InitError::Directory {
            directory: state_dir.to_owned(),
            source,
        })?;
    let store = RedbStore::open(&files.store())?;
    if !store.range("")?.is_empty() {
        return Err(InitError::Exists {
            directory: state_dir.to_owned(),
        });
    }
    let authority = Authority::create(request.cluster)?;
    issue_for_control(
        &authority,
        authority.certificate_pem(),
        &files,
        NODE_VALIDITY,
    )?;
    authority.save(&files.authority_certificate(), &files.authority_key())?;
    // Last, because a cluster is there when its first records are.
    Keeper::of_empty(Box::new(store)).keep(first_records(request))?;
    Ok(authority)
}

/// Writes a new certificate for control beside the authority, and returns what to show, and whom to trust.
pub(crate) fn issue_for_control(
    authority: &Authority,
    trusted_pem: &str,
    files: &StateDirectory,
    validity: Duration,
) -> Result<Credentials, InitError> {
    let identity = Identity {
        cluster: authority.cluster(),
        role: Role::Control,
    };
    let issued = authority.issue(&identity, validity)?;
    let authority_pem = authority.certificate_pem();
    Credentials::save(
        files.path(),
        CredentialFiles::CONTROL,
        &issued,
        authority_pem,
    )?;
    let Issued {
        certificate_pem,
        key_pem,
    } = &issued;
    Ok(Credentials::from_pem(
        certificate_pem,
        key_pem,
        trusted_pem,
    )?)
}

fn first_records(request: &InitRequest) -> Vec<Change> {
    let meta = MetaRecord {
        cluster: request.cluster,
        generation: Generation::default(),
        service_network: request.service_network,
        container_network: request.container_network,
    };
    let node = NodeRecord {
        id: request.node,
        name: request.node_name.clone(),
        address: request.address,
        stream_address: None,
        tunnel: None,
        joined: wall_clock(),
    };
    vec![
        Change::Put(Record::Meta(meta)),
        Change::Put(Record::Node(node)),
    ]
}

fn check_networks(request: &InitRequest) -> Result<(), InitError> {
    let named = [
        (
            format!("the services' network {}", request.service_network),
            request.service_network.span(),
        ),
        (
            format!("the containers' network {}", request.container_network),
            request.container_network.span(),
        ),
        (
            format!("the node's own address {}", request.address),
            (request.address, request.address),
        ),
    ];
    for (index, (first, (first_start, first_end))) in named.iter().enumerate() {
        for (second, (start, end)) in &named[index + 1..] {
            if first_start <= end && start <= first_end {
                return Err(InitError::Overlap {
                    first: first.clone(),
                    second: second.clone(),
                });
            }
        }
    }
    Ok(())
}
