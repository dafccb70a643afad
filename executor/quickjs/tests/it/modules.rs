//! What can be imported, and what is said about the rest.

use crate::rig::{result, threw};
use serde_json::json;

#[test]
fn modules_have_named_and_default_exports_with_or_without_the_prefix() {
    let code = "const a = await import('node:path'); const b = await import('path'); const { join } = a;
        return [a === b, join('/a', '..', 'b'), a.default.join === join]";
    assert_eq!(result(code), json!([true, "/b", true]));
}

#[test]
fn a_module_that_is_missing_is_named_with_the_way_out() {
    let report = threw("await import('node:fs')");
    assert_eq!(
        report.message,
        "Cannot find module 'node:fs': runtime \"isolate\" has no node:fs; use runtime \"node\""
    );
    assert_eq!(threw("await import('fs')").message, report.message);
    assert_eq!(
        threw("await import('lodash')").message,
        "Cannot find package 'lodash': npm packages need runtime \"node\" with dependencies"
    );
    assert_eq!(
        result("try { await import('node:fs') } catch (e) { return e.code }"),
        "ERR_MODULE_NOT_FOUND"
    );
}
