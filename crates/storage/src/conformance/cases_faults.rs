//! Cases about what goes wrong: streams that break, lie or do not fit, and restarts.

use super::{
    CaseError, CaseResult, PoolMaker, TestNode, files, in_epoch, new_label, read_stream,
    receive_bytes, refused, snapshot, snapshots, transfer, volume_with_files,
};
use crate::volume_store::{StorageError, StorageErrorKind, StorageOperation};
use flocker_types::ids::Epoch;
use flocker_types::volume::{Checksum, VolumeLabel};
use std::io::{self, Cursor};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

/// How long a pool may take to give back the room of what was deleted.
const RECLAIM_LIMIT: Duration = Duration::from_secs(60);

/// Ends in an error, as a connection that is cut does.
struct Cut;

impl AsyncRead for Cut {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
    }
}

/// A source with two snapshots, a replica that has the first, and the delta to the second.
struct Scene {
    source: TestNode,
    target: TestNode,
    label: VolumeLabel,
    full: Vec<u8>,
    delta: Vec<u8>,
}

impl Scene {
    async fn new(maker: &dyn PoolMaker) -> Result<Self, CaseError> {
        let (source, target) = (maker.make(256).await?, maker.make(256).await?);
        let label = new_label();
        let path = volume_with_files(&source, &label, &snapshot("s1")).await?;
        files::change(&path, 1)?;
        let (s1, s2) = (snapshot("s1"), snapshot("s2"));
        source.store.snapshot(label.id, &s2).await?;
        let full = read_stream(&*source.store, label.id, None, &s1).await?;
        let delta = read_stream(&*source.store, label.id, Some(&s1), &s2).await?;
        transfer(&source, &target, &label, None, &s1).await?;
        Ok(Self {
            source,
            target,
            label,
            full,
            delta,
        })
    }

    /// Receives the delta through `stream`, with this verdict at the end.
    async fn receive(
        &self,
        stream: impl AsyncRead + Send + Unpin + 'static,
        verdict: Result<Checksum, StorageError>,
    ) -> Result<(), StorageError> {
        let (s1, s2) = (snapshot("s1"), snapshot("s2"));
        let verify = Box::new(move || verdict);
        let store = &self.target.store;
        let stream = Box::new(stream);
        store
            .receive(&self.label, Some(&s1), &s2, stream, verify)
            .await
    }

    /// The replica is as it was, and takes the real delta.
    async fn is_unharmed(&self) -> CaseResult {
        let store = &*self.target.store;
        assert_eq!(snapshots(store, self.label.id).await?, ["s1"]);
        let (s1, s2) = (snapshot("s1"), snapshot("s2"));
        receive_bytes(store, &self.label, Some(&s1), &s2, self.delta.clone()).await?;
        store.promote(&in_epoch(&self.label, 2), &s2).await?;
        let here = files::describe(&store.mount_path(self.label.id).await?)?;
        let there = self.source.store.mount_path(self.label.id).await?;
        assert_eq!(here, files::describe(&there)?);
        Ok(())
    }
}

fn accept() -> Result<Checksum, StorageError> {
    Ok(Checksum("0".repeat(64)))
}

fn reject(label: &VolumeLabel) -> Result<Checksum, StorageError> {
    let kind = StorageErrorKind::BadStream("the checksums differ".to_owned());
    Err(StorageError::of(StorageOperation::Receive, label.id, kind))
}

pub(super) async fn an_interrupted_stream_changes_nothing(maker: &dyn PoolMaker) -> CaseResult {
    let scene = Scene::new(maker).await?;
    for part in [0, 5, scene.delta.len() / 2, scene.delta.len() - 1] {
        let stream = Cursor::new(scene.delta[..part].to_vec()).chain(Cut);
        let error = refused(scene.receive(stream, accept()).await)?;
        assert!(
            matches!(error, StorageErrorKind::BadStream(_)),
            "{part}: {error}"
        );
    }
    // A volume that was not here before is not here afterwards.
    let third = maker.make(256).await?;
    let stream = Cursor::new(scene.full[..scene.full.len() / 2].to_vec()).chain(Cut);
    let verify = Box::new(accept);
    let (s1, stream) = (snapshot("s1"), Box::new(stream));
    let received = third
        .store
        .receive(&scene.label, None, &s1, stream, verify)
        .await;
    refused(received)?;
    assert!(third.store.get(scene.label.id).await?.is_none());
    let full = scene.full.clone();
    receive_bytes(&*third.store, &scene.label, None, &s1, full).await?;
    scene.is_unharmed().await
}

