//! Names that are the server's own. What looks like one of them to a reader, be it a person or a model, counts as one:
//! `System.Health`, `system.hea1th`, `system_health`.

use crate::registry::{InvalidTool, ToolName};

const PREFIXES: [&str; 3] = ["dynamic.", "sandbox.", "system."];
const SEPARATORS: [char; 4] = ['.', '_', ':', '-'];

/// # Errors
/// When it is one of the built-in tools' names, or could be taken for it.
pub(super) fn check(name: &ToolName, builtin: &[&str]) -> Result<(), InvalidTool> {
    let seen = as_seen(name.as_str());
    if let Some(prefix) = PREFIXES.iter().find(|prefix| seen.starts_with(&as_seen(prefix))) {
        return Err(InvalidTool::new(
            "name",
            format!(
                "must not begin with {prefix:?}, which is this server's own, nor with what looks like it"
            ),
        ));
    }
    let letters = |seen: &str| seen.replace(SEPARATORS, "");
    let taken = builtin
        .iter()
        .find(|taken| letters(&as_seen(taken)) == letters(&seen));
    match taken {
        None => Ok(()),
        Some(taken) if *taken == name.as_str() => Err(InvalidTool::new(
            "name",
            format!("{taken:?} is a built-in tool; choose another"),
        )),
        Some(taken) => Err(InvalidTool::new(
            "name",
            format!("{name:?} looks like the built-in tool {taken:?}; choose another"),
        )),
    }
}

/// Two names that come to the same are told apart by looking closely, or not at all. Names have ASCII letters only.
fn as_seen(name: &str) -> String {
    let letter = |c: char| match c.to_ascii_lowercase() {
        '0' => 'o',
        '1' | 'i' => 'l',
        '5' => 's',
        c => c,
    };
    let text: String = name.chars().map(letter).collect();
    text.replace("rn", "m").replace("vv", "w")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refusal(name: &str) -> Option<String> {
        let name = name.parse().unwrap();
        check(&name, &["dev.echo", "time.now"])
            .err()
            .map(|wrong| wrong.to_string())
    }

    #[test]
    fn a_reserved_name_is_refused_and_so_is_what_looks_like_it() {
        for (name, why) in [
            ("dynamic.x1", "\"dynamic.\""),
            ("Dynamic.x1", "\"dynamic.\""),
            ("dynarnic.tool.create", "\"dynamic.\""),
            ("SANDBOX.run", "\"sandbox.\""),
            ("system.health", "\"system.\""),
            ("systern.health", "\"system.\""),
            ("dev.echo", "\"dev.echo\" is a built-in tool"),
            ("Dev.Echo", "looks like the built-in tool \"dev.echo\""),
            ("DEV:ECH0", "looks like the built-in tool \"dev.echo\""),
            ("devecho", "looks like the built-in tool \"dev.echo\""),
            ("tirne-novv", "looks like the built-in tool \"time.now\""),
        ] {
            let refusal = refusal(name);
            assert!(
                refusal.as_ref().is_some_and(|text| text.contains(why)),
                "{name}: {refusal:?}"
            );
        }
    }

    #[test]
    fn what_only_resembles_a_reserved_name_is_free() {
        for name in [
            "dynamical.x",
            "system-info",
            "sandboxed",
            "dev.echoes",
            "my.dev.echo",
        ] {
            assert_eq!(refusal(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_name_is_one_exactly_if_the_contract_says_so_and_no_spelling_of_a_built_in_one_is_free(
            text in prop_oneof!["[a-zA-Z0-9._:-]{1,66}", ".{0,8}"],
            spelling in "[dD][eE][vV][._:-]{0,2}[eE][cC][hH][oO0]",
        ) {
            let (first, mut rest) = (text.chars().next(), text.chars().skip(1));
            let fits = (3..=64).contains(&text.len())
                && first.is_some_and(|c| c.is_ascii_alphabetic())
                && rest.all(|c| c.is_ascii_alphanumeric() || "._:-".contains(c));
            prop_assert_eq!(text.parse::<ToolName>().is_ok(), fits);
            prop_assert!(refusal(&spelling).is_some());
        }
    }
}
