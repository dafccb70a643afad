//! How the end of a call is told, and what an error of the engine's stands for.

use rquickjs::{Ctx, Object, Persistent, String as JsString, Value};

use super::turn::Stop;
use super::{Handle, Inner, RESERVE_BYTES};
use crate::ending::{Ending, ErrorReport};

impl Inner {
    pub(super) fn finish(&self, value: Handle<Value<'static>>, most: usize) -> Ending {
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

    pub(super) fn report(
        &self,
        error: Handle<Value<'static>>,
        ending: impl FnOnce(ErrorReport) -> Ending,
    ) -> Ending {
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
    pub(super) fn caught(&self, error: &rquickjs::Error) -> Handle<Value<'static>> {
        self.context
            .with(|ctx| Persistent::save(&ctx, thrown(&ctx, error)))
    }

    pub(super) fn threw(&self, message: &str) -> Stop {
        self.context.with(|ctx| {
            let error = rquickjs::Exception::from_message(ctx.clone(), message);
            let value = error.map_or_else(
                |_| Value::new_null(ctx.clone()),
                |error| error.into_object().into_value(),
            );
            Stop::Threw(Persistent::save(&ctx, value))
        })
    }
}

pub(super) fn thrown<'js>(ctx: &Ctx<'js>, error: &rquickjs::Error) -> Value<'js> {
    if error.is_exception() {
        return ctx.catch();
    }
    let made = rquickjs::Exception::from_message(ctx.clone(), &error.to_string());
    made.map_or_else(
        |_| Value::new_null(ctx.clone()),
        |error| error.into_object().into_value(),
    )
}

pub(super) fn explained(ctx: &Ctx<'_>, error: &rquickjs::Error) -> String {
    let value = thrown(ctx, error);
    match value.as_exception() {
        Some(exception) => exception.to_string(),
        None => format!("{value:?}"),
    }
}
