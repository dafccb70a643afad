//! The event loop of one call.

use std::time::Duration;

use rquickjs::promise::PromiseState;
use rquickjs::{Object, Persistent, Value};

use super::{Handle, Inner};

/// Jobs between two questions to the host: a chain of short jobs never meets the engine's own count.
const JOBS_PER_POLL: u32 = 64;

pub(super) enum Stop {
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

impl Inner {
    /// Turns the event loop until the promise of the call has settled and the turn in which it did is over.
    pub(super) fn settle(&mut self, promise: &Handle<Value<'static>>) -> Stop {
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
}
