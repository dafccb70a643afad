use super::*;

/// The path can't be opened while a directory has its name.
fn break_disk(setup: &Setup) {
    fs::remove_file(setup.log()).unwrap();
    fs::create_dir(setup.log()).unwrap();
}

fn blocking() -> Setup {
    setup_with(|config| config.on_loss = OnLoss::Block)
}

#[tokio::test]
async fn an_action_that_blocks_has_its_opening_line_in_the_file_when_it_begins() {
    let setup = blocking();
    for count in 1..20 {
        let entry = setup
            .audit
            .begin(&caller(), action("dynamic.exec"))
            .await
            .unwrap();
        let opened = lines(&setup.log());
        assert_eq!(
            opened.iter().filter(|line| line["phase"] == "opened").count(),
            count
        );
        entry.close(Verdict::Done);
    }
}

#[tokio::test]
async fn an_action_is_refused_while_the_disk_fails_and_not_any_more_when_it_works_again() {
    let setup = blocking();
    act(&setup.audit).await;
    assert!(setup.audit.flush().await);
    break_disk(&setup);
    let refused = setup.audit.begin(&caller(), action("dynamic.exec")).await;
    assert_eq!(refused.err(), Some(Unaudited));
    let again = setup.audit.begin(&caller(), action("dynamic.exec")).await;
    assert_eq!(again.err(), Some(Unaudited));
    assert!(setup.readiness.report().degraded.contains_key("audit"));

    fs::remove_dir(setup.log()).unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        match setup.audit.begin(&caller(), action("run_js_ephemeral")).await {
            Ok(entry) => break entry.close(Verdict::Done),
            Err(Unaudited) => assert!(std::time::Instant::now() < deadline),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(setup.audit.flush().await);
    assert!(setup.readiness.report().degraded.is_empty());
    let lines = lines(&setup.log());
    let about = |line: &Value| {
        (
            line["action"].clone(),
            line["phase"].clone(),
            line["reason"].clone(),
        )
    };
    // Only the first one that was refused had been on its way to the disk.
    assert_eq!(
        lines.iter().map(about).collect::<Vec<_>>(),
        [
            (json!("dynamic.exec"), json!("opened"), Value::Null),
            (json!("dynamic.exec"), json!("closed"), json!("unaudited")),
            (json!("run_js_ephemeral"), json!("opened"), Value::Null),
            (json!("run_js_ephemeral"), json!("closed"), Value::Null),
        ]
    );
}

#[tokio::test]
async fn a_disk_that_fails_delays_nobody_who_goes_on() {
    let setup = setup();
    assert!(setup.audit.flush().await);
    break_disk(&setup);
    act(&setup.audit).await;
    eventually(|| setup.readiness.report().degraded.contains_key("audit")).await;
    let before = std::time::Instant::now();
    for _ in 0..100 {
        act(&setup.audit).await;
    }
    assert!(before.elapsed() < Duration::from_secs(1));
    fs::remove_dir(setup.log()).unwrap();
    assert!(setup.audit.flush().await);
    assert_eq!(lines(&setup.log()).len(), 202);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_many_lines_were_lost_is_said_in_the_log_and_breaks_no_chain() {
    let setup = setup();
    act(&setup.audit).await;
    assert!(setup.audit.flush().await);
    break_disk(&setup);
    // More than is kept in memory.
    let lost = || {
        let degraded = setup.readiness.report().degraded;
        degraded
            .get("audit")
            .is_some_and(|why| why.contains("are being lost"))
    };
    let details = Map::from_iter([("note".to_owned(), json!("x".repeat(15_000)))]);
    let mut begun = 0;
    while !lost() {
        let action = Action {
            details: details.clone(),
            ..action("dynamic.exec")
        };
        setup
            .audit
            .begin(&caller(), action)
            .await
            .unwrap()
            .close(Verdict::Done);
        begun += 1;
        assert!(begun < 5_000, "everything has room");
    }
    fs::remove_dir(setup.log()).unwrap();
    assert!(setup.audit.flush().await);
    eventually(|| {
        fs::read_to_string(setup.log())
            .unwrap()
            .contains("\"phase\":\"lost\"")
    })
    .await;
    assert!(setup.audit.flush_and_close().await);
    let keys = chain::KeyRing::new(vec![setup.config.key.open().unwrap()]);
    let verified = verify::verify_files(&setup.log(), &keys, None).unwrap();
    // The file with the first lines was taken away with the disk; nothing else is missing.
    assert_eq!(verified.findings.len(), 1, "{:?}", verified.findings);
    assert!(
        verified.findings[0].what.contains("files are there"),
        "{:?}",
        verified.findings
    );
    assert!(
        verified.notes.iter().any(|note| note.contains("lines were lost")),
        "{:?}",
        verified.notes
    );
}
