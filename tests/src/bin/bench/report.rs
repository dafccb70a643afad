//! The table and the goals, in Markdown.

use std::fmt;
use std::time::Duration;

use crate::load::Samples;

#[derive(Default)]
pub struct Report {
    rows: Vec<String>,
    goals: Vec<Goal>,
}

pub struct Goal {
    what: &'static str,
    measured: f64,
    bound: f64,
    at_least: bool,
}

impl Goal {
    pub fn at_least(what: &'static str, measured: f64, bound: f64) -> Self {
        Self {
            what,
            measured,
            bound,
            at_least: true,
        }
    }

    pub fn at_most(what: &'static str, measured: f64, bound: f64) -> Self {
        Self {
            what,
            measured,
            bound,
            at_least: false,
        }
    }

    fn met(&self) -> bool {
        if self.at_least {
            self.measured >= self.bound
        } else {
            self.measured <= self.bound
        }
    }
}

impl Report {
    pub fn row(&mut self, what: &str, samples: &Samples) {
        let row = format!(
            "| {what} | {} | {} | {} | {} | {:.1} |",
            samples.count(),
            millis(samples.p50()),
            millis(samples.percentile(0.9)),
            millis(samples.percentile(0.99)),
            samples.per_second(),
        );
        eprintln_row(&row);
        self.rows.push(row);
    }

    pub fn goal(&mut self, goal: Goal) {
        self.goals.push(goal);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what | calls | p50 ms | p90 ms | p99 ms | calls/s |")?;
        writeln!(f, "|---|---|---|---|---|---|")?;
        for row in &self.rows {
            writeln!(f, "{row}")?;
        }
        writeln!(f, "\n| goal | bound | measured | |")?;
        writeln!(f, "|---|---|---|---|")?;
        for goal in &self.goals {
            let sign = if goal.at_least { "≥" } else { "≤" };
            let verdict = if goal.met() { "met" } else { "missed" };
            writeln!(
                f,
                "| {} | {sign} {} | {:.2} | {verdict} |",
                goal.what, goal.bound, goal.measured
            )?;
        }
        Ok(())
    }
}

fn millis(duration: Duration) -> String {
    let millis = duration.as_secs_f64() * 1e3;
    if millis < 0.1 {
        format!("{millis:.4}")
    } else {
        format!("{millis:.2}")
    }
}

#[expect(
    clippy::print_stderr,
    reason = "shows each row as it is measured; the table on stdout is whole"
)]
fn eprintln_row(row: &str) {
    eprintln!("{row}");
}
