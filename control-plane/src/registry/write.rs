//! What each write does, in terms of the few statements that differ between the stores. It runs inside a transaction
//! that no other write of the same tenant runs beside, so what it reads stays true until the commit.

use chrono::{DateTime, Utc};
use dynamic_mcp_shared::content::ContentHash;
use dynamic_mcp_shared::ids::TenantId;

use super::{RegistryError, Revision, ToolName, ToolRecord, ToolSpec};
use crate::tenant::{TenantRecord, TenantSettings};

/// A write that owns what it needs, so that it can run to its end after its caller went away.
#[derive(Clone)]
pub(super) struct Command {
    pub(super) tenant: TenantId,
    pub(super) actor: String,
    pub(super) write: Write,
}

/// Of an actor's name, which may come from a token.
const MAX_ACTOR_CHARS: usize = 256;

impl Command {
    pub(super) fn new(tenant: &TenantId, actor: &str, write: Write) -> Self {
        Self {
            tenant: tenant.clone(),
            actor: shown(actor),
            write,
        }
    }
}

/// Postgres stores no NUL, and nobody wants to read the others in a history.
fn shown(actor: &str) -> String {
    let printable = actor.chars().filter(|c| !c.is_control());
    printable.take(MAX_ACTOR_CHARS).collect()
}

/// A tenant's settings that are to replace those of the revision `expected`.
#[derive(Clone)]
pub(super) struct NewSettings {
    pub(super) tenant: TenantId,
    pub(super) actor: String,
    settings: TenantSettings,
    expected: u64,
}

impl NewSettings {
    pub(super) fn new(tenant: &TenantId, actor: &str, settings: &TenantSettings, expected: u64) -> Self {
        Self {
            tenant: tenant.clone(),
            actor: shown(actor),
            settings: settings.clone(),
            expected,
        }
    }

    /// What is to be stored where `was` is.
    pub(super) fn over(&self, was: &TenantRecord) -> Result<TenantRecord, RegistryError> {
        if was.revision != self.expected {
            return Err(RegistryError::SettingsConflict {
                expected: self.expected,
                actual: was.revision,
            });
        }
        Ok(TenantRecord {
            settings: self.settings.clone(),
            revision: was.revision + 1,
        })
    }
}

#[derive(Clone)]
pub(super) enum Write {
    Create {
        spec: ToolSpec,
        max_tools: usize,
    },
    Update {
        spec: ToolSpec,
        expected: Revision,
    },
    Delete {
        name: ToolName,
        expected: Option<Revision>,
    },
}

/// A row of `tool_revisions`.
pub(super) struct NewRevision<'a> {
    pub(super) revision: Revision,
    pub(super) action: Action,
    pub(super) content_hash: &'a ContentHash,
    pub(super) spec: &'a ToolSpec,
    pub(super) actor: &'a str,
    pub(super) created_at: DateTime<Utc>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Create,
    Update,
    Delete,
    Import,
}

impl Action {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Action::Create => "create",
            Action::Update => "update",
            Action::Delete => "delete",
            Action::Import => "import",
        }
    }
}

/// The statements of one tenant's transaction. A statement that changed another number of rows than it should is an
/// error.
pub(super) trait Statements: Send {
    fn current(
        &mut self,
        name: &ToolName,
    ) -> impl Future<Output = Result<Option<ToolRecord>, RegistryError>> + Send;

    fn count(&mut self) -> impl Future<Output = Result<usize, RegistryError>> + Send;

    /// The last revision that the name ever had, 0 if none.
    fn last_revision(
        &mut self,
        name: &ToolName,
    ) -> impl Future<Output = Result<Revision, RegistryError>> + Send;

    fn append(&mut self, revision: NewRevision<'_>)
    -> impl Future<Output = Result<(), RegistryError>> + Send;

    fn insert(&mut self, record: &ToolRecord) -> impl Future<Output = Result<(), RegistryError>> + Send;

    /// Replaces the row that still has the revision `was`.
    fn replace(
        &mut self,
        record: &ToolRecord,
        was: Revision,
    ) -> impl Future<Output = Result<(), RegistryError>> + Send;

    fn remove(
        &mut self,
        name: &ToolName,
        was: Revision,
    ) -> impl Future<Output = Result<(), RegistryError>> + Send;
}

pub(super) async fn apply(
    sql: &mut impl Statements,
    command: &Command,
    now: DateTime<Utc>,
) -> Result<ToolRecord, RegistryError> {
    let actor = &command.actor;
    match &command.write {
        Write::Create { spec, max_tools } => create(sql, spec, *max_tools, actor, now).await,
        Write::Update { spec, expected } => update(sql, spec, *expected, actor, now).await,
        Write::Delete { name, expected } => delete(sql, name, *expected, actor, now).await,
    }
}

async fn create(
    sql: &mut impl Statements,
    spec: &ToolSpec,
    max_tools: usize,
    actor: &str,
    now: DateTime<Utc>,
) -> Result<ToolRecord, RegistryError> {
    if sql.current(&spec.name).await?.is_some() {
        return Err(RegistryError::AlreadyExists(spec.name.clone()));
    }
    if sql.count().await? >= max_tools {
        return Err(RegistryError::TooMany { limit: max_tools });
    }
    let record = ToolRecord {
        spec: spec.clone(),
        revision: sql.last_revision(&spec.name).await? + 1,
        content_hash: spec.content_hash(),
        created_at: now,
        updated_at: now,
    };
    sql.append(revision_of(&record, Action::Create, actor)).await?;
    sql.insert(&record).await?;
    Ok(record)
}

async fn update(
    sql: &mut impl Statements,
    spec: &ToolSpec,
    expected: Revision,
    actor: &str,
    now: DateTime<Utc>,
) -> Result<ToolRecord, RegistryError> {
    let current = expect_current(sql, &spec.name, Some(expected)).await?;
    let record = ToolRecord {
        spec: spec.clone(),
        revision: sql.last_revision(&spec.name).await? + 1,
        content_hash: spec.content_hash(),
        created_at: current.created_at,
        updated_at: now,
    };
    sql.append(revision_of(&record, Action::Update, actor)).await?;
    sql.replace(&record, current.revision).await?;
    Ok(record)
}

async fn delete(
    sql: &mut impl Statements,
    name: &ToolName,
    expected: Option<Revision>,
    actor: &str,
    now: DateTime<Utc>,
) -> Result<ToolRecord, RegistryError> {
    let current = expect_current(sql, name, expected).await?;
    // The tombstone keeps what was deleted, under a revision of its own.
    let tombstone = NewRevision {
        revision: sql.last_revision(name).await? + 1,
        created_at: now,
        ..revision_of(&current, Action::Delete, actor)
    };
    sql.append(tombstone).await?;
    sql.remove(name, current.revision).await?;
    Ok(current)
}

pub(super) fn revision_of<'a>(record: &'a ToolRecord, action: Action, actor: &'a str) -> NewRevision<'a> {
    NewRevision {
        revision: record.revision,
        action,
        content_hash: &record.content_hash,
        spec: &record.spec,
        actor,
        created_at: record.updated_at,
    }
}

async fn expect_current(
    sql: &mut impl Statements,
    name: &ToolName,
    expected: Option<Revision>,
) -> Result<ToolRecord, RegistryError> {
    let current = sql
        .current(name)
        .await?
        .ok_or_else(|| RegistryError::NotFound(name.clone()))?;
    match expected {
        Some(expected) if expected != current.revision => Err(RegistryError::Conflict {
            name: name.clone(),
            expected,
            actual: current.revision,
        }),
        _ => Ok(current),
    }
}
