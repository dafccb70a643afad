//! Logs as servers leave them, then changed by somebody without the key.

use dynamic_mcp_shared::lifecycle::Lifecycle;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::super::chain::KeyRing;
use super::super::record::StoreKind;
use super::super::store::place;
use super::super::verify::{Anchors, Verified, verify_files};
use super::*;

impl Setup {
    fn keys(&self) -> KeyRing {
        KeyRing::new(vec![self.config.key.open().unwrap()])
    }

    /// As a server does when it ends.
    async fn close(&self, audit: &Audit) {
        let anchors = AnchorFile::beside(&self.store());
        let lifecycle = Lifecycle::new(Duration::ZERO);
        let keeper = Keeper::anchoring(audit, anchors, self.readiness.clone(), &lifecycle);
        // Anchored while it runs, so that the log says so.
        eventually_async(async || {
            self.anchors()
                .await
                .all
                .iter()
                .any(|anchor| Some(anchor.chain) == chain_of(audit))
        })
        .await;
        assert!(audit.flush_and_close().await);
        assert!(keeper.finish().await);
        lifecycle.begin_shutdown();
        assert!(lifecycle.finish().await);
    }

    fn store(&self) -> PathBuf {
        self.directory.path().join("tools.sqlite")
    }

    async fn anchors(&self) -> Anchors {
        let mut file = AnchorFile::beside(&self.store());
        Anchors {
            kind: StoreKind::Sqlite,
            all: file.all().await.unwrap(),
            read_at: DateTime::<chrono::Utc>::MAX_UTC,
            place: place(&self.config.file),
        }
    }

    async fn verify(&self) -> Verified {
        verify_files(&self.config.file, &self.keys(), Some(&self.anchors().await)).unwrap()
    }

    async fn found(&self) -> Vec<String> {
        let findings = self.verify().await.findings.into_iter();
        findings
            .map(|finding| format!("{} {}", finding.at, finding.what))
            .collect()
    }
}

fn chain_of(audit: &Audit) -> Option<Hex128> {
    audit.0.as_ref().map(|log| log.chain)
}

