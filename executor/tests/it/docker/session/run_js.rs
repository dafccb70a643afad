//! Code in a session.

use bytes::Bytes;
use dynamic_mcp_shared::job::{Job, SessionTask};
use dynamic_mcp_shared::outcome::Outcome;
use serde_json::json;

use super::rig::{Sandbox, SessionRig};
use crate::rig::{failure, result, within};

pub fn code(sandbox: &Sandbox, code: &str) -> Job {
    Job {
        code: Bytes::copy_from_slice(code.as_bytes()),
        ..sandbox.job(SessionTask::RunJs)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_runs_as_a_tools_does_with_the_sessions_workspace_as_its_folder() {
    let rig = SessionRig::start().await;
    let sandbox = rig.open().await;
    sandbox
        .write(&[("twice.mjs", b"export default (n) => 2 * n")])
        .await;
    let body = "const { default: twice } = await import('./twice.mjs'); ctx.progress(1);
        require('node:fs').writeFileSync('left', String(args.n)); console.log('printed'); console.error('err');
        return [twice(args.n), process.cwd()]";
    let running = sandbox
        .begin_with(code(&sandbox, body), r#"{"n":21}"#)
        .await
        .unwrap();
    let finished = running.end().await;
    assert_eq!(result(&finished), json!([42, "/workspace"]));
    assert_eq!(
        (finished.stdout.to_text(), finished.stderr.to_text()),
        ("printed\n".to_owned(), "err\n".to_owned())
    );
    // Its process and its module are gone, its files are not.
    assert_eq!(
        sandbox.sh("cat left; ls -A").await["stdout"],
        "21left\ntwice.mjs\n"
    );

    let threw = sandbox
        .run(code(&sandbox, "const a = 1;\nthrow new TypeError('no')"))
        .await;
    assert_eq!(failure(&threw, Outcome::Threw), "no");
    assert!(
        threw.error.unwrap().stack.contains("tool.mjs:2:"),
        "as its author counts"
    );
    let late = within(
        code(
            &sandbox,
            "require('node:child_process').spawn('sleep', ['600']); for (;;) {}",
        ),
        1_000,
    );
    failure(&sandbox.run(late).await, Outcome::TimedOut);
    let exits = sandbox.run(code(&sandbox, "process.exit(3)")).await;
    assert_eq!(
        failure(&exits, Outcome::Threw),
        "the code ended its process with exit code 3"
    );
    let left = "ls -l /proc/[0-9]*/exe | grep -c sleep || true";
    assert_eq!(sandbox.sh(left).await["stdout"], "0\n");
    let bomb = sandbox
        .run(code(
            &sandbox,
            "const a = []; for (;;) a.push(Buffer.alloc(1 << 20, 1))",
        ))
        .await;
    failure(&bomb, Outcome::OutOfMemory);
    assert_eq!(sandbox.sh("echo fine").await["stdout"], "fine\n");
    rig.finish().await;
}
