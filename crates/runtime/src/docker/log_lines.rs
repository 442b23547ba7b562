//! Puts the engine's pieces of output together to lines, each output by itself. Pure.

use flocker_types::api::{LogLine, LogStream};

/// Longest line that is passed on; a longer one is cut into several.
pub(super) const LINE_BYTES_MAX: usize = 64 * 1024;

/// Output that is not a whole line yet, for both outputs of one container.
#[derive(Debug, Default)]
pub(super) struct LogLines {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl LogLines {
    /// Takes in a piece of output and adds the lines that it completes to `lines`.
    pub(super) fn take(&mut self, stream: LogStream, piece: &[u8], lines: &mut Vec<LogLine>) {
        let partial = match stream {
            LogStream::Stdout => &mut self.stdout,
            LogStream::Stderr => &mut self.stderr,
        };
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            let (mut text, ends) = match part.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (part, false),
            };
            while partial.len() + text.len() > LINE_BYTES_MAX {
                let (fits, more) = text.split_at(LINE_BYTES_MAX - partial.len());
                partial.extend_from_slice(fits);
                lines.push(line(stream, partial));
                text = more;
            }
            partial.extend_from_slice(text);
            if ends {
                lines.push(line(stream, partial));
            }
        }
    }

    /// What is left at the end of the log, without an end of line.
    pub(super) fn finish(mut self, lines: &mut Vec<LogLine>) {
        for (stream, partial) in [
            (LogStream::Stdout, &mut self.stdout),
            (LogStream::Stderr, &mut self.stderr),
        ] {
            if !partial.is_empty() {
                lines.push(line(stream, partial));
            }
        }
    }
}

fn line(stream: LogStream, bytes: &mut Vec<u8>) -> LogLine {
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    let text = String::from_utf8_lossy(bytes).into_owned();
    bytes.clear();
    LogLine { stream, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(pieces: &[(LogStream, &[u8])]) -> Vec<(LogStream, String)> {
        let mut partial = LogLines::default();
        let mut lines = Vec::new();
        for (stream, piece) in pieces {
            partial.take(*stream, piece, &mut lines);
        }
        partial.finish(&mut lines);
        lines
            .into_iter()
            .map(|line| (line.stream, line.text))
            .collect()
    }

    #[test]
    fn pieces_become_lines_of_their_own_stream() {
        use LogStream::{Stderr, Stdout};
        assert_eq!(
            texts(&[
                (Stdout, b"one\ntw"),
                (Stderr, b"oops\r\n"),
                (Stdout, b"o\n\nend"),
            ]),
            vec![
                (Stdout, "one".to_owned()),
                (Stderr, "oops".to_owned()),
                (Stdout, "two".to_owned()),
                (Stdout, String::new()),
                (Stdout, "end".to_owned()),
            ]
        );
    }

    #[test]
    fn long_lines_are_cut_and_nothing_is_lost() {
        for length in [
            LINE_BYTES_MAX - 1,
            LINE_BYTES_MAX,
            LINE_BYTES_MAX + 1,
            3 * LINE_BYTES_MAX + 5,
        ] {
            let mut text = vec![b'x'; length];
            text.push(b'\n');
            for piece_bytes in [7_000, LINE_BYTES_MAX, text.len()] {
                let pieces: Vec<(LogStream, &[u8])> = text
                    .chunks(piece_bytes)
                    .map(|piece| (LogStream::Stdout, piece))
                    .collect();
                let lines = texts(&pieces);
                assert!(lines.iter().all(|(_, line)| line.len() <= LINE_BYTES_MAX));
                let total: usize = lines.iter().map(|(_, line)| line.len()).sum();
                assert_eq!(total, length, "{length} in pieces of {piece_bytes}");
                assert_eq!(lines.len(), length.div_ceil(LINE_BYTES_MAX));
            }
        }
    }
}
