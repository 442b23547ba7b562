//! Images made here, in real engines: they start, they do what the public ones do, and they are the
//! same in every engine.

use crate::support::{pg_config, run_container, spec};
use flocker_testkit::images::{self, Image, ImageError};
use flocker_testkit::sandbox::{NodePlace, SandboxGuard};
use flocker_testkit::wait;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const LIMIT: Duration = Duration::from_secs(60);

async fn http(address: SocketAddr, method: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("{method} / HTTP/1.0\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shops_images_work_together_and_are_the_same_everywhere() {
    let sandbox = SandboxGuard::up_bare(&spec(2)).await.unwrap();
    let sockets: Vec<_> = sandbox
        .nodes()
        .iter()
        .map(NodePlace::docker_socket)
        .collect();
    let all = [
        Image::Busybox,
        Image::Postgres,
        Image::Redis,
        Image::ShopWeb,
    ];
    let provided = images::provide(&sockets, &all).await.unwrap();
    assert_eq!(provided.len(), all.len());
    for one in &provided {
        for node in ["n1", "n2"] {
            let inspect = ["image", "inspect", "-f", "{{.Id}}", one.image.name()];
            let tool = sandbox.tool_on(node, "docker").unwrap().args(inspect);
            assert_eq!(tool.run().await.unwrap().trim(), one.id, "{:?}", one.image);
        }
    }
    run_container(
        &sandbox,
        "n1",
        "pg -e POSTGRES_PASSWORD=s -e POSTGRES_DB=shop",
        "postgres:15",
    )
    .await;
    run_container(&sandbox, "n1", "redis", "redis:7 --appendonly yes").await;
    let hosts = "-e PGHOST=127.0.0.1 -e PGUSER=postgres -e PGPASSWORD=s -e PGDATABASE=shop";
    let name = format!("web {hosts} -e REDIS_HOST=127.0.0.1");
    run_container(&sandbox, "n1", &name, "shop-web:1").await;

    let address = SocketAddr::from((sandbox.nodes()[0].address, 8080));
    let page = wait::until::<_, ImageError, _, _>("the shop to open", LIMIT, || async move {
        Ok(http(address, "GET")
            .await
            .ok()
            .filter(|page| page.starts_with("HTTP/1.0 200")))
    })
    .await
    .unwrap();
    assert!(page.contains("1 visits, 0 orders"), "{page}");
    let page = http(address, "POST").await.unwrap();
    assert!(
        page.contains("2 visits, 1 orders") && page.contains("cup of tea"),
        "{page}"
    );

    // The server runs as its own user, and a stop is a fast shutdown that succeeds.
    let on = |words: &str| {
        sandbox
            .tool_on("n1", "docker")
            .unwrap()
            .args(words.split(' '))
    };
    let user = on("exec pg stat -c %U:%u /proc/1 /var/lib/postgresql/data")
        .run()
        .await
        .unwrap();
    assert_eq!(
        user.lines().collect::<Vec<_>>(),
        ["postgres:999", "postgres:999"]
    );
    on("stop pg").run().await.unwrap();
    let ended = on("inspect -f {{.State.ExitCode}} pg").run().await.unwrap();
    assert_eq!(ended.trim(), "0");
    let logs = on("logs pg").output().await.unwrap();
    assert!(String::from_utf8_lossy(&logs.stderr).contains("fast shutdown"));
    on("start pg").run().await.unwrap();
    let config = pg_config(&sandbox.nodes()[0], "shop", "s");
    let count = crate::support::one_number(&config, "SELECT count(*) FROM orders").await;
    assert_eq!(count, 1, "the data is there after a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_time_is_fast_and_the_tools_are_there() {
    let sandbox = SandboxGuard::up_bare(&spec(1)).await.unwrap();
    let sockets = [sandbox.nodes()[0].docker_socket()];
    images::provide(&sockets, &[Image::Busybox]).await.unwrap();
    let again = images::provide(&sockets, &[Image::Busybox]).await.unwrap();
    assert!(again[0].took < Duration::from_secs(2), "{again:?}");
    assert!(again[0].bytes < 60 << 20);
    let docker = sandbox.tool_on("n1", "docker").unwrap();
    let script = "which nc httpd sh wget | wc -l";
    let run = docker.args(["run", "--rm", "busybox:1.36", "sh", "-c", script]);
    assert_eq!(run.run().await.unwrap().trim(), "4");
}
