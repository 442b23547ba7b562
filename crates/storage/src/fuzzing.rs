//! What the fuzzers do with this crate: frames from a stranger, the words of other programs, and files
//! that somebody may have damaged.
//!
//! libFuzzer calls it (`fuzz/`), and a test replays the corpora. No part of the program: it is
//! compiled for tests and fuzzers alone.

use crate::receive_process;
use crate::stream::fuzzing::Stranger;
use crate::stream::{Compression, FrameReader, FrameWriter, SendOptions};
use crate::stream::{PAYLOAD_BYTES_MAX, StreamProgress, receive_stream, send_stream};
use crate::volume_store::StorageErrorKind;
use crate::{image, label_file, pool::PoolSpec, zfs};
use flocker_types::volume::Role;
use std::io::Cursor;
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::runtime::Runtime;
use tokio::sync::watch;

const LIMIT: Duration = Duration::from_secs(5);

thread_local! {
    static RUNTIME: Runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime can be made");
}

/// The receiving side of a transfer. The first byte chooses: the bytes as they are, frames with right
/// checksums made of them, or their way through our own sender.
pub fn stream_frame(bytes: &[u8]) {
    let Some((choice, bytes)) = bytes.split_first() else {
        return;
    };
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            match choice % 4 {
                0 => receive(bytes.to_vec(), bytes.len()).await,
                1 => requests(Stranger::frames(bytes)).await,
                2 => {
                    let frames = Stranger::frames(bytes);
                    receive(frames, bytes.len()).await;
                }
                _ => there_and_back(bytes).await,
            }
        });
    });
}

/// Whatever comes: at most as much content as frames can carry, an end only after a valid one.
async fn receive(wire: Vec<u8>, input_bytes: usize) {
    let progress = watch::Sender::<StreamProgress>::default();
    let watched = progress.subscribe();
    let (mut stream, result) = receive_stream(FrameReader::new(Cursor::new(wire), LIMIT), progress);
    let mut arrived = 0_usize;
    let mut chunk = vec![0; 64 << 10];
    let whole = loop {
        match stream.read(&mut chunk).await {
            Ok(0) => break true,
            Ok(length) => arrived += length,
            Err(_) => break false,
        }
    };
    let frames_max = input_bytes / 2 + 1;
    assert!(arrived <= frames_max.saturating_mul(PAYLOAD_BYTES_MAX));
    assert!(watched.borrow().bytes >= u64::try_from(arrived).unwrap_or(0));
    match result.finish() {
        Ok((_, bytes)) => {
            assert!(whole);
            assert_eq!(bytes, u64::try_from(arrived).unwrap_or(0));
        }
        Err(error) => {
            assert!(!whole, "an end without its proof: {error}");
            let _ = error.retry_may_help();
        }
    }
}

/// Frame by frame, as requests and replies.
async fn requests(wire: Vec<u8>) {
    let frames_max = wire.len() + 1;
    let mut reader = FrameReader::new(Cursor::new(wire.clone()), LIMIT);
    for _ in 0..frames_max {
        match reader.frame().await {
            Ok(frame) => assert!(frame.content.len() <= PAYLOAD_BYTES_MAX),
            Err(_) => break,
        }
    }
    let mut reader = FrameReader::new(Cursor::new(wire.clone()), LIMIT);
    if let Ok(request) = reader.request().await {
        let mut writer = FrameWriter::new(Vec::new(), LIMIT);
        writer.request(&request).await.expect("it can be written");
        let again = FrameReader::new(Cursor::new(writer.into_inner()), LIMIT)
            .request()
            .await;
        assert_eq!(again.expect("it can be read again"), request);
    }
    let _ = FrameReader::new(Cursor::new(wire), LIMIT).reply().await;
}

