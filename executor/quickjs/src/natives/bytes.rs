//! Text to bytes and back, and random bytes.

use std::rc::Rc;

use rquickjs::{Ctx, Exception, Function, Object, String as JsString, TypedArray};

use super::hex;
use crate::host::HostCell;

/// What one question to the host asks for at most, as in `crypto.getRandomValues`.
const MAX_RANDOM: usize = 65_536;

pub(super) fn install<'js>(
    ctx: &Ctx<'js>,
    natives: &Object<'js>,
    host: &Rc<HostCell>,
) -> rquickjs::Result<()> {
    natives.set("utf8Encode", Function::new(ctx.clone(), encode)?)?;
    natives.set("utf8FromHex", Function::new(ctx.clone(), decode)?)?;
    let host = Rc::clone(host);
    natives.set(
        "randomBytes",
        Function::new(ctx.clone(), move |ctx: Ctx<'js>, length: usize| {
            let mut bytes = vec![0; length.min(MAX_RANDOM)];
            host.with(|host| host.random(&mut bytes));
            TypedArray::<u8>::new_copy(ctx, bytes)
        })?,
    )
}

/// The text must be well formed.
fn encode<'js>(ctx: Ctx<'js>, text: JsString<'js>) -> rquickjs::Result<TypedArray<'js, u8>> {
    let text = text.to_cstring()?;
    TypedArray::new_copy(ctx, AsRef::<[u8]>::as_ref(&text))
}

/// `None` when `fatal` and the bytes are not UTF-8. A byte order mark is kept.
fn decode<'js>(ctx: Ctx<'js>, hex: JsString<'js>, fatal: bool) -> rquickjs::Result<Option<JsString<'js>>> {
    let bytes = hex::decoded(&ctx, hex)?;
    if let Ok(text) = std::str::from_utf8(&bytes) {
        return JsString::from_str(ctx, text).map(Some);
    }
    if fatal {
        return Ok(None);
    }
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        let replaced = if chunk.invalid().is_empty() {
            ""
        } else {
            "\u{fffd}"
        };
        text.try_reserve(chunk.valid().len() + replaced.len())
            .map_err(|_| Exception::throw_range(&ctx, "out of memory"))?;
        text.push_str(chunk.valid());
        text.push_str(replaced);
    }
    JsString::from_str(ctx, &text).map(Some)
}
