//! What both planes agree on. Nothing in here knows MCP, Docker, a database or Redis.

pub mod clock;
pub mod content;
pub mod env;
pub mod files;
pub mod ids;
pub mod job;
pub mod join_token;
pub mod lifecycle;
pub mod limits;
pub mod outcome;
pub mod packages;
pub mod policy;
pub mod propagation;
pub mod readiness;
pub mod switch;
pub mod telemetry;
pub mod tls;
pub mod wire;
