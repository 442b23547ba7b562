//! What goes into each image that we can build, and how its containers start.
//!
//! Called by [`super`]. Each recipe fills an empty tree from packages of the distribution this
//! machine runs, whatever version of the program that has.

use super::archive::{ImageConfig, MTIME_S};
use super::rootfs::Rootfs;
use super::{Image, ImageError, packages};
use crate::tool::Tool;
use std::fs;
use std::path::Path;
use std::time::Duration;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const ENTRYPOINT: &str = "/usr/local/bin/docker-entrypoint.sh";
/// The number that the public images give their user, so that data passes between them and ours.
const SERVER_USER: u32 = 999;
const COMPILE_LIMIT: Duration = Duration::from_secs(60);
/// The page of the example shop.
const SHOP: &str = include_str!("../../../../examples/shop/web/shop.py");
const POSTGRES_START: &str = include_str!("scripts/postgres.sh");
const REDIS_START: &str = include_str!("scripts/redis.sh");

/// The text that an image is a function of, beside the packages: a change of it is a new image.
pub(super) fn source() -> String {
    [
        include_str!("recipes.rs"),
        include_str!("rootfs.rs"),
        include_str!("packages.rs"),
        SHOP,
        POSTGRES_START,
        REDIS_START,
    ]
    .concat()
}

/// Fills `root` with the image's files, by way of `stage`.
pub(super) async fn fill(
    image: Image,
    stage: &Path,
    root: &Path,
) -> Result<ImageConfig, ImageError> {
    match image {
        Image::Postgres => postgres(stage, root).await,
        Image::Redis => redis(stage, root).await,
        Image::ShopWeb => shop_web(stage, root).await,
        Image::Busybox => {
            let packages = &["busybox-static"];
            busybox(stage, root, packages).await?;
            Ok(config("/", &["sh"]))
        }
    }
}

fn config(directory: &'static str, command: &[&'static str]) -> ImageConfig {
    ImageConfig {
        environment: vec![format!("PATH={PATH}")],
        entrypoint: Vec::new(),
        command: command.to_vec(),
        directory,
        port: None,
        stop_signal: "SIGTERM",
    }
}

/// Unpacks the packages and begins a tree with the small tools and the users.
async fn busybox(stage: &Path, root: &Path, packages: &[&str]) -> Result<Rootfs, ImageError> {
    packages::unpack(packages, stage).await?;
    let rootfs = Rootfs::new(stage.to_owned(), root.to_owned())?;
    rootfs.take_file("/usr/bin/busybox")?;
    let tool = stage.join("usr/bin/busybox");
    let applets = Tool::new(&tool).arg("--list").run().await?;
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        rootfs.link(&format!("/usr/bin/{applet}"), "busybox")?;
    }
    let users = [("postgres", "/var/lib/postgresql"), ("redis", "/data")];
    let mut passwd = "root:x:0:0:root:/root:/bin/sh\n".to_owned();
    let mut group = "root:x:0:\n".to_owned();
    // One number for both: an image has one of them.
    let present = users
        .iter()
        .filter(|(user, _)| packages.iter().any(|name| name.starts_with(user)));
    for (user, home) in present {
        passwd += &format!("{user}:x:{SERVER_USER}:{SERVER_USER}::{home}:/bin/sh\n");
        group += &format!("{user}:x:{SERVER_USER}:\n");
    }
    rootfs.write("/etc/passwd", &passwd, 0o644)?;
    rootfs.write("/etc/group", &group, 0o644)?;
    rootfs.write(
        "/etc/nsswitch.conf",
        "passwd: files\ngroup: files\nhosts: files dns\n",
        0o644,
    )?;
    Ok(rootfs)
}

async fn postgres(stage: &Path, root: &Path) -> Result<ImageConfig, ImageError> {
    let version = postgres_version().await?;
    let package = format!("postgresql-{version}");
    let client = format!("postgresql-client-{version}");
    let packages = ["busybox-static", &package, &client, "tzdata"];
    let mut rootfs = busybox(stage, root, &packages).await?;
    let home = format!("/usr/lib/postgresql/{version}");
    for program in [
        "postgres",
        "initdb",
        "pg_ctl",
        "psql",
        "pg_isready",
        "pg_dump",
        "pg_dumpall",
        "pg_amcheck",
        "pgbench",
    ] {
        let path = format!("{home}/bin/{program}");
        if rootfs.is_staged(&path) {
            rootfs.take_program(&path)?;
        }
    }
    for module in [
        "plpgsql",
        "amcheck",
        "dict_snowball",
        "libpqwalreceiver",
        "pgoutput",
        "pgcrypto",
    ] {
        rootfs.take_program(&format!("{home}/lib/{module}.so"))?;
    }
    rootfs.take_tree(&format!("/usr/share/postgresql/{version}"), &["man"])?;
    rootfs.take_tree("/usr/share/zoneinfo", &["posix", "right"])?;
    rootfs.resolve_libraries().await?;
    rootfs.write(ENTRYPOINT, POSTGRES_START, 0o755)?;
    let mut config = config("/", &["postgres"]);
    config.environment = vec![
        format!("PATH={home}/bin:{PATH}"),
        "PGDATA=/var/lib/postgresql/data".to_owned(),
        "LANG=C.UTF-8".to_owned(),
    ];
    config.entrypoint = vec![ENTRYPOINT];
    config.port = Some(5432);
    // Fast shutdown: it does not wait for clients to go.
    config.stop_signal = "SIGINT";
    Ok(config)
}

