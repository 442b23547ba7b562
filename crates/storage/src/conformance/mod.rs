//! The suite that every [`VolumeStore`] passes, on real pools.
//!
//! Each kind of pool's tests implement [`PoolMaker`] and run every case of [`CASES`]. The cases know
//! nothing but the trait, files under [`VolumeStore::mount_path`], and what a restart is.

mod cases_basic;
mod cases_faults;
mod cases_roles;
mod cases_transfer;
pub mod files;

use crate::volume_store::{StorageError, StorageErrorKind, VolumeStore};
use async_trait::async_trait;
use flocker_types::app::ServiceSpec;
use flocker_types::ids::{
    ApplicationName, ClusterId, Epoch, ServiceId, ServiceName, SnapshotName, VolumeId, VolumeName,
};
use flocker_types::volume::{Checksum, ServiceDescription, VolumeLabel};
use std::any::Any;
use std::future::Future;
use std::io::Cursor;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use tokio::io::AsyncReadExt;

/// What a case says when it fails otherwise than by an assertion.
pub type CaseError = Box<dyn std::error::Error + Send + Sync>;
/// How a case ends.
pub type CaseResult = Result<(), CaseError>;
/// A case, started on a maker.
pub type CaseFuture<'a> = Pin<Box<dyn Future<Output = CaseResult> + Send + 'a>>;
/// A case.
pub type Case = for<'a> fn(&'a dyn PoolMaker) -> CaseFuture<'a>;

/// Makes pools of one kind, each as if on a node of its own.
#[async_trait]
pub trait PoolMaker: Send + Sync {
    /// Makes an empty pool of about this size.
    async fn make(&self, size_mib: u64) -> Result<TestNode, CaseError>;

    /// Opens the pool's store again, as a restarted agent does.
    async fn reopen(&self, node: &TestNode) -> Result<Arc<dyn VolumeStore>, CaseError>;
}

/// A pool and what keeps it alive.
pub struct TestNode {
    /// The store on it.
    pub store: Arc<dyn VolumeStore>,
    /// Dropped to delete the pool.
    pub keeper: Box<dyn Any + Send + Sync>,
}

macro_rules! cases {
    ($($module:ident: $($name:ident),+;)+) => {
        /// Every case, by name.
        pub const CASES: &[(&str, Case)] = &[
            $($((stringify!($name), |maker| Box::pin($module::$name(maker))),)+)+
        ];

        /// Makes one test of each case; the argument is an expression that makes a [`PoolMaker`],
        /// before there is a runtime.
        #[cfg(test)]
        macro_rules! conformance_tests {
            ($maker:expr) => {
                $($(
                    #[test]
                    fn $name() {
                        let maker = $maker;
                        let runtime = tokio::runtime::Builder::new_multi_thread()
                            .worker_threads(2)
                            .enable_all()
                            .build()
                            .unwrap();
                        runtime.block_on($crate::conformance::run(stringify!($name), &maker));
                    }
                )+)+
            };
        }
        #[cfg(test)]
        pub(crate) use conformance_tests;
    };
}

cases! {
    cases_basic: an_empty_pool_lists_nothing, create_is_idempotent, labels_come_back_whole,
        snapshots_are_idempotent_and_ordered, prune_deletes_what_it_is_told,
        destroy_deletes_everything, sizes_are_enforced, usage_follows_what_is_written,
        used_bytes_are_those_of_the_live_data;
    cases_transfer: a_full_stream_makes_a_replica, moving_back_sends_a_delta,
        a_chain_over_three_pools_returns, a_snapshot_is_received_once,
        streams_need_their_base;
    cases_roles: promote_is_idempotent_and_exact, demote_without_writes_leaves_no_tail,
        demote_keeps_writes_as_a_tail, stale_epochs_are_refused, roles_are_respected;
    cases_faults: an_interrupted_stream_changes_nothing,
        an_interrupted_older_base_changes_nothing, a_rejected_stream_changes_nothing,
        a_damaged_stream_changes_nothing, a_full_pool_loses_nothing,
        a_restart_changes_nothing;
}

