//! The images as `scripts/images` built them, and a client of the deployment that the compose file makes of them.

mod deployment;

use anyhow::{Result, ensure};
use dynamic_mcp_tests::compose::docker;

const CONTROL: &str = "dynamic-mcp:latest";
const EXECUTOR: &str = "dynamic-mcp-executor:latest";

/// What a shell in a new container of that image answers.
async fn shell(image: &str, script: &str) -> Result<String> {
    docker(&[
        "run",
        "--rm",
        "--network",
        "none",
        "--read-only",
        "--cap-drop",
        "ALL",
        "--entrypoint",
        "sh",
        image,
        "-c",
        script,
    ])
    .await
}

/// In how many lines of a program that pattern is.
async fn traces(image: &str, program: &str, pattern: &str) -> Result<String> {
    let script = format!("grep -a -c -e '{pattern}' /usr/local/bin/{program} || true");
    shell(image, &script).await
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_image_has_a_compiler_or_a_user_with_rights() -> Result<()> {
    for image in [CONTROL, EXECUTOR] {
        let user = docker(&["inspect", "--format", "{{.Config.User}}", image]).await?;
        ensure!(user == "65532:65532", "{image} runs as {user}");
        let found = shell(
            image,
            "for tool in cc gcc clang ld as rustc cargo make curl wget npm node docker; do command -v $tool; done; true",
        )
        .await?;
        ensure!(found.is_empty(), "{image} has {found}");
        ensure!(shell(image, "id -u").await? == "65532");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_control_image_has_no_client_of_docker_and_no_engine_for_code() -> Result<()> {
    // What the executor's shows of those that it has: the crates by the places of their panics, and what they ask of Docker.
    for trace in ["bollard-[0-9]", "containers/create", "rquickjs-[a-z]"] {
        let executor = traces(EXECUTOR, "dynamic-mcp-executor", trace).await?;
        ensure!(executor != "0", "{trace} is not found where it is");
        let control = traces(CONTROL, "dynamic-mcp", trace).await?;
        ensure!(control == "0", "{control} lines have {trace}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_image_says_how_its_health_is_asked_and_how_it_is_stopped() -> Result<()> {
    for (image, program) in [(CONTROL, "dynamic-mcp"), (EXECUTOR, "dynamic-mcp-executor")] {
        let format = "{{.Config.StopSignal}} {{json .Config.Healthcheck.Test}}";
        let said = docker(&["inspect", "--format", format, image]).await?;
        ensure!(
            said == format!(r#"SIGTERM ["CMD","/usr/local/bin/{program}","health"]"#),
            "{image}: {said}"
        );
        // Where nothing runs, nothing is healthy.
        let asked = shell(image, &format!("{program} health 2>&1 && echo healthy || true")).await?;
        ensure!(
            !asked.is_empty() && !asked.contains("healthy"),
            "{image}: {asked}"
        );
    }
    Ok(())
}
