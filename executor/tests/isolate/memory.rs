//! All isolates of an engine have one limit of memory, where the machine lets us set one.

use std::fs;
use std::path::{Path, PathBuf};

use dynamic_mcp_executor::isolate::{Finding, IsolateConfig, IsolateEngine, Wall};
use dynamic_mcp_shared::limits::ByteSize;
use dynamic_mcp_shared::outcome::Outcome;
use tokio::task::JoinSet;

use crate::processes::{isolates, keepers, me, zygotes};
use crate::rig::{Rig, config, eventually, run};

fn finding(engine: &IsolateEngine) -> Finding {
    let walls = engine.walls();
    let found = walls.into_iter().find(|found| found.wall == Wall::MemoryGroup);
    found.unwrap()
}

/// The group of memory that a process is in, as the machine's own files say; `None` where it can't be had.
pub fn group(pid: i32) -> Option<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let ours = |line: &str| {
        line.rsplit_once('/')
            .is_some_and(|(_, name)| name.starts_with("dynamic-mcp-isolate-"))
    };
    let line = text.lines().find(|line| ours(line))?;
    let (hierarchy, path) = line.split_once(":/")?;
    let top = if hierarchy == "0:" { "" } else { "memory" };
    Some(Path::new("/sys/fs/cgroup").join(top).join(path))
}

fn bytes(file: &Path) -> u64 {
    fs::read_to_string(file).unwrap().trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_process_of_an_engine_is_in_its_group_or_the_finding_says_why_not() {
    let rig = Rig::start().await;
    let found = finding(&rig.engine);
    if let Some(why) = found.lacking {
        println!("left out: {why}");
        assert!(why.contains('/') || why.contains("no control group"), "{why}");
        return rig.finish().await;
    }
    let of_keeper = group(keepers()[0]).unwrap();
    assert!(
        of_keeper.ends_with(format!("dynamic-mcp-isolate-{}-0", me())),
        "{of_keeper:?}"
    );
    eventually("children that wait", async || isolates().len() >= 2).await;
    for pid in [zygotes(), isolates()].concat() {
        assert_eq!(group(pid).as_ref(), Some(&of_keeper), "{pid}");
    }
    assert_eq!(group(me()), None);
    rig.finish().await;
    assert!(!of_keeper.exists(), "{of_keeper:?} is left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_that_together_want_more_than_the_group_has_are_ended_and_others_are_served() {
    // Two slots' worth for six children that each stay within their own limit.
    let small = IsolateConfig {
        slots: 2,
        spares: 1,
        memory: ByteSize(64 << 20),
        ..config()
    };
    let rig = Rig::with(small).await;
    if let Some(why) = finding(&rig.engine).lacking {
        println!("left out: {why}");
        return rig.finish().await;
    }
    let of_keeper = group(keepers()[0]).unwrap();
    let limit = ["memory.limit_in_bytes", "memory.max"].map(|name| of_keeper.join(name));
    let limit = bytes(limit.iter().find(|file| file.exists()).unwrap());
    assert_eq!(limit, 2 * (96 << 20));
    let mut hungry = JoinSet::new();
    for _ in 0..6 {
        let code = "const a = new Uint8Array(55 << 20).fill(7); await new Promise((r) => setTimeout(r, 3_000)); return a.length";
        hungry.spawn(run(rig.prepare(code, 10_000).await));
    }
    let ended = hungry.join_all().await;
    let count = |outcome: Outcome| {
        ended
            .iter()
            .filter(|finished| finished.outcome == outcome)
            .count()
    };
    let (whole, killed) = (count(Outcome::Ok), count(Outcome::Interrupted));
    println!(
        "{whole} were served and {killed} ended, of 6 that want 55 MiB each of {} MiB",
        limit >> 20
    );
    assert_eq!(whole + killed, 6, "{ended:?}");
    assert!((1..=3).contains(&whole), "{whole}");
    rig.assert_works().await;
    rig.finish().await;
}
