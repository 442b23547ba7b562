//! The example shop on the sandbox: deployed, visited, and its database moved, by the commands that
//! a person would use.

use anyhow::{Context, Result, anyhow};
use flocker_testkit::load::Writers;
use flocker_testkit::sandbox::Sandbox;
use flocker_testkit::tool::Tool;
use flocker_testkit::wait::{self, WaitError};
use flocker_types::api::OperationView;
use flocker_types::operation::OperationStatus;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SERVICE: &str = "shop/postgres";
/// The password in `examples/shop/shop.yml`.
const PASSWORD: &str = "tea-and-biscuits";
const DEPLOY_LIMIT: Duration = Duration::from_secs(120);
const MOVE_LIMIT: Duration = Duration::from_secs(300);
const OPEN_LIMIT: Duration = Duration::from_secs(60);
const ROWS_LIMIT: Duration = Duration::from_secs(60);
const PAGE_LIMIT: Duration = Duration::from_secs(15);

/// The shop, deployed.
pub(crate) struct Shop<'a> {
    sandbox: &'a Sandbox,
    flocker: &'a Path,
}

impl<'a> Shop<'a> {
    /// Deploys it and waits until it is open.
    pub(crate) async fn deploy(sandbox: &'a Sandbox, flocker: &'a Path) -> Result<Self> {
        let shop = Self { sandbox, flocker };
        let files = examples();
        shop.tool(&["deploy", "--yes"])
            .args([files.join("servers.yml"), files.join("shop.yml")])
            .limit(DEPLOY_LIMIT)
            .run()
            .await
            .context("the shop could not be deployed")?;
        let shop_ref = &shop;
        wait::until::<_, WaitError, _, _>("the shop to open", OPEN_LIMIT, || async move {
            Ok(shop_ref.page("n1").await.ok())
        })
        .await?;
        Ok(shop)
    }

    fn tool(&self, words: &[&str]) -> Tool {
        let context = self.sandbox.record().context();
        Tool::new(self.flocker)
            .args(words)
            .args(["--context", &context])
    }

    /// How clients reach the database by way of a node, wherever it runs.
    pub(crate) fn database(&self, by: &str) -> Result<tokio_postgres::Config> {
        let mut config = tokio_postgres::Config::new();
        config
            .host(self.sandbox.node(by)?.address.to_string())
            .user("postgres")
            .password(PASSWORD)
            .dbname("shop");
        Ok(config)
    }

    /// The first lines of the shop's page by way of a node; an error unless it is open.
    pub(crate) async fn page(&self, by: &str) -> Result<String> {
        let address = SocketAddr::from((self.sandbox.node(by)?.address, 8080));
        let answer = tokio::time::timeout(PAGE_LIMIT, get(address)).await??;
        anyhow::ensure!(answer.contains(" 200 OK"), "the shop is closed");
        let line = answer.lines().find_map(|line| line.strip_prefix("<p>"));
        let line = line.and_then(|line| line.strip_suffix("</p>"));
        Ok(line
            .ok_or_else(|| anyhow!("the page is not the shop's"))?
            .to_owned())
    }

    /// Moves the database and returns what the cluster recorded of it.
    pub(crate) async fn move_postgres(&self, to: &str) -> Result<OperationView> {
        let printed = self
            .tool(&["move", SERVICE, to, "--json"])
            .limit(MOVE_LIMIT)
            .run()
            .await
            .with_context(|| format!("{SERVICE} could not be moved to {to}"))?;
        let operations: Vec<OperationView> =
            serde_json::from_str(&printed).context("what `flocker move --json` printed")?;
        let latest = operations.into_iter().next_back();
        let latest = latest.ok_or_else(|| anyhow!("nothing moved"))?;
        anyhow::ensure!(
            latest.operation.status == OperationStatus::Succeeded,
            "the move to {to} ended as {:?}",
            latest.operation.status
        );
        Ok(latest)
    }
}

async fn get(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// Waits until the clients have had some more rows acknowledged.
pub(crate) async fn more_rows(writers: &Writers, rows: u64) -> Result<(), WaitError> {
    let aim = writers.acknowledged() + rows;
    wait::until(
        "the clients' rows to be acknowledged",
        ROWS_LIMIT,
        || async { Ok((writers.acknowledged() >= aim).then_some(())) },
    )
    .await
}

/// The example's files, in the tree that this program was built from.
fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shop")
}
