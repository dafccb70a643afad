//! How much of the language the engine can read: runs the programs of the npm package `test262-parser-tests` (see
//! `TEST262.md`) and prints which are read, or refused, against the suite's word. Its argument is the unpacked package.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rquickjs::context::EvalOptions;
use rquickjs::{Context, Ctx, Module, Object, Runtime, Value};

/// The programs are for parsers, but the engine compiles a script only to run it: this ends those that loop.
const LIMIT: Duration = Duration::from_millis(200);

/// Directories of the package, and whether their programs are to be read.
const GROUPS: &[(&str, bool)] = &[
    ("pass", true),
    ("pass-explicit", true),
    ("fail", false),
    ("early", false),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let package = PathBuf::from(
        std::env::args()
            .nth(1)
            .ok_or("the directory of test262-parser-tests")?,
    );
    let mut out = std::io::stdout();
    for (group, reads) in GROUPS {
        let mut files: Vec<PathBuf> = std::fs::read_dir(package.join(group))?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        files.sort();
        let mut wrong = Vec::new();
        for file in &files {
            let refusal = refusal(file)?;
            if refusal.is_none() != *reads {
                wrong.push((file, refusal.unwrap_or_default()));
            }
        }
        writeln!(
            out,
            "{group}: {} as told, {} not",
            files.len() - wrong.len(),
            wrong.len()
        )?;
        for (file, refusal) in wrong {
            writeln!(out, "  {} {refusal}", file.display())?;
        }
    }
    Ok(())
}

/// Why the engine can't read the program.
fn refusal(file: &Path) -> Result<Option<String>, Box<dyn std::error::Error>> {
    let source = std::fs::read(file)?;
    let is_module = file.to_string_lossy().ends_with(".module.js");
    let runtime = Runtime::new()?;
    runtime.set_memory_limit(64 << 20);
    runtime.set_max_stack_size(1 << 20);
    let began = Instant::now();
    runtime.set_interrupt_handler(Some(Box::new(move || began.elapsed() > LIMIT)));
    Ok(Context::full(&runtime)?.with(|ctx| {
        let refused = if is_module {
            // Some early errors of modules are found when they are linked.
            Module::evaluate(ctx.clone(), "program", source)
                .and_then(|evaluated| evaluated.result::<Value>().transpose())
                .err()
        } else {
            let mut options = EvalOptions::default();
            options.strict = false;
            options.filename = Some("program".to_owned());
            ctx.eval_with_options::<Value, _>(source, options).err()
        };
        refused.and_then(|_| syntax_error(&ctx))
    }))
}

/// The message of the pending exception, if it was thrown while the program was read and not while it ran: then no
/// function is in its stack.
fn syntax_error(ctx: &Ctx<'_>) -> Option<String> {
    let thrown = ctx.catch();
    let error: &Object = thrown.as_object()?;
    let name: String = error.get("name").ok()?;
    let stack: String = error.get("stack").ok()?;
    (name == "SyntaxError" && !stack.contains('(')).then(|| error.get("message").unwrap_or_default())
}
