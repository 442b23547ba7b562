//! Frames as a stranger would make them: right checksums over anything. Only the fuzzers' harness calls it.

use super::frame::{Encoding, HEADER_BYTES, reseal, seal};
use super::{EndOfStream, FrameKind};
use flocker_types::volume::Checksum;

/// Makes frames of the fuzzer's bytes.
pub(crate) struct Stranger;

impl Stranger {
    /// Each frame is made of three bytes (its kind, what is wrong with it, its length) and its payload.
    pub(crate) fn frames(mut bytes: &[u8]) -> Vec<u8> {
        let mut wire = Vec::new();
        let mut hasher = blake3::Hasher::new();
        let mut sent = 0_u64;
        while let [kind, wrong, length, rest @ ..] = bytes {
            let (payload, rest) = rest.split_at(usize::from(*length).min(rest.len()));
            bytes = rest;
            let mut content = payload.to_vec();
            let kind = match kind % 7 {
                0 | 6 => FrameKind::Data,
                1 => FrameKind::Request,
                2 => FrameKind::Reply,
                3 => {
                    let end = EndOfStream {
                        checksum: Checksum(hasher.finalize().to_hex().to_string()),
                        bytes: sent,
                    };
                    if payload.is_empty() {
                        content = serde_json::to_vec(&end).unwrap_or_default();
                    }
                    FrameKind::End
                }
                4 => FrameKind::Error,
                _ => FrameKind::Progress,
            };
            let mut encoding = Encoding::Plain;
            if wrong & 1 == 1 {
                // Really compressed, many times its size, or only said to be.
                let large = content.repeat(1 + usize::from(wrong >> 3) * 64);
                let content_bytes = large.len().min(super::PAYLOAD_BYTES_MAX);
                encoding = Encoding::Zstd { content_bytes };
                if wrong & 2 == 2 {
                    let packed = zstd::bulk::compress(&large, 1).unwrap_or_default();
                    content = packed;
                }
            }
            if kind == FrameKind::Data && encoding == Encoding::Plain {
                hasher.update(&content);
                sent += u64::try_from(content.len()).unwrap_or(0);
            }
            let mut frame = vec![0; HEADER_BYTES];
            frame.extend_from_slice(&content);
            seal(&mut frame, kind, encoding);
            if wrong & 4 == 4 {
                reseal(&mut frame, usize::from(wrong >> 3));
            }
            wire.extend(frame);
        }
        wire
    }
}
