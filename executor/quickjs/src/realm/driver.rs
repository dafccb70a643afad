//! What the prelude hands over: the functions of `js/driver.js` and `js/timers.js` that a call is run with.

use std::cell::RefCell;
use std::rc::Rc;

use rquickjs::{Ctx, Function, Object, Persistent, Runtime};

use super::Handle;
use crate::host::HostCell;
use crate::natives::{self, Generator};
use crate::prelude;

pub(super) struct Driver {
    pub(super) start: Handle<Function<'static>>,
    pub(super) end: Handle<Function<'static>>,
    pub(super) finish: Handle<Function<'static>>,
    pub(super) describe: Handle<Function<'static>>,
    pub(super) rejected: Handle<Function<'static>>,
    pub(super) unhandled: Handle<Function<'static>>,
    pub(super) step: Handle<Function<'static>>,
    pub(super) immediates_left: Handle<Function<'static>>,
    pub(super) begin: Handle<Function<'static>>,
    pub(super) internal: Handle<Object<'static>>,
}

impl Driver {
    pub(super) fn build(
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

    pub(super) fn watch_rejections(&self, runtime: &Runtime) {
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

fn taken<'js>(ctx: &Ctx<'js>, from: &Object<'js>, name: &str) -> rquickjs::Result<Handle<Function<'static>>> {
    let function: Function<'js> = from.get(name)?;
    Ok(Persistent::save(ctx, function))
}
