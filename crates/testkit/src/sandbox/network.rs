//! The sandbox's network: a bridge, a namespace and a cable per node, a way to the Internet where
//! the machine has one, and cables that can be cut.
//!
//! Called by `up`, by the fault functions and by `down`. Every function may be repeated; those that
//! remove do nothing when there is nothing to remove. Touches nothing of the machine's own network
//! but: forwarding is switched on (and off again after the last sandbox), and where the machine's
//! firewall refuses forwarded packets, our bridge is let through.

use super::SandboxError;
use super::record::{BASE, NodePlace, SandboxRecord, Subnet};
use crate::tool::{Tool, ToolError};
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";
/// Begins the name of the file that exists while forwarding is on because of us.
const FORWARDING_MARK: &str = ".forwarding-was-off-";

/// Chooses addresses that neither another sandbox nor a route of this machine uses.
pub(super) async fn choose_subnet(taken: &[SandboxRecord]) -> Result<Subnet, SandboxError> {
    let routes = Tool::words("ip -4 -o route show table all").run().await?;
    (0..=u8::MAX)
        .map(|third| Subnet { third })
        .find(|subnet| {
            taken.iter().all(|record| record.subnet != *subnet) && !is_routed(&routes, *subnet)
        })
        .ok_or_else(|| SandboxError::Invalid {
            what: "no free addresses for another sandbox in 10.217.0.0/16".to_owned(),
            hint: "take a sandbox down, or remove the machine's routes into that range".to_owned(),
        })
}

/// Whether a route other than the default one covers part of the subnet.
fn is_routed(routes: &str, subnet: Subnet) -> bool {
    let ours = u32::from(subnet.address(0));
    routes
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let first = words.next()?;
            // `local`, `broadcast`, `unreachable` ... stand before the destination.
            if first.starts_with(|c: char| c.is_ascii_digit()) {
                Some(first)
            } else {
                words.next()
            }
        })
        .filter_map(|destination| {
            let (address, bits) = destination.split_once('/').unwrap_or((destination, "32"));
            Some((address.parse::<Ipv4Addr>().ok()?, bits.parse::<u32>().ok()?))
        })
        .filter(|(_, bits)| (1..=32).contains(bits))
        .any(|(address, bits)| {
            let mask = u32::MAX << (32 - bits.min(24));
            u32::from(address) & mask == ours & mask
        })
}

/// Makes the bridge and lets the nodes out to the Internet where there is one.
pub(super) async fn make_bridge(record: &SandboxRecord) -> Result<(), SandboxError> {
    let bridge = record.bridge();
    let address = record.subnet.bridge_address();
    Tool::words(&format!("ip link add {bridge} type bridge"))
        .run()
        .await?;
    Tool::words(&format!("ip addr add {address}/24 dev {bridge}"))
        .run()
        .await?;
    Tool::words(&format!("ip link set {bridge} up"))
        .run()
        .await?;
    let_through_firewall(&bridge).await?;
    let routes = Tool::words("ip -4 route show default").run().await?;
    if routes.trim().is_empty() {
        return Ok(());
    }
    if let Err(error) = open_way_out(record).await {
        tracing::warn!(%error, "the sandbox's nodes will not reach the Internet");
    }
    Ok(())
}

async fn open_way_out(record: &SandboxRecord) -> Result<(), SandboxError> {
    let (table, subnet, bridge) = (record.nat_table(), record.subnet, record.bridge());
    let rules = format!(
        "table ip {table} {{\n chain out {{\n type nat hook postrouting priority 100;\n \
         ip saddr {subnet} oifname != \"{bridge}\" masquerade\n }}\n}}\n"
    );
    Tool::words("nft -f -").input(rules).run().await?;
    let is_on = |error| SandboxError::file("read", Path::new(FORWARDING))(error);
    if fs::read_to_string(FORWARDING).map_err(is_on)?.trim() == "0" {
        let mark = forwarding_mark(record.machine);
        fs::write(&mark, "").map_err(SandboxError::file("write", &mark))?;
        let path = Path::new(FORWARDING);
        fs::write(path, "1").map_err(SandboxError::file("write", path))?;
    }
    Ok(())
}

