//! Tests of the whole proxy, over real sockets in network namespaces of their own.

mod flood;
mod hold;
mod linked;
mod measure;
mod ports;
mod relaying;
mod tunnels;
