//! The gate: a program that is started in place of a container's own, waits until the container's
//! volumes are mounted, and then becomes the container's own program.
//!
//! With it a container can be started long before its volumes are there (while they are still written
//! on another node), and what is left for the moment at which clients wait is a mount. The library
//! carries the program and makes its arguments; the container runtime puts both into a container.
//! The program itself is in `program/`: `build.rs` compiles it, without a C library, so that it runs
//! in every image, as any user.

pub mod table;
pub mod words;

// Compiled by build.rs alone; named here so that rustfmt finds it.
#[cfg(any())]
#[path = "program/main.rs"]
mod in_a_container;

use words::SEPARATOR;

const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/flocker-gate"));

/// The program, as a static executable for Linux; none for processors that it was not written for.
pub fn program() -> Option<&'static [u8]> {
    (!PROGRAM.is_empty()).then_some(PROGRAM)
}

/// The program's arguments: the places, by the ends of their directories' paths on the node, and the
/// command that runs once each of them is covered.
pub fn arguments(places: &[String], command: &[String]) -> Vec<String> {
    let separator = [SEPARATOR.to_owned()];
    places
        .iter()
        .chain(&separator)
        .chain(command)
        .cloned()
        .collect()
}

#[cfg(test)]
mod program_test;
#[cfg(test)]
mod table_test;
