//! `dynamic-mcp`: reads its settings, builds the parts, serves until the end.

use std::process::ExitCode;

use dynamic_mcp_control_plane::app::App;
use dynamic_mcp_control_plane::config::{Cli, load_dotenv};
use dynamic_mcp_shared::env::unknown_variables;
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::telemetry::Telemetry;

fn main() -> ExitCode {
    #[cfg(feature = "embedded-executor")]
    dynamic_mcp_executor::isolate::enter();
    // Before there is a second thread: it changes the environment.
    let dotenv = load_dotenv();
    let cli = Cli::read().unwrap_or_else(|error| error.exit());
    match dotenv.map_err(anyhow::Error::from).and_then(|_| run(cli)) {
        Ok(code) => code,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "there may be no logger yet")]
            {
                eprintln!("dynamic-mcp: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match &cli.command {
        Some(command) => command.run(&cli.config).await,
        None => serve(&cli).await.map(|()| ExitCode::SUCCESS),
    }
}

async fn serve(cli: &Cli) -> anyhow::Result<()> {
    let settings = cli.config.validate()?;
    let telemetry = Telemetry::init(&settings.telemetry)?;
    for name in unknown_variables(&Cli::definition(), std::env::vars_os().map(|(name, _)| name)) {
        tracing::warn!(variable = name, "no setting has this name; it is ignored");
    }
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    let lifecycle = Lifecycle::new(settings.shutdown_grace);
    lifecycle.watch_signals()?;
    let app = App::build(cli, settings, lifecycle).await?;
    let served = app.run().await;
    telemetry.shutdown();
    served
}
