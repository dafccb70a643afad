//! The use case of `system.audit.query`: an operator looks for what was done, which is itself an entry.

use serde_json::{Map, json};
use tokio::task::spawn_blocking;

use super::query::{Cursor, Filter, Page, search_files, search_postgres};
use super::{Action, Audit, PostgresAudit, StoreError, Unaudited, Verdict};
use crate::auth::{AdminGate, Forbidden};
use crate::principal::{Caller, Right};

const ACTION: &str = "system.audit.query";

#[derive(Debug, thiserror::Error)]
pub enum TrailError {
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    #[error("this server keeps no audit (MCP_AUDIT_ENABLED)")]
    Disabled,
    #[error(transparent)]
    Unaudited(#[from] Unaudited),
    /// The text is for the log.
    #[error("the audit can't be read right now; try again shortly")]
    Unavailable(#[source] StoreError),
}

impl TrailError {
    pub fn kind(&self) -> &'static str {
        match self {
            TrailError::Forbidden(_) => "forbidden",
            TrailError::Disabled => "disabled",
            TrailError::Unaudited(_) | TrailError::Unavailable(_) => "unavailable",
        }
    }
}

pub struct Trail {
    audit: Audit,
    /// Where all replicas' entries are, if there is such a place.
    store: Option<PostgresAudit>,
    admin: AdminGate,
}

impl Trail {
    pub fn new(audit: Audit, store: Option<PostgresAudit>, admin: AdminGate) -> Self {
        Self { audit, store, admin }
    }

    /// # Errors
    /// When the caller may not, there is no audit, or it can't be read.
    pub async fn query(
        &self,
        caller: &Caller,
        admin_token: Option<&str>,
        filter: Filter,
        limit: usize,
        after: Option<Cursor>,
    ) -> Result<Page, TrailError> {
        let action = Action {
            name: ACTION,
            target: Some(&filter.tenant),
            revision: None,
            details: asked(&filter),
        };
        let entry = self.audit.begin(caller, action).await?;
        if let Err(refusal) = self.may_look(caller, admin_token) {
            entry.close(Verdict::Refused(refusal.kind()));
            return Err(refusal);
        }
        let found = self.find(filter, limit, after).await;
        entry.close(match &found {
            Ok(_) => Verdict::Done,
            Err(error) => Verdict::Failed(error.kind()),
        });
        found
    }

    fn may_look(&self, caller: &Caller, admin_token: Option<&str>) -> Result<(), TrailError> {
        if !caller.rights.has(Right::Admin) {
            return Err(Forbidden("what was done in the deployment is for its operators to see").into());
        }
        Ok(self.admin.check(admin_token)?)
    }

    async fn find(&self, filter: Filter, limit: usize, after: Option<Cursor>) -> Result<Page, TrailError> {
        let Some(log) = &self.audit.0 else {
            return Err(TrailError::Disabled);
        };
        let found = match &self.store {
            Some(store) => search_postgres(store, &filter, limit, after).await,
            None => {
                // What was done before the question is in the answer.
                log.queue.flush().await;
                let file = log.file.clone();
                let search = spawn_blocking(move || search_files(&file, &filter, limit, after));
                let found = search.await.map_err(std::io::Error::other).flatten();
                found.map_err(StoreError::Files)
            }
        };
        found.map_err(|error| {
            tracing::warn!(error = error.explained(), "the audit could not be searched");
            TrailError::Unavailable(error)
        })
    }
}

/// By what was looked for, without the words.
fn asked(filter: &Filter) -> Map<String, serde_json::Value> {
    let given = [
        ("action", filter.action.is_some()),
        ("target", filter.target.is_some()),
        ("subject", filter.subject.is_some()),
        ("client", filter.client.is_some()),
        ("verdict", filter.verdict.is_some()),
        ("outcome", filter.outcome.is_some()),
        ("requestId", filter.request_id.is_some()),
        ("traceId", filter.trace_id.is_some()),
        ("since", filter.since.is_some()),
        ("until", filter.until.is_some()),
    ];
    let names: Vec<_> = given
        .into_iter()
        .filter(|(_, is)| *is)
        .map(|(name, _)| name)
        .collect();
    Map::from_iter([("filters".to_owned(), json!(names))])
}
