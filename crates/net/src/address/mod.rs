//! The addresses of services on this node: /32s on an interface of our own, through rtnetlink.
//!
//! Owns that interface (`flocker0` unless configured) and, of its addresses, those that carry our
//! label; any other address on it is left alone. Called by the proxy's loop. Works in whatever
//! network namespace the calling thread is in. Never routes, filters or listens.

use futures_util::TryStreamExt;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use rtnetlink::{Handle, LinkBridge, LinkDummy, LinkUnspec};
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::timeout;

#[cfg(test)]
mod tests;

/// The interface's name when none is configured.
pub const INTERFACE_DEFAULT: &str = "flocker0";
/// Longest name of the interface, in bytes: the kernel gives a label 15 and ours adds four.
pub const INTERFACE_BYTES_MAX: usize = 11;
/// Longest wait for the kernel's answer to one request, in milliseconds.
const NETLINK_TIMEOUT_MS: u64 = 2_000;
/// Ends the label of each address that is ours, so that a later process knows them again.
const LABEL_END: &str = ":svc";
/// The kernel's "operation not supported": it has no interfaces of that kind.
const EOPNOTSUPP: i32 = 95;

/// An address could not be put in place or taken away.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// The configured name cannot be an interface of ours.
    #[error(
        "\"{name}\" cannot name the interface for service addresses; use 1 to 11 letters, digits, '-' or '_'"
    )]
    Name {
        /// As configured.
        name: String,
    },
    /// There is an interface of that name which somebody else made.
    #[error(
        "interface {name} exists and is neither a dummy nor a bridge; configure another name for ours"
    )]
    NotOurs {
        /// Its name.
        name: String,
    },
    /// The kernel gave no netlink socket.
    #[error("cannot talk to the kernel's network configuration (rtnetlink)")]
    Socket(#[source] std::io::Error),
    /// The kernel refused.
    #[error("cannot {action}")]
    Kernel {
        /// What was tried.
        action: String,
        /// Its answer. EPERM means that CAP_NET_ADMIN is missing.
        #[source]
        source: std::io::Error,
    },
    /// No answer in time.
    #[error("the kernel did not answer within {NETLINK_TIMEOUT_MS} ms when asked to {action}")]
    Timeout {
        /// What was tried.
        action: String,
    },
}

/// The interface and a connection to the kernel. Dropping it leaves everything in place: service
/// addresses outlive the proxy, so that an upgrade interrupts nobody.
#[derive(Debug)]
pub struct ServiceAddresses {
    handle: Handle,
    connection: JoinHandle<()>,
    interface: String,
    index: u32,
}

impl ServiceAddresses {
    /// Connects to the kernel and makes the interface if it is not there.
    ///
    /// # Errors
    /// [`AddressError`] says what is in the way.
    pub async fn open(interface: &str) -> Result<Self, AddressError> {
        let fitting = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if interface.is_empty()
            || interface.len() > INTERFACE_BYTES_MAX
            || !interface.bytes().all(fitting)
        {
            return Err(AddressError::Name {
                name: interface.to_owned(),
            });
        }
        let (connection, handle, _) = rtnetlink::new_connection().map_err(AddressError::Socket)?;
        let mut addresses = Self {
            handle,
            connection: tokio::spawn(connection),
            interface: interface.to_owned(),
            index: 0,
        };
        addresses.ensure_interface().await?;
        Ok(addresses)
    }

    /// Makes the interface and exactly these addresses be there, whatever was before.
    ///
    /// # Errors
    /// [`AddressError`] for the first thing that failed; the rest may be missing then.
    pub async fn replace_all(&mut self, wanted: &BTreeSet<Ipv4Addr>) -> Result<(), AddressError> {
        self.ensure_interface().await?;
        let present = self.present().await?;
        for (address, (message, owner)) in &present {
            if *owner == Owner::Us && !wanted.contains(address) {
                self.delete(*address, message.clone()).await?;
            }
        }
        for address in wanted {
            if !present.contains_key(address) {
                self.add(*address).await?;
            }
        }
        Ok(())
    }

    /// Adds an address; one that is there already is fine.
    ///
    /// # Errors
    /// [`AddressError`], also when the interface is gone: [`Self::replace_all`] makes it anew.
    pub async fn add(&self, address: Ipv4Addr) -> Result<(), AddressError> {
        let mut request = self
            .handle
            .address()
            .add(self.index, IpAddr::V4(address), 32);
        let label = AddressAttribute::Label(self.label());
        request.message_mut().attributes.push(label);
        let action = format!("add {address} to {}", self.interface);
        match ask(action, request.execute()).await {
            Err(AddressError::Kernel { source, .. })
                if source.kind() == ErrorKind::AlreadyExists =>
            {
                Ok(())
            }
            other => other,
        }
    }

    /// Removes an address if it is ours; one that is not there is fine.
    ///
    /// # Errors
    /// [`AddressError`] when the kernel refuses.
    pub async fn remove(&self, address: Ipv4Addr) -> Result<(), AddressError> {
        match self.present().await?.remove(&address) {
            Some((message, Owner::Us)) => self.delete(address, message).await,
            _ => Ok(()),
        }
    }

