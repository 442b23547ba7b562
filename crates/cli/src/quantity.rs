//! Durations, sizes and times: read from arguments, shown to people.
//!
//! The argument parsers and the renderers use it.

use flocker_types::time::UnixMs;
use std::time::Duration;

/// Units of a duration, in milliseconds.
const DURATION_UNITS: &[(&str, u64)] = &[
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];
/// Units of a size, in bytes. `K`, `KB` and `KiB` all mean 1024 bytes, as in manifests.
const SIZE_UNITS: &[(&str, u32)] = &[
    ("", 0),
    ("b", 0),
    ("k", 10),
    ("m", 20),
    ("g", 30),
    ("t", 40),
];

/// Reads `90s`, `30m`, `1h`, `7d` or `500ms`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let fail = || format!("\"{text}\" is not a duration; write 90s, 30m, 1h or 7d");
    let number: u64 = number.parse().map_err(|_| fail())?;
    let (_, unit_ms) = DURATION_UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(fail)?;
    let milliseconds = number.checked_mul(*unit_ms).ok_or_else(fail)?;
    Ok(Duration::from_millis(milliseconds))
}

/// Reads `4G`, `512M`, `1073741824`.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let fail = || format!("\"{text}\" is not a size; write 512M, 4G or a number of bytes");
    let number: u64 = number.parse().map_err(|_| fail())?;
    let unit = unit.to_ascii_lowercase();
    let unit = unit
        .strip_suffix("ib")
        .or_else(|| unit.strip_suffix('b').filter(|rest| !rest.is_empty()))
        .unwrap_or(&unit);
    let (_, shift) = SIZE_UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(fail)?;
    number.checked_mul(1 << shift).ok_or_else(fail)
}

/// A duration as people say it, two or three digits: `12 ms`, `0.84 s`, `41 s`, `3 min 20 s`, `2 d 4 h`.
pub(crate) fn milliseconds(ms: u64) -> String {
    let seconds = ms / 1_000;
    match ms {
        0..100 => format!("{ms} ms"),
        100..1_000 => format!("0.{:02} s", ms / 10),
        1_000..10_000 => format!("{seconds}.{} s", ms % 1_000 / 100),
        10_000..60_000 => format!("{seconds} s"),
        60_000..3_600_000 => two(seconds / 60, "min", seconds % 60, "s"),
        3_600_000..86_400_000 => two(seconds / 3_600, "h", seconds / 60 % 60, "min"),
        _ => two(seconds / 86_400, "d", seconds / 3_600 % 24, "h"),
    }
}

fn two(large: u64, large_unit: &str, small: u64, small_unit: &str) -> String {
    match small {
        0 => format!("{large} {large_unit}"),
        _ => format!("{large} {large_unit} {small} {small_unit}"),
    }
}

/// A size in binary units, with one decimal below 100: `812 B`, `1.5 KiB`, `240 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = u128::from(bytes) * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    match tenths {
        0..1_000 => format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]),
        _ => format!("{} {}", tenths / 10, UNITS[unit]),
    }
}

/// A moment in UTC, to the second.
pub(crate) fn moment(at: UnixMs) -> String {
    let seconds = i64::try_from(at.0 / 1_000).unwrap_or(i64::MAX);
    match jiff::Timestamp::from_second(seconds) {
        Ok(timestamp) => timestamp.to_string(),
        Err(_) => format!("{} ms after 1970", at.0),
    }
}

/// One of something, or several: `1 service`, `3 services`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        let ms = |text| parse_duration(text).map(|duration| duration.as_millis());
        assert_eq!(ms("500ms"), Ok(500));
        assert_eq!(ms("90s"), Ok(90_000));
        assert_eq!(ms("1h"), Ok(3_600_000));
        assert_eq!(ms("7d"), Ok(604_800_000));
        for bad in [
            "",
            "h",
            "1",
            "1 h",
            "-1h",
            "1.5h",
            "99999999999999999999d",
            "300000000000d",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_read() {
        for (text, size) in [
            ("0", 0),
            ("12", 12),
            ("12b", 12),
            ("1k", 1024),
            ("4G", 4 << 30),
            ("4GB", 4 << 30),
            ("4GiB", 4 << 30),
            ("2t", 2 << 40),
        ] {
            assert_eq!(parse_size(text), Ok(size), "{text}");
        }
        for bad in ["", "G", "4 G", "4X", "-1", "99999999999T"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_shown_in_units_that_fit() {
        for (ms, text) in [
            (0, "0 ms"),
            (99, "99 ms"),
            (840, "0.84 s"),
            (1_950, "1.9 s"),
            (41_000, "41 s"),
            (200_000, "3 min 20 s"),
            (7_200_000, "2 h"),
            (187_200_000, "2 d 4 h"),
        ] {
            assert_eq!(milliseconds(ms), text);
        }
    }

    #[test]
    fn sizes_are_shown_in_units_that_fit() {
        for (size, text) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (1_536, "1.5 KiB"),
            (240 << 20, "240 MiB"),
            (1 << 30, "1.0 GiB"),
            (u64::MAX, "16777215 TiB"),
        ] {
            assert_eq!(bytes(size), text);
        }
    }

    #[test]
    fn moments_are_in_utc() {
        assert_eq!(moment(UnixMs(0)), "1970-01-01T00:00:00Z");
        assert_eq!(
            moment(UnixMs(u64::MAX)),
            "18446744073709551615 ms after 1970"
        );
    }
}
