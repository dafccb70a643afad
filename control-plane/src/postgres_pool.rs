//! What every pool of connections to Postgres has in common.

use std::time::Duration;

use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection as _, PgConnection};

/// An idle connection whose other end is gone without a word takes no more than this of the operation that is to have it,
/// which then gets a new one. sqlx would wait for it as long as for the operation itself.
const PING: Duration = Duration::from_millis(250);

pub(crate) fn options() -> PgPoolOptions {
    PgPoolOptions::new()
        .test_before_acquire(false)
        .before_acquire(|connection, _| Box::pin(answers(connection)))
        .after_release(|connection, _| Box::pin(answers(connection)))
}

/// An error closes it without a farewell, for which it would wait again.
async fn answers(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    match tokio::time::timeout(PING, connection.ping()).await {
        Ok(pong) => pong.map(|()| true),
        Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
    }
}
