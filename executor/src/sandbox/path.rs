//! Which paths of a session may be named. Pure; links are the agent's matter, which walks what this lets through.

use super::files::{FileProblem, FileProblemKind};

pub(super) const WORKSPACE: &str = "/workspace";
pub(super) const MAX_PATH: usize = 4_095;
const MAX_NAME: usize = 255;

/// The path relative to `/workspace`, of plain names. Empty for `/workspace` itself.
pub(super) fn within_workspace(path: &str) -> Result<String, FileProblem> {
    let problem = |kind, message: String| FileProblem {
        path: path.chars().take(200).collect(),
        kind,
        message,
    };
    let outside = |why: &str| {
        let message = format!("{why}; paths are relative to {WORKSPACE} or begin with it");
        problem(FileProblemKind::Outside, message)
    };
    if path.len() > MAX_PATH {
        let message = format!("the path is {} bytes; at most {MAX_PATH} are allowed", path.len());
        return Err(problem(FileProblemKind::Refused, message));
    }
    if path.contains('\0') {
        let message = "the path holds a NUL byte, which no file name may".to_owned();
        return Err(problem(FileProblemKind::Refused, message));
    }
    let relative = match path.strip_prefix(WORKSPACE) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
        _ if path.starts_with('/') => return Err(outside("it is outside of the workspace")),
        _ => path,
    };
    let names: Vec<&str> = relative
        .split('/')
        .filter(|name| !matches!(*name, "" | "."))
        .collect();
    if names.contains(&"..") {
        return Err(outside("it holds \"..\""));
    }
    if let Some(long) = names.iter().find(|name| name.len() > MAX_NAME) {
        let message = format!(
            "a name in it is {} bytes; at most {MAX_NAME} are allowed",
            long.len()
        );
        return Err(problem(FileProblemKind::Refused, message));
    }
    Ok(names.join("/"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_relative_to_the_workspace_or_begin_with_it() {
        for (path, relative) in [
            ("a/b", "a/b"),
            ("./a//b/", "a/b"),
            ("/workspace/a", "a"),
            ("/workspace", ""),
            ("", ""),
            ("workspace/a", "workspace/a"),
        ] {
            assert_eq!(within_workspace(path).unwrap(), relative, "{path}");
        }
    }

    #[test]
    fn what_leads_out_is_told_apart_from_what_is_no_path() {
        for (path, kind) in [
            ("/etc/passwd", FileProblemKind::Outside),
            ("/workspaces/a", FileProblemKind::Outside),
            ("a/../../etc", FileProblemKind::Outside),
            ("..", FileProblemKind::Outside),
            ("/workspace/../etc", FileProblemKind::Outside),
            ("a\0b", FileProblemKind::Refused),
        ] {
            assert_eq!(within_workspace(path).unwrap_err().kind, kind, "{path:?}");
        }
        assert!(within_workspace(&"x".repeat(256)).is_err());
    }

    proptest! {
        #[test]
        fn whatever_passes_is_plain_names_below_the_workspace(path in "(/|/workspace/)?([a-z.\\x00 ü]{0,3}/){0,6}[a-z.]{0,4}") {
            if let Ok(relative) = within_workspace(&path) {
                let whole = std::path::Path::new(WORKSPACE).join(&relative);
                prop_assert!(whole.starts_with(WORKSPACE));
                for name in whole.components().skip(2) {
                    prop_assert!(matches!(name, std::path::Component::Normal(_)), "{whole:?}");
                }
            }
        }
    }
}
