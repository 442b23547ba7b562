//! Cuts a stream of bytes into lines, with a limit for each.
//!
//! The link's reader and the API client's streams use it. What a line means, they know.

use bytes::{Bytes, BytesMut};

/// A line is longer than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LineTooLong;

/// Bytes that came, and how far they were searched.
#[derive(Debug)]
pub(crate) struct LineBuffer {
    pending: BytesMut,
    searched: usize,
    line_bytes_max: usize,
}

impl LineBuffer {
    pub(crate) fn new(line_bytes_max: usize) -> Self {
        Self {
            pending: BytesMut::new(),
            searched: 0,
            line_bytes_max,
        }
    }

    /// Takes in what came.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next whole line without its end, if there is one.
    pub(crate) fn next_line(&mut self) -> Result<Option<Bytes>, LineTooLong> {
        let found = self.pending[self.searched..]
            .iter()
            .position(|&byte| byte == b'\n')
            .map(|offset| self.searched + offset);
        let length = found.unwrap_or(self.pending.len());
        if length > self.line_bytes_max {
            return Err(LineTooLong);
        }
        let Some(end) = found else {
            self.searched = self.pending.len();
            return Ok(None);
        };
        let mut line = self.pending.split_to(end + 1).freeze();
        line.truncate(end);
        self.searched = 0;
        Ok(Some(line))
    }

    /// What came after the last line's end.
    pub(crate) fn rest(self) -> Bytes {
        self.pending.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn lines_are_the_same_however_the_bytes_are_cut(
            lines in proptest::collection::vec("[a-z]{0,12}", 0..20),
            cut in 1_usize..40,
        ) {
            let mut text = lines.join("\n");
            if !lines.is_empty() {
                text.push('\n');
            }
            let mut buffer = LineBuffer::new(12);
            let mut found = Vec::new();
            for piece in text.as_bytes().chunks(cut) {
                buffer.push(piece);
                while let Some(line) = buffer.next_line().unwrap() {
                    found.push(String::from_utf8(line.to_vec()).unwrap());
                }
            }
            prop_assert_eq!(found, lines);
            prop_assert!(buffer.rest().is_empty());
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_refused_with_and_without_its_end() {
        for bytes in [&b"12345"[..], b"12345\n"] {
            let mut buffer = LineBuffer::new(4);
            buffer.push(bytes);
            assert_eq!(buffer.next_line(), Err(LineTooLong));
        }
        let mut buffer = LineBuffer::new(4);
        buffer.push(b"1234\n123");
        assert_eq!(buffer.next_line(), Ok(Some(Bytes::from_static(b"1234"))));
        assert_eq!(buffer.next_line(), Ok(None));
        assert_eq!(buffer.rest(), Bytes::from_static(b"123"));
    }
}