async fn eventually_async(holds: impl AsyncFn() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(
            std::time::Instant::now() < deadline,
            "it did not come true in time"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn acts(audit: &Audit, count: usize) {
    for _ in 0..count {
        act(audit).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_of_servers_that_followed_one_another_verifies() {
    let setup = setup();
    acts(&setup.audit, 5).await;
    setup.close(&setup.audit).await;
    let second = setup.another();
    acts(&second, 5).await;
    setup.close(&second).await;
    let verified = setup.verify().await;
    assert_eq!(verified.findings, []);
    assert_eq!((verified.chains, verified.unclosed.len()), (2, 0), "{verified:?}");
    assert_eq!(verified.notes, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_of_servers_side_by_side_verifies_over_rotations() {
    let setup = setup_with(|config| {
        config.max_file_bytes = 12_000;
        config.max_files = 3;
    });
    let second = setup.another();
    for _ in 0..60 {
        act(&setup.audit).await;
        act(&second).await;
        assert!(setup.audit.flush().await && second.flush().await);
    }
    setup.close(&setup.audit).await;
    setup.close(&second).await;
    let third = setup.another();
    acts(&third, 1).await;
    setup.close(&third).await;
    assert_eq!(setup.files().len(), 3);
    let verified = setup.verify().await;
    assert_eq!(verified.findings, []);
    assert_eq!(verified.unclosed, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_killed_is_told_from_tampering_and_its_open_entries_are_named() {
    let setup = setup();
    acts(&setup.audit, 3).await;
    let details = Action {
        target: Some("weather"),
        ..action("dynamic.exec")
    };
    let open = setup.audit.begin(&caller(), details).await.unwrap();
    assert!(setup.audit.flush().await);
    // The kill, in the middle of a line.
    let mut bytes = fs::read(setup.log()).unwrap();
    bytes.extend_from_slice(b"{\"ts\":\"1970-01-01T00:00:00.000Z\",\"pha");
    std::mem::forget(open);
    fs::rename(
        setup.log(),
        setup.directory.path().join("of the one that runs still"),
    )
    .unwrap();
    fs::write(setup.log(), bytes).unwrap();

    let verified = setup.verify().await;
    assert_eq!(verified.findings, []);
    assert_eq!(verified.unclosed.len(), 1);
    let open = &verified.unclosed[0].open;
    assert_eq!(open.len(), 1, "{open:?}");
    assert_eq!(
        (
            open[0].action.as_str(),
            open[0].target.as_deref(),
            open[0].tenant.as_str()
        ),
        ("dynamic.exec", Some("weather"), "default")
    );
    // The next one mends the line, and says so.
    let next = setup.another();
    acts(&next, 2).await;
    setup.close(&next).await;
    let verified = setup.verify().await;
    assert_eq!(verified.findings, []);
    assert!(
        verified.notes.iter().any(|note| note.contains("half a line")),
        "{verified:?}"
    );
    // What the line was can't be changed then.
    let text = fs::read_to_string(setup.log()).unwrap();
    fs::write(setup.log(), text.replacen("\"pha\n", "\"phb\n", 1)).unwrap();
    assert_eq!(setup.found().await.len(), 1);
}

/// A log of three files, two servers one after the other, closed and anchored.
async fn closed_log() -> Setup {
    let setup = setup_with(|config| {
        config.max_file_bytes = 10_000;
        config.max_files = 3;
    });
    acts(&setup.audit, 25).await;
    setup.close(&setup.audit).await;
    let second = setup.another();
    acts(&second, 20).await;
    setup.close(&second).await;
    assert_eq!(setup.files().len(), 3);
    setup
}

#[derive(Debug, Clone)]
enum Change {
    /// Another byte at this part of the file.
    Flip(prop::sample::Index, u8),
    Insert(prop::sample::Index, u8),
    Remove(prop::sample::Index, usize),
    Cut(prop::sample::Index),
    RemoveLine(prop::sample::Index),
    RepeatLine(prop::sample::Index),
    SwapLines(prop::sample::Index),
    RemoveFile,
}

fn change() -> impl Strategy<Value = Change> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        6 => (index(), 1_u8..).prop_map(|(at, with)| Change::Flip(at, with)),
        2 => (index(), any::<u8>()).prop_map(|(at, byte)| Change::Insert(at, byte)),
        2 => (index(), 1_usize..400).prop_map(|(at, count)| Change::Remove(at, count)),
        2 => index().prop_map(Change::Cut),
        2 => index().prop_map(Change::RemoveLine),
        2 => index().prop_map(Change::RepeatLine),
        2 => index().prop_map(Change::SwapLines),
        1 => Just(Change::RemoveFile),
    ]
}

fn changed(bytes: &[u8], change: &Change) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut lines: Vec<Vec<u8>> = bytes
        .split_inclusive(|&byte| byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    match change {
        Change::Flip(at, with) => {
            let at = at.index(bytes.len());
            bytes[at] ^= with;
        }
        Change::Insert(at, byte) => bytes.insert(at.index(bytes.len()), *byte),
        Change::Remove(at, count) => {
            let at = at.index(bytes.len());
            bytes.drain(at..(at + count).min(bytes.len()));
        }
        Change::Cut(at) => bytes.truncate(at.index(bytes.len())),
        Change::RemoveLine(at) => {
            lines.remove(at.index(lines.len()));
            return lines.concat();
        }
        Change::RepeatLine(at) => {
            let line = lines[at.index(lines.len())].clone();
            lines.insert(at.index(lines.len()), line);
            return lines.concat();
        }
        Change::SwapLines(at) => {
            let at = at.index(lines.len() - 1);
            lines.swap(at, at + 1);
            return lines.concat();
        }
        Change::RemoveFile => {}
    }
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_change_to_any_file_is_found() {
    let setup = closed_log().await;
    assert_eq!(setup.found().await, [""; 0]);
    let (keys, anchors) = (setup.keys(), setup.anchors().await);
    let files: Vec<(PathBuf, Vec<u8>)> = setup
        .files()
        .into_iter()
        .map(|file| (file.clone(), fs::read(&file).unwrap()))
        .collect();
    let mut runner = TestRunner::new(Config::with_cases(600));
    let strategy = (0..files.len(), change());
    let ended = runner.run(&strategy, |(index, change)| {
        let (file, bytes) = &files[index];
        let altered = changed(bytes, &change);
        prop_assume!(altered != *bytes || matches!(change, Change::RemoveFile));
        match change {
            Change::RemoveFile => fs::remove_file(file).unwrap(),
            _ => fs::write(file, &altered).unwrap(),
        }
        let verified = verify_files(&setup.config.file, &keys, Some(&anchors));
        fs::write(file, bytes).unwrap();
        let found = verified.unwrap().findings;
        prop_assert!(!found.is_empty(), "{} {:?}", file.display(), change);
        Ok(())
    });
    ended.unwrap();
    assert_eq!(setup.found().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_one_chain_and_the_beginning_of_the_next_can_not_change_places() {
    let setup = setup();
    acts(&setup.audit, 1).await;
    setup.close(&setup.audit).await;
    let second = setup.another();
    acts(&second, 1).await;
    setup.close(&second).await;
    let text = fs::read_to_string(setup.log()).unwrap();
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    let ended = lines
        .iter()
        .position(|line| line.contains("\"phase\":\"ended\""))
        .unwrap();
    assert!(lines[ended + 1].contains("\"phase\":\"begun\""));
    lines.swap(ended, ended + 1);
    fs::write(setup.log(), lines.concat()).unwrap();
    let found = setup.found().await;
    assert!(
        found.iter().any(|what| what.contains("it was moved")),
        "{found:?}"
    );
}

/// As of a chain that somebody with the key made anew, and longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_in_the_middle_that_is_not_the_one_that_was_anchored_is_found() {
    let setup = setup();
    acts(&setup.audit, 2).await;
    setup.close(&setup.audit).await;
    let (keys, mut anchors) = (setup.keys(), setup.anchors().await);
    let anchor = &mut anchors.all[0];
    anchor.seq -= 2;
    let found = verify_files(&setup.config.file, &keys, Some(&anchors))
        .unwrap()
        .findings;
    assert!(
        found
            .iter()
            .any(|found| found.what == "is not the line that was anchored"),
        "{found:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_single_bit_of_a_short_log_counts() {
    let setup = setup();
    acts(&setup.audit, 2).await;
    setup.close(&setup.audit).await;
    let (keys, anchors) = (setup.keys(), setup.anchors().await);
    let bytes = fs::read(setup.log()).unwrap();
    for index in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[index] ^= 1 << (index % 8);
        fs::write(setup.log(), &altered).unwrap();
        let verified = verify_files(&setup.log(), &keys, Some(&anchors)).unwrap();
        assert!(!verified.findings.is_empty(), "byte {index}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_replaced_by_a_new_one_is_found() {
    let setup = setup();
    acts(&setup.audit, 3).await;
    setup.close(&setup.audit).await;
    fs::remove_dir_all(setup.log().parent().unwrap()).unwrap();
    let next = setup.another();
    acts(&next, 3).await;
    setup.close(&next).await;
    let found = setup.found().await;
    assert!(
        found.iter().any(|found| found.contains("another log")),
        "{found:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_key_verifies_nothing_and_both_keys_everything() {
    let setup = setup();
    acts(&setup.audit, 3).await;
    setup.close(&setup.audit).await;
    let other = setup.directory.path().join("other.key");
    let mut config = setup.config.clone();
    config.key = KeyFile::Own(other);
    let second = Audit::open(&config, setup.clock.clone(), setup.readiness.clone()).unwrap();
    acts(&second, 3).await;
    setup.close(&second).await;
    let found = setup.found().await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains(config.key.open().unwrap().id()), "{found:?}");
    let both = KeyRing::new(vec![setup.config.key.open().unwrap(), config.key.open().unwrap()]);
    let anchors = setup.anchors().await;
    let verified = verify_files(&setup.log(), &both, Some(&anchors)).unwrap();
    assert_eq!(verified.findings, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_a_version_without_chains_are_set_aside() {
    let setup = setup();
    assert!(setup.audit.flush_and_close().await);
    fs::write(setup.log(), "{\"phase\":\"opened\"}\n").unwrap();
    let next = setup.another();
    acts(&next, 1).await;
    setup.close(&next).await;
    assert_eq!(setup.found().await, [""; 0]);
    let names: Vec<String> = fs::read_dir(setup.log().parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert!(
        names.contains(&"audit.jsonl.unsealed-19700101T000000".to_owned()),
        "{names:?}"
    );
}
