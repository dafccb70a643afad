//! Opens the file: made for its owner only, migrated, with a JSON store of the Node.js version taken over.

use std::fs::{DirBuilder, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use dynamic_mcp_shared::clock::Clock;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::BUSY_TIMEOUT;
use crate::registry::OpenError;
use crate::registry::{import, migrations};

pub(super) async fn open(path: &Path, clock: &dyn Clock) -> Result<SqliteConnection, OpenError> {
    let location = import::locate(path)?;
    let failed = |step: &'static str| {
        let path = location.database.clone();
        move |source: sqlx::Error| OpenError::Sqlite {
            step,
            path,
            source: source.into(),
        }
    };
    make_private_file(&location.database)?;
    let mut connection = connect(&location.database).await.map_err(failed("open"))?;

    // One transaction around everything: of several processes that start at once, the first migrates and imports,
    // the others wait and find it done.
    let mut transaction = connection
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(failed("lock"))?;
    migrations::sqlite()
        .run_direct(None, &mut *transaction, false)
        .await
        .map_err(|error| failed("migrate")(sqlx::Error::Migrate(Box::new(error))))?;
    if let Some(source) = &location.json {
        import::import_once(&mut transaction, source, clock.now()).await?;
    }
    transaction.commit().await.map_err(failed("migrate"))?;
    Ok(connection)
}

async fn connect(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        // Not NORMAL: a tool that was answered for survives a power cut.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging();
    let mut attempts = 0;
    loop {
        match options.connect().await {
            // Changing to WAL fails at once, without the busy timeout, while another process does the same.
            Err(error) if attempts < 20 && is_busy(&error) => attempts += 1,
            result => return result,
        }
        tokio::time::sleep(BUSY_TIMEOUT / 40).await;
    }
}

fn is_busy(error: &sqlx::Error) -> bool {
    // SQLITE_BUSY is 5; an extended code has it in its low byte.
    let code = error.as_database_error().and_then(|error| error.code());
    code.and_then(|code| code.parse::<u32>().ok())
        .is_some_and(|code| code & 0xff == 5)
}

/// The write-ahead log takes its mode from the database file, so that is made first and for its owner only: code of
/// tools is in it.
fn make_private_file(path: &Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::File {
        path: path.to_owned(),
        source,
    };
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)
            .map_err(failed)?;
    }
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed(error)),
    }
}
