//! Every option that a service may have reaches its container, and does what it says there.

use crate::world::{World, log_of};
use flocker_runtime::{MountRequest, Runtime};
use flocker_types::container::{
    BindMount, ContainerOptions, Device, Logging, Namespaces, Resources, Ulimit,
};
use flocker_types::link::Follow;
use std::collections::BTreeMap;

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = pairs.iter();
    pairs
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn rich(bind: &std::path::Path) -> ContainerOptions {
    ContainerOptions {
        entrypoint: Some(texts(&["sh", "-c"])),
        user: Some("123:456".to_owned()),
        working_dir: Some("/work/here".to_owned()),
        hostname: Some("shop".to_owned()),
        labels: map(&[("team", "blue"), ("io.flocker.service", "not/this")]),
        tmpfs: map(&[("/scratch", "size=1m,mode=1777")]),
        binds: vec![BindMount {
            source: bind.to_string_lossy().into_owned(),
            target: "/bound".to_owned(),
            read_only: true,
            create_source: true,
            propagation: None,
        }],
        devices: vec![Device {
            source: "/dev/null".to_owned(),
            target: "/dev/nothing".to_owned(),
            permissions: "rw".to_owned(),
        }],
        ulimits: BTreeMap::from([(
            "nofile".to_owned(),
            Ulimit {
                soft: 321,
                hard: 654,
            },
        )]),
        cap_add: texts(&["NET_ADMIN"]),
        cap_drop: texts(&["CHOWN"]),
        security_opt: texts(&["no-new-privileges:true"]),
        group_add: texts(&["789"]),
        read_only: true,
        init: Some(true),
        logging: Some(Logging {
            driver: "json-file".to_owned(),
            options: map(&[("max-size", "1m"), ("max-file", "7")]),
        }),
        dns: texts(&["10.0.0.53"]),
        dns_search: texts(&["shop.example"]),
        dns_options: texts(&["ndots:3"]),
        extra_hosts: vec![("more".to_owned(), "10.7.7.7".to_owned())],
        sysctls: map(&[("net.ipv4.ip_unprivileged_port_start", "99")]),
        resources: Resources {
            nano_cpus: Some(500_000_000),
            memory_reservation_bytes: Some(32 << 20),
            pids_max: Some(77),
            shm_size_bytes: Some(2 << 20),
            oom_score_adj: Some(250),
            ..Resources::default()
        },
        ..ContainerOptions::default()
    }
}

const SCRIPT: &str = "
echo user=$(id -u):$(id -g); echo groups=$(id -G); echo pwd=$(pwd); echo host=$(hostname)
echo nofile=$(ulimit -Sn)/$(ulimit -Hn)
touch /root-is-read-only 2>/dev/null || echo read-only
touch /scratch/x && echo scratch
touch /bound/x 2>/dev/null || echo bound=$(cat /bound/file)
touch /data/x 2>/dev/null || echo data=$(cat /data/file)
test -c /dev/nothing && echo device
grep -q 10.7.7.7 /etc/hosts && echo hosts
grep -q shop.example /etc/resolv.conf && echo search
grep -q 'ndots:3' /etc/resolv.conf && echo ndots
echo first=$(cat /proc/1/comm)
echo port=$(cat /proc/sys/net/ipv4/ip_unprivileged_port_start)
echo oom=$(cat /proc/self/oom_score_adj)
echo new=$(grep NoNewPrivs /proc/self/status | cut -f 2)
echo shm=$(df -k /dev/shm | tail -n 1 | sed 's/  */ /g' | cut -d ' ' -f 2)
";