    fn label(&self) -> String {
        format!("{}{LABEL_END}", self.interface)
    }

    async fn delete(&self, address: Ipv4Addr, message: AddressMessage) -> Result<(), AddressError> {
        let action = format!("remove {address} from {}", self.interface);
        match ask(action, self.handle.address().del(message).execute()).await {
            Err(AddressError::Kernel { source, .. })
                if source.kind() == ErrorKind::AddrNotAvailable =>
            {
                Ok(())
            }
            other => other,
        }
    }

    /// The interface's IPv4 addresses.
    async fn present(&self) -> Result<BTreeMap<Ipv4Addr, (AddressMessage, Owner)>, AddressError> {
        let mut request = self.handle.address().get();
        request.message_mut().header.family = AddressFamily::Inet;
        let request = request.set_link_index_filter(self.index);
        let action = format!("list the addresses of {}", self.interface);
        let messages: Vec<AddressMessage> = ask(action, request.execute().try_collect()).await?;
        let label = self.label();
        let entry = |message: AddressMessage| {
            let mut owner = Owner::Somebody;
            let mut local = None;
            for attribute in &message.attributes {
                match attribute {
                    AddressAttribute::Local(IpAddr::V4(address)) => local = Some(*address),
                    AddressAttribute::Label(text) if *text == label => owner = Owner::Us,
                    _ => {}
                }
            }
            Some((local?, (message, owner)))
        };
        Ok(messages.into_iter().filter_map(entry).collect())
    }

    async fn ensure_interface(&mut self) -> Result<(), AddressError> {
        let found = match self.find().await? {
            Some(found) => found,
            None => {
                self.create().await?;
                let missing = std::io::Error::from(ErrorKind::NotFound);
                self.find().await?.ok_or_else(|| AddressError::Kernel {
                    action: format!("find interface {} that was just made", self.interface),
                    source: missing,
                })?
            }
        };
        if !is_dummy_or_bridge(&found) {
            return Err(AddressError::NotOurs {
                name: self.interface.clone(),
            });
        }
        self.index = found.header.index;
        if found.header.flags.contains(LinkFlags::Up) {
            return Ok(());
        }
        let up = LinkUnspec::new_with_index(self.index).up().build();
        let action = format!("bring interface {} up", self.interface);
        ask(action, self.handle.link().set(up).execute()).await
    }

    /// A dummy interface, or where the kernel was built without them, a bridge that never gets a
    /// port: every kernel that runs a container engine has those, and local addresses behave the
    /// same on both.
    async fn create(&self) -> Result<(), AddressError> {
        let name = self.interface.as_str();
        let dummy = self.handle.link().add(LinkDummy::new(name).up().build());
        let action = format!("make the dummy interface {name}");
        match ask(action, dummy.execute()).await {
            Err(AddressError::Kernel { source, .. })
                if source.raw_os_error() == Some(EOPNOTSUPP) =>
            {
                let bridge = self.handle.link().add(LinkBridge::new(name).up().build());
                existing_is_fine(ask(format!("make the bridge {name}"), bridge.execute()).await)
            }
            other => existing_is_fine(other),
        }
    }

    async fn find(&self) -> Result<Option<LinkMessage>, AddressError> {
        // All links are listed: asking for one by name is an error when it is not there, and
        // older kernels do not know the question.
        let action = format!("look for interface {}", self.interface);
        let links = self.handle.link().get().execute().try_collect();
        let links: Vec<LinkMessage> = ask(action, links).await?;
        let named = |link: &LinkMessage| {
            link.attributes
                .iter()
                .any(|a| matches!(a, LinkAttribute::IfName(name) if *name == self.interface))
        };
        Ok(links.into_iter().find(named))
    }
}

impl Drop for ServiceAddresses {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Whose an address on our interface is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Us,
    Somebody,
}

/// Two proxies may start at the same moment; whoever comes second finds the interface made.
fn existing_is_fine(result: Result<(), AddressError>) -> Result<(), AddressError> {
    match result {
        Err(AddressError::Kernel { source, .. }) if source.kind() == ErrorKind::AlreadyExists => {
            Ok(())
        }
        other => other,
    }
}

fn is_dummy_or_bridge(link: &LinkMessage) -> bool {
    link.attributes.iter().any(|attribute| {
        let LinkAttribute::LinkInfo(infos) = attribute else {
            return false;
        };
        let ours =
            |info: &LinkInfo| matches!(info, LinkInfo::Kind(InfoKind::Dummy | InfoKind::Bridge));
        infos.iter().any(ours)
    })
}

/// Waits for the kernel's answer, with a limit.
async fn ask<T>(
    action: String,
    request: impl Future<Output = Result<T, rtnetlink::Error>>,
) -> Result<T, AddressError> {
    match timeout(Duration::from_millis(NETLINK_TIMEOUT_MS), request).await {
        Err(_) => Err(AddressError::Timeout { action }),
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(rtnetlink::Error::NetlinkError(error))) => Err(AddressError::Kernel {
            action,
            source: error.to_io(),
        }),
        Ok(Err(other)) => Err(AddressError::Kernel {
            action,
            source: std::io::Error::other(other),
        }),
    }
}
