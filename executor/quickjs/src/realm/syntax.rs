//! What is said about code that the engine can't compile.

use rquickjs::Value;

/// Puts the line of a syntax error before its stack, as Node.js does.
pub(super) fn show_line(error: &Value<'_>, body: &str) {
    let Some(error) = error.as_object() else { return };
    let (Ok(name), Ok(stack)) = (error.get::<_, String>("name"), error.get::<_, String>("stack")) else {
        return;
    };
    let place = stack
        .rsplit_once("tool.mjs:")
        .and_then(|(_, place)| place.split_once(':'));
    let Some((line, column)) =
        place.and_then(|(line, column)| Some((line.parse().ok()?, column.parse().ok()?)))
    else {
        return;
    };
    let (line, column): (usize, usize) = (line, column);
    let text = body.lines().nth(line.saturating_sub(1)).unwrap_or("");
    if name == "SyntaxError" && text.len() <= 500 && column <= 500 {
        let space = " ".repeat(column.saturating_sub(1));
        // When it can't be set there is still the stack.
        let _ = error.set("stack", format!("tool.mjs:{line}\n{text}\n{space}^\n\n{stack}"));
    }
}

/// Whether the parameter `ctx` is what the code's own declarations collide with, as far as the engine tells.
pub(super) fn declares_ctx(error: &Value<'_>) -> bool {
    let message = error
        .as_object()
        .and_then(|error| error.get::<_, String>("message").ok());
    message.is_some_and(|message| message.contains("redefinition") || message.contains("'ctx'"))
}