/// A replica that is ahead of the stream's base keeps what it has until the stream is complete, and can
/// be promoted to it; afterwards it follows the stream.
pub(super) async fn an_interrupted_older_base_changes_nothing(maker: &dyn PoolMaker) -> CaseResult {
    let scene = Scene::new(maker).await?;
    let (s1, s2, s3) = (snapshot("s1"), snapshot("s2"), snapshot("s3"));
    let (store, label) = (&*scene.target.store, &scene.label);
    receive_bytes(store, label, Some(&s1), &s2, scene.delta.clone()).await?;
    let path = scene.source.store.mount_path(label.id).await?;
    let at_second = files::describe(&path)?;
    files::change(&path, 2)?;
    scene.source.store.snapshot(label.id, &s3).await?;
    let newer = read_stream(&*scene.source.store, label.id, Some(&s1), &s3).await?;
    let cut = Cursor::new(newer[..newer.len() / 2].to_vec()).chain(Cut);
    let received = store.receive(label, Some(&s1), &s3, Box::new(cut), Box::new(accept));
    refused(received.await)?;
    assert_eq!(snapshots(store, label.id).await?, ["s1", "s2"]);
    store.promote(&in_epoch(label, 2), &s2).await?;
    assert_eq!(
        files::describe(&store.mount_path(label.id).await?)?,
        at_second
    );
    store.demote(label.id, Epoch(3), &s2).await?;
    receive_bytes(store, &in_epoch(label, 3), Some(&s1), &s3, newer).await?;
    let copy = store.get(label.id).await?.ok_or("gone")?;
    assert_eq!(copy.head(), Some(&s3));
    store.promote(&in_epoch(label, 4), &s3).await?;
    let arrived = files::describe(&store.mount_path(label.id).await?)?;
    assert_eq!(arrived, files::describe(&path)?);
    Ok(())
}

pub(super) async fn a_rejected_stream_changes_nothing(maker: &dyn PoolMaker) -> CaseResult {
    let scene = Scene::new(maker).await?;
    let stream = Cursor::new(scene.delta.clone());
    let error = refused(scene.receive(stream, reject(&scene.label)).await)?;
    assert!(matches!(error, StorageErrorKind::BadStream(_)), "{error}");
    // The truncated stream ends without an error; only the verdict tells.
    let stream = Cursor::new(scene.delta[..scene.delta.len() / 2].to_vec());
    refused(scene.receive(stream, reject(&scene.label)).await)?;
    scene.is_unharmed().await
}

pub(super) async fn a_damaged_stream_changes_nothing(maker: &dyn PoolMaker) -> CaseResult {
    let scene = Scene::new(maker).await?;
    let mut damaged = scene.delta.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0x40;
    refused(
        scene
            .receive(Cursor::new(damaged), reject(&scene.label))
            .await,
    )?;
    refused(
        scene
            .receive(Cursor::new(files::noise(1, 100_000)), accept())
            .await,
    )?;
    refused(scene.receive(Cursor::new(Vec::new()), accept()).await)?;
    // A valid stream, but of another snapshot than announced.
    refused(
        scene
            .receive(Cursor::new(scene.full.clone()), accept())
            .await,
    )?;
    scene.is_unharmed().await
}

pub(super) async fn a_full_pool_loses_nothing(maker: &dyn PoolMaker) -> CaseResult {
    let (source, small) = (maker.make(512).await?, maker.make(160).await?);
    let label = new_label();
    let path = volume_with_files(&source, &label, &snapshot("s1")).await?;
    transfer(&source, &small, &label, None, &snapshot("s1")).await?;
    std::fs::write(path.join("too large"), files::noise(9, 250 << 20))?;
    let (s1, s2) = (snapshot("s1"), snapshot("s2"));
    source.store.snapshot(label.id, &s2).await?;
    let result = transfer(&source, &small, &label, Some(&s1), &s2).await;
    let error = result.err().ok_or("250 MiB fit into 160")?;
    let storage = error
        .downcast_ref::<StorageError>()
        .map(|error| &error.kind);
    assert!(
        matches!(storage, Some(StorageErrorKind::NoSpace(_))),
        "{error}"
    );
    assert_eq!(snapshots(&*small.store, label.id).await?, ["s1"]);
    // Room is made, the pool goes on.
    std::fs::remove_file(path.join("too large"))?;
    let s3 = snapshot("s3");
    source.store.snapshot(label.id, &s3).await?;
    let written = files::describe(&path)?;
    // The pool gives room back in the background.
    let deadline = Instant::now() + RECLAIM_LIMIT;
    while let Err(error) = transfer(&source, &small, &label, Some(&s1), &s3).await {
        assert!(Instant::now() < deadline, "no room came back: {error}");
    }
    small.store.promote(&in_epoch(&label, 2), &s3).await?;
    let arrived = files::describe(&small.store.mount_path(label.id).await?)?;
    assert_eq!(arrived, written);
    Ok(())
}

pub(super) async fn a_restart_changes_nothing(maker: &dyn PoolMaker) -> CaseResult {
    let scene = Scene::new(maker).await?;
    let before = scene.source.store.list().await?;
    let path = scene.source.store.mount_path(scene.label.id).await?;
    let written = files::describe(&path)?;
    let source = maker.reopen(&scene.source).await?;
    assert_eq!(source.list().await?, before);
    let path = source.mount_path(scene.label.id).await?;
    assert_eq!(files::describe(&path)?, written);
    let target = maker.reopen(&scene.target).await?;
    assert_eq!(target.list().await?, scene.target.store.list().await?);
    scene.is_unharmed().await
}
