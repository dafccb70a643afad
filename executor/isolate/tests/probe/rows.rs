//! No row of the table of allowed calls is there for nothing: without it, something that tools do dies.

use dynamic_mcp_isolate::syscalls::CHILD;
use libtest_mimic::{Failed, Trial};

use crate::broker::{End, Zygote};

/// What can't be done without the call of that name: a body, and the code that it gets.
fn workload(name: &str) -> Option<(&'static str, &'static str)> {
    Some(match name {
        "read" | "write" | "getrandom" | "exit_group" => ("script", "return 1"),
        "brk" => (
            "script",
            "const a = []; for (let i = 0; i < 50_000; i += 1) a.push({ i }); return 1",
        ),
        "mmap" => ("script", "return new Uint8Array(40 << 20).length > 0 ? 1 : 0"),
        "munmap" => ("script", "let a = new Uint8Array(40 << 20); a = null; return 1"),
        "mremap" => (
            "script",
            "const a = []; for (let i = 0; i < 400_000; i += 1) a.push(i); return 1",
        ),
        "clock_nanosleep" => ("script", "await new Promise((r) => setTimeout(r, 30)); return 1"),
        // The machine that runs the tests reads both from user space; another may not.
        "clock_gettime" => ("native", "allowed_clock_gettime"),
        "gettimeofday" => ("native", "allowed_gettimeofday"),
        _ => return None,
    })
}

pub fn trials() -> impl Iterator<Item = Trial> {
    CHILD.iter().flat_map(|row| {
        [
            Trial::test(format!("row::{}::is_enough", row.name), || enough(row.name)),
            Trial::test(format!("row::{}::is_needed", row.name), || needed(row.name)),
        ]
    })
}

fn enough(name: &str) -> Result<(), Failed> {
    let (body, code) = workload(name).ok_or("nothing shows what this row is for")?;
    let ended = Zygote::start("full", body).call(code);
    match &ended {
        (End::Result(result), 0) if result == "1" || result == "0" => Ok(()),
        _ => Err(format!("{ended:?}").into()),
    }
}

fn needed(name: &str) -> Result<(), Failed> {
    let (body, code) = workload(name).ok_or("nothing shows what this row is for")?;
    let (end, status) = Zygote::start(&format!("without:{name}"), body).call(code);
    if status & 0x7f == libc::SIGSYS {
        return Ok(());
    }
    Err(format!("it goes on without: {end:?}, wait status {status:#x}").into())
}
