//! The cluster's certificate authority, the identities it vouches for, and join tokens.