/// A firewall that drops what is forwarded (Docker's own does) would, with the kernel's bridge
/// filter on, also drop what nodes send each other.
async fn let_through_firewall(bridge: &str) -> Result<(), SandboxError> {
    let Ok(rules) = Tool::words("iptables -w -S FORWARD").run().await else {
        return Ok(()); // no iptables here, so no such firewall
    };
    if rules.lines().any(|rule| rule == "-P FORWARD DROP") {
        for side in ["-i", "-o"] {
            let rule = format!("iptables -w -I FORWARD {side} {bridge} -j ACCEPT");
            Tool::words(&rule).run().await?;
        }
    }
    Ok(())
}

/// Makes a node's namespace and plugs its cable into the bridge.
pub(super) async fn make_namespace(
    record: &SandboxRecord,
    node: &NodePlace,
) -> Result<(), SandboxError> {
    let (namespace, cable, address) = (&node.namespace, &node.cable, node.address);
    let (bridge, gateway) = (record.bridge(), record.subnet.bridge_address());
    for line in [
        format!("ip netns add {namespace}"),
        format!("ip link add {cable} type veth peer name eth0 netns {namespace}"),
        format!("ip link set {cable} master {bridge} up"),
        format!("ip -n {namespace} link set lo up"),
        format!("ip -n {namespace} addr add {address}/24 dev eth0"),
        format!("ip -n {namespace} link set eth0 up"),
        format!("ip -n {namespace} route add default via {gateway}"),
    ] {
        Tool::words(&line).run().await?;
    }
    Ok(())
}

/// Removes a node's cable and namespace.
pub(super) async fn remove_namespace(node: &NodePlace) -> Result<(), SandboxError> {
    remove_link(&node.cable).await?;
    if node.namespace_file().exists() {
        Tool::words(&format!("ip netns del {}", node.namespace))
            .run()
            .await?;
    }
    Ok(())
}

/// Removes the bridge and the way to the Internet.
pub(super) async fn remove_bridge(record: &SandboxRecord) -> Result<(), SandboxError> {
    let bridge = record.bridge();
    remove_link(&bridge).await?;
    let table = record.nat_table();
    let tables = Tool::words("nft list tables ip").output().await?;
    let listed = String::from_utf8_lossy(&tables.stdout);
    if listed
        .lines()
        .any(|line| line.trim() == format!("table ip {table}"))
    {
        Tool::words(&format!("nft delete table ip {table}"))
            .run()
            .await?;
    }
    let Ok(rules) = Tool::words("iptables -w -S FORWARD").run().await else {
        return Ok(());
    };
    for rule in rules
        .lines()
        .filter(|rule| rule.contains(&format!(" {bridge} ")))
    {
        let delete = rule.replacen("-A", "-D", 1);
        Tool::words(&format!("iptables -w {delete}")).run().await?;
    }
    Ok(())
}

/// Switches forwarding off again when it was us who switched it on. Called after the last sandbox.
pub(super) fn restore_forwarding(machine: u64) -> Result<(), SandboxError> {
    let mark = forwarding_mark(machine);
    if mark.exists() {
        let path = Path::new(FORWARDING);
        fs::write(path, "0").map_err(SandboxError::file("write", path))?;
        fs::remove_file(&mark).map_err(SandboxError::file("remove", &mark))?;
    }
    Ok(())
}

/// The network that we are in: that of the machine, or of a container that we run in.
pub(super) fn machine() -> Result<u64, SandboxError> {
    let path = Path::new("/proc/self/ns/net");
    let namespace = fs::metadata(path).map_err(SandboxError::file("look at", path))?;
    Ok(namespace.ino())
}

fn forwarding_mark(machine: u64) -> PathBuf {
    Path::new(BASE).join(format!("{FORWARDING_MARK}{machine}"))
}

async fn remove_link(link: &str) -> Result<(), ToolError> {
    let path = PathBuf::from("/sys/class/net").join(link);
    if !path.exists() {
        return Ok(());
    }
    match Tool::words(&format!("ip link del {link}")).run().await {
        // It may have gone with its namespace in between.
        Err(error) if path.exists() => Err(error),
        _ => Ok(()),
    }
}

/// Pulls a node's cable out of the bridge: nothing gets to it or from it any more.
pub(super) async fn unplug(node: &NodePlace) -> Result<(), ToolError> {
    let line = format!("ip link set {} nomaster", node.cable);
    Tool::words(&line).run().await.map(drop)
}

