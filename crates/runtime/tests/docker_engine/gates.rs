//! Containers that are started before their volumes are there: for any user, image and option they end up
//! as they would have without a gate, and until then nothing of them runs.

use crate::world::{GRACE_MS, World, config, eventually, log_of, within};
use flocker_runtime::test_engine::TestImage;
use flocker_runtime::{
    ContainerRequest, ContainerRun, Docker, MountRequest, Release, Runtime, RuntimeErrorKind,
};
use flocker_types::app::HealthCheck;
use flocker_types::container::ContainerOptions;
use flocker_types::link::Follow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Everything that a program can see of how it was started.
const SEEN: &str = "
rm -f /data/written /data/sub/written
echo user=$(id -u):$(id -g) groups=$(id -G) pwd=$(pwd) umask=$(umask)
echo \"words=$0|$1|$2|$#\"
env | grep -v '^HOSTNAME=' | sort
grep -E '^(Cap|NoNewPrivs|Seccomp|Sig(Blk|Ign|Cgt)|Groups|Umask)' /proc/self/status
echo limits=$(ulimit -Sn)/$(ulimit -Hn) oom=$(cat /proc/self/oom_score_adj)
echo first=$(cat /proc/1/comm) parents=$(cut -d ' ' -f 4 /proc/$$/stat)
set -- /proc/$$/fd/*; echo files=$#
for d in /data /data/sub /data/sub/deep /other; do echo $d: $(cat $d/file) $(ls $d); done
touch /data/written /data/sub/written 2>/dev/null && echo writes
touch /other/written 2>/dev/null || echo other is read-only
touch /root-written 2>/dev/null || echo root is read-only
touch /scratch/x && echo scratch
";

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = pairs.iter();
    pairs
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// A directory that stands for a volume: a mount of its own, as volumes are.
fn volume(world: &World, name: &str, target: &str) -> MountRequest {
    let source = world.engine.shared_directory().join("volumes").join(name);
    std::fs::create_dir_all(&source).unwrap();
    std::fs::write(source.join("file"), name).unwrap();
    std::os::unix::fs::chown(&source, Some(123), Some(456)).unwrap();
    MountRequest {
        source,
        target: target.to_owned(),
        read_only: false,
    }
}

fn targets(volumes: &[MountRequest]) -> Vec<String> {
    volumes.iter().map(|volume| volume.target.clone()).collect()
}

/// What the container wrote, from its start to its end.
async fn said(world: &World, request: &ContainerRequest) -> Vec<String> {
    let lines = log_of(&world.docker, &request.service, None, Follow::Yes).await;
    lines.into_iter().map(|line| line.text).collect()
}

async fn held(world: &World, request: &ContainerRequest, volumes: &[MountRequest]) -> Vec<String> {
    let service = &request.service;
    world.docker.hold(request, &targets(volumes)).await.unwrap();
    assert_eq!(run_of(&world.docker, request).await, ContainerRun::AtGate);
    let lines = log_of(&world.docker, service, None, Follow::No).await;
    assert_eq!(lines, vec![]);
    let passed = world.docker.release(service, "f1", volumes).await.unwrap();
    assert_eq!(passed, Release::Passed);
    let lines = said(world, request).await;
    world.end(service).await;
    lines
}

async fn plain(world: &World, request: &ContainerRequest, volumes: &[MountRequest]) -> Vec<String> {
    let mut request = request.clone();
    request.mounts.extend(volumes.iter().cloned());
    world.run(&request).await;
    let lines = said(world, &request).await;
    world.end(&request.service).await;
    lines
}

async fn run_of(docker: &Docker, request: &ContainerRequest) -> ContainerRun {
    let found = docker.inspect(&request.service).await.unwrap();
    found.expect("it is there").run
}

/// Nothing may be left of a gate: no directory, no mount.
fn assert_nothing_left(world: &World) {
    let home = config(&world.engine, world.cluster).gates;
    for part in ["places", "staging"] {
        let left: Vec<PathBuf> = std::fs::read_dir(home.join(part))
            .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
            .unwrap_or_default();
        assert_eq!(left, Vec::<PathBuf>::new());
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let home = home.display().to_string();
    assert!(!mounts.contains(&home), "{mounts}");
}

fn rich() -> ContainerOptions {
    ContainerOptions {
        user: Some("123:456".to_owned()),
        working_dir: Some("/data".to_owned()),
        tmpfs: map(&[("/scratch", "size=1m,mode=1777")]),
        cap_add: texts(&["NET_ADMIN"]),
        cap_drop: texts(&["CHOWN", "KILL"]),
        security_opt: texts(&["no-new-privileges:true"]),
        group_add: texts(&["789"]),
        read_only: true,
        ..ContainerOptions::default()
    }
}

/// Four volumes, one within the other and one read-only; the oracle is the same container without a gate.
pub(crate) async fn a_gate_changes_nothing(world: &World) {
    let mut volumes = vec![
        volume(world, "outer", "/data"),
        volume(world, "sub", "/data/sub"),
        volume(world, "deep", "/data/sub/deep"),
        volume(world, "other", "/other"),
    ];
    volumes[3].read_only = true;
    let init = ContainerOptions {
        init: Some(true),
        entrypoint: Some(texts(&["sh", "-c"])),
        ..rich()
    };
    let root = ContainerOptions {
        tmpfs: map(&[("/scratch", "size=1m")]),
        tty: true,
        ..ContainerOptions::default()
    };
    for (name, options) in [("rich", rich()), ("init", init), ("root", root)] {
        let mut request = world.script(&format!("gate-{name}"), SEEN);
        let words = ["zero", "one two", ""].map(str::to_owned);
        match (&options.entrypoint, &mut request.command) {
            (None, Some(command)) => command.extend(words),
            (Some(_), command) => {
                *command = Some([SEEN.to_owned()].into_iter().chain(words).collect());
            }
            _ => unreachable!("a script has a command"),
        }
        request.environment = vec![("SPACED".to_owned(), " a  b ".to_owned())];
        request.options = options;
        // First without one: then the volumes have the directories in which others are mounted.
        let expected = plain(world, &request, &volumes).await;
        let seen = held(world, &request, &volumes).await;
        assert_eq!(seen, expected);
        assert!(expected.iter().any(|line| line.contains("writes")));
        assert!(
            expected
                .iter()
                .any(|line| line.starts_with("/data/sub/deep: deep")),
            "{expected:?}"
        );
    }
    for volume in &volumes {
        let written = volume.source.join("written").exists();
        assert_eq!(written, ["/data", "/data/sub"].contains(&&*volume.target));
    }
    assert_nothing_left(world);
}

/// The image's own entry point, command, user, directory and health check, under the gate.
pub(crate) async fn an_images_own_settings_hold(world: &World) {
    let image = TestImage {
        repository: "flocker-gate-image",
        tag: "1",
        instructions: &[
            r#"ENTRYPOINT ["sh", "-c"]"#,
            r#"CMD ["echo $(id -u) $(pwd) $FROM_IMAGE $(cat file); exit 5"]"#,
            "ENV FROM_IMAGE=yes",
            "USER 123",
            "WORKDIR /data",
            "VOLUME /data",
        ],
    };
    let image = world.engine.make_image(image).await.unwrap();
    let volumes = [volume(world, "images-own", "/data")];
    let mut request = world.script("gate-image", "");
    request.image_id = image.id;
    request.command = None;
    let expected = plain(world, &request, &volumes).await;
    assert_eq!(expected, ["123 /data yes images-own"]);
    let targets = targets(&volumes);
    world.docker.hold(&request, &targets).await.unwrap();
    let service = &request.service;
    let passed = world.docker.release(service, "f1", &volumes).await;
    assert_eq!(passed.unwrap(), Release::Passed);
    assert_eq!(said(world, &request).await, expected);
    let ended = || async {
        let run = run_of(&world.docker, &request).await;
        (run == ContainerRun::Exited { code: 5 }).then_some(())
    };
    eventually("the command's exit code", ended).await;
    world.docker.remove(service).await.unwrap();
}

/// Docker's own codes, and a word in the log.
pub(crate) async fn a_command_that_is_not_there_ends_it(world: &World) {
    let volumes = [volume(world, "no-command", "/data")];
    for (name, command, code) in [("none", "no-such-program", 127), ("not", "/data/file", 126)] {
        let mut request = world.script(&format!("gate-{name}"), "");
        request.command = Some(texts(&[command]));
        world
            .docker
            .hold(&request, &targets(&volumes))
            .await
            .unwrap();
        let service = &request.service;
        world.docker.release(service, "f1", &volumes).await.unwrap();
        let lines = said(world, &request).await;
        assert!(lines.iter().any(|line| line.contains(command)), "{lines:?}");
        let ended = || async {
            let run = run_of(&world.docker, &request).await;
            (run == ContainerRun::Exited { code }).then_some(())
        };
        eventually("its end", ended).await;
        world.docker.remove(service).await.unwrap();
    }
}

/// The runtime's process may end at any time: the next one finds what waits, and lets it go.
pub(crate) async fn another_runtime_finds_what_waits(world: &World) {
    let volumes = [volume(world, "adopted", "/data")];
    let request = world.script("gate-adopted", "cat /data/file; sleep 1000000");
    let service = &request.service;
    world
        .docker
        .hold(&request, &targets(&volumes))
        .await
        .unwrap();
    let other = Docker::connect(config(&world.engine, world.cluster))
        .await
        .unwrap();
    assert_eq!(run_of(&other, &request).await, ContainerRun::AtGate);
    let passed = other.release(service, "f1", &volumes).await.unwrap();
    assert_eq!(passed, Release::Passed);
    let third = Docker::connect(config(&world.engine, world.cluster))
        .await
        .unwrap();
    assert!(matches!(
        run_of(&third, &request).await,
        ContainerRun::Running { .. }
    ));
    assert_eq!(
        third.release(service, "f1", &volumes).await.unwrap(),
        Release::Passed
    );
    third.stop(service, 0).await.unwrap();
    // Somebody starts it by hand: without the agent it does not run.
    let client = world.engine.client().await.unwrap();
    client
        .start_container("flocker--test--gate-adopted", None)
        .await
        .unwrap();
    let ended = || async {
        let run = run_of(&third, &request).await;
        (run == ContainerRun::Exited { code: 125 }).then_some(())
    };
    eventually("the gate to refuse", ended).await;
    third.remove(service).await.unwrap();
    assert_nothing_left(world);
}

/// The engine's own stop ends a gate at once, with and without an init process before it.
pub(crate) async fn a_signal_ends_a_gate(world: &World) {
    let client = world.engine.client().await.unwrap();
    for (name, init) in [("first", None), ("second", Some(true))] {
        let mut request = world.script(&format!("gate-{name}"), "sleep 1000000");
        request.options.init = init;
        world
            .docker
            .hold(&request, &texts(&["/data"]))
            .await
            .unwrap();
        let begun = Instant::now();
        let container = format!("flocker--test--gate-{name}");
        client.stop_container(&container, None).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(5));
        let run = run_of(&world.docker, &request).await;
        assert_eq!(run, ContainerRun::Exited { code: 143 });
        world.docker.remove(&request.service).await.unwrap();
    }
}

/// Whatever would be hidden by the volume, or could not reach it, makes a gate impossible; nothing stays
/// behind.
pub(crate) async fn what_cannot_wait_is_refused(world: &World) {
    let with = |options: ContainerOptions| {
        let mut request = world.script("gate-refused", "sleep 1000000");
        request.options = options;
        request
    };
    let tmpfs = with(ContainerOptions {
        tmpfs: map(&[("/data/cache", "size=1m")]),
        ..ContainerOptions::default()
    });
    let directory = with(ContainerOptions {
        working_dir: Some("/data/work".to_owned()),
        ..ContainerOptions::default()
    });
    let mut file = with(ContainerOptions::default());
    file.mounts = vec![MountRequest {
        source: volume(world, "config", "/x").source.join("file"),
        target: "/data/config".to_owned(),
        read_only: true,
    }];
    for request in [&tmpfs, &directory, &file] {
        let error = world.docker.hold(request, &texts(&["/data"])).await;
        let error = error.expect_err("something lies in the volume");
        println!("     {error}");
        assert_eq!(world.docker.inspect(&request.service).await.unwrap(), None);
    }
    for bad in [&["data"][..], &["/"], &["/a", "/a/"], &["/a/../b"]] {
        let plain = with(ContainerOptions::default());
        let error = world.docker.hold(&plain, &texts(bad)).await.unwrap_err();
        assert!(
            matches!(error.kind, RuntimeErrorKind::NoGate(_)),
            "{bad:?}: {error}"
        );
    }
    assert_nothing_left(world);
}

/// A check that passes although nothing runs says nothing: the container is made anew without a gate.
pub(crate) async fn a_check_that_passes_at_the_gate_is_not_believed(world: &World) {
    let volumes = [volume(world, "checked", "/data")];
    for (name, test, expected) in [
        ("lies", "true", Release::NotWaiting),
        ("tells", "test -e /data/file", Release::Passed),
    ] {
        let mut request = world.script(&format!("gate-{name}"), "sleep 1000000");
        request.health_check = Some(HealthCheck {
            test: texts(&["CMD-SHELL", test]),
            interval_ms: 100,
            timeout_ms: 5_000,
            retries: 1,
            start_period_ms: 0,
            start_interval_ms: None,
        });
        world
            .docker
            .hold(&request, &targets(&volumes))
            .await
            .unwrap();
        let client = world.engine.client().await.unwrap();
        let container = format!("flocker--test--gate-{name}");
        let checked = || async {
            let found = client.inspect_container(&container, None).await.unwrap();
            let log = found.state?.health?.log?;
            (!log.is_empty()).then_some(())
        };
        eventually("a check at the gate", checked).await;
        let service = &request.service;
        let released = world.docker.release(service, "f1", &volumes).await;
        assert_eq!(released.unwrap(), expected, "{name}");
        if expected == Release::NotWaiting {
            assert_eq!(world.docker.inspect(service).await.unwrap(), None);
        } else {
            world.end(service).await;
        }
    }
    assert_nothing_left(world);
}

/// From the call to the first write of the container's own command.
pub(crate) async fn it_passes_in_milliseconds(world: &World) {
    let mut took = Vec::new();
    for round in 0..5 {
        let volumes = [volume(world, &format!("quick{round}"), "/data")];
        let script = "touch /data/running; sleep 1000000";
        let request = world.script(&format!("gate-quick{round}"), script);
        world
            .docker
            .hold(&request, &targets(&volumes))
            .await
            .unwrap();
        let running = volumes[0].source.join("running");
        assert!(!running.exists());
        let begun = Instant::now();
        world
            .docker
            .release(&request.service, "f1", &volumes)
            .await
            .unwrap();
        within("the command", exists(&running)).await;
        took.push(begun.elapsed());
        world
            .docker
            .stop(&request.service, GRACE_MS.min(10))
            .await
            .unwrap();
        world.docker.remove(&request.service).await.unwrap();
    }
    took.sort_unstable();
    println!("     from the gate to the first write: {took:?}");
    // A start by the engine takes 70 ms and more on an idle machine; the fastest shows which way was taken.
    assert!(took[0] < Duration::from_millis(50), "{took:?}");
}

async fn exists(path: &Path) {
    while !path.exists() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