/// Runs one case of [`CASES`] by its name.
///
/// # Panics
/// When the case fails, or there is none of this name.
pub async fn run(name: &str, maker: &dyn PoolMaker) {
    let found = CASES.iter().find(|(case, _)| *case == name);
    let (_, case) = found.expect("the name comes from the list");
    if let Err(error) = case(maker).await {
        panic!("{name}: {error}");
    }
}

/// A label for a new volume, unlike any other.
pub fn new_label() -> VolumeLabel {
    VolumeLabel {
        cluster: ClusterId(uuid::Uuid::new_v4()),
        id: VolumeId(uuid::Uuid::new_v4()),
        application: ApplicationName::default(),
        name: VolumeName::new("data").expect("a plain word is a valid name"),
        epoch: Epoch::FIRST,
        size_bytes_max: None,
        service: None,
    }
}

/// The same label in another epoch.
pub fn in_epoch(label: &VolumeLabel, epoch: u64) -> VolumeLabel {
    VolumeLabel {
        epoch: Epoch(epoch),
        ..label.clone()
    }
}

/// A snapshot's name.
pub fn snapshot(name: &str) -> SnapshotName {
    SnapshotName::new(name).expect("tests use valid names")
}

/// Names of the complete snapshots of a copy; none when there is no copy.
pub(crate) async fn snapshots(
    store: &dyn VolumeStore,
    volume: VolumeId,
) -> Result<Vec<String>, StorageError> {
    let copy = store.get(volume).await?;
    let snapshots = copy.map(|copy| copy.snapshots).unwrap_or_default();
    Ok(snapshots.into_iter().map(|s| s.name.to_string()).collect())
}

/// The whole stream in memory.
pub(crate) async fn read_stream(
    store: &dyn VolumeStore,
    volume: VolumeId,
    from: Option<&SnapshotName>,
    to: &SnapshotName,
) -> Result<Vec<u8>, CaseError> {
    let mut stream = store.send(volume, from, to).await?;
    let mut bytes = Vec::new();
    stream.reader.read_to_end(&mut bytes).await?;
    Ok(bytes)
}

/// Receives bytes and accepts them.
pub(crate) async fn receive_bytes(
    store: &dyn VolumeStore,
    label: &VolumeLabel,
    from: Option<&SnapshotName>,
    to: &SnapshotName,
    bytes: Vec<u8>,
) -> Result<(), StorageError> {
    let checksum = Checksum(blake3::hash(&bytes).to_hex().to_string());
    let stream = Box::new(Cursor::new(bytes));
    store
        .receive(label, from, to, stream, Box::new(move || Ok(checksum)))
        .await
}

/// Sends a snapshot from one pool to another; returns how many bytes that took.
pub(crate) async fn transfer(
    source: &TestNode,
    target: &TestNode,
    label: &VolumeLabel,
    from: Option<&SnapshotName>,
    to: &SnapshotName,
) -> Result<usize, CaseError> {
    let bytes = read_stream(&*source.store, label.id, from, to).await?;
    let length = bytes.len();
    receive_bytes(&*target.store, label, from, to, bytes).await?;
    Ok(length)
}

/// Makes a volume with some files and one snapshot; returns where it is mounted.
pub(crate) async fn volume_with_files(
    node: &TestNode,
    label: &VolumeLabel,
    first: &SnapshotName,
) -> Result<PathBuf, CaseError> {
    node.store.create(label).await?;
    let path = node.store.mount_path(label.id).await?;
    files::populate(&path)?;
    node.store.snapshot(label.id, first).await?;
    Ok(path)
}

/// The error that a call must end with.
pub(crate) fn refused<T>(result: Result<T, StorageError>) -> Result<StorageErrorKind, CaseError> {
    match result {
        Ok(_) => Err("it should have been refused".into()),
        Err(error) => Ok(error.kind),
    }
}

/// A service description of some 20 KiB.
pub(crate) fn long_description() -> ServiceDescription {
    let mut spec = ServiceSpec::of_image("example/database:1");
    spec.environment = (0..200)
        .map(|number| (format!("VARIABLE_{number}"), "ü".repeat(50)))
        .collect();
    ServiceDescription {
        id: ServiceId {
            application: ApplicationName::default(),
            name: ServiceName::new("db").expect("a plain word is a valid name"),
        },
        spec,
        cluster_address: None,
    }
}
