//! The JavaScript that makes the bare engine what a tool expects. Each file is one function of `internal`, an object
//! that only these files see.

use rquickjs::context::EvalOptions;
use rquickjs::{Ctx, Function, Object};

/// In the order they are run: a file may use what the files before it left in `internal`.
const FILES: &[(&str, &str)] = &[
    ("node:internal/primordials", include_str!("js/primordials.js")),
    ("node:internal/errors", include_str!("js/errors.js")),
    ("node:internal/timers", include_str!("js/timers.js")),
    ("node:internal/console", include_str!("js/console.js")),
    ("node:internal/driver", include_str!("js/driver.js")),
];

pub(crate) fn run<'js>(ctx: &Ctx<'js>, internal: &Object<'js>) -> rquickjs::Result<()> {
    for (name, source) in FILES {
        let mut options = EvalOptions::default();
        options.filename = Some((*name).to_owned());
        let file: Function<'js> = ctx.eval_with_options(*source, options)?;
        file.call::<_, ()>((internal.clone(),))?;
    }
    Ok(())
}

/// Uses what a first call would otherwise use first.
pub(crate) const EXERCISE: &str = include_str!("js/exercise.js");
