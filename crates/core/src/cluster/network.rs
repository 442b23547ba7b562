//! An IPv4 network from which addresses are given out.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// `a.b.c.d/n` with host bits zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    base: Ipv4Addr,
    prefix_bits: u8,
}

/// Text that is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not an IPv4 network; write it as 10.213.0.0/16 (prefix from 8 to 29 bits)")]
pub struct ParseNetworkError(String);

/// Every address is taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("every address of {0} is taken")]
pub struct NetworkFull(pub Network);

impl Network {
    /// Its first and its last address, those included that are not given out.
    pub fn span(&self) -> (Ipv4Addr, Ipv4Addr) {
        let host_mask = u32::MAX >> self.prefix_bits;
        (self.base, Ipv4Addr::from(u32::from(self.base) | host_mask))
    }

    /// First address that may be given out (the network's own and the first one, a gateway's, are
    /// not), and how many there are.
    pub fn usable(&self) -> (Ipv4Addr, u32) {
        let size = 1_u32 << (32 - u32::from(self.prefix_bits));
        (Ipv4Addr::from(u32::from(self.base) + 2), size - 3)
    }

    /// The lowest usable address that is not taken.
    ///
    /// # Errors
    /// [`NetworkFull`].
    pub fn free_address(&self, taken: &BTreeSet<Ipv4Addr>) -> Result<Ipv4Addr, NetworkFull> {
        let (first, count) = self.usable();
        (0..count)
            .map(|offset| Ipv4Addr::from(u32::from(first) + offset))
            .find(|address| !taken.contains(address))
            .ok_or(NetworkFull(*self))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix_bits)
    }
}

impl FromStr for Network {
    type Err = ParseNetworkError;
    fn from_str(text: &str) -> Result<Self, ParseNetworkError> {
        let fail = || ParseNetworkError(text.to_owned());
        let (base, bits) = text.split_once('/').ok_or_else(fail)?;
        let base: Ipv4Addr = base.parse().map_err(|_| fail())?;
        let prefix_bits: u8 = bits.parse().map_err(|_| fail())?;
        if !(8..=29).contains(&prefix_bits) {
            return Err(fail());
        }
        let host_mask = u32::MAX >> prefix_bits;
        if u32::from(base) & host_mask != 0 {
            return Err(fail());
        }
        Ok(Self { base, prefix_bits })
    }
}

impl TryFrom<String> for Network {
    type Error = ParseNetworkError;
    fn try_from(text: String) -> Result<Self, ParseNetworkError> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> String {
        network.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_out_the_lowest_free_address() {
        let network: Network = "10.1.0.0/29".parse().unwrap();
        let mut taken = BTreeSet::new();
        for last in 2..=6 {
            let address = network.free_address(&taken).unwrap();
            assert_eq!(address, Ipv4Addr::new(10, 1, 0, last));
            taken.insert(address);
        }
        assert_eq!(network.free_address(&taken), Err(NetworkFull(network)));
    }

    #[test]
    fn host_bits_are_refused() {
        assert!("10.1.0.1/16".parse::<Network>().is_err());
        assert!("10.1.0.0".parse::<Network>().is_err());
    }
}
