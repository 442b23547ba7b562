//! The subnet of the node's container network: reading it, and which address is the node's own.
//! Pure; used when the network is made and when a container's address is checked.

use crate::runtime_trait::{RuntimeError, RuntimeErrorKind};
use std::fmt;
use std::net::Ipv4Addr;

/// Longest prefix that leaves room for the node's address and one container.
const PREFIX_LENGTH_MAX: u8 = 29;

/// An IPv4 network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subnet {
    network: Ipv4Addr,
    prefix_length: u8,
}

impl Subnet {
    /// Reads `a.b.c.d/n`. Bits of the host part are refused: they hint at a mistake.
    pub(super) fn parse(text: &str) -> Result<Self, RuntimeError> {
        let fail = |why: &str| {
            Err(RuntimeError {
                action: format!("use \"{text}\" as the container network"),
                kind: RuntimeErrorKind::Refused(why.to_owned()),
            })
        };
        let Some((network, length)) = text.split_once('/') else {
            return fail("it has no prefix length; write it like 172.28.1.0/24");
        };
        let (Ok(network), Ok(prefix_length)) = (network.parse::<Ipv4Addr>(), length.parse::<u8>())
        else {
            return fail("it is not an IPv4 network; write it like 172.28.1.0/24");
        };
        if prefix_length == 0 || prefix_length > PREFIX_LENGTH_MAX {
            return fail("its prefix length must be from 1 to 29");
        }
        let subnet = Self {
            network,
            prefix_length,
        };
        if network.to_bits() & !subnet.mask() != 0 {
            return fail("its address is not the first one of the network");
        }
        Ok(subnet)
    }

    fn mask(self) -> u32 {
        u32::MAX << (32 - u32::from(self.prefix_length))
    }

    /// The node's own address in it: the first one that a host may have.
    pub(super) fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits() | 1)
    }

    /// Whether a container may have this address.
    pub(super) fn has_room_for(self, address: Ipv4Addr) -> bool {
        let bits = address.to_bits();
        let broadcast = self.network.to_bits() | !self.mask();
        bits & self.mask() == self.network.to_bits()
            && bits != self.network.to_bits()
            && bits != broadcast
            && address != self.gateway()
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.network, self.prefix_length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_shows_and_knows_its_addresses() {
        let subnet = Subnet::parse("10.42.7.0/24").unwrap();
        assert_eq!(subnet.to_string(), "10.42.7.0/24");
        assert_eq!(subnet.gateway(), Ipv4Addr::new(10, 42, 7, 1));
        for (address, allowed) in [
            ([10, 42, 7, 2], true),
            ([10, 42, 7, 254], true),
            ([10, 42, 7, 0], false),
            ([10, 42, 7, 1], false),
            ([10, 42, 7, 255], false),
            ([10, 42, 8, 2], false),
        ] {
            assert_eq!(
                subnet.has_room_for(Ipv4Addr::from(address)),
                allowed,
                "{address:?}"
            );
        }
    }

    #[test]
    fn says_what_is_wrong_with_a_bad_one() {
        for (text, part) in [
            ("10.0.0.0", "no prefix length"),
            ("ten/8", "not an IPv4 network"),
            ("10.0.0.0/30", "from 1 to 29"),
            ("10.0.0.0/0", "from 1 to 29"),
            ("10.0.0.7/24", "not the first one"),
        ] {
            let message = Subnet::parse(text).unwrap_err().to_string();
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
