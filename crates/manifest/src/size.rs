//! Amounts of bytes and of time, as manifests write them.
//!
//! Two grammars for bytes: `maximum_size` of v1 (`"2.1M"`) and the byte values of Compose
//! (`512m`, `1gb`). Both count in 1024 and round up. One for time: Compose's `1m30s`.

/// Why an amount could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AmountProblem {
    /// It does not follow the grammar.
    Unreadable,
    /// It is zero where that makes no sense.
    Zero,
    /// It is larger than can be meant.
    TooLarge,
}

/// Longest time that a manifest may ask for, in milliseconds (a day).
const DURATION_MAX_MS: u128 = 24 * 60 * 60 * 1000;

/// A v1 storage quantity: digits, an optional fraction, an optional K, M, G or T.
pub(crate) fn storage_bytes(text: &str) -> Result<u64, AmountProblem> {
    let (number, exponent) = match text.char_indices().last() {
        Some((at, unit)) if unit.is_ascii_alphabetic() => {
            let exponent = match unit.to_ascii_uppercase() {
                'K' => 1,
                'M' => 2,
                'G' => 3,
                'T' => 4,
                _ => return Err(AmountProblem::Unreadable),
            };
            (&text[..at], exponent)
        }
        _ => (text, 0),
    };
    let bytes = scaled_up(number, 1024_u128.pow(exponent))?;
    positive_u64(bytes)
}

/// A Compose byte value: a number and `b`, `k`, `kb`, `m`, `mb`, `g`, `gb` (also `t`, `tb`, and
/// `kib` and the like), in any case; bytes without a unit. Zero is allowed.
pub(crate) fn compose_bytes(text: &str) -> Result<u64, AmountProblem> {
    let split = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let exponent = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        _ => return Err(AmountProblem::Unreadable),
    };
    let bytes = scaled_up(number, 1024_u128.pow(exponent))?;
    u64::try_from(bytes).map_err(|_| AmountProblem::TooLarge)
}

/// The same, of at least one byte.
pub(crate) fn volume_bytes(text: &str) -> Result<u64, AmountProblem> {
    positive_u64(u128::from(compose_bytes(text)?))
}

/// A Compose duration in milliseconds, rounded up: `1h`, `1m30s`, `1.5s`, `500ms`, `10us`; `0`.
pub(crate) fn duration_ms(text: &str) -> Result<u64, AmountProblem> {
    if text == "0" {
        return Ok(0);
    }
    let mut rest = text;
    let mut total_ns: u128 = 0;
    if rest.is_empty() {
        return Err(AmountProblem::Unreadable);
    }
    while !rest.is_empty() {
        let number_end = rest
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .ok_or(AmountProblem::Unreadable)?;
        let (number, tail) = rest.split_at(number_end);
        let unit_end = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, next) = tail.split_at(unit_end);
        let unit_ns: u128 = match unit {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60 * 1_000_000_000,
            "h" => 3600 * 1_000_000_000,
            _ => return Err(AmountProblem::Unreadable),
        };
        total_ns = total_ns
            .checked_add(scaled_up(number, unit_ns)?)
            .ok_or(AmountProblem::TooLarge)?;
        rest = next;
    }
    let total_ms = total_ns.div_ceil(1_000_000);
    if total_ms > DURATION_MAX_MS {
        return Err(AmountProblem::TooLarge);
    }
    u64::try_from(total_ms).map_err(|_| AmountProblem::TooLarge)
}

/// `number` (digits, optionally `.` and digits) times `unit`, rounded up, exactly.
fn scaled_up(number: &str, unit: u128) -> Result<u128, AmountProblem> {
    const DIGITS_MAX: usize = 18;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return Err(AmountProblem::Unreadable);
    }
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    if whole.len() > DIGITS_MAX || fraction.len() > DIGITS_MAX {
        return Err(AmountProblem::TooLarge);
    }
    let parse = |digits: &str| {
        if digits.is_empty() {
            Ok(0)
        } else {
            digits.parse::<u128>().map_err(|_| AmountProblem::TooLarge)
        }
    };
    let places = u32::try_from(fraction.len()).map_err(|_| AmountProblem::TooLarge)?;
    let denominator = 10_u128.pow(places);
    let of_fraction = (parse(fraction)? * unit).div_ceil(denominator);
    parse(whole)?
        .checked_mul(unit)
        .and_then(|bytes| bytes.checked_add(of_fraction))
        .ok_or(AmountProblem::TooLarge)
}

fn positive_u64(bytes: u128) -> Result<u64, AmountProblem> {
    match u64::try_from(bytes) {
        Ok(0) => Err(AmountProblem::Zero),
        Ok(bytes) => Ok(bytes),
        Err(_) => Err(AmountProblem::TooLarge),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_follows_the_old_grammar() {
        for (text, bytes) in [
            ("104857600", 104_857_600),
            ("2.1M", 2_202_010),
            ("1k", 1024),
            ("1.", 1),
            ("0.0001", 1),
            ("10G", 10 << 30),
            ("1T", 1 << 40),
        ] {
            assert_eq!(storage_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "100F", "M", "-1", "1 G", "1GB", ".5M", "1e3", "1.2.3"] {
            assert_eq!(
                storage_bytes(text),
                Err(AmountProblem::Unreadable),
                "{text}"
            );
        }
        assert_eq!(storage_bytes("0"), Err(AmountProblem::Zero));
        assert_eq!(storage_bytes("0.0G"), Err(AmountProblem::Zero));
        assert_eq!(storage_bytes("99999999T"), Err(AmountProblem::TooLarge));
        assert_eq!(storage_bytes(&"9".repeat(99)), Err(AmountProblem::TooLarge));
    }

    #[test]
    fn compose_amounts() {
        assert_eq!(compose_bytes("512m"), Ok(512 << 20));
        assert_eq!(compose_bytes("1.5GB"), Ok(3 << 29));
        assert_eq!(compose_bytes("0"), Ok(0));
        assert_eq!(compose_bytes("1x"), Err(AmountProblem::Unreadable));
        for (text, ms) in [
            ("1m30s", 90_000),
            ("1.5s", 1500),
            ("1us", 1),
            ("0", 0),
            ("0s", 0),
            ("24h", 86_400_000),
        ] {
            assert_eq!(duration_ms(text), Ok(ms), "{text}");
        }
        for text in ["", "5", "s", "5 s", "-1s", "5d"] {
            assert_eq!(duration_ms(text), Err(AmountProblem::Unreadable), "{text}");
        }
        assert_eq!(duration_ms("25h"), Err(AmountProblem::TooLarge));
    }
}
