//! A warmed context and the calls made in it.

use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::time::Duration;

use rquickjs::promise::PromiseState;
use rquickjs::{
    Context, Ctx, Function, Module, Object, Persistent, Promise, Runtime, String as JsString, Value,
};

use crate::ending::{Ending, ErrorReport};
use crate::host::{Host, HostCell};
use crate::loading::{declares_ctx, show_line};
use crate::natives::{self, Generator};
use crate::{modules, prelude, surface};

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

/// Jobs between two questions to the host: a chain of short jobs never meets the engine's own count.
const JOBS_PER_POLL: u32 = 64;

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
    /// Whether the code knows `null` at all.
    may_throw_null: bool,
    memory_bytes: usize,
}

type Handle<T> = Persistent<T>;

struct Driver {
    start: Handle<Function<'static>>,
    end: Handle<Function<'static>>,
    finish: Handle<Function<'static>>,
    describe: Handle<Function<'static>>,
    rejected: Handle<Function<'static>>,
    unhandled: Handle<Function<'static>>,
    step: Handle<Function<'static>>,
    immediates_left: Handle<Function<'static>>,
    begin: Handle<Function<'static>>,
    internal: Handle<Object<'static>>,
}

/// A code that can't be loaded fails each call alike.
#[derive(Clone)]
enum Loaded {
    Run(Handle<Function<'static>>),
    Failed(Handle<Value<'static>>),
}

/// Why the turn of a call is over.
enum Stop {
    Returned(Handle<Value<'static>>),
    Threw(Handle<Value<'static>>),
    Uncaught(Handle<Value<'static>>),
    NothingLeft,
    Interrupted,
}

enum Step {
    Ran,
    Wait(Duration),
    Nothing,
}

impl Realm {
    /// Makes a context and everything that is expensive in it. To be done once, before the fork.
    pub fn warm(settings: &Settings) -> Result<Realm, WarmError> {
        let failed = |error: rquickjs::Error| WarmError(error.to_string());
        let runtime = Runtime::new().map_err(failed)?;
        // Also when warming fails: see `Realm`.
        std::mem::forget(runtime.clone());
        let memory_bytes = usize::try_from(settings.memory_bytes).unwrap_or(usize::MAX);
        runtime.set_memory_limit(memory_bytes);
        runtime.set_max_stack_size(settings.stack_bytes);
        let host = Rc::new(HostCell::default());
        let polled = Rc::clone(&host);
        runtime.set_interrupt_handler(Some(Box::new(move || polled.poll_interrupt())));
        let context = Context::full(&runtime).map_err(failed)?;
        let generator = Rc::new(RefCell::new(Generator::default()));
        let driver = context.with(|ctx| {
            Driver::build(&ctx, &host, &generator).map_err(|error| WarmError(explained(&ctx, &error)))
        })?;
        modules::install(&runtime, &driver.internal);
        driver.watch_rejections(&runtime);
        let mut inner = Inner {
            runtime,
            context,
            host,
            generator,
            driver,
            loaded: None,
            may_throw_null: true,
            memory_bytes,
        };
        inner.exercise()?;
        Ok(Realm(ManuallyDrop::new(inner)))
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

impl Driver {
    fn build(
        ctx: &Ctx<'_>,
        host: &Rc<HostCell>,
        generator: &Rc<RefCell<Generator>>,
    ) -> rquickjs::Result<Driver> {
        let internal = Object::new(ctx.clone())?;
        let functions = Object::new(ctx.clone())?;
        natives::install(ctx, &functions, host, generator)?;
        internal.set("natives", functions)?;
        prelude::run(ctx, &internal)?;
        let driver: Object = internal.get("driver")?;
        let timers: Object = internal.get("timers")?;
        Ok(Driver {
            start: taken(ctx, &driver, "start")?,
            end: taken(ctx, &driver, "end")?,
            finish: taken(ctx, &driver, "finish")?,
            describe: taken(ctx, &driver, "describe")?,
            rejected: taken(ctx, &driver, "rejected")?,
            unhandled: taken(ctx, &driver, "unhandled")?,
            begin: taken(ctx, &driver, "begin")?,
            step: taken(ctx, &timers, "step")?,
            immediates_left: taken(ctx, &timers, "immediatesLeft")?,
            internal: Persistent::save(ctx, internal),
        })
    }
}

impl Driver {
    fn watch_rejections(&self, runtime: &Runtime) {
        let rejected = self.rejected.clone();
        runtime.set_host_promise_rejection_tracker(Some(Box::new(move |ctx, promise, reason, handled| {
            let told = rejected
                .clone()
                .restore(&ctx)
                .and_then(|rejected| rejected.call::<_, ()>((promise, reason, handled)));
            if told.is_err() {
                // Only for want of memory, which then ends the call anyway.
                ctx.catch();
            }
        })));
    }
}

impl Inner {
    /// The first use of each part costs the most: now, not in the first call.
    fn exercise(&mut self) -> Result<(), WarmError> {
        let imports: Vec<String> = surface::MODULES
            .iter()
            .map(|name| format!("await import('node:{name}');"))
            .collect();
        let code = format!("{}\n{}", imports.join(""), prelude::EXERCISE);
        let ending = self.call(&Call {
            code: Some(&code),
            args_json: "{}",
            max_result_bytes: 1_000,
        });
        self.loaded = None;
        self.runtime.run_gc();
        match ending {
            Ending::Result(_) => Ok(()),
            other => Err(WarmError(format!("{other:?}"))),
        }
    }

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
            self.may_throw_null = code.contains("null");
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

    /// Turns the event loop until the promise of the call has settled and the turn in which it did is over.
    fn settle(&mut self, promise: &Handle<Value<'static>>) -> Stop {
        loop {
            if let Some(stop) = self.drain(promise) {
                return stop;
            }
            if let Some(stop) = self.settled(promise) {
                return self.end_turn(promise, stop);
            }
            match self.step() {
                Err(stop) => return stop,
                Ok(Step::Ran) => {}
                Ok(Step::Wait(duration)) => self.host.with(|host| host.sleep(duration)),
                Ok(Step::Nothing) => return Stop::NothingLeft,
            }
        }
    }

    /// Immediates that were set before the call settled still run, as in Node.js.
    fn end_turn(&mut self, promise: &Handle<Value<'static>>, stop: Stop) -> Stop {
        let left = |inner: &Inner| {
            inner.context.with(|ctx| {
                inner
                    .driver
                    .immediates_left
                    .clone()
                    .restore(&ctx)?
                    .call::<_, bool>(())
            })
        };
        while let Ok(true) = left(self) {
            if let Err(stop) = self.step() {
                return stop;
            }
            if let Some(stop) = self.drain(promise) {
                return stop;
            }
        }
        stop
    }

    /// Runs all pending jobs; then a rejection that nothing handles ends the call.
    fn drain(&mut self, promise: &Handle<Value<'static>>) -> Option<Stop> {
        let mut until_poll = JOBS_PER_POLL;
        loop {
            match self.runtime.execute_pending_job() {
                Ok(false) => break,
                Ok(true) => {}
                // The callback of a `queueMicrotask`: whatever else code does is in some promise.
                Err(error) => {
                    let thrown = error.0.with(|ctx| Persistent::save(&ctx, ctx.catch()));
                    return Some(if self.host.poll_interrupt() {
                        Stop::Interrupted
                    } else {
                        Stop::Uncaught(thrown)
                    });
                }
            }
            until_poll -= 1;
            if until_poll == 0 {
                until_poll = JOBS_PER_POLL;
                if self.host.poll_interrupt() {
                    return Some(Stop::Interrupted);
                }
            }
        }
        if self.host.poll_interrupt() {
            return Some(Stop::Interrupted);
        }
        let unhandled = self.context.with(|ctx| {
            let unhandled = self.driver.unhandled.clone().restore(&ctx)?;
            let found: Option<Object> = unhandled.call((promise.clone().restore(&ctx)?,))?;
            found
                .map(|found| Ok(Persistent::save(&ctx, found.get::<_, Value>("reason")?)))
                .transpose()
        });
        match unhandled {
            Ok(reason) => reason.map(Stop::Uncaught),
            Err(error) => Some(Stop::Uncaught(self.caught(&error))),
        }
    }

    fn settled(&self, promise: &Handle<Value<'static>>) -> Option<Stop> {
        self.context.with(|ctx| {
            let value = promise.clone().restore(&ctx).ok()?;
            let Some(promise) = value.as_promise() else {
                return Some(Stop::Returned(Persistent::save(&ctx, value)));
            };
            match promise.state() {
                PromiseState::Pending => None,
                PromiseState::Resolved => match promise.result::<Value>()? {
                    Ok(value) => Some(Stop::Returned(Persistent::save(&ctx, value))),
                    Err(_) => Some(Stop::Threw(Persistent::save(&ctx, ctx.catch()))),
                },
                PromiseState::Rejected => {
                    let _ = promise.result::<Value>();
                    Some(Stop::Threw(Persistent::save(&ctx, ctx.catch())))
                }
            }
        })
    }

    /// One timer's or immediate's callback.
    fn step(&mut self) -> Result<Step, Stop> {
        let stepped = self
            .context
            .with(|ctx| self.driver.step.clone().restore(&ctx)?.call::<_, f64>(()));
        match stepped {
            Ok(0.0) => Ok(Step::Ran),
            Ok(wait) if wait > 0.0 => Ok(Step::Wait(Duration::from_secs_f64(wait.min(1e9) / 1e3))),
            Ok(_) => Ok(Step::Nothing),
            Err(error) => Err(Stop::Uncaught(self.caught(&error))),
        }
    }

    fn finish(&self, value: Handle<Value<'static>>, most: usize) -> Ending {
        let told = self.context.with(|ctx| {
            let finish = self.driver.finish.clone().restore(&ctx)?;
            let text: JsString = finish.call((value.restore(&ctx)?,))?;
            let text = text.to_cstring()?;
            let text = text.as_str();
            let json = text.get(1..).unwrap_or_default();
            if text.starts_with('i') {
                return Ok(Ending::InvalidOutput(json.to_owned()));
            }
            if json.len() > most {
                return Ok(Ending::InvalidOutput(format!(
                    "the result is {} bytes of JSON; at most {most} bytes are allowed (MCP_SANDBOX_MAX_OUTPUT_BYTES)",
                    json.len()
                )));
            }
            Ok(Ending::Result(json.to_owned()))
        });
        told.unwrap_or_else(|error| {
            let error = self.caught(&error);
            self.report(error, Ending::Threw)
        })
    }

    fn report(&self, error: Handle<Value<'static>>, ending: impl FnOnce(ErrorReport) -> Ending) -> Ending {
        let full = self.is_full();
        let told = self.context.with(|ctx| -> rquickjs::Result<Option<ErrorReport>> {
            let error = error.restore(&ctx)?;
            let is_null = error.is_null();
            let describe = self.driver.describe.clone().restore(&ctx)?;
            let told: Object = describe.call((error,))?;
            // The engine throws `null` when there is no room even for the error; by now there may be room again.
            if told.get::<_, bool>("memory")? || (is_null && (full || !self.may_throw_null)) {
                return Ok(None);
            }
            Ok(Some(ErrorReport {
                name: told.get("name")?,
                message: told.get("message")?,
                stack: told.get("stack")?,
            }))
        });
        match told {
            Ok(Some(report)) => ending(report),
            Ok(None) => Ending::OutOfMemory,
            Err(_) if full => Ending::OutOfMemory,
            Err(_) => ending(ErrorReport {
                name: "Error".to_owned(),
                message: "the error can't be described".to_owned(),
                stack: String::new(),
            }),
        }
    }

    fn is_full(&self) -> bool {
        let used = usize::try_from(self.runtime.memory_usage().malloc_size).unwrap_or(0);
        used.saturating_add(RESERVE_BYTES / 2) > self.memory_bytes
    }

    /// What an `Err` of the engine's stands for, as a value of the code's.
    fn caught(&self, error: &rquickjs::Error) -> Handle<Value<'static>> {
        self.context
            .with(|ctx| Persistent::save(&ctx, thrown(&ctx, error)))
    }

    fn threw(&self, message: &str) -> Stop {
        self.context.with(|ctx| {
            let error = rquickjs::Exception::from_message(ctx.clone(), message);
            let value = error.map_or_else(
                |_| Value::new_null(ctx.clone()),
                |error| error.into_object().into_value(),
            );
            Stop::Threw(Persistent::save(&ctx, value))
        })
    }

    fn load(&self, body: &str) -> Loaded {
        self.context.with(|ctx| {
            let mut parameters = "args,ctx";
            loop {
                let prefix = format!("export async function run({parameters}){{");
                match self.load_module(&ctx, &prefix, body) {
                    Ok(run) => return Loaded::Run(Persistent::save(&ctx, run)),
                    Err(error) => {
                        let error = thrown(&ctx, &error);
                        // A body from before `ctx` was a parameter may declare its own.
                        if parameters == "args,ctx" && declares_ctx(&error) {
                            parameters = "args";
                            continue;
                        }
                        show_line(&error, body);
                        return Loaded::Failed(Persistent::save(&ctx, error));
                    }
                }
            }
        })
    }

    fn load_module<'js>(&self, ctx: &Ctx<'js>, prefix: &str, body: &str) -> rquickjs::Result<Function<'js>> {
        // The body begins on the first line, so that its lines are the module's.
        let shift = i32::try_from(prefix.len()).unwrap_or(0);
        self.driver
            .internal
            .clone()
            .restore(ctx)?
            .set("columnShift", shift)?;
        if body.contains('\0') {
            return Err(rquickjs::Exception::throw_syntax(
                ctx,
                "Invalid or unexpected token",
            ));
        }
        let declared = Module::declare(ctx.clone(), "tool.mjs", format!("{prefix}{body}\n}}\n"))?;
        let (module, evaluated): (_, Promise<'js>) = declared.eval()?;
        if let Some(Err(error)) = evaluated.result::<Value>() {
            return Err(error);
        }
        module.get("run")
    }
}

fn taken<'js>(ctx: &Ctx<'js>, from: &Object<'js>, name: &str) -> rquickjs::Result<Handle<Function<'static>>> {
    let function: Function<'js> = from.get(name)?;
    Ok(Persistent::save(ctx, function))
}

fn thrown<'js>(ctx: &Ctx<'js>, error: &rquickjs::Error) -> Value<'js> {
    if error.is_exception() {
        return ctx.catch();
    }
    let made = rquickjs::Exception::from_message(ctx.clone(), &error.to_string());
    made.map_or_else(
        |_| Value::new_null(ctx.clone()),
        |error| error.into_object().into_value(),
    )
}

fn explained(ctx: &Ctx<'_>, error: &rquickjs::Error) -> String {
    let value = thrown(ctx, error);
    match value.as_exception() {
        Some(exception) => exception.to_string(),
        None => format!("{value:?}"),
    }
}
