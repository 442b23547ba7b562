//! How much the long tests do: little in `make test`, more when the environment says so.

/// Megabytes in the database of the long test, `FLOCKER_E2E_DATA_MIB`.
pub(crate) fn data_bytes() -> u64 {
    number("FLOCKER_E2E_DATA_MIB", 128) << 20
}

/// The same on ZFS, which runs in user space here, `FLOCKER_E2E_ZFS_DATA_MIB`.
pub(crate) fn zfs_data_bytes() -> u64 {
    number("FLOCKER_E2E_ZFS_DATA_MIB", 64) << 20
}

/// Moves of the long test, `FLOCKER_E2E_MOVES`.
pub(crate) fn moves() -> u64 {
    number("FLOCKER_E2E_MOVES", 8)
}

/// Whether the crash matrix is run whole, `FLOCKER_E2E_FULL=1`.
pub(crate) fn is_full() -> bool {
    number("FLOCKER_E2E_FULL", 0) != 0
}

/// Which victims the whole matrix is run for, by the end of their names, `FLOCKER_E2E_VICTIM`; empty
/// for all.
pub(crate) fn only_victim() -> String {
    std::env::var("FLOCKER_E2E_VICTIM").unwrap_or_default()
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number"))
    })
}