/// Plugs it in again.
pub(super) async fn plug_in(record: &SandboxRecord, node: &NodePlace) -> Result<(), ToolError> {
    let line = format!("ip link set {} master {}", node.cable, record.bridge());
    Tool::words(&line).run().await.map(drop)
}

/// Makes a node ignore, silently, everything that comes from an address. What is established is
/// cut too: the rule stands before connection tracking.
pub(super) async fn ignore(node: &NodePlace, from: Ipv4Addr) -> Result<(), ToolError> {
    let rules = format!(
        "table ip flk_cut {{\n chain in {{\n type filter hook prerouting priority -310;\n \
         ip saddr {from} drop\n }}\n}}\n"
    );
    in_namespace(node, "nft -f -")
        .input(rules)
        .run()
        .await
        .map(drop)
}

/// Makes a node answer what comes from an address to one of its ports with a reset, as if nobody
/// listened there any more.
pub(super) async fn refuse(node: &NodePlace, from: Ipv4Addr, port: u16) -> Result<(), ToolError> {
    let rules = format!(
        "table ip flk_refuse {{\n chain in {{\n type filter hook input priority -310;\n \
         ip saddr {from} tcp dport {port} reject with tcp reset\n }}\n}}\n"
    );
    in_namespace(node, "nft -f -")
        .input(rules)
        .run()
        .await
        .map(drop)
}

/// Drops whatever the processes of a control group send or would hear.
pub(super) async fn mute(node: &NodePlace, root: &Path, group: &str) -> Result<(), ToolError> {
    // nft looks the group up below this fixed path, wherever the hierarchy is mounted.
    let script = "mount --bind \"$1\" /sys/fs/cgroup && exec nft -f -";
    let rules = format!(
        "table inet flk_mute {{\n chain out {{\n type filter hook output priority -310;\n \
         socket cgroupv2 level 1 \"{group}\" drop\n }}\n chain in {{\n type filter hook input \
         priority -310;\n socket cgroupv2 level 1 \"{group}\" drop\n }}\n}}\n"
    );
    in_namespace(node, "unshare --mount sh -c")
        .arg(script)
        .arg("sh")
        .arg(root)
        .input(rules)
        .run()
        .await
        .map(drop)
}

/// Makes a node hear everybody again, and all of its processes be heard.
pub(super) async fn hear_all(node: &NodePlace) -> Result<(), ToolError> {
    // Created first, so that deleting it cannot fail for want of it.
    let rules = "table ip flk_cut { }\ndelete table ip flk_cut\n\
                 table ip flk_refuse { }\ndelete table ip flk_refuse\n\
                 table inet flk_mute { }\ndelete table inet flk_mute\n";
    in_namespace(node, "nft -f -")
        .input(rules)
        .run()
        .await
        .map(drop)
}

/// Makes a node hear one address again.
pub(super) async fn hear(node: &NodePlace, from: Ipv4Addr) -> Result<(), ToolError> {
    let listed = in_namespace(node, "nft -a list tables").run().await?;
    if !listed.contains("table ip flk_cut") {
        return Ok(());
    }
    let rules = in_namespace(node, "nft -a list chain ip flk_cut in")
        .run()
        .await?;
    for rule in rules
        .lines()
        .filter(|rule| rule.contains(&format!("saddr {from} drop")))
    {
        if let Some((_, handle)) = rule.rsplit_once("# handle ") {
            let delete = format!("nft delete rule ip flk_cut in handle {handle}");
            in_namespace(node, &delete).run().await?;
        }
    }
    Ok(())
}

fn in_namespace(node: &NodePlace, line: &str) -> Tool {
    let path = node.namespace_file();
    Tool::new("nsenter")
        .arg(format!("--net={}", path.display()))
        .args(line.split_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_into_the_subnet_are_seen() {
        let subnet = Subnet { third: 7 };
        for route in [
            "10.217.7.0/24 dev x proto kernel",
            "10.0.0.0/8 via 192.0.2.1 dev eth0",
            "10.217.7.9 dev tun0",
            "local 10.217.7.1 dev y table local scope host",
            "10.217.6.0/23 dev z",
        ] {
            assert!(is_routed(route, subnet), "{route}");
        }
        for route in [
            "default via 192.0.2.1 dev eth0",
            "10.217.8.0/24 dev x",
            "local 127.0.0.0/8 dev lo table local",
            "broadcast 10.217.8.255 dev x table local",
        ] {
            assert!(!is_routed(route, subnet), "{route}");
        }
    }
}
