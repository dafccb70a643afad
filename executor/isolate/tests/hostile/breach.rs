//! What only a child that broke out can bring about, from end to end: a system call that none may make, and a crash.

use std::time::Duration;

use dynamic_mcp_executor::metric_names::{ISOLATE_BREACHES_TOTAL, ZYGOTE_RENEWALS_TOTAL};
use dynamic_mcp_shared::job::Isolation;
use dynamic_mcp_shared::outcome::Outcome;
use libtest_mimic::Trial;
use tokio::time::{Instant, sleep};

use crate::child::MARKED;
use crate::counted::count;
use crate::rig::{Rig, job, on_a_runtime};

pub fn trials() -> impl Iterator<Item = Trial> {
    let breach = Trial::test(
        "breach::threw_is_counted_and_renews_the_zygote_while_others_go_on",
        || {
            on_a_runtime(breach());
            Ok(())
        },
    );
    let crash = Trial::test("breach::a_crash_threw_and_renews_the_zygote", || {
        on_a_runtime(crash());
        Ok(())
    });
    [breach, crash].into_iter()
}

async fn crash() {
    let rig = Rig::start().await;
    let renewals = || count(ZYGOTE_RENEWALS_TOTAL, "breach");
    let before = renewals();
    let crashed = rig.call("overflow_the_stack").await;
    assert_eq!(crashed.outcome, Outcome::Threw, "{:?}", crashed.error);
    assert_eq!(
        crashed.error.unwrap().message,
        "the code's process was ended by signal 11"
    );
    until(renewals, before + 1).await;
    let next = rig.call("").await;
    assert_eq!(next.result.as_deref(), Some(&b"\"served\""[..]));
    rig.finish().await;
}

async fn until<T: PartialEq + std::fmt::Debug>(seen: impl Fn() -> T, wanted: T) {
    let began = Instant::now();
    while seen() != wanted {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{:?}, not {wanted:?}",
            seen()
        );
        sleep(Duration::from_millis(10)).await;
    }
}

async fn breach() {
    let rig = Rig::start().await;
    let seen = || {
        let breaches = count(ISOLATE_BREACHES_TOTAL, "");
        (breaches, count(ZYGOTE_RENEWALS_TOTAL, "breach"))
    };
    let before = seen();
    let act = || job("forbidden_call", Isolation::Call);
    let (_, unmarked) = rig.run(act(), "{}".to_owned()).await;
    assert_eq!(unmarked.outcome, Outcome::Ok, "{:?}", unmarked.error);
    assert_eq!(seen(), before);

    let neighbour = async {
        let finished = rig.call("say_nothing").await;
        // Its zygote was renewed meanwhile, and it had all of its time.
        assert_eq!(finished.outcome, Outcome::TimedOut, "{:?}", finished.error);
    };
    let marked = async {
        sleep(Duration::from_millis(200)).await;
        let (_, marked) = rig.run(act(), MARKED.to_owned()).await;
        assert_eq!(marked.outcome, Outcome::Threw, "{:?}", marked.error);
        let error = marked.error.unwrap();
        let text = "the code's process was ended: it made a system call that no sandbox may make";
        assert_eq!(
            (error.name.as_str(), error.message.as_str()),
            ("SandboxViolation", text)
        );
        until(seen, (before.0 + 1, before.1 + 1)).await;
        let next = rig.call("").await;
        assert_eq!(next.result.as_deref(), Some(&b"\"served\""[..]));
    };
    tokio::join!(neighbour, marked);
    rig.finish().await;
}
