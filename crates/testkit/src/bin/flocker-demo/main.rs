//! `make demo`: a shop on three servers of this machine, whose database moves from server to server
//! while clients write to it, and a report of what that cost them.
//!
//! Uses Flocker only by its commands, as a person would. Takes everything down again, unless told
//! to `--keep` it.

mod options;
mod report;
mod shop;

use anyhow::{Context, Result};
use flocker_testkit::images::{self, Image, Provided};
use flocker_testkit::load::{PostgresRows, WriterSpec, Writers, fill_postgres};
use flocker_testkit::sandbox::{NodePlace, Sandbox, SandboxGuard, SandboxSpec};
use options::Options;
use report::{Move, say};
use shop::Shop;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const NAME: &str = "demo";
const NODES: u8 = 3;
/// Where PostgreSQL goes, one after the other; it begins on the first node.
const JOURNEY: [&str; 3] = ["n2", "n3", "n1"];
const WRITERS: WriterSpec = WriterSpec {
    clients: 4,
    pace: Duration::from_millis(10),
    limit: Duration::from_secs(300),
};
/// Clients write for at least this long before, between and after the moves.
const ROWS_BETWEEN: u64 = 200;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(usage) => {
            say(&usage);
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(demonstrate(&options)),
        Err(error) => Err(error).context("cannot start"),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("\nThe demo did not succeed: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn demonstrate(options: &Options) -> Result<()> {
    let began = Instant::now();
    let flocker = flocker_program()?;
    let spec = SandboxSpec {
        name: NAME.parse()?,
        nodes: NODES,
        storage: options.storage,
        pool_bytes: options.data_bytes.saturating_mul(4).max(4 << 30),
    };
    // One that was kept, or whose demo was killed.
    Sandbox::down(&spec.name).await?;
    report::introduce(&spec);
    let sandbox = SandboxGuard::up(&spec, &flocker)
        .await
        .context("the sandbox did not come up")?;
    report::nodes(sandbox.nodes(), began.elapsed());
    report::images(&provide_images(&sandbox).await?);

    let shop = Shop::deploy(&sandbox, &flocker).await?;
    let size = fill_postgres(&shop.database("n1")?, options.data_bytes).await?;
    report::deployed(&shop.page("n2").await?, size);
    move_round(&sandbox, &shop).await?;

    report::look_around(&sandbox, &flocker, options.keep);
    if options.keep {
        sandbox.keep();
    } else {
        drop(sandbox);
        report::taken_down(began.elapsed());
    }
    Ok(())
}

async fn provide_images(sandbox: &Sandbox) -> Result<Vec<Provided>> {
    let sockets: Vec<PathBuf> = sandbox
        .nodes()
        .iter()
        .map(NodePlace::docker_socket)
        .collect();
    let wanted = [Image::Postgres, Image::Redis, Image::ShopWeb];
    let provided = images::provide(&sockets, &wanted).await;
    provided.context("the shop's images could not be had")
}

/// Moves PostgreSQL round the nodes while clients write, and checks what they wrote.
async fn move_round(sandbox: &Sandbox, shop: &Shop<'_>) -> Result<()> {
    // The clients know one address, and it is not that of the server where the database begins.
    let rows = PostgresRows::create(&shop.database("n2")?).await?;
    let writers = Writers::start(rows.clone(), WRITERS);
    let mut moves = Vec::new();
    let mut from = "n1";
    report::moves_begin(WRITERS.clients, sandbox.node("n2")?.address);
    for to in JOURNEY {
        shop::more_rows(&writers, ROWS_BETWEEN).await?;
        let _of_before = writers.take_longest_wait();
        let operation = shop.move_postgres(to).await?;
        shop::more_rows(&writers, u64::from(WRITERS.clients)).await?;
        let done = Move::new(from, to, &operation, writers.take_longest_wait());
        report::moved(&done);
        moves.push(done);
        from = to;
    }
    shop::more_rows(&writers, ROWS_BETWEEN).await?;
    let written = writers.stop().await;
    // Read back by way of a third server.
    let seen = rows.verify(&written).await?;
    report::verified(&moves, &written, &seen);
    anyhow::ensure!(seen.is_whole(), "rows are not as they were acknowledged");
    Ok(())
}

/// The `flocker` that was built with this program, unless the environment names another.
fn flocker_program() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("FLOCKER_BIN") {
        return Ok(path.into());
    }
    let own = std::env::current_exe().context("cannot find this program's own place")?;
    let flocker = own.with_file_name("flocker");
    anyhow::ensure!(
        flocker.exists(),
        "{} is not there; build it with `cargo build --bins`, or set FLOCKER_BIN",
        flocker.display()
    );
    Ok(flocker)
}
