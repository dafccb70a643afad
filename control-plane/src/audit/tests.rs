mod loss;
mod tampering;

use std::fs;
use std::path::{Path, PathBuf};

use chrono::DateTime;
use dynamic_mcp_shared::clock::ManualClock;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::principal::{Principal, Rights};

struct Setup {
    directory: tempfile::TempDir,
    config: AuditConfig,
    clock: Arc<ManualClock>,
    readiness: Readiness,
    audit: Audit,
}

fn setup() -> Setup {
    setup_with(|_| {})
}

fn setup_with(change: impl FnOnce(&mut AuditConfig)) -> Setup {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(DateTime::UNIX_EPOCH));
    let readiness = Readiness::default();
    let mut config = AuditConfig {
        enabled: true,
        file: directory.path().join("log/audit.jsonl"),
        key: KeyFile::Own(directory.path().join("audit.key")),
        on_loss: OnLoss::Continue,
        retention: Duration::from_secs(86_400),
        max_event_bytes: 20_000,
        max_file_bytes: 10_000_000,
        max_files: 5,
    };
    change(&mut config);
    let audit = Audit::open(&config, clock.clone(), readiness.clone()).unwrap();
    Setup {
        directory,
        config,
        clock,
        readiness,
        audit,
    }
}

impl Setup {
    fn log(&self) -> PathBuf {
        self.config.file.clone()
    }

    /// The newest first.
    fn files(&self) -> Vec<PathBuf> {
        let names = (0..).map(|age| files::numbered(&self.config.file, age));
        names.take_while(|name| name.exists()).collect()
    }

    /// Another server on the same log, at the same time or after it.
    fn another(&self) -> Audit {
        Audit::open(&self.config, self.clock.clone(), self.readiness.clone()).unwrap()
    }
}

fn caller() -> Caller {
    Caller {
        principal: Arc::new(Principal::anonymous()),
        rights: Rights::all(),
        request_id: "req-1".to_owned(),
        cancel: CancellationToken::new(),
    }
}

