//! The generated wire types. They stay at the edges: `dynamic-mcp-shared::wire` turns them into the domain's.

#[allow(
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
pub mod v1 {
    tonic::include_proto!("dynamicmcp.v1");
}
