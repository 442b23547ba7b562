//! Tests of the testkit on the real machine: namespaces, engines, images, databases. They need root.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod example;
mod images;
mod load;
mod sandbox;
mod support;
