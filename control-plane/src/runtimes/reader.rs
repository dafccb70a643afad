//! Reads code on threads of its own: a parser goes as deep as the code it is given, and a worker's stack is small.

use std::sync::Arc;

use tokio::sync::{Semaphore, oneshot};

use super::code::{Obstacle, obstacle, stack_for};

/// Hostile code of 200,000 characters may touch 130 MiB of stack for two seconds, and a reader is not stopped when its
/// caller goes away.
const AT_ONCE: usize = 2;

pub(super) struct Reader(Arc<Semaphore>);

impl Default for Reader {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Reader {
    /// The first thing in the code that the isolate lacks. Code that can't be read belongs on Node.js too.
    pub(super) async fn obstacle(&self, code: &str) -> Option<Obstacle> {
        let Some(stack) = stack_for(code) else {
            return Some(Obstacle::too_deep());
        };
        // The semaphore is never closed.
        let Ok(turn) = Arc::clone(&self.0).acquire_owned().await else {
            return Some(Obstacle::not_looked_at());
        };
        let (answer, answered) = oneshot::channel();
        let code = code.to_owned();
        let thread = std::thread::Builder::new()
            .name("read-code".to_owned())
            .stack_size(stack);
        let spawned = thread.spawn(move || {
            let _unheard = answer.send(obstacle(&code));
            drop(turn);
        });
        match spawned {
            Ok(_) => answered.await.unwrap_or_else(|_| Some(Obstacle::not_looked_at())),
            Err(error) => {
                tracing::warn!(%error, "no thread to read code on; it is taken to need Node.js");
                Some(Obstacle::not_looked_at())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn nested(open: &str, inner: &str, close: &str, times: usize) -> String {
        format!("return {}{inner}{};", open.repeat(times), close.repeat(times))
    }

    #[tokio::test]
    async fn hostile_nesting_costs_neither_the_process_nor_much_time() {
        let reader = Reader::default();
        let each = [
            ("(", "1", ")"),
            ("[", "", "]"),
            ("{a:", "1", "}"),
            ("`${", "1", "}`"),
            ("a ? ", "1", " : 1"),
            ("a ? 1 : ", "1", ""),
            ("!", "1", ""),
            ("- ", "1", ""),
            ("a => ", "1", ""),
            ("(a = ", "1", ") => 1"),
            ("({a = ", "1", "}) => 1"),
            ("async(a = ", "1", ")"),
            ("a = ", "1", ""),
            ("1 + ", "1", ""),
            ("1 ** ", "1", ""),
            ("a ?? ", "1", ""),
            ("new ", "a", ""),
            ("await ", "1", ""),
            ("function(){", "", "}"),
            ("class extends ", "A", " {}"),
            ("class { a = ", "1", " }"),
            ("import(", "a", ")"),
            ("a", ".a", ""),
            ("a(", "1", ")"),
            ("a[", "1", "]"),
            ("a?.(", "1", ")"),
            ("/(", "a", ")/"),
        ];
        for (open, inner, close) in each {
            for times in [10, 60, 5_000, 200_000 / (open.len() + close.len()) - 10] {
                let code = nested(open, inner, close, times);
                let began = Instant::now();
                let found = reader.obstacle(&code).await;
                assert!(
                    times < 1_000 || open == "/(" || found.is_some(),
                    "{times} times {open}"
                );
                assert!(
                    began.elapsed() < Duration::from_secs(30),
                    "{times} times {open}: {:?}",
                    began.elapsed()
                );
            }
        }
    }

    #[tokio::test]
    async fn hostile_statements_cost_neither_the_process_nor_much_time() {
        let reader = Reader::default();
        let labels: String = (0..30_000).map(|n| format!("l{n}:")).collect();
        let names: String = (0..15_000).map(|n| format!("a{n};")).collect();
        for code in [
            format!("{labels};"),
            format!("{}{names}{}", "{".repeat(900), "}".repeat(900)),
            format!("{}{names}{}", "{".repeat(20_000), "}".repeat(20_000)),
            "if (1) ".repeat(28_000) + ";",
            "if (1); else ".repeat(15_000) + ";",
            "do ".repeat(60_000) + ";",
            "switch (1) { case 1: ".repeat(9_000),
            "let ".to_owned() + &"[".repeat(100_000),
            "try {".repeat(40_000),
            "<!--".repeat(50_000),
            "(".repeat(200_000),
            "`${".repeat(66_000),
            "/*".repeat(100_000),
            "\\u{".repeat(60_000),
            // Tried as an arrow function first, at each level.
            format!(
                "{}1{}{}",
                "(a = ".repeat(60),
                " + 1".repeat(49_000),
                ")".repeat(60)
            ),
            format!(
                "{}1{}{}",
                "async(a = ".repeat(60),
                " + 1".repeat(49_000),
                ")".repeat(60)
            ),
            "(a = /*)*/ ')' + ".repeat(11_000),
            "(a = /)/ + ".repeat(18_000),
        ] {
            let began = Instant::now();
            let found = reader.obstacle(&code).await;
            assert!(found.is_some(), "{}", &code[..20]);
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "{}: {:?}",
                &code[..20],
                began.elapsed()
            );
        }
    }
}
