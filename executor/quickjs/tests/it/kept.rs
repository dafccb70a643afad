//! A realm that is used again, for the same tool.

use dynamic_mcp_quickjs::Ending;
use serde_json::json;

use crate::rig::{Rig, value};

#[test]
fn state_persists_between_calls() {
    let mut rig = Rig::new();
    let code = "globalThis.calls = (globalThis.calls ?? 0) + 1; return [globalThis.calls, args.n]";
    assert_eq!(value(&rig.call_with(Some(code), r#"{"n":1}"#)), json!([1, 1]));
    assert_eq!(value(&rig.again(r#"{"n":2}"#)), json!([2, 2]));
}

#[test]
fn a_throw_keeps_the_realm_usable() {
    let mut rig = Rig::new();
    let code = "globalThis.calls = (globalThis.calls ?? 0) + 1; if (args.bad) throw new Error('x'); return globalThis.calls";
    assert!(matches!(
        rig.call_with(Some(code), r#"{"bad":true}"#),
        Ending::Threw(_)
    ));
    assert_eq!(value(&rig.again("{}")), 2);
}

#[test]
fn code_that_can_not_be_loaded_fails_each_call_alike() {
    let mut rig = Rig::new();
    let first = rig.call("return (");
    assert!(matches!(first, Ending::Threw(_)));
    assert_eq!(rig.again("{}"), first);
}

#[test]
fn a_realm_without_code_says_so() {
    assert!(
        matches!(Rig::new().again("{}"), Ending::Threw(report) if report.message == "no code was loaded before")
    );
}

#[test]
fn leftover_timers_do_not_run_between_calls() {
    let mut rig = Rig::new();
    rig.call("setTimeout(() => console.log('late'), 1); return 1");
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!(rig.stdout(), "");
    assert_eq!(value(&rig.call("return 2")), 2);
}
