//! Real namespaces and engines: reach, cut, heal, power, and that `down` leaves nothing.

use crate::support::{in_network_of, spec};
use flocker_testkit::sandbox::{
    NodePlace, Role, Sandbox, SandboxGuard, SandboxRecord, SandboxSpec, Target,
};
use flocker_testkit::tool::Tool;
use flocker_types::volume::StorageKind;
use nix::sys::signal::Signal;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(400);
const LONG: Duration = Duration::from_secs(20);

/// A listener on the first node and a connection to it from the second.
fn connect(server: &NodePlace, client: &NodePlace) -> (TcpStream, TcpStream) {
    let address = SocketAddr::from((server.address, 7000));
    let listener = in_network_of(server, move || TcpListener::bind(address).unwrap());
    let from = in_network_of(client, move || {
        TcpStream::connect_timeout(&address, LONG).unwrap()
    });
    let (at, _) = listener.accept().unwrap();
    (from, at)
}

fn is_silent(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(SHORT)).unwrap();
    let error = stream.read(&mut [0; 1]).err();
    error.is_some_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

fn hears(stream: &mut TcpStream, expected: u8) {
    stream.set_read_timeout(Some(LONG)).unwrap();
    let mut byte = [0; 1];
    stream.read_exact(&mut byte).unwrap();
    assert_eq!(byte[0], expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_hear_each_other_until_cut_and_again_when_healed() {
    let sandbox = SandboxGuard::up_bare(&spec(2)).await.unwrap();
    let (mut near, mut far) = connect(&sandbox.nodes()[0], &sandbox.nodes()[1]);
    near.write_all(b"a").unwrap();
    hears(&mut far, b'a');

    sandbox.cut("n1", "n2").await.unwrap();
    near.write_all(b"b").unwrap();
    assert!(is_silent(&mut far), "an established connection is cut too");
    far.write_all(b"c").unwrap();
    assert!(is_silent(&mut near), "and the other way");
    assert!(root_reaches(&sandbox, "n1").await, "but not from here");
    sandbox.heal_between("n1", "n2").await.unwrap();
    hears(&mut far, b'b');
    hears(&mut near, b'c');

    sandbox.cut_all("n2").await.unwrap();
    near.write_all(b"d").unwrap();
    assert!(is_silent(&mut far));
    assert!(
        !root_reaches(&sandbox, "n2").await,
        "a node that is cut off is so from here too"
    );
    sandbox.heal("n2").await.unwrap();
    hears(&mut far, b'd');
    // The neighbour's address has to be found again, for which the kernel may need a second.
    let deadline = std::time::Instant::now() + LONG;
    while !root_reaches(&sandbox, "n2").await {
        assert!(std::time::Instant::now() < deadline, "n2 is not back");
    }
}

/// The machine's firewall as Docker sets it up, and a way to the Internet, without touching either: a
/// network namespace stands for the machine, and another test runs in it.
const DROPPING_MACHINE: &str = "set -e
ip link set lo up
ip link add d0 type veth peer name d1
ip addr add 192.0.2.9/24 dev d0
ip link set d0 up
ip link set d1 up
iptables -P FORWARD DROP
[ $2 = inside ] || ip route add default via 192.0.2.1
$1 --exact sandbox::nodes_hear_each_other_until_cut_and_again_when_healed
[ \"$(iptables -S FORWARD)\" = '-P FORWARD DROP' ]
! nft list tables | grep flk_
[ $(cat /proc/sys/net/ipv4/ip_forward) = 0 ]";

#[tokio::test(flavor = "multi_thread")]
async fn a_firewall_that_drops_is_passed_and_left_as_it_was() {
    let own = std::env::current_exe().unwrap();
    for place in ["inside", "outside"] {
        let run = Tool::words("unshare --net sh -c").args([DROPPING_MACHINE, "sh"]);
        run.arg(&own)
            .arg(place)
            .limit(LONG * 6)
            .run()
            .await
            .unwrap();
    }
}

/// Whether this machine gets an answer (here: a refusal, which is one) from a node.
async fn root_reaches(sandbox: &Sandbox, node: &str) -> bool {
    let address = SocketAddr::from((sandbox.node(node).unwrap().address, 9));
    let tried = TcpStream::connect_timeout(&address, SHORT);
    tried.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_made_later_on_a_node_is_there_for_its_engine_and_for_nobody_else() {
    let sandbox = SandboxGuard::up_bare(&spec(2)).await.unwrap();
    let node = &sandbox.nodes()[0];
    let image = node.directory.join("image");
    let pool = node.directory.join("pool");
    std::fs::create_dir(&pool).unwrap();
    std::fs::File::create(&image)
        .unwrap()
        .set_len(512 << 20)
        .unwrap();
    let on = |program| sandbox.tool_on("n1", program).unwrap();
    on("mkfs.btrfs").arg("-q").arg(&image).run().await.unwrap();
    on("mount")
        .args(["-o", "loop"])
        .arg(&image)
        .arg(&pool)
        .run()
        .await
        .unwrap();

    let engine = sandbox.process(node, Role::Docker).unwrap().unwrap();
    let mounts = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/mounts")).unwrap();
    let pool = pool.display().to_string();
    assert!(
        mounts(&engine.pid.to_string()).contains(&pool),
        "the engine sees it"
    );
    assert!(!mounts("self").contains(&pool), "this machine does not");
    let other = sandbox
        .process(&sandbox.nodes()[1], Role::Docker)
        .unwrap()
        .unwrap();
    assert!(
        !mounts(&other.pid.to_string()).contains(&pool),
        "nor does another node"
    );

    let name = sandbox.record().name.clone();
    Sandbox::down(&name).await.unwrap();
    assert_nothing_left(name.as_str()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_node_has_a_zfs_pool_of_its_own_that_survives_a_power_cut() {
    let zfs = SandboxSpec {
        storage: StorageKind::Zfs,
        ..spec(2)
    };
    let sandbox = SandboxGuard::up_bare(&zfs).await.unwrap();
    let pool = sandbox.pool_spec("n1").unwrap().replace("zfs:", "");
    let on = |node, words: &str| {
        let (program, rest) = words.split_once(' ').unwrap();
        sandbox
            .tool_on(node, program)
            .unwrap()
            .args(rest.split(' '))
    };
    on("n1", &format!("zfs create {pool}/volume"))
        .run()
        .await
        .unwrap();
    let there = on("n1", "zfs list").run().await.unwrap();
    assert!(there.contains(&format!("{pool}/volume")), "{there}");
    let elsewhere = on("n2", "zfs list").run().await.unwrap();
    assert!(!elsewhere.contains(&pool), "{elsewhere}");

    let file = sandbox.nodes()[0].directory.join("pool/volume/file");
    let file = file.display();
    on("n1", &format!("cp /etc/hostname {file}"))
        .run()
        .await
        .unwrap();
    // A snapshot is durable when the command returns.
    on("n1", &format!("zfs snapshot {pool}/volume@now"))
        .run()
        .await
        .unwrap();
    let engine = sandbox
        .process(&sandbox.nodes()[0], Role::Docker)
        .unwrap()
        .unwrap();
    let seen = format!("/proc/{}/root{file}", engine.pid);
    assert!(Path::new(&seen).exists(), "the engine sees the volume");

    sandbox.power_off("n1").await.unwrap();
    sandbox.power_on("n1").await.unwrap();
    on("n1", &format!("cmp /etc/hostname {file}"))
        .run()
        .await
        .unwrap();
    Sandbox::down(&zfs.name).await.unwrap();
    assert_nothing_left(zfs.name.as_str()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_can_be_frozen_killed_and_started_again() {
    let sandbox = SandboxGuard::up_bare(&spec(1)).await.unwrap();
    let docker = Target::One(Role::Docker);
    let answers = |seconds| {
        let tool = sandbox.tool_on("n1", "docker").unwrap().args(["version"]);
        tool.limit(Duration::from_secs(seconds))
    };
    answers(20).run().await.unwrap();
    assert_eq!(sandbox.freeze("n1", docker).await.unwrap(), [Role::Docker]);
    assert!(
        answers(1).run().await.is_err(),
        "a frozen engine does not answer"
    );
    sandbox.thaw("n1", docker).await.unwrap();
    answers(20).run().await.unwrap();
    sandbox
        .kill("n1", Target::All, Signal::SIGKILL)
        .await
        .unwrap();
    assert!(!sandbox.is_running("n1", Role::Docker).unwrap());
    assert!(answers(5).run().await.is_err());
    sandbox.start("n1", Role::Docker).await.unwrap();
    answers(20).run().await.unwrap();

    sandbox.power_off("n1").await.unwrap();
    assert!(
        sandbox.tool_on("n1", "true").is_err(),
        "nothing runs on a node without power"
    );
    sandbox.power_on("n1").await.unwrap();
    answers(20).run().await.unwrap();
    let refused = sandbox.start("n1", Role::Agent).await.unwrap_err();
    assert!(refused.to_string().contains("without Flocker"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn down_leaves_nothing_wherever_up_was_interrupted() {
    for after_ms in [3, 20, 60, 150, 400, 900] {
        let spec = spec(2);
        let up = Sandbox::up_bare(&spec);
        // Dropping the future is a crash: nothing of ours runs after it.
        let _interrupted = tokio::time::timeout(Duration::from_millis(after_ms), up).await;
        Sandbox::down(&spec.name).await.unwrap();
        assert_nothing_left(spec.name.as_str()).await;
        Sandbox::down(&spec.name).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_in_use_is_refused_and_the_sandbox_stays() {
    let spec = spec(1);
    let sandbox = SandboxGuard::up_bare(&spec).await.unwrap();
    let refused = Sandbox::up_bare(&spec).await.unwrap_err();
    assert!(refused.to_string().contains("already"), "{refused}");
    assert!(sandbox.is_running("n1", Role::Docker).unwrap());
    assert!(Sandbox::open(&spec.name).is_ok());
    let listed = Sandbox::list().unwrap();
    assert!(listed.iter().any(|record| record.name == spec.name));
}

async fn assert_nothing_left(name: &str) {
    let seen = |what: &str, text: &str, of: &str| {
        assert!(!text.contains(of), "{what} of {of} left: {text}");
    };
    let namespace = format!("flk-{name}-");
    let directory = format!("/var/lib/flocker-sandbox/{name}/");
    let namespaces = Tool::words("ip netns list").run().await.unwrap();
    seen("a namespace", &namespaces, &namespace);
    let devices = Tool::words("losetup -a").run().await.unwrap();
    seen("a loop device", &devices, &directory);
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    seen("a mount", &mounts, &directory);
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        seen("a process", &String::from_utf8_lossy(&line), &directory);
    }
    let groups = Tool::words("find /sys/fs/cgroup -maxdepth 2 -name flk-*")
        .run()
        .await
        .unwrap();
    seen("a control group", &groups, &namespace);
    assert!(!Path::new(&directory).exists(), "{directory} is left");
    let used: Vec<String> = Sandbox::list()
        .unwrap()
        .iter()
        .map(SandboxRecord::bridge)
        .collect();
    for link in std::fs::read_dir("/sys/class/net").unwrap().flatten() {
        let link = link.file_name().into_string().unwrap();
        if link.starts_with("flkb") {
            // Read again: another test's sandbox may have come up since.
            let again = Sandbox::list().unwrap();
            let known = used.contains(&link) || again.iter().any(|record| record.bridge() == link);
            assert!(known, "bridge {link} is left");
        }
    }
}
