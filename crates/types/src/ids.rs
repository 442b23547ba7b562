//! Identifiers, one type each, so that a node's id can never be passed where a volume's is meant.
//!
//! Names that people choose are validated where they enter; generated ids are UUIDs. The core makes
//! ids from the randomness that the shell hands it, never on its own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// Longest name of an application, service, volume or node, in bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// A name that a person chose is not well formed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{name}\" is not a valid {kind} name: {reason}")]
pub struct InvalidName {
    /// What was to be named: "service", "node" ...
    pub kind: &'static str,
    /// The name as given.
    pub name: String,
    /// Which rule it breaks, in words.
    pub reason: &'static str,
}

fn check_name(kind: &'static str, name: &str) -> Result<(), InvalidName> {
    let fail = |reason| {
        Err(InvalidName {
            kind,
            name: name.to_owned(),
            reason,
        })
    };
    let Some(first) = name.bytes().next() else {
        return fail("it is empty");
    };
    if name.len() > NAME_BYTES_MAX {
        return fail("it is longer than 128 bytes");
    }
    if !first.is_ascii_alphanumeric() {
        return fail("it must start with a letter or a digit (a-z, A-Z, 0-9)");
    }
    if !name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
    {
        return fail("only letters, digits, '_', '.' and '-' are allowed (a-z, A-Z, 0-9)");
    }
    Ok(())
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(extend("pattern" = "^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$"))]
        pub struct $name(String);

        impl $name {
            /// Checks the name against Docker's rule `[a-zA-Z0-9][a-zA-Z0-9_.-]*`, at most 128 bytes.
            ///
            /// # Errors
            /// [`InvalidName`] says which part of the rule is broken.
            pub fn new(name: impl Into<String>) -> Result<Self, InvalidName> {
                let name = name.into();
                check_name($kind, &name)?;
                Ok(Self(name))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(name: String) -> Result<Self, InvalidName> {
                Self::new(name)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(name: &str) -> Result<Self, InvalidName> {
                Self::new(name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name_type!(
    /// What one manifest describes. Manifests that name none belong to [`ApplicationName::default`].
    ApplicationName, "application"
);
name_type!(
    /// A service's name, unique within its application.
    ServiceName, "service"
);
name_type!(
    /// A volume's name, unique within its application.
    VolumeName, "volume"
);
name_type!(
    /// A node's name as people see it; unique in the cluster.
    NodeName, "node"
);
name_type!(
    /// A snapshot's name, unique within its volume for ever: `e<epoch>-s<sequence>-<operation>`.
    SnapshotName, "snapshot"
);

impl Default for ApplicationName {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

/// A service within the whole cluster. Shown as `name`, or `application/name` outside the
/// default application; [`FromStr`] reads both.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend(
    "pattern" = "^([a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}/)?[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$"
))]
pub struct ServiceId {
    /// The application it belongs to.
    pub application: ApplicationName,
    /// Its name there.
    pub name: ServiceName,
}

impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.application == ApplicationName::default() {
            f.pad(self.name.as_str())
        } else {
            f.pad(&format!("{}/{}", self.application, self.name))
        }
    }
}

impl FromStr for ServiceId {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let (application, name) = match text.split_once('/') {
            Some((application, name)) => (ApplicationName::new(application)?, name),
            None => (ApplicationName::default(), text),
        };
        Ok(Self {
            application,
            name: ServiceName::new(name)?,
        })
    }
}

impl TryFrom<String> for ServiceId {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<ServiceId> for String {
    fn from(id: ServiceId) -> String {
        id.to_string()
    }
}

macro_rules! uuid_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
        )]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Ok(Self(Uuid::parse_str(text)?))
            }
        }

        impl $name {
            /// The first eight hexadecimal digits, for people.
            pub fn short(&self) -> String {
                self.0.simple().to_string()[..8].to_owned()
            }
        }
    };
}

uuid_type!(
    /// The cluster: the servers that trust one certificate authority.
    ClusterId
);
uuid_type!(
    /// One server, for as long as it is a member. A node that leaves and joins again gets a new one.
    NodeId
);
uuid_type!(
    /// A volume's identity; kept beside its data on every node that has a copy.
    VolumeId
);
uuid_type!(
    /// A plan step being executed for one service.
    OperationId
);
uuid_type!(
    /// One start of a node's kernel: changes with every reboot (Linux `boot_id`).
    BootId
);

/// One piece of work that control gave to one agent: the operation and a number within it.
/// Giving the same task twice does the work once.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub struct TaskId {
    /// The operation that the task serves.
    pub operation: OperationId,
    /// Counts the operation's tasks, retries included.
    pub sequence: u32,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.operation.short(), self.sequence)
    }
}

/// Grows with every change of a volume's holder. The higher epoch is the true one.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
    Default,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch of a volume that was just created.
    pub const FIRST: Self = Self(1);

    /// The epoch after this one. A number at the end of all numbers, which nobody reaches by counting,
    /// stays: what damaged or hostile input says must not end a process.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Orders instructions about one subject (a service on a node, a route). Taken from one counter
/// of the whole cluster, so it never goes back; a receiver ignores an older one.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
    Default,
)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation after this one; the last one of all stays, as with [`Epoch::next`].
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_id_reads_what_it_shows() {
        for text in ["db", "shop/db"] {
            assert_eq!(text.parse::<ServiceId>().unwrap().to_string(), text);
        }
        assert_eq!("default/db".parse::<ServiceId>().unwrap().to_string(), "db");
    }

    #[test]
    fn the_last_number_of_all_ends_no_process() {
        assert_eq!(Epoch(u64::MAX).next(), Epoch(u64::MAX));
        assert_eq!(Generation(u64::MAX).next(), Generation(u64::MAX));
        assert_eq!(Epoch(1).next(), Epoch(2));
    }

    #[test]
    fn names_follow_dockers_rule() {
        for good in ["a", "site-clusterhq.com", "0_x"] {
            assert!(ServiceName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", ".a", "a b", "a/b", "ä"] {
            assert!(ServiceName::new(bad).is_err(), "{bad}");
        }
        assert!(ServiceName::new("a".repeat(129)).is_err());
    }
}
