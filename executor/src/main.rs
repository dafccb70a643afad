//! `dynamic-mcp-executor`: reads its settings, starts the parts, waits for the end.

use std::process::ExitCode;

use clap::CommandFactory as _;
use dynamic_mcp_executor::app::App;
use dynamic_mcp_executor::cli::{Cli, Command};
use dynamic_mcp_executor::config::{self, Config};
use dynamic_mcp_executor::health;
use dynamic_mcp_shared::env::unknown_variables;
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::telemetry::Telemetry;

fn main() -> ExitCode {
    dynamic_mcp_executor::isolate::enter();
    // Before there is a second thread: it changes the environment.
    let _absent = dotenvy::dotenv();
    let cli = Cli::read().unwrap_or_else(|error| error.exit());
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "there may be no logger yet")]
            {
                eprintln!("dynamic-mcp-executor: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Some(Command::Health) => {
            let health = health::check(&config::state_dir(&cli.engine)).await?;
            #[expect(clippy::print_stdout, reason = "it is the answer of the command")]
            {
                println!("{health}");
            }
            Ok(())
        }
        None => serve(cli).await,
    }
}

async fn serve(cli: Cli) -> anyhow::Result<()> {
    let config = Config::from_cli(cli)?;
    let telemetry = Telemetry::init(&config.telemetry)?;
    for name in unknown_variables(&Cli::command(), std::env::vars_os().map(|(name, _)| name)) {
        tracing::warn!(variable = name, "no setting has this name; it is ignored");
    }
    let lifecycle = Lifecycle::new(config.shutdown_grace);
    lifecycle.watch_signals()?;
    let app = App::start(&config, &lifecycle).await?;
    app.stopped(&lifecycle).await;
    telemetry.shutdown();
    Ok(())
}
