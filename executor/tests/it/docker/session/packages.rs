//! npm packages in a session that is there already.

use dynamic_mcp_proto::v1;
use dynamic_mcp_shared::ids::{JobId, TenantId};
use dynamic_mcp_shared::job::{Dependency, Job};
use dynamic_mcp_shared::policy::DEFAULT_IMAGE;
use serde_json::json;

use super::super::dependencies::{remove, volumes_of};
use super::rig::SessionRig;
use super::run_js::code;
use crate::rig::result;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_imports_what_it_declared_and_what_was_declared_last_stays() {
    let rig = SessionRig::start().await;
    // A tenant that no other test has.
    let request = v1::OpenSandboxRequest {
        tenant: JobId::generate().to_string(),
        ..rig.request()
    };
    let sandbox = rig.open_as(request).await.unwrap();
    let tenant: TenantId = sandbox.wire.tenant.parse().unwrap();
    let wanted = Dependency {
        name: "is-number".to_owned(),
        version: "^7.0.0".to_owned(),
    };
    let engine = &rig.docker.engine;
    let lock = engine
        .resolve_dependencies(&tenant, DEFAULT_IMAGE, &[wanted])
        .await
        .unwrap();
    let body = "const { default: isNumber } = await import('is-number'); return isNumber(7)";
    let job = |lock: Option<_>| Job {
        dependency_lock: lock,
        ..code(&sandbox, body)
    };
    assert_eq!(result(&sandbox.run(job(Some(lock.clone()))).await), json!(true));
    assert_eq!(result(&sandbox.run(job(None)).await), json!(true));
    // They are the session's own from then on, and other commands find them as well.
    assert_eq!(sandbox.sh("ls node_modules").await["stdout"], "is-number\n");
    // What a command removes is installed again when it is declared again.
    for removed in ["node_modules", "node_modules/*", ".packages"] {
        assert_eq!(sandbox.sh(&format!("rm -r {removed}")).await["exitCode"], 0);
        assert_eq!(
            result(&sandbox.run(job(Some(lock.clone()))).await),
            json!(true),
            "{removed}"
        );
    }
    let volumes = volumes_of(&rig.docker.identity.id);
    rig.finish().await;
    remove(&volumes);
}
