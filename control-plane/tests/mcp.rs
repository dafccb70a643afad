//! The MCP edge on the wire: requests as clients send them, answers as they get them. The store is real; the executor is
//! scripted and does what a tool's code names.
#![expect(clippy::expect_used, reason = "a test that can't be set up fails")]

#[path = "mcp/executor.rs"]
mod executor;
#[path = "mcp/isolation.rs"]
mod isolation;
#[path = "mcp/legacy.rs"]
mod legacy;
#[path = "mcp/modern.rs"]
mod modern;
#[path = "mcp/rig.rs"]
mod rig;
#[path = "mcp/runtimes.rs"]
mod runtimes;
#[path = "mcp/sandbox.rs"]
mod sandbox;
#[path = "mcp/sandboxes.rs"]
mod sandboxes;
#[path = "mcp/sessions.rs"]
mod sessions;
#[path = "mcp/stdio.rs"]
mod stdio;
#[path = "mcp/tools.rs"]
mod tools;