fn action(name: &'static str) -> Action<'static> {
    Action {
        name,
        target: None,
        revision: None,
        details: Map::new(),
    }
}

/// Of entries, without their seals.
fn lines(path: &Path) -> Vec<Value> {
    let all = sealed_lines(path).into_iter();
    let entries = all.filter(|line| line["phase"] == "opened" || line["phase"] == "closed");
    let unsealed = entries.map(|mut line| {
        for name in ["chain", "seq", "prev", "mac"] {
            line.as_object_mut().unwrap().remove(name).unwrap();
        }
        line
    });
    unsealed.collect()
}

fn sealed_lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

async fn act(audit: &Audit) {
    let entry = audit.begin(&caller(), action("dynamic.exec")).await.unwrap();
    entry.close(Verdict::Done);
}

#[tokio::test]
async fn an_action_leaves_an_opening_and_a_closing_line() {
    let setup = setup();
    let details = json!({ "image": "node:lts-slim", "adminToken": "hunter2" });
    let action = Action {
        name: "dynamic.tool.update",
        target: Some("weather"),
        revision: Some(3),
        details: details.as_object().unwrap().clone(),
    };
    let mut entry = setup.audit.begin(&caller(), action).await.unwrap();
    setup.clock.advance(chrono::Duration::milliseconds(1_234));
    entry.set_revision(4);
    entry.add("fields", json!(["code"]));
    entry.close(Verdict::Ran {
        outcome: Outcome::Ok,
        duration: Duration::from_micros(1_234_567),
    });
    assert!(setup.audit.flush_and_close().await);

    let lines = lines(&setup.log());
    let id = lines[0]["id"].as_str().unwrap();
    assert!(id.starts_with("aud_"), "{id}");
    assert_eq!(
        lines[0],
        json!({
            "ts": "1970-01-01T00:00:00.000Z", "phase": "opened", "id": id, "tenant": "default",
            "subject": "anonymous", "client": "anonymous", "requestId": "req-1",
            "action": "dynamic.tool.update", "target": "weather", "revision": 3,
            "details": { "image": "node:lts-slim", "adminToken": "[redacted]" },
        })
    );
    assert_eq!(
        lines[1],
        json!({
            "ts": "1970-01-01T00:00:01.234Z", "phase": "closed", "id": id, "tenant": "default",
            "subject": "anonymous", "client": "anonymous", "requestId": "req-1",
            "action": "dynamic.tool.update", "target": "weather", "revision": 4,
            "details": { "image": "node:lts-slim", "adminToken": "[redacted]", "fields": ["code"] },
            "verdict": "ran", "outcome": "ok", "durationMs": 1234.567,
        })
    );
    assert_eq!(lines.len(), 2);
}

#[tokio::test]
async fn a_dropped_entry_is_closed_as_abandoned() {
    let setup = setup();
    drop(
        setup
            .audit
            .begin(&caller(), action("dynamic.exec"))
            .await
            .unwrap(),
    );
    assert!(setup.audit.flush().await);
    let lines = lines(&setup.log());
    assert_eq!(
        (&lines[1]["verdict"], &lines[1]["id"]),
        (&json!("abandoned"), &lines[0]["id"])
    );
}

#[tokio::test]
async fn a_refusal_says_why() {
    let setup = setup();
    let refused = setup.audit.begin(&caller(), action("dynamic.exec")).await;
    refused.unwrap().close(Verdict::Refused("rate_limited"));
    assert!(setup.audit.flush().await);
    let closed = &lines(&setup.log())[1];
    assert_eq!(
        (&closed["verdict"], &closed["reason"]),
        (&json!("refused"), &json!("rate_limited"))
    );
}

#[tokio::test]
async fn details_that_are_too_long_are_marked() {
    let setup = setup_with(|config| config.max_event_bytes = 2_000);
    let details = Map::from_iter([("note".to_owned(), json!("x".repeat(5_000)))]);
    let action = Action {
        details,
        ..action("dynamic.exec")
    };
    let entry = setup.audit.begin(&caller(), action).await.unwrap();
    entry.close(Verdict::Done);
    assert!(setup.audit.flush().await);
    assert_eq!(lines(&setup.log())[0]["details"]["truncated"], json!(true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_callers_lose_nothing_over_rotations() {
    let setup = setup_with(|config| {
        config.max_file_bytes = 20_000;
        config.max_files = 1_000;
    });
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let audit = setup.audit.clone();
        callers.spawn(async move {
            for _ in 0..250 {
                act(&audit).await;
                tokio::task::yield_now().await;
            }
        });
    }
    callers.join_all().await;
    assert!(setup.audit.flush_and_close().await);

    let mut phases = std::collections::HashMap::new();
    for path in setup.files() {
        assert!(fs::metadata(&path).unwrap().len() <= 20_000);
        for line in lines(&path) {
            let id = line["id"].as_str().unwrap().to_owned();
            phases
                .entry(id)
                .or_insert_with(Vec::new)
                .push(line["phase"].clone());
        }
    }
    assert_eq!(phases.len(), 2_000);
    assert!(phases.values().all(|seen| seen.len() == 2));
}

#[tokio::test]
async fn a_file_taken_away_is_made_again() {
    let setup = setup();
    act(&setup.audit).await;
    assert!(setup.audit.flush().await);
    fs::remove_file(setup.log()).unwrap();
    let again = setup.audit.begin(&caller(), action("run_js_ephemeral")).await;
    again.unwrap().close(Verdict::Done);
    assert!(setup.audit.flush().await);
    assert_eq!(lines(&setup.log())[0]["action"], json!("run_js_ephemeral"));
}

#[tokio::test]
async fn a_disk_that_fails_degrades_readiness_until_it_works_again() {
    let setup = setup();
    let path = setup.log();
    // The path can't be opened while a directory has its name.
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    act(&setup.audit).await;
    eventually(|| setup.readiness.report().degraded.contains_key("audit")).await;
    fs::remove_dir(&path).unwrap();
    assert!(setup.audit.flush().await);
    assert!(setup.readiness.report().degraded.is_empty());
    assert_eq!(lines(&path).len(), 2);
}

#[tokio::test]
async fn a_log_that_is_switched_off_makes_no_file() {
    let setup = setup_with(|config| config.enabled = false);
    act(&setup.audit).await;
    assert!(setup.audit.flush_and_close().await);
    assert!(!setup.log().exists());
}

#[tokio::test]
async fn a_file_that_can_not_be_opened_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let config = AuditConfig {
        enabled: true,
        file: directory.path().to_owned(),
        key: KeyFile::Own(directory.path().join("audit.key")),
        on_loss: OnLoss::Continue,
        retention: Duration::from_secs(86_400),
        max_event_bytes: 20_000,
        max_file_bytes: 10_000_000,
        max_files: 5,
    };
    let clock = Arc::new(ManualClock::at(DateTime::UNIX_EPOCH));
    let error = Audit::open(&config, clock, Readiness::default()).err().unwrap();
    assert!(error.to_string().contains("MCP_AUDIT_FILE"), "{error}");
}

async fn eventually(mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(
            std::time::Instant::now() < deadline,
            "it did not come true in time"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
