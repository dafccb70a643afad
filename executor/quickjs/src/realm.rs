//! A warmed context and the calls made in it.

use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::rc::Rc;

use rquickjs::{Context, Persistent, Runtime, String as JsString, Value};

use self::driver::Driver;
use self::load::Loaded;
use self::turn::Stop;
use crate::ending::Ending;
use crate::host::{Host, HostCell};
use crate::natives::Generator;

mod driver;
mod load;
mod report;
mod syntax;
mod turn;
mod warm;

#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The engine's heap may not grow past it, the prelude included.
    pub memory_bytes: u64,
    /// How much of the thread's stack JavaScript may use; the thread needs about 256 KiB more.
    pub stack_bytes: usize,
}

#[derive(Debug, thiserror::Error)]
#[error("the JavaScript engine could not be warmed: {0}")]
pub struct WarmError(String);

pub struct Call<'a> {
    /// The body of `async function run(args, ctx)`; without one the function of the call before is used.
    pub code: Option<&'a str>,
    pub args_json: &'a str,
    pub max_result_bytes: usize,
}

/// What describing an error may use beyond the limit that the error is about.
const RESERVE_BYTES: usize = 4 << 20;

/// Never freed: the engine aborts the process when it is torn down while values are alive, and a process that runs a
/// tool ends with its last call anyway.
pub struct Realm(ManuallyDrop<Inner>);

struct Inner {
    runtime: Runtime,
    context: Context,
    host: Rc<HostCell>,
    generator: Rc<RefCell<Generator>>,
    driver: Driver,
    loaded: Option<Loaded>,
    /// Whether a `null` that was thrown can be the code's own, and not the engine's for want of memory.
    may_throw_null: bool,
    memory_bytes: usize,
    /// What it was warmed with.
    most_memory_bytes: usize,
}

type Handle<T> = Persistent<T>;

impl Realm {
    /// Makes a context and everything that is expensive in it. To be done once, before the fork.
    pub fn warm(settings: &Settings) -> Result<Realm, WarmError> {
        Inner::warm(settings).map(|inner| Realm(ManuallyDrop::new(inner)))
    }

    /// Before the first call in a process: what processes forked from one warmed realm must not share.
    pub fn begin(&mut self, seed: [u8; 32], host: Box<dyn Host>) {
        self.0.host.set(host);
        self.0.generator.borrow_mut().seed(seed);
        let inner = &self.0;
        // Can only fail for want of memory, which the call then meets too.
        let _ = inner
            .context
            .with(|ctx| inner.driver.begin.clone().restore(&ctx)?.call::<_, ()>(()));
    }

    /// For the calls from here on; never more than it was warmed with.
    pub fn limit_memory(&mut self, bytes: u64) {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.0.memory_bytes = bytes.min(self.0.most_memory_bytes);
        self.0.runtime.set_memory_limit(self.0.memory_bytes);
    }

    /// Runs one call to its end. After [`Ending::Uncaught`], [`Ending::OutOfMemory`] and [`Ending::Interrupted`] the
    /// realm is not to be used again.
    pub fn call(&mut self, call: Call<'_>) -> Ending {
        self.0.call(&call)
    }

    /// Bytes that the engine has allocated.
    pub fn memory_bytes(&self) -> u64 {
        u64::try_from(self.0.runtime.memory_usage().malloc_size).unwrap_or(0)
    }
}

impl Inner {
    fn call(&mut self, call: &Call<'_>) -> Ending {
        let stop = self.run(call);
        if self.host.poll_interrupt() {
            return Ending::Interrupted;
        }
        // What is told from here on must not fail for want of the memory that the code used up.
        self.runtime
            .set_memory_limit(self.memory_bytes.saturating_add(RESERVE_BYTES));
        let ending = match stop {
            Stop::Returned(value) => self.finish(value, call.max_result_bytes),
            Stop::Threw(error) => self.report(error, Ending::Threw),
            Stop::Uncaught(error) => self.report(error, Ending::Uncaught),
            Stop::NothingLeft => Ending::NothingLeft,
            Stop::Interrupted => Ending::Interrupted,
        };
        let _ = self
            .context
            .with(|ctx| self.driver.end.clone().restore(&ctx)?.call::<_, ()>(()));
        self.runtime.set_memory_limit(self.memory_bytes);
        // A getter or a `toJSON` of the result's may have met the deadline.
        if self.host.poll_interrupt() {
            Ending::Interrupted
        } else {
            ending
        }
    }

    fn run(&mut self, call: &Call<'_>) -> Stop {
        if let Some(code) = call.code {
            self.may_throw_null =
                code.contains("null") && (code.contains("throw") || code.contains("reject"));
            self.loaded = Some(self.load(code));
        }
        let run = match self.loaded.clone() {
            Some(Loaded::Run(run)) => run,
            Some(Loaded::Failed(error)) => return Stop::Threw(error),
            None => return self.threw("no code was loaded before"),
        };
        let started = self.context.with(|ctx| {
            let start = self.driver.start.clone().restore(&ctx)?;
            let args = JsString::from_str(ctx.clone(), call.args_json)?;
            let value: Value = start.call((run.restore(&ctx)?, args))?;
            Ok(Persistent::save(&ctx, value))
        });
        match started {
            Ok(promise) => self.settle(&promise),
            Err(error) => Stop::Threw(self.caught(&error)),
        }
    }
}
