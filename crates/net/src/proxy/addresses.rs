//! Keeps the node's service addresses as the route table wants them, and remembers what is wrong.
//!
//! The loop's side of [`crate::address`]: a failure there never stops the proxy, it is reported and
//! tried again.

use crate::address::{AddressError, ServiceAddresses};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// See the module.
#[derive(Debug)]
pub(crate) struct AddressKeeper {
    /// None: somebody else sees to the addresses.
    interface: Option<String>,
    kernel: Option<ServiceAddresses>,
    fault: Option<String>,
}

impl AddressKeeper {
    pub(crate) fn new(interface: Option<String>) -> Self {
        Self {
            interface,
            kernel: None,
            fault: None,
        }
    }

    /// What is wrong, for people.
    pub(crate) fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// Makes the interface be there. Addresses that an earlier proxy left stay until it is known
    /// which are wanted.
    pub(crate) async fn open(&mut self) {
        if let Some(interface) = &self.interface {
            match ServiceAddresses::open(interface).await {
                Ok(kernel) => self.kernel = Some(kernel),
                Err(error) => self.note(Err(error)),
            }
        }
    }

    /// Adds an address.
    pub(crate) async fn add(&mut self, address: Ipv4Addr) {
        if let Some(kernel) = &self.kernel {
            let result = kernel.add(address).await;
            self.note(result);
        }
    }

    /// Removes an address.
    pub(crate) async fn remove(&mut self, address: Ipv4Addr) {
        if let Some(kernel) = &self.kernel {
            let result = kernel.remove(address).await;
            self.note(result);
        }
    }

    /// Makes exactly these addresses be there; mends what was wrong before.
    pub(crate) async fn replace_all(&mut self, wanted: &BTreeSet<Ipv4Addr>) {
        let Some(interface) = self.interface.clone() else {
            return;
        };
        self.fault = None;
        let result = async {
            let kernel = match self.kernel.take() {
                Some(kernel) => kernel,
                None => ServiceAddresses::open(&interface).await?,
            };
            self.kernel.insert(kernel).replace_all(wanted).await
        };
        let result = result.await;
        self.note(result);
    }

    fn note(&mut self, result: Result<(), AddressError>) {
        let Err(error) = result else {
            return;
        };
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        let text = format!("{error}{}", cause.unwrap_or_default());
        if self.fault.as_ref() != Some(&text) {
            tracing::warn!("{text}");
        }
        self.fault = Some(text);
    }
}