pub(crate) async fn every_option_does_what_it_says(world: &World) {
    let shared = world.engine.shared_directory();
    let bind = shared.join("bind-made-by-the-engine");
    let data = shared.join("read-only-volume");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::create_dir_all(&bind).unwrap();
    std::fs::write(data.join("file"), "kept").unwrap();
    std::fs::write(bind.join("file"), "here").unwrap();
    let mut request = world.script("rich", "");
    request.command = Some(texts(&[SCRIPT]));
    request.options = rich(&bind);
    request.mounts = vec![MountRequest {
        source: data,
        target: "/data".to_owned(),
        read_only: true,
    }];
    world.run(&request).await;
    let lines = log_of(&world.docker, &request.service, None, Follow::Yes).await;
    let lines: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
    let expected = [
        "user=123:456",
        "groups=456 789",
        "pwd=/work/here",
        "host=shop",
        "nofile=321/654",
        "read-only",
        "scratch",
        "bound=here",
        "data=kept",
        "device",
        "hosts",
        "search",
        "ndots",
        "first=docker-init",
        "port=99",
        "oom=250",
        "new=1",
        "shm=2048",
    ];
    assert_eq!(lines, expected);
    inspect_rich(world).await;
    world.end(&request.service).await;
}

/// What a script cannot see from inside.
async fn inspect_rich(world: &World) {
    let client = world.engine.client().await.unwrap();
    let found = client.inspect_container("flocker--test--rich", None).await;
    let found = found.unwrap();
    let host = found.host_config.unwrap();
    assert_eq!(host.cap_add, Some(texts(&["NET_ADMIN"])));
    assert_eq!(host.cap_drop, Some(texts(&["CHOWN"])));
    assert_eq!(host.nano_cpus, Some(500_000_000));
    assert_eq!(host.memory_reservation, Some(32 << 20));
    assert_eq!(host.pids_limit, Some(77));
    assert_eq!(host.dns, Some(texts(&["10.0.0.53"])));
    let log = host.log_config.unwrap();
    assert_eq!(log.config.unwrap()["max-file"], "7");
    let labels = found.config.unwrap().labels.unwrap();
    assert_eq!(labels["team"], "blue");
    assert_eq!(labels["io.flocker.service"], "test/rich");
}

/// Options that take the container's walls down, and some of the rarer ones.
pub(crate) async fn shared_namespaces_and_missing_directories(world: &World) {
    let missing = world.engine.shared_directory().join("made-on-the-way");
    let mut request = world.script("shared", "sleep 1000000");
    request.options = ContainerOptions {
        privileged: true,
        tty: true,
        stdin_open: true,
        device_rules: texts(&["c 1:3 mr"]),
        binds: vec![BindMount {
            source: missing.to_string_lossy().into_owned(),
            target: "/made".to_owned(),
            read_only: false,
            create_source: true,
            propagation: Some("rslave".to_owned()),
        }],
        namespaces: Namespaces {
            ipc: Some("host".to_owned()),
            pid: Some("host".to_owned()),
            uts: Some("host".to_owned()),
            users: Some("host".to_owned()),
            cgroup: Some("private".to_owned()),
        },
        resources: Resources {
            cpu_period_us: Some(50_000),
            cpu_quota_us: Some(20_000),
            cpu_set: Some("0".to_owned()),
            memory_swap_bytes: Some(-1),
            ..Resources::default()
        },
        ..ContainerOptions::default()
    };
    request.memory_limit_bytes = Some(64 << 20);
    world.docker.create(&request).await.unwrap();
    let client = world.engine.client().await.unwrap();
    let found = client
        .inspect_container("flocker--test--shared", None)
        .await;
    let found = found.unwrap();
    let settings = found.config.unwrap();
    assert_eq!(
        (settings.tty, settings.open_stdin),
        (Some(true), Some(true))
    );
    let host = found.host_config.unwrap();
    assert_eq!(host.privileged, Some(true));
    assert_eq!(host.pid_mode.as_deref(), Some("host"));
    assert_eq!(host.ipc_mode.as_deref(), Some("host"));
    assert_eq!(host.uts_mode.as_deref(), Some("host"));
    assert_eq!(host.userns_mode.as_deref(), Some("host"));
    assert_eq!(host.cpu_period, Some(50_000));
    assert_eq!(host.cpu_quota, Some(20_000));
    assert_eq!(host.cpuset_cpus.as_deref(), Some("0"));
    // Made when the container starts, not before.
    let bind = format!("{}:/made:rw,rslave", missing.display());
    assert_eq!(host.binds, Some(vec![bind]));
    world.docker.remove(&request.service).await.unwrap();
}