/// The distribution's version of PostgreSQL: 15 on Debian 12.
async fn postgres_version() -> Result<String, ImageError> {
    let depends = Tool::words("apt-cache depends postgresql").output().await?;
    let text = String::from_utf8_lossy(&depends.stdout).into_owned();
    let found = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: postgresql-"))
        .find(|version| version.bytes().all(|byte| byte.is_ascii_digit()));
    found.map(str::to_owned).ok_or_else(|| ImageError::Missing {
        what: "PostgreSQL".to_owned(),
        packages: "(apt-cache depends postgresql names no version; try apt-get update)".to_owned(),
    })
}

async fn redis(stage: &Path, root: &Path) -> Result<ImageConfig, ImageError> {
    let packages = ["busybox-static", "redis-server", "redis-tools"];
    let mut rootfs = busybox(stage, root, &packages).await?;
    for program in ["redis-server", "redis-cli"] {
        rootfs.take_program(&format!("/usr/bin/{program}"))?;
    }
    rootfs.resolve_libraries().await?;
    rootfs.make_open_directory("/data")?;
    rootfs.write(ENTRYPOINT, REDIS_START, 0o755)?;
    let mut config = config("/data", &["redis-server"]);
    config.entrypoint = vec![ENTRYPOINT];
    config.port = Some(6379);
    Ok(config)
}

async fn shop_web(stage: &Path, root: &Path) -> Result<ImageConfig, ImageError> {
    let packages = [
        "busybox-static",
        "python3-minimal",
        "libpython3-stdlib",
        "python3-psycopg2",
    ];
    // `python3-minimal` only points to the version's own package.
    let (version, minimal) = python_version().await?;
    let packages = [&packages[..], &[&minimal]].concat();
    let mut rootfs = busybox(stage, root, &packages).await?;
    rootfs.take_program(&format!("/usr/bin/{version}"))?;
    rootfs.link("/usr/bin/python3", &version)?;
    let unused = [
        "test",
        "idlelib",
        "tkinter",
        "lib2to3",
        "pydoc_data",
        "ensurepip",
        "distutils",
        "unittest",
        "__pycache__",
        "asyncio",
        "multiprocessing",
        "xml",
        "curses",
        "sqlite3",
        "dbm",
        "venv",
    ];
    rootfs.take_tree(&format!("/usr/lib/{version}"), &unused)?;
    rootfs.take_tree("/usr/lib/python3/dist-packages/psycopg2", &["__pycache__"])?;
    rootfs.resolve_libraries().await?;
    rootfs.write("/shop.py", SHOP, 0o644)?;
    compile_used_modules(rootfs.path()).await?;
    let mut config = config("/", &["python3", "/shop.py"]);
    config.environment.push("PYTHONUNBUFFERED=1".to_owned());
    config.port = Some(8080);
    config.stop_signal = "SIGINT";
    Ok(config)
}

async fn python_version() -> Result<(String, String), ImageError> {
    let depends = Tool::words("apt-cache depends python3-minimal")
        .output()
        .await?;
    let text = String::from_utf8_lossy(&depends.stdout).into_owned();
    let found = text
        .lines()
        .filter_map(|line| line.split_once("Depends: "))
        .map(|(_, name)| name)
        .find(|name| name.starts_with("python3.") && name.ends_with("-minimal"));
    let minimal = found.ok_or_else(|| ImageError::Missing {
        what: "Python".to_owned(),
        packages: "(apt-cache depends python3-minimal names no version)".to_owned(),
    })?;
    let version = minimal.trim_end_matches("-minimal").to_owned();
    Ok((version, minimal.to_owned()))
}

/// Compiles the modules that the page imports, so that it starts in a tenth of the time. The
/// compiled files remember their sources' times, which must be those that the layer gives them.
async fn compile_used_modules(root: &Path) -> Result<(), ImageError> {
    let time = format!("@{MTIME_S}");
    Tool::new("find")
        .arg(root)
        .args(["-exec", "touch", "-h", "-d", &time, "{}", "+"])
        .run()
        .await?;
    Tool::new("chroot")
        .arg(root)
        .args([
            "/usr/bin/python3",
            "-c",
            "import sys; sys.path.insert(0, '/'); import shop",
        ])
        .env("PYTHONDONTWRITEBYTECODE", "")
        .limit(COMPILE_LIMIT)
        .run()
        .await?;
    let cache = root.join("__pycache__");
    fs::remove_dir_all(&cache).map_err(ImageError::file("remove", &cache))
}
