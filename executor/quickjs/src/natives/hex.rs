//! How bytes cross from the engine: as hex. Its own memory can only be looked at with `unsafe`, which this crate forbids;
//! its hex encoder is native and fast, and the callers cut what is long into pieces (`js/bytes.js`).

use rquickjs::{Ctx, Exception, String as JsString};

pub(super) fn decoded<'js>(ctx: &Ctx<'js>, text: JsString<'js>) -> rquickjs::Result<Vec<u8>> {
    let text = text.to_cstring()?;
    let mut bytes = Vec::new();
    // An allocation of ours that fails would end the process without a word.
    bytes
        .try_reserve(text.len() / 2)
        .map_err(|_| Exception::throw_range(ctx, "out of memory"))?;
    let digits: &[u8] = text.as_ref();
    bytes.extend(
        digits
            .chunks_exact(2)
            .map(|pair| value(pair[0]) << 4 | value(pair[1])),
    );
    Ok(bytes)
}

/// Of a lower-case digit, as the engine writes them.
fn value(digit: u8) -> u8 {
    if digit.is_ascii_digit() {
        digit - b'0'
    } else {
        digit.wrapping_sub(b'a').wrapping_add(10) & 0xf
    }
}
