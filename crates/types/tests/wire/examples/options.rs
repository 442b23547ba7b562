//! A container with every option.

use flocker_types::container::{
    BindMount, ContainerOptions, Device, FileMount, Logging, Namespaces, Resources, Ulimit,
};
use flocker_types::secret::SecretText;
use std::collections::BTreeMap;

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn map(key: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(key.to_owned(), value.to_owned())])
}

/// Options that say everything.
pub(crate) fn full_options() -> ContainerOptions {
    let text = |text: &str| Some(text.to_owned());
    ContainerOptions {
        entrypoint: Some(texts(&["/entry"])),
        user: text("70:70"),
        working_dir: text("/srv"),
        hostname: text("db"),
        domain_name: text("example.org"),
        labels: map("team", "shop"),
        annotations: map("org.example", "1"),
        tmpfs: map("/run", "size=64m"),
        binds: vec![BindMount {
            source: "/srv/conf".to_owned(),
            target: "/conf".to_owned(),
            read_only: true,
            create_source: true,
            propagation: text("rslave"),
        }],
        devices: vec![Device {
            source: "/dev/null".to_owned(),
            target: "/dev/zip".to_owned(),
            permissions: "rw".to_owned(),
        }],
        device_rules: texts(&["c 1:3 mr"]),
        files: vec![FileMount {
            target: "/run/secrets/password".to_owned(),
            content: SecretText::Plain("hunter2".to_owned()),
            mode: 0o440,
            user: 70,
            group: 70,
        }],
        ulimits: BTreeMap::from([(
            "nofile".to_owned(),
            Ulimit {
                soft: 1024,
                hard: 4096,
            },
        )]),
        cap_add: texts(&["NET_ADMIN"]),
        cap_drop: texts(&["ALL"]),
        security_opt: texts(&["no-new-privileges:true"]),
        group_add: texts(&["mail"]),
        privileged: true,
        read_only: true,
        tty: true,
        stdin_open: true,
        init: Some(true),
        logging: Some(Logging {
            driver: "local".to_owned(),
            options: map("max-size", "5m"),
        }),
        dns: texts(&["10.0.0.53"]),
        dns_search: texts(&["example.org"]),
        dns_options: texts(&["ndots:2"]),
        extra_hosts: vec![("gate".to_owned(), "host-gateway".to_owned())],
        sysctls: map("net.core.somaxconn", "1024"),
        resources: full_resources(),
        namespaces: full_namespaces(),
    }
}

fn full_resources() -> Resources {
    let text = |text: &str| Some(text.to_owned());
    Resources {
        nano_cpus: Some(500_000_000),
        cpu_set: text("0"),
        cpu_period_us: Some(100_000),
        cpu_quota_us: Some(50_000),
        memory_reservation_bytes: Some(32 << 20),
        memory_swap_bytes: Some(-1),
        memory_swappiness: Some(10),
        pids_max: Some(100),
        shm_size_bytes: Some(16 << 20),
        oom_kill_disable: true,
        oom_score_adj: Some(-5),
    }
}

fn full_namespaces() -> Namespaces {
    let text = |text: &str| Some(text.to_owned());
    Namespaces {
        ipc: text("host"),
        pid: text("host"),
        uts: text("host"),
        users: text("host"),
        cgroup: text("private"),
    }
}
