//! JSON stores of the Node.js version.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_control_plane::registry::{OpenError, Registry, SqliteRegistry, ToolRecord};
use dynamic_mcp_shared::clock::SystemClock;
use dynamic_mcp_shared::ids::TenantId;
use dynamic_mcp_shared::lifecycle::Lifecycle;
use serde_json::{Value, json};

use crate::stores::name;

async fn open(path: &Path) -> Result<SqliteRegistry, OpenError> {
    SqliteRegistry::open(
        path,
        Arc::new(SystemClock),
        Lifecycle::new(Duration::from_secs(1)),
    )
    .await
}

async fn imported(path: &Path) -> Vec<ToolRecord> {
    let registry = open(path).await.unwrap();
    let tools = registry.load(&TenantId::default()).await.unwrap().tools;
    registry.close().await;
    tools
}

fn entry(tool: &str) -> Value {
    json!({"name": tool, "description": "Does it.", "code": "return 1"})
}

fn full() -> Value {
    json!({
        "name": "weather.now", "title": "Weather", "description": "Says it.", "code": "return 1",
        "image": "node:24-slim", "timeoutMs": 5000, "dependencies": [{"name": "lodash", "version": "^4"}],
        "enabled": false, "revision": 7,
        "createdAt": "2025-03-04T05:06:07.891Z", "updatedAt": "2025-04-04T05:06:07.000+02:00",
        "ownerOfOldTimes": "ignored",
    })
}

#[tokio::test]
async fn a_store_keeps_revision_times_and_fields() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tools.json");
    let text = json!({"version": 1, "tools": [full(), entry("plain")]}).to_string();
    std::fs::write(&path, format!("\u{feff}\n {text}")).unwrap();

    let tools = imported(&path).await;
    let weather = tools
        .iter()
        .find(|tool| tool.spec.name == name("weather.now"))
        .unwrap();
    assert_eq!((weather.revision, weather.spec.enabled), (7, false));
    assert_eq!(weather.created_at.to_rfc3339(), "2025-03-04T05:06:07.891+00:00");
    assert_eq!(weather.updated_at.to_rfc3339(), "2025-04-04T03:06:07+00:00");
    assert_eq!(weather.spec.timeout_ms.as_millis(), 5_000);
    assert_eq!(
        (weather.spec.dependencies.len(), &weather.spec.dependency_lock),
        (1, &None)
    );
    assert_eq!(weather.content_hash, weather.spec.content_hash());
    let plain = tools.iter().find(|tool| tool.spec.name == name("plain")).unwrap();
    assert_eq!(
        (plain.revision, plain.spec.enabled, plain.spec.image.as_str()),
        (1, true, "node:lts-slim")
    );

    assert!(folder.path().join("tools.sqlite").exists());
    assert!(
        std::fs::read_to_string(&path).unwrap().contains("weather.now"),
        "the JSON file is left as it is"
    );
}

#[tokio::test]
async fn a_map_and_a_bare_list_are_stores_too() {
    let without_name = json!({"description": "Does it.", "code": "return 1"});
    for store in [
        json!({"tools": {"one": without_name, "two": entry("two")}}),
        json!([entry("one"), entry("two")]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        std::fs::write(&path, store.to_string()).unwrap();
        assert_eq!(imported(&path).await.len(), 2, "{store}");
    }
}

#[tokio::test]
async fn an_import_happens_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tools.json");
    std::fs::write(&path, json!([full()]).to_string()).unwrap();
    let registry = open(&path).await.unwrap();
    let weather = name("weather.now");
    registry
        .delete(&TenantId::default(), &weather, None, "ann")
        .await
        .unwrap();
    registry.close().await;

    std::fs::write(&path, json!([full(), entry("late")]).to_string()).unwrap();
    assert_eq!(imported(&path).await, []);

    // Revisions go on from the imported ones.
    let registry = open(&path).await.unwrap();
    let spec = crate::stores::spec("weather.now");
    let anew = registry
        .create(&TenantId::default(), &spec, 10, "ann")
        .await
        .unwrap();
    assert_eq!(anew.revision, 9);
}

#[tokio::test]
async fn a_store_beside_the_database_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("tools.json"),
        json!([entry("one")]).to_string(),
    )
    .unwrap();
    assert_eq!(imported(&folder.path().join("tools.sqlite")).await.len(), 1);
    assert_eq!(imported(&folder.path().join("tools.sqlite")).await.len(), 1);
}

#[tokio::test]
async fn a_json_name_without_a_file_opens_an_empty_database() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(imported(&folder.path().join("new.json")).await, []);
    assert!(folder.path().join("new.sqlite").exists());
    assert!(!folder.path().join("new.json").exists());
}

#[tokio::test]
async fn every_bad_entry_is_named_and_nothing_is_imported() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tools.json");
    let with = |field: &str, value: Value| {
        let mut entry = entry(&format!("with-{field}"));
        entry[field] = value;
        entry
    };
    let store = json!([
        entry("good"),
        entry("1bad"),
        entry("system.health"),
        entry("good"),
        with("description", json!("")),
        with("code", json!("x".repeat(200_001))),
        with("timeoutMs", json!(5)),
        with("dependencies", json!([{"name": "x", "version": "git+ssh://y"}])),
        with("createdAt", json!("yesterday")),
        with("revision", json!(0)),
        with("enabled", json!("yes")),
        with("image", json!("a b")),
        {"name": "no-code", "description": "Does it."},
        5,
    ]);
    std::fs::write(&path, store.to_string()).unwrap();
    let error = open(&path).await.err().unwrap().to_string();
    for part in [
        "tools[1] \"1bad\": name must have",
        "tools[2] \"system.health\": name must not begin with",
        "tools[3] \"good\": another entry has the same name",
        "tools[4] \"with-description\": description must have 1 to 4000 characters, got 0",
        "tools[5] \"with-code\": code must have 1 to 200000 characters, got 200001",
        "tools[6] \"with-timeoutMs\": timeoutMs must be an integer from 1000 to 120000, got 5",
        "tools[7] \"with-dependencies\": dependency x has version",
        "tools[8] \"with-createdAt\": createdAt must be a time",
        "tools[9] \"with-revision\": revision must be a positive integer",
        "tools[10] \"with-enabled\": enabled must be true or false",
        "tools[11] \"with-image\": image is not valid",
        "tools[12] \"no-code\": code is missing",
        "tools[13]: must be an object",
    ] {
        assert!(error.contains(part), "{part} is not in {error}");
    }

    std::fs::write(&path, json!([entry("good")]).to_string()).unwrap();
    assert_eq!(imported(&path).await.len(), 1, "a mended store is imported");
}

#[tokio::test]
async fn broken_json_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tools.json");
    for (text, part) in [
        ("{\"tools\": [", "not JSON"),
        ("{\"other\": 1}", "no list or map of tools"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = open(&path).await.err().unwrap().to_string();
        assert!(error.contains(part), "{error}");
    }
}
