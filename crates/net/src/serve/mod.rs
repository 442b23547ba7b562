//! Serving HTTP over TLS, as control does for its API and its links.
