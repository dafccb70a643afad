//! From the text of a tool's body to its function.

use rquickjs::{Ctx, Function, Module, Persistent, Promise, Value};

use super::report::thrown;
use super::syntax::{declares_ctx, show_line};
use super::{Handle, Inner};

/// A code that can't be loaded fails each call alike.
#[derive(Clone)]
pub(super) enum Loaded {
    Run(Handle<Function<'static>>),
    Failed(Handle<Value<'static>>),
}

impl Inner {
    pub(super) fn load(&self, body: &str) -> Loaded {
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
