//! The playground: the server and the outside world in one terminal, without any configuration.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use tenantry_chaos::harness::{Server, ServerSettings};
use tenantry_chaos::{World, WorldSettings};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Where pages and API are.
const HTTP_PORT: u16 = 8080;
/// What opens operators' calls in the playground.
const OPERATOR_TOKEN: &str = "playground-operators-token-not-a-secret";

/// Where health and metrics are.
const OPS_PORT: u16 = 9090;

/// Where the outside world's pages are.
const WORLD_PORT: u16 = 8090;

/// The folder of the playground's data, kept between runs.
const DATA_DIR: &str = "data";

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    for port in [HTTP_PORT, OPS_PORT, WORLD_PORT] {
        require_free(port).await?;
    }
    let world_settings =
        WorldSettings { http: local(WORLD_PORT), is_spoken: true, ..WorldSettings::default() };
    let world = World::start(world_settings).await?;
    let data_dir = std::path::absolute(DATA_DIR)?;
    std::fs::create_dir_all(&data_dir).context("create the data folder")?;
    say("starting…");
    let settings = settings(&world, data_dir.clone())?;
    let mut server = tokio::select! {
        started = Server::start(settings) => started?,
        _ = interrupted.recv() => return Ok(()),
        _ = terminated.recv() => return Ok(()),
    };
    say(&welcome(&server, &world, &data_dir.join("server.log").display().to_string()));

    tokio::select! {
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
        ended = server.wait() => {
            anyhow::bail!("the server ended ({:?}):\n{}", ended?, server.log_tail());
        }
    }
    say("\nstopping…");
    server.stop().await?;
    world.stop().await;
    Ok(())
}

fn welcome(server: &Server, world: &World, log: &str) -> String {
    format!(
        "
  Tenantry       {http}
  operations     {ops}/metrics, /healthz, /readyz
  operators      calls under {http}/api/admin/ take the token {OPERATOR_TOKEN}
  outside world  {world}   mailbox and switches; nothing leaves this machine

  First: open {http}, type any address, and ask for a login link.
  Then open {world}/mailbox, follow the link, and make a video from a template.

  The server's log is {log}
  Ctrl-C ends everything.
",
        http = server.url(),
        ops = server.ops_url(),
        world = world.url(),
    )
}

fn settings(world: &World, data_dir: PathBuf) -> anyhow::Result<ServerSettings> {
    let binary = std::env::current_exe()?.with_file_name("tenantry");
    anyhow::ensure!(binary.exists(), "{} is missing: run `make run`", binary.display());
    let variables = [
        ("SMTP_URL", world.smtp_url()),
        ("MAIL_FROM", "Tenantry <login@tenantry.test>".to_owned()),
        ("IMAGE_API_URL", world.image_url()),
        ("IMAGE_API_KEY", "playground".to_owned()),
        ("SPEECH_API_URL", world.speech_url()),
        ("SPEECH_API_KEY", "playground".to_owned()),
        ("TENANTRY__WEBHOOKS__REACH", "local".to_owned()),
        ("TENANTRY__OPERATOR_TOKEN", OPERATOR_TOKEN.to_owned()),
    ];
    Ok(ServerSettings {
        binary,
        data_dir,
        listen: Some(local(HTTP_PORT)),
        ops_listen: Some(local(OPS_PORT)),
        variables: variables.map(|(name, value)| (name.to_owned(), value)).into(),
        wrapper: Vec::new(),
    })
}

async fn require_free(port: u16) -> anyhow::Result<()> {
    let taken = TcpListener::bind(local(port)).await.err();
    match taken {
        None => Ok(()),
        Some(error) => Err(error).with_context(|| {
            format!("port {port} is taken: end what listens there (perhaps another `make run`)")
        }),
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn say(text: &str) {
    // A closed terminal is no reason to stop.
    let _ = writeln!(std::io::stdout(), "{text}");
}
