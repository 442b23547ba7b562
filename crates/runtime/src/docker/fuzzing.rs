//! What the fuzzers do with the engine's answers: any JSON and any text.
//!
//! libFuzzer calls it (`fuzz/`), and a test replays the corpora. No part of the program: it is
//! compiled for tests and fuzzers alone.

use super::answer::{Owner, read_container, read_image};
use super::log_lines::{LINE_BYTES_MAX, LogLines};
use super::pull_progress::PullProgress;
use super::subnet::Subnet;
use bollard::models::{ContainerInspectResponse, CreateImageInfo, EventMessage, ImageInspect};
use flocker_types::api::LogStream;
use flocker_types::ids::ClusterId;

/// The cluster of the seeds.
const CLUSTER: &str = "8c5b2f31-0000-4000-8000-000000000000";

/// An answer of the engine, an event, a line of a pull, or a container's output.
pub fn docker_outputs(bytes: &[u8]) {
    let cluster: ClusterId = CLUSTER.parse().expect("a valid id");
    if let Ok(answer) = serde_json::from_slice::<ContainerInspectResponse>(bytes)
        && let Owner::Us(found) = read_container(answer, cluster)
    {
        // Only with our label, whatever else it has.
        assert!(String::from_utf8_lossy(bytes).contains("io.flocker") || bytes.contains(&b'\\'));
        assert!(!found.info.service.to_string().is_empty());
    }
    if let Ok(answer) = serde_json::from_slice::<ImageInspect>(bytes) {
        let image = read_image(answer);
        assert!(image.exposed_ports.is_sorted());
    }
    if let Ok(message) = serde_json::from_slice::<EventMessage>(bytes) {
        super::events::fuzzed(&message);
    }
    let text = String::from_utf8_lossy(bytes);
    let mut progress = PullProgress::default();
    let mut received = 0;
    for line in text.lines() {
        if let Ok(info) = serde_json::from_str::<CreateImageInfo>(line) {
            let now = progress.take(&info);
            assert!(now >= received, "progress went back");
            received = now;
        }
        let _ = Subnet::parse(line);
        super::engine::fuzzed(line);
    }
    log(bytes);
}

/// Output in pieces: no line is longer than allowed, and nothing is lost.
fn log(bytes: &[u8]) {
    let piece = usize::from(bytes.first().copied().unwrap_or(0)) + 1;
    let mut lines = LogLines::default();
    let mut found = Vec::new();
    let mut kept = 0;
    for (index, piece) in bytes.chunks(piece).enumerate() {
        let stream = match index % 3 {
            0 => LogStream::Stderr,
            _ => LogStream::Stdout,
        };
        lines.take(stream, piece, &mut found);
        kept += piece.iter().filter(|byte| byte.is_ascii_graphic()).count();
    }
    lines.finish(&mut found);
    // A byte that is not UTF-8 becomes three.
    assert!(
        found
            .iter()
            .all(|line| line.text.len() <= 3 * LINE_BYTES_MAX)
    );
    let graphic = |text: &str| text.bytes().filter(u8::is_ascii_graphic).count();
    let there: usize = found.iter().map(|line| graphic(&line.text)).sum();
    assert_eq!(there, kept);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::replay;

    #[test]
    fn the_corpora_hold() {
        replay("docker_outputs", docker_outputs);
    }
}
