//! Which right each request needs.

use rmcp::model::JsonObject;

use super::{Profile, builtin, resources};
use crate::principal::{Right, Rights};

pub(super) fn of_tool(profile: Profile, name: &str) -> Right {
    builtin::find(profile, name).map_or(Right::Call, |builtin| builtin.needs())
}

/// What a call needs that one of that tool with other arguments would not: to write what all tenants see is the operator's.
pub(super) fn of_call(profile: Profile, name: &str, arguments: Option<&JsonObject>) -> Rights {
    let right = of_tool(profile, name);
    let shared = arguments.and_then(|arguments| arguments.get("visibility"));
    let is_shared = right == Right::Write && shared.is_some_and(|visibility| visibility == "shared");
    let further = is_shared.then_some(Right::Admin);
    std::iter::once(right).chain(further).collect()
}

/// The configuration and the fleet tell of the deployment, which its tenants share and don't own.
pub(super) fn of_resource(uri: &str) -> Right {
    if [resources::RUNTIME_CONFIG, resources::FLEET].contains(&uri) {
        Right::Admin
    } else if uri.starts_with(resources::SANDBOX_SCHEME) {
        Right::Sandbox
    } else {
        Right::Call
    }
}
