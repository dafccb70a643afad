//! The body of a child in earnest: one warmed realm, and the calls that come over the channel.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use dynamic_mcp_quickjs::{Call, Ending, ErrorReport, Host, Realm, Settings, Stream};

use crate::body::{Body, Exit};
use crate::channel::{self, Channel};
use crate::frame::{self, Kind};

/// Of the stack that JavaScript may use. The process has eight times as much.
const STACK_BYTES: usize = 1 << 20;
/// The broker's deadline comes first, so that its word stands.
const GRACE: Duration = Duration::from_millis(50);
/// For what the realm does before its first call.
const A_WHILE: Duration = Duration::from_secs(60);

#[derive(Default)]
pub struct Script {
    realm: Option<Realm>,
}

impl Body for Script {
    fn warm(&mut self, memory_bytes: u64) -> Result<(), String> {
        let settings = Settings {
            memory_bytes,
            stack_bytes: STACK_BYTES,
        };
        self.realm = Some(Realm::warm(&settings).map_err(|error| error.to_string())?);
        Ok(())
    }

    fn serve(&mut self, channel: Channel) -> Exit {
        let Some(realm) = &mut self.realm else {
            return Exit::Failed;
        };
        let line = Rc::new(Line {
            channel: RefCell::new(channel),
            // No call runs yet; each sets its own.
            deadline: Cell::new(Instant::now() + A_WHILE),
        });
        let mut seed = [0; 32];
        fill(&mut seed);
        realm.begin(seed, Box::new(Linked(Rc::clone(&line))));
        loop {
            let call = match line.channel.borrow_mut().next_call() {
                Ok(Some(call)) => call,
                Ok(None) => return Exit::Done,
                Err(_) => return Exit::Failed,
            };
            let allowed = Duration::from_millis(call.header.deadline_ms.into());
            line.deadline.set(Instant::now() + allowed + GRACE);
            let ending = serve(realm, &call);
            if line.tell(ending).is_err() {
                return Exit::Failed;
            }
            if call.header.once {
                return Exit::Done;
            }
        }
    }
}

fn serve(realm: &mut Realm, call: &channel::Call) -> Ending {
    let not_text = |what: &str| {
        Ending::Threw(ErrorReport {
            name: "Error".to_owned(),
            message: format!("the {what} of the call are not UTF-8"),
            stack: String::new(),
        })
    };
    let Ok(code) = call.code.as_deref().map(std::str::from_utf8).transpose() else {
        return not_text("bytes");
    };
    let Ok(args_json) = std::str::from_utf8(&call.args) else {
        return not_text("arguments");
    };
    realm.limit_memory(u64::from(call.header.memory_kib) << 10);
    realm.call(Call {
        code,
        args_json,
        max_result_bytes: usize::try_from(call.header.max_result_bytes).unwrap_or(usize::MAX),
    })
}

/// The channel and what the running call has to keep to.
struct Line {
    channel: RefCell<Channel>,
    deadline: Cell<Instant>,
}

impl Line {
    fn tell(&self, ending: Ending) -> std::io::Result<()> {
        let error = |report: ErrorReport| frame::write_error(&report.name, &report.message, &report.stack);
        let (kind, payload) = match ending {
            Ending::Result(json) => (Kind::Result, json.into_bytes()),
            Ending::Threw(report) => (Kind::Threw, error(report)),
            Ending::Uncaught(report) => (Kind::Uncaught, error(report)),
            Ending::InvalidOutput(why) => (Kind::InvalidOutput, why.into_bytes()),
            Ending::NothingLeft => (Kind::NothingLeft, Vec::new()),
            Ending::OutOfMemory => (Kind::OutOfMemory, Vec::new()),
            Ending::Interrupted => (Kind::Interrupted, Vec::new()),
        };
        self.channel.borrow_mut().send(kind, &payload)
    }

    /// A broker that is gone takes this process along, so what can't be sent need not be told.
    fn with(&self, act: impl FnOnce(&mut Channel) -> std::io::Result<()>) {
        if let Ok(mut channel) = self.channel.try_borrow_mut()
            && act(&mut channel).is_err()
        {
            crate::sys::exit(Exit::Failed.code());
        }
    }
}

struct Linked(Rc<Line>);

impl Host for Linked {
    fn print(&mut self, stream: Stream, bytes: &[u8]) {
        let kind = match stream {
            Stream::Stdout => Kind::Stdout,
            Stream::Stderr => Kind::Stderr,
        };
        self.0.with(|channel| channel.print(kind, bytes));
    }

    fn progress(&mut self, json: &str) {
        if json.len() <= frame::MAX_PROGRESS_BYTES {
            self.0
                .with(|channel| channel.send(Kind::Progress, json.as_bytes()));
        }
    }

    fn interrupted(&mut self) -> bool {
        // A code that never ends by itself is ended from outside, and what it printed before should be there by then.
        self.0.with(Channel::flush);
        Instant::now() >= self.0.deadline.get()
    }

    fn sleep(&mut self, duration: Duration) {
        self.0.with(Channel::flush);
        let left = self.0.deadline.get().saturating_duration_since(Instant::now());
        crate::child::sleep(duration.min(left));
    }

    fn random(&mut self, bytes: &mut [u8]) {
        fill(bytes);
    }
}

/// Without randomness nothing of the code may run.
fn fill(mut bytes: &mut [u8]) {
    while !bytes.is_empty() {
        match rustix::rand::getrandom(&mut *bytes, rustix::rand::GetRandomFlags::empty()) {
            Ok(filled) => bytes = &mut bytes[filled..],
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => crate::sys::exit(Exit::Failed.code()),
        }
    }
}
