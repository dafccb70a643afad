//! The functions that the prelude calls into Rust for.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use rquickjs::{Ctx, Function, Object, String as JsString};

use crate::host::{HostCell, Stream};

mod bytes;
mod hashes;
mod hex;
mod random;
mod urls;
mod values;

pub(crate) use random::Generator;

pub(crate) fn install<'js>(
    ctx: &Ctx<'js>,
    natives: &Object<'js>,
    host: &Rc<HostCell>,
    generator: &Rc<RefCell<Generator>>,
) -> rquickjs::Result<()> {
    bytes::install(ctx, natives, host)?;
    hashes::install(ctx, natives)?;
    urls::install(ctx, natives)?;
    values::install(ctx, natives)?;
    let printer = Rc::clone(host);
    natives.set(
        "print",
        Function::new(
            ctx.clone(),
            move |to_stderr: bool, text: JsString<'js>| -> rquickjs::Result<()> {
                let stream = if to_stderr { Stream::Stderr } else { Stream::Stdout };
                let text = text.to_cstring()?;
                printer.with(|host| host.print(stream, text.as_ref()));
                Ok(())
            },
        )?,
    )?;
    let reporter = Rc::clone(host);
    natives.set(
        "progress",
        Function::new(ctx.clone(), move |json: JsString<'js>| -> rquickjs::Result<()> {
            let json = json.to_cstring()?;
            reporter.with(|host| host.progress(json.as_str()));
            Ok(())
        })?,
    )?;
    let generator = Rc::clone(generator);
    natives.set(
        "random",
        Function::new(ctx.clone(), move || generator.borrow_mut().fraction())?,
    )?;
    let start = Instant::now();
    // Milliseconds since the realm was warmed.
    natives.set(
        "monotonic",
        Function::new(ctx.clone(), move || start.elapsed().as_secs_f64() * 1e3)?,
    )
}
