//! Everything that is done once, before the fork.

use std::cell::RefCell;
use std::rc::Rc;

use rquickjs::{Context, Runtime};

use super::driver::Driver;
use super::report::explained;
use super::{Call, Inner, Settings, WarmError};
use crate::ending::Ending;
use crate::host::HostCell;
use crate::natives::Generator;
use crate::{modules, prelude, surface};

impl Inner {
    pub(super) fn warm(settings: &Settings) -> Result<Inner, WarmError> {
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
            most_memory_bytes: memory_bytes,
        };
        inner.exercise()?;
        Ok(inner)
    }

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
}
