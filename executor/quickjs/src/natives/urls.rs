//! The URL Standard (<https://url.spec.whatwg.org>), by the `url` crate.

use rquickjs::{Array, Ctx, Function, Object};
use url::{Url, quirks};

pub(super) fn install<'js>(ctx: &Ctx<'js>, natives: &Object<'js>) -> rquickjs::Result<()> {
    natives.set("urlParse", Function::new(ctx.clone(), parse)?)?;
    natives.set("urlSet", Function::new(ctx.clone(), set)?)?;
    natives.set(
        "domainToASCII",
        Function::new(ctx.clone(), |domain: String| quirks::domain_to_ascii(&domain))?,
    )?;
    natives.set(
        "domainToUnicode",
        Function::new(ctx.clone(), |domain: String| quirks::domain_to_unicode(&domain))?,
    )
}

/// The parts in the order that `url.js` names them, or `None` when it is no URL.
fn parse<'js>(ctx: Ctx<'js>, input: String, base: Option<String>) -> rquickjs::Result<Option<Array<'js>>> {
    let parsed = match base {
        None => Url::parse(&input),
        Some(base) => Url::parse(&base).and_then(|base| base.join(&input)),
    };
    parsed.ok().map(|url| parts(&ctx, &url)).transpose()
}

/// The parts after a setter; unchanged when the value is refused, as the standard has it.
fn set<'js>(
    ctx: Ctx<'js>,
    href: String,
    part: String,
    value: String,
) -> rquickjs::Result<Option<Array<'js>>> {
    let Ok(mut url) = Url::parse(&href) else {
        return Ok(None);
    };
    let _refused = match part.as_str() {
        "protocol" => quirks::set_protocol(&mut url, &value),
        "username" => quirks::set_username(&mut url, &value),
        "password" => quirks::set_password(&mut url, &value),
        "host" => quirks::set_host(&mut url, &value),
        "hostname" => quirks::set_hostname(&mut url, &value),
        "port" => quirks::set_port(&mut url, &value),
        "pathname" => {
            quirks::set_pathname(&mut url, &value);
            Ok(())
        }
        "search" => {
            quirks::set_search(&mut url, &value);
            Ok(())
        }
        "hash" => {
            quirks::set_hash(&mut url, &value);
            Ok(())
        }
        _ => Err(()),
    };
    parts(&ctx, &url).map(Some)
}

fn parts<'js>(ctx: &Ctx<'js>, url: &Url) -> rquickjs::Result<Array<'js>> {
    let origin = quirks::origin(url);
    let parts = [
        quirks::href(url),
        &origin,
        quirks::protocol(url),
        quirks::username(url),
        quirks::password(url),
        quirks::host(url),
        quirks::hostname(url),
        quirks::port(url),
        quirks::pathname(url),
        quirks::search(url),
        quirks::hash(url),
    ];
    let made = Array::new(ctx.clone())?;
    for (index, part) in parts.into_iter().enumerate() {
        made.set(index, part)?;
    }
    Ok(made)
}
