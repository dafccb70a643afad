//! A realm with a host that keeps what it is told.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use dynamic_mcp_quickjs::{Call, Ending, ErrorReport, Host, Realm, Settings, Stream};
use serde_json::Value;

/// Also a deadline for whatever a test runs.
const DEADLINE: Duration = Duration::from_secs(20);

#[derive(Default)]
pub struct Heard {
    pub stdout: String,
    pub stderr: String,
    pub lines: usize,
    pub progress: Vec<Value>,
}

struct Listener {
    heard: Rc<RefCell<Heard>>,
    deadline: Instant,
}

impl Host for Listener {
    fn print(&mut self, stream: Stream, bytes: &[u8]) {
        let mut heard = self.heard.borrow_mut();
        heard.lines += 1;
        // A test that prints a million lines counts them.
        if heard.lines > 1_000 {
            return;
        }
        let text = std::str::from_utf8(bytes).unwrap();
        match stream {
            Stream::Stdout => heard.stdout.push_str(text),
            Stream::Stderr => heard.stderr.push_str(text),
        }
    }

    fn progress(&mut self, json: &str) {
        self.heard
            .borrow_mut()
            .progress
            .push(serde_json::from_str(json).unwrap());
    }

    fn interrupted(&mut self) -> bool {
        Instant::now() > self.deadline
    }

    fn sleep(&mut self, duration: Duration) {
        std::thread::sleep(duration.min(self.deadline.saturating_duration_since(Instant::now())));
    }

    fn random(&mut self, bytes: &mut [u8]) {
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::try_from(index % 251).unwrap();
        }
    }
}

pub struct Rig {
    realm: Realm,
    pub heard: Rc<RefCell<Heard>>,
}

impl Rig {
    pub fn new() -> Rig {
        Rig::within(DEADLINE)
    }

    /// Its host interrupts the code after `time`.
    pub fn within(time: Duration) -> Rig {
        let mut realm = Realm::warm(&Settings {
            memory_bytes: 64 << 20,
            stack_bytes: 1 << 20,
        })
        .unwrap();
        let heard = Rc::new(RefCell::new(Heard::default()));
        let listener = Listener {
            heard: Rc::clone(&heard),
            deadline: Instant::now() + time,
        };
        realm.begin([3; 32], Box::new(listener));
        Rig { realm, heard }
    }

    pub fn call(&mut self, code: &str) -> Ending {
        self.call_with(Some(code), "{}")
    }

    pub fn again(&mut self, args_json: &str) -> Ending {
        self.call_with(None, args_json)
    }

    pub fn call_with(&mut self, code: Option<&str>, args_json: &str) -> Ending {
        self.realm.call(Call {
            code,
            args_json,
            max_result_bytes: 100_000,
        })
    }

    pub fn stdout(&self) -> String {
        self.heard.borrow().stdout.clone()
    }
}

/// The ending of one call in a realm of its own.
pub fn ending(code: &str) -> Ending {
    Rig::new().call(code)
}

pub fn value(ending: &Ending) -> Value {
    match ending {
        Ending::Result(json) => serde_json::from_str(json).unwrap(),
        other => panic!("not a result: {other:?}"),
    }
}

pub fn result(code: &str) -> Value {
    value(&ending(code))
}

pub fn threw(code: &str) -> ErrorReport {
    match ending(code) {
        Ending::Threw(report) => report,
        other => panic!("{code} did not throw: {other:?}"),
    }
}
