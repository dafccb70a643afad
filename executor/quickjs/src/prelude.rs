//! The JavaScript that makes the bare engine what a tool expects. Each of our files is one function of `internal`, an
//! object that only these files see; each vendored package is a CommonJS module, kept in `internal.vendor`.

use rquickjs::context::EvalOptions;
use rquickjs::{Ctx, Function, Object, Value};

macro_rules! vendored {
    ($($name:literal),*) => {
        &[$(($name, include_str!(concat!("js/vendor/", $name, "/index.js")))),*]
    };
}

macro_rules! own {
    ($($name:literal),*) => {
        &[$(($name, include_str!(concat!("js/", $name, ".js")))),*]
    };
}

const FIRST: &[(&str, &str)] = own!["primordials", "define", "errors", "bytes"];

/// A package may require those before it.
const VENDORED: &[(&str, &str)] = vendored![
    "base64-js",
    "ieee754",
    "buffer",
    "node-inspect-extracted",
    "events",
    "path-browserify"
];

/// In the order they are run: a file may use what the files before it left in `internal`.
const FILES: &[(&str, &str)] = own![
    "timers",
    "inspect",
    "event-target",
    "buffer",
    "text",
    "url",
    "clone",
    "abort",
    "events",
    "performance",
    "crypto",
    "equality",
    "util",
    "assert",
    "querystring",
    "path",
    "string-decoder",
    "console",
    "names",
    "modules",
    "driver"
];

/// Uses what a first call would otherwise use first.
pub(crate) const EXERCISE: &str = include_str!("js/exercise.js");

pub(crate) fn run<'js>(ctx: &Ctx<'js>, internal: &Object<'js>) -> rquickjs::Result<()> {
    files(ctx, internal, FIRST)?;
    internal.set("vendor", Object::new(ctx.clone())?)?;
    for (name, source) in VENDORED {
        vendor(ctx, internal, name, source)?;
    }
    files(ctx, internal, FILES)
}

fn files<'js>(ctx: &Ctx<'js>, internal: &Object<'js>, files: &[(&str, &str)]) -> rquickjs::Result<()> {
    for (name, source) in files {
        let file: Function<'js> = evaluate(ctx, name, &bare(source))?;
        file.call::<_, ()>((internal.clone(),))?;
    }
    Ok(())
}

/// The function without the parentheses around it: what is in parentheses the engine reads twice, first to see whether
/// they are the parameters of an arrow function.
fn bare(source: &str) -> String {
    let function = source.split_once("\n(").map(|(_, function)| function.trim_end());
    match function.and_then(|function| function.strip_suffix(')')) {
        Some(function) => format!("0,{function}"),
        None => source.to_owned(),
    }
}

fn vendor<'js>(ctx: &Ctx<'js>, internal: &Object<'js>, name: &str, source: &str) -> rquickjs::Result<()> {
    let wrapped = format!("0,function (module, exports, require, engine, process) {{{source}\n}}");
    let package: Function<'js> = evaluate(ctx, name, &wrapped)?;
    let (module, exports) = (Object::new(ctx.clone())?, Object::new(ctx.clone())?);
    module.set("exports", exports.clone())?;
    let vendor: Object<'js> = internal.get("vendor")?;
    let known = vendor.clone();
    let require = Function::new(ctx.clone(), move |name: String| known.get::<_, Value<'js>>(name))?;
    let (engine, process): (Value<'js>, Value<'js>) = (internal.get("engine")?, internal.get("process")?);
    package.call::<_, ()>((module.clone(), exports, require, engine, process))?;
    vendor.set(name, module.get::<_, Value<'js>>("exports")?)
}

fn evaluate<'js>(ctx: &Ctx<'js>, name: &str, source: &str) -> rquickjs::Result<Function<'js>> {
    let mut options = EvalOptions::default();
    options.strict = false;
    options.filename = Some(format!("node:internal/{name}"));
    ctx.eval_with_options(source, options)
}
