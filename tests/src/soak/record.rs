//! Whether the audit in Postgres says of every request what its client was told, once.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};

use super::journal::{Journal, Told};
use crate::database::Schema;
use crate::measured::measured;

/// A disagreement is worth a look; thousands are worth one as well.
const SHOWN: usize = 20;

/// What is on record of one request.
#[derive(Debug, Default)]
struct Entries {
    opened: u32,
    closed: u32,
    verdict: String,
    outcome: Option<String>,
}

pub(super) async fn agrees(journal: &Journal, schema: &Schema) -> Result<()> {
    let recorded = recorded(schema).await?;
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    let mut disagreements = Vec::new();
    for (request, told) in journal.all() {
        let entries = recorded.get(&request);
        match disagreement(&told, entries) {
            None => *counts.entry(kind(&told, entries)).or_default() += 1,
            Some(why) => {
                disagreements.push(format!("{request}: told {told:?}, on record {entries:?}: {why}"))
            }
        }
    }
    measured(format!("requests by what their clients were told: {counts:?}"));
    if !disagreements.is_empty() {
        let count = disagreements.len();
        disagreements.truncate(SHOWN);
        bail!(
            "{count} requests disagree with the record:\n{}",
            disagreements.join("\n")
        );
    }
    Ok(())
}

fn kind(told: &Told, entries: Option<&Entries>) -> String {
    match told {
        Told::Outcome(outcome) => outcome.clone(),
        Told::Written(true) => "written".to_owned(),
        Told::Written(false) => "not written".to_owned(),
        Told::Error(error) => error.clone(),
        Told::Nothing => match entries {
            None => "nothing; never began".to_owned(),
            Some(Entries { closed: 0, .. }) => "nothing; lost with its replica".to_owned(),
            Some(_) => "nothing; on record".to_owned(),
        },
    }
}

fn disagreement(told: &Told, entries: Option<&Entries>) -> Option<&'static str> {
    let (opened, closed) = entries.map_or((0, 0), |entries| (entries.opened, entries.closed));
    if opened > 1 || closed > 1 {
        return Some("more than one entry");
    }
    match told {
        Told::Outcome(outcome) => match entries {
            Some(entries) if entries.closed == 1 => (entries.outcome.as_ref() != Some(outcome)
                && entries.verdict != "refused")
                .then_some("another outcome"),
            _ => Some("no outcome"),
        },
        Told::Written(done) => match entries {
            Some(entries) if entries.closed == 1 => {
                ((entries.verdict == "done") != *done).then_some("another verdict")
            }
            _ => Some("no verdict"),
        },
        // Whoever was told nothing may have done everything or nothing, once.
        Told::Error(_) | Told::Nothing => None,
    }
}

async fn recorded(schema: &Schema) -> Result<BTreeMap<String, Entries>> {
    let mut connection = PgConnection::connect(schema.url()).await?;
    let select = AssertSqlSafe(format!(
        "SELECT request_id, entry_id, phase, verdict, outcome FROM {}.audit_events \
         WHERE request_id IS NOT NULL OR phase = 'closed'",
        schema.name()
    ));
    let rows = sqlx::query(select).fetch_all(&mut connection).await?;
    let mut requests: BTreeMap<String, String> = BTreeMap::new();
    for row in &rows {
        if let (Some(request), Some(entry)) = (
            row.try_get::<Option<String>, _>("request_id")?,
            row.try_get::<Option<String>, _>("entry_id")?,
        ) {
            requests.insert(entry, request);
        }
    }
    let mut recorded: BTreeMap<String, Entries> = BTreeMap::new();
    for row in &rows {
        let entry: Option<String> = row.try_get("entry_id")?;
        let Some(request) = entry.and_then(|entry| requests.get(&entry)) else {
            continue;
        };
        let entries = recorded.entry(request.clone()).or_default();
        if row.try_get::<String, _>("phase")? == "opened" {
            entries.opened += 1;
        } else {
            entries.closed += 1;
            entries.verdict = row.try_get::<Option<String>, _>("verdict")?.unwrap_or_default();
            entries.outcome = row.try_get("outcome")?;
        }
    }
    Ok(recorded)
}
