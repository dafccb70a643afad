//! The `.env` file of the working directory.

use super::{ConfigError, fault};

/// Puts what it holds into the environment, where it is not set already. Answers whether there was one. It must run
/// before the first thread starts, since the environment is not made for two.
///
/// # Errors
/// When the file can't be read. The message shows no line of it, since a line may hold a secret.
pub fn load_dotenv() -> Result<bool, ConfigError> {
    match dotenvy::from_path(".env") {
        Ok(()) => Ok(true),
        Err(error) if error.not_found() => Ok(false),
        Err(dotenvy::Error::LineParse(_, at)) => Err(fault(
            ".env",
            format!("a line can't be read (at its character {at})"),
        )),
        Err(error) => Err(fault(".env", format!("can't be read: {error}"))),
    }
}
