//! The schemas of both stores. A migration that was ever released is never edited: its checksum is kept in the database.

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

pub(super) fn sqlite() -> Migrator {
    Migrator::with_migrations(vec![
        step(1, "tools", include_str!("../../migrations/sqlite/0001_tools.sql")),
        step(
            2,
            "tenants",
            include_str!("../../migrations/sqlite/0002_tenants.sql"),
        ),
    ])
}

pub(super) fn postgres() -> Migrator {
    Migrator::with_migrations(vec![
        step(
            1,
            "tools",
            include_str!("../../migrations/postgres/0001_tools.sql"),
        ),
        step(
            2,
            "tenants",
            include_str!("../../migrations/postgres/0002_tenants.sql"),
        ),
        step(
            3,
            "audit events",
            include_str!("../../migrations/postgres/0003_audit_events.sql"),
        ),
    ])
}

fn step(version: i64, name: &'static str, sql: &'static str) -> Migration {
    Migration::new(
        version,
        name.into(),
        MigrationType::Simple,
        sql.into_sql_str(),
        false,
    )
}
