//! TLS in which both ends are known by their identity in the cluster.
