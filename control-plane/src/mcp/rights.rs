//! Which right each request needs.

use super::{Profile, builtin, resources};
use crate::principal::Right;

pub(super) fn of_tool(profile: Profile, name: &str) -> Right {
    builtin::find(profile, name).map_or(Right::Call, |builtin| builtin.needs())
}

/// The configuration tells of the deployment, which its tenants share and don't own.
pub(super) fn of_resource(uri: &str) -> Right {
    if uri == resources::RUNTIME_CONFIG {
        Right::Admin
    } else {
        Right::Call
    }
}
