//! How much the long tests do: little in `make test`, more when the environment says so.

use std::path::PathBuf;

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

/// For so many minutes the whole crash matrix is run, `MATRIX_MINUTES`; zero for the part of `make test`.
pub(crate) fn matrix_minutes() -> u64 {
    number("MATRIX_MINUTES", 0)
}

/// In so many sandboxes beside each other, `MATRIX_SANDBOXES`.
pub(crate) fn matrix_sandboxes() -> usize {
    usize::try_from(number("MATRIX_SANDBOXES", 2)).unwrap()
}

/// Whether cells are run again that the table has, `MATRIX_AGAIN=1`.
pub(crate) fn matrix_again() -> bool {
    number("MATRIX_AGAIN", 0) != 0
}

/// The table to add to when it is not the one in docs/, `MATRIX_TABLE`.
pub(crate) fn matrix_table() -> Option<PathBuf> {
    std::env::var_os("MATRIX_TABLE").map(PathBuf::from)
}

/// Words between commas that the names of a cell must all contain, `MATRIX_ONLY=move/,frozen`.
pub(crate) fn matrix_only() -> Vec<String> {
    let words = std::env::var("MATRIX_ONLY").unwrap_or_default();
    words.split(',').map(str::to_owned).collect()
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number"))
    })
}
