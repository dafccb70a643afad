//! What only the engine can tell about a value: for `util.inspect`.

use rquickjs::promise::PromiseState;
use rquickjs::{Array, Ctx, Function, Object, Value};

pub(super) fn install<'js>(ctx: &Ctx<'js>, natives: &Object<'js>) -> rquickjs::Result<()> {
    natives.set(
        "isProxy",
        Function::new(ctx.clone(), |value: Value<'js>| value.is_proxy())?,
    )?;
    natives.set("proxyParts", Function::new(ctx.clone(), proxy_parts)?)?;
    natives.set(
        "isPromise",
        Function::new(ctx.clone(), |value: Value<'js>| value.is_promise())?,
    )?;
    natives.set("promiseParts", Function::new(ctx.clone(), promise_parts)?)
}

/// Target and handler; nothing when it is revoked.
fn proxy_parts<'js>(ctx: Ctx<'js>, value: Value<'js>) -> rquickjs::Result<Option<Array<'js>>> {
    let Some(proxy) = value.as_proxy() else {
        return Ok(None);
    };
    let (Ok(target), Ok(handler)) = (proxy.target(), proxy.handler()) else {
        ctx.catch();
        return Ok(None);
    };
    let parts = Array::new(ctx)?;
    parts.set(0, target)?;
    parts.set(1, handler)?;
    Ok(Some(parts))
}

/// 0 pending, 1 fulfilled, 2 rejected; then the value or reason.
fn promise_parts<'js>(ctx: Ctx<'js>, value: Value<'js>) -> rquickjs::Result<Option<Array<'js>>> {
    let Some(promise) = value.as_promise() else {
        return Ok(None);
    };
    let parts = Array::new(ctx.clone())?;
    let state = match promise.state() {
        PromiseState::Pending => 0,
        PromiseState::Resolved => 1,
        PromiseState::Rejected => 2,
    };
    parts.set(0, state)?;
    match promise.result::<Value<'js>>() {
        Some(Ok(value)) => parts.set(1, value)?,
        Some(Err(_)) => parts.set(1, ctx.catch())?,
        None => {}
    }
    Ok(Some(parts))
}
