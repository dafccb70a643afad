//! Yes or no, as environments write it.

/// # Errors
/// Says what is allowed.
pub fn parse_switch(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("true or false (or 1, 0, yes, no, on, off)".to_owned()),
    }
}
