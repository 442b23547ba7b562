//! Choices made from the fuzzer's bytes. The harnesses of the cores take everything from here.

use std::net::Ipv4Addr;

/// What is left of the bytes. When none is, every choice is the first one.
pub(super) struct Input<'a> {
    bytes: &'a [u8],
}

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.bytes.split_first() else {
            return 0;
        };
        self.bytes = rest;
        *first
    }

    /// A number below `end`, which is at most 256 and not zero.
    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    pub(super) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 1
    }

    /// One of these.
    pub(super) fn pick<T: Clone>(&mut self, of: &[T]) -> Option<T> {
        (!of.is_empty()).then(|| of[self.below(of.len().min(256))].clone())
    }

    /// A number: mostly small, else one at which arithmetic ends.
    pub(super) fn number(&mut self) -> u64 {
        match self.byte() {
            255 => u64::MAX,
            254 => u64::MAX - 1,
            253 => 1 << 63,
            252 => u64::from(u32::MAX),
            251 => 1 << 32,
            250 => 1 << 40,
            small => u64::from(small),
        }
    }

    pub(super) fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.byte() & 1 == 1).then(|| make(self))
    }

    /// A few of them.
    pub(super) fn some<T>(&mut self, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = self.below(4);
        (0..count).map(|_| make(self)).collect()
    }

    pub(super) fn address(&mut self) -> Ipv4Addr {
        match self.below(4) {
            0 => Ipv4Addr::new(10, 213, 0, self.byte()),
            1 => Ipv4Addr::new(10, 0, 0, self.byte()),
            2 => Ipv4Addr::UNSPECIFIED,
            _ => Ipv4Addr::BROADCAST,
        }
    }

    pub(super) fn text(&mut self) -> String {
        match self.below(4) {
            0 => String::new(),
            1 => "it failed".to_owned(),
            2 => "\u{1b}[2J\n\0".to_owned(),
            _ => "x".repeat(self.below(256)),
        }
    }
}
