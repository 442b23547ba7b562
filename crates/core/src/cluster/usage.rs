//! When news of how much a volume uses are worth telling and keeping.
//!
//! The agent's core asks before it tells control, and control's before it writes a record: a database
//! at work changes its size all the time, and plans need no more than its order of magnitude.

/// A change of no more than this part of what is known is no news.
const PART: u64 = 20;
/// Nor is a change of no more than this, in bytes, unless nothing was used before.
const CHANGE_BYTES_MIN: u64 = 64 << 10;

/// Whether `measured` says something new to one who knows `known`.
pub(crate) fn is_news(known: Option<u64>, measured: u64) -> bool {
    match known {
        None => true,
        Some(0) => measured > 0,
        Some(known) => measured.abs_diff(known) > (known / PART).max(CHANGE_BYTES_MIN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_considerable_changes_are_news() {
        const GIB: u64 = 1 << 30;
        assert!(is_news(None, 0));
        assert!(is_news(Some(0), 1));
        assert!(!is_news(Some(0), 0));
        assert!(!is_news(Some(16 << 10), 48 << 10));
        assert!(!is_news(Some(GIB), GIB + GIB / 20));
        assert!(is_news(Some(GIB), GIB + GIB / 20 + 1));
        assert!(!is_news(Some(GIB), GIB - GIB / 20));
        assert!(is_news(Some(GIB), GIB - GIB / 19));
        assert!(is_news(Some(u64::MAX), 0));
    }
}
