//! The demo's few options.

use flocker_types::volume::StorageKind;

const USAGE: &str = "usage: flocker-demo [--keep] [--storage btrfs|zfs] [--data MEBIBYTES]

  --keep      leave the sandbox up afterwards
  --storage   what the volumes are kept on (btrfs)
  --data      how much data PostgreSQL has, in MiB (128)";

/// What the demo was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// Leave the sandbox up.
    pub(crate) keep: bool,
    /// What the pools are made of.
    pub(crate) storage: StorageKind,
    /// How much PostgreSQL is filled with.
    pub(crate) data_bytes: u64,
}

impl Options {
    /// Reads the arguments; the error is how to use the program.
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            keep: false,
            storage: StorageKind::Btrfs,
            data_bytes: 128 << 20,
        };
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--keep" => options.keep = true,
                "--storage" => options.storage = storage(arguments.next().as_deref())?,
                "--data" => options.data_bytes = mebibytes(arguments.next().as_deref())?,
                _ => return Err(USAGE.to_owned()),
            }
        }
        Ok(options)
    }
}

fn storage(name: Option<&str>) -> Result<StorageKind, String> {
    match name {
        Some("btrfs") => Ok(StorageKind::Btrfs),
        Some("zfs") => Ok(StorageKind::Zfs),
        _ => Err(USAGE.to_owned()),
    }
}

fn mebibytes(number: Option<&str>) -> Result<u64, String> {
    let number = number.and_then(|number| number.parse::<u64>().ok());
    number
        .and_then(|number| number.checked_mul(1 << 20))
        .ok_or_else(|| USAGE.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_are_read_and_others_refused() {
        let options = parse("--keep --storage zfs --data 64").unwrap();
        assert!(options.keep && options.storage == StorageKind::Zfs);
        assert_eq!(options.data_bytes, 64 << 20);
        for bad in ["--data", "--data x", "--storage ext4", "--no-such"] {
            assert!(parse(bad).unwrap_err().starts_with("usage"), "{bad}");
        }
    }
}