async fn there_and_back(content: &[u8]) {
    let Some((choice, content)) = content.split_first() else {
        return;
    };
    let options = SendOptions {
        compression: match choice % 3 {
            0 => Compression::WhenFaster,
            1 => Compression::Never,
            _ => Compression::Always,
        },
        ..SendOptions::default()
    };
    // Longer than one frame's content now and then.
    let content = content.repeat(usize::from(choice / 3) * 16 + 1);
    let mut writer = FrameWriter::new(Vec::new(), LIMIT);
    let source = Box::new(Cursor::new(content.clone()));
    let sent = send_stream(&mut writer, source, options, &watch::Sender::default()).await;
    let sent = sent.expect("it can be sent");
    let wire = writer.into_inner();
    let reader = FrameReader::new(Cursor::new(wire), LIMIT);
    let (mut stream, result) = receive_stream(reader, watch::Sender::default());
    let mut arrived = Vec::new();
    let read = stream.read_to_end(&mut arrived).await;
    read.expect("what was sent arrives");
    assert!(arrived == content, "something else arrived");
    let (checksum, bytes) = result.finish().expect("it is whole");
    assert_eq!((checksum, bytes), (sent.checksum, sent.bytes));
}

/// A btrfs send stream, cut in two ways: the same of it is let through, and it is its beginning.
pub fn btrfs_stream(bytes: &[u8]) {
    let whole = guarded(bytes, bytes.len().max(1));
    for piece in [1, 7, 64] {
        assert_eq!(guarded(bytes, piece), whole, "in pieces of {piece}");
    }
    assert!(bytes.starts_with(&whole.0));
    // A whole one is let through whole.
    assert!(!whole.1 || whole.0 == bytes);
}

/// What is let through, and whether that is a whole stream.
fn guarded(bytes: &[u8], piece: usize) -> (Vec<u8>, bool) {
    let identity = |byte| [byte; 16];
    let mut checker = crate::btrfs::fuzzing::Checker::new(crate::btrfs::fuzzing::Allowed {
        name: "s2".to_owned(),
        base: bytes
            .last()
            .map(|last| identity(last & 1))
            .into_iter()
            .collect(),
        own: [identity(0), identity(1)].into(),
    });
    let mut checked = Vec::new();
    for piece in bytes.chunks(piece) {
        if checker.take(piece, &mut checked).is_err() {
            return (checked, false);
        }
    }
    (checked, checker.finish().is_ok())
}

/// What zfs, btrfs and the kernel say, and how people describe pools.
pub fn storage_outputs(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    zfs::fuzzing::outputs(&text);
    for damaged in [
        &zfs::fuzzing::DAMAGED[..],
        &crate::btrfs::fuzzing::DAMAGED[..],
    ] {
        match receive_process::explain("receive", &text, damaged) {
            StorageErrorKind::NoSpace(_)
            | StorageErrorKind::BadStream(_)
            | StorageErrorKind::Command { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    for mount in ["/", "/mnt", "/var/lib/flocker/pool"] {
        if let Some(source) = image::mounted_source(&text, Path::new(mount)) {
            assert!(text.contains(mount.trim_start_matches('/')), "{source:?}");
        }
    }
    for line in text.lines() {
        if let Ok(spec) = line.parse::<PoolSpec>() {
            assert_eq!(spec.to_string().parse(), Ok(spec));
        }
    }
}

/// A label file.
pub fn storage_files(bytes: &[u8]) {
    if let Ok(stored) = label_file::parse(bytes) {
        let text = label_file::to_text(&stored).expect("it can be written");
        assert_eq!(label_file::parse(&text).expect("it can be read"), stored);
        let snapshots = stored.snapshots.clone();
        let role: Role = stored.role;
        let copy = stored.into_copy(None);
        assert_eq!((copy.role, copy.snapshots.len()), (role, snapshots.len()));
        assert!(copy.snapshots.iter().all(|one| snapshots.contains(one)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::replay;

    #[test]
    fn the_corpora_hold() {
        replay("stream_frame", stream_frame);
        replay("btrfs_stream", btrfs_stream);
        replay("storage_outputs", storage_outputs);
        replay("storage_files", storage_files);
    }
}
