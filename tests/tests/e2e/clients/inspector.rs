//! The Inspector's command line: a connection of its own for each method.

use anyhow::{Context, Result};
use dynamic_mcp_tests::foreign::{node_package, output};
use dynamic_mcp_tests::server::AllInOne;
use dynamic_mcp_tests::state::State;
use serde_json::{Value, json};

const PROGRAM: &str = "@modelcontextprotocol/inspector/clients/launcher/build/index.js";

struct Inspector<'a> {
    server: &'a AllInOne,
    era: &'a str,
    /// Where it keeps its own files.
    home: &'a State,
}

impl Inspector<'_> {
    async fn run(&self, arguments: &[&str]) -> Result<Value> {
        let mut command = node_package(PROGRAM)?;
        command
            .env("HOME", self.home.path())
            .current_dir(self.home.path());
        command.args([
            "--cli",
            &format!("{}/mcp", self.server.base_url),
            "--transport",
            "http",
        ]);
        command
            .args(["--protocol-era", self.era, "--format", "json", "--quiet"])
            .args(arguments);
        let printed = output(command).await?;
        let answer: Value = serde_json::from_str(printed.trim()).with_context(|| printed.clone())?;
        // Some versions wrap what the server answered.
        Ok(answer.get("result").cloned().unwrap_or(answer))
    }

    async fn names(&self) -> Result<Vec<String>> {
        let list = self.run(&["--method", "tools/list"]).await?;
        let tools = list["tools"].as_array().with_context(|| list.to_string())?;
        Ok(tools
            .iter()
            .filter_map(|tool| tool["name"].as_str().map(str::to_owned))
            .collect())
    }

    async fn call(&self, tool: &str, arguments: Value) -> Result<Value> {
        let arguments = arguments.to_string();
        self.run(&[
            "--method",
            "tools/call",
            "--tool-name",
            tool,
            "--tool-args-json",
            &arguments,
        ])
        .await
    }
}

#[tokio::test]
async fn the_inspector_lists_makes_calls_and_deletes_a_tool_in_both_eras() -> Result<()> {
    let server = AllInOne::start(&[]).await?;
    let home = State::new()?;
    for era in ["legacy", "modern"] {
        let inspector = Inspector {
            server: &server,
            era,
            home: &home,
        };
        let name = format!("inspected.{era}");
        let tool = json!({"name": name, "description": "Is inspected.", "code": "return { upper: args.text.toUpperCase() };"});
        let created = inspector
            .call("dynamic.tool.create", json!({"tool": tool}))
            .await?;
        assert_eq!(created["structuredContent"]["tool"]["revision"], 1, "{created}");
        assert!(inspector.names().await?.contains(&name), "{era}");
        let called = inspector.call(&name, json!({"args": {"text": "hello"}})).await?;
        assert_eq!(
            called["structuredContent"]["result"],
            json!({"upper": "HELLO"}),
            "{called}"
        );
        let deleted = inspector
            .call("dynamic.tool.delete", json!({"name": name}))
            .await?;
        assert_eq!(deleted["structuredContent"]["ok"], true, "{deleted}");
        assert!(!inspector.names().await?.contains(&name), "{era}");
    }
    Ok(())
}

#[tokio::test]
async fn the_inspector_finds_no_fault_in_the_schemas_of_the_tools() -> Result<()> {
    let server = AllInOne::start_without_pool(&[]).await?;
    let home = State::new()?;
    for era in ["legacy", "modern"] {
        let inspector = Inspector {
            server: &server,
            era,
            home: &home,
        };
        // It ends with an error if there is one.
        inspector.run(&["--method", "tools/list", "--strict"]).await?;
    }
    Ok(())
}
