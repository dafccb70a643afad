//! Which scope of a token stands for which right.

use crate::principal::{Right, Rights};

/// What a token has to carry, by the operator's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeNames {
    pub call: String,
    pub write: String,
    pub sandbox: String,
    pub admin: String,
    /// Of every token, whatever it is for.
    pub always: Vec<String>,
}

impl ScopeNames {
    pub const CALL: &str = "mcp:call";
    pub const WRITE: &str = "mcp:write";
    pub const SANDBOX: &str = "mcp:sandbox";
    pub const ADMIN: &str = "mcp:admin";

    pub fn of(&self, right: Right) -> &str {
        match right {
            Right::Call => &self.call,
            Right::Write => &self.write,
            Right::Sandbox => &self.sandbox,
            Right::Admin => &self.admin,
        }
    }

    /// All that there are, each once.
    pub fn all(&self) -> Vec<&str> {
        let mut all = Vec::new();
        let names = Right::ALL.map(|right| self.of(right));
        for name in self.always.iter().map(String::as_str).chain(names) {
            if !all.contains(&name) {
                all.push(name);
            }
        }
        all
    }

    /// What one needs for these rights, with what one always does.
    pub fn needed(&self, rights: impl Into<Rights>) -> Vec<String> {
        let mut needed = self.always.clone();
        for right in rights.into().iter() {
            if !needed.iter().any(|name| name == self.of(right)) {
                needed.push(self.of(right).to_owned());
            }
        }
        needed
    }

    pub fn rights(&self, scopes: &Scopes) -> Rights {
        let granted = |right: &Right| scopes.has(self.of(*right));
        Right::ALL.into_iter().filter(granted).collect()
    }
}

impl Default for ScopeNames {
    fn default() -> Self {
        Self {
            call: Self::CALL.to_owned(),
            write: Self::WRITE.to_owned(),
            sandbox: Self::SANDBOX.to_owned(),
            admin: Self::ADMIN.to_owned(),
            always: Vec::new(),
        }
    }
}

/// Those of a token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scopes(Vec<String>);

impl Scopes {
    /// From the claims `scope` (RFC 8693: separated by spaces) and `scp` (some issuers': a list, or as `scope`).
    pub fn of(scope: Option<&serde_json::Value>, scp: Option<&serde_json::Value>) -> Self {
        let mut all = Vec::new();
        for claim in [scope, scp].into_iter().flatten() {
            match claim {
                serde_json::Value::String(text) => {
                    all.extend(text.split_ascii_whitespace().map(str::to_owned))
                }
                serde_json::Value::Array(names) => {
                    all.extend(names.iter().filter_map(|name| name.as_str()).map(str::to_owned));
                }
                _ => {}
            }
        }
        Self(all)
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|scope| scope == name)
    }

    pub fn lacking(&self, names: &[String]) -> Vec<String> {
        names.iter().filter(|name| !self.has(name)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names() -> ScopeNames {
        ScopeNames {
            sandbox: ScopeNames::CALL.to_owned(),
            always: vec!["openid".to_owned()],
            ..ScopeNames::default()
        }
    }

    #[test]
    fn both_claims_count_in_either_shape() {
        let scopes = Scopes::of(Some(&json!("a  b")), Some(&json!(["c", 1, "d e"])));
        assert_eq!(scopes, Scopes(["a", "b", "c", "d e"].map(str::to_owned).to_vec()));
        assert_eq!(Scopes::of(Some(&json!({"a": 1})), None), Scopes::default());
        assert!(Scopes::of(None, Some(&json!("x y"))).has("y"));
    }

    #[test]
    fn one_scope_can_stand_for_two_rights_and_no_scope_for_part_of_its_name() {
        let rights = |text: &str| names().rights(&Scopes::of(Some(&json!(text)), None));
        assert_eq!(
            Right::ALL.map(|right| rights("mcp:call").has(right)),
            [true, false, true, false]
        );
        for text in [
            "",
            "mcp",
            "mcp:cal",
            "mcp:call2",
            "MCP:CALL",
            "mcp:call,mcp:admin",
        ] {
            assert_eq!(rights(text), Rights::default(), "{text}");
        }
    }

    #[test]
    fn what_is_always_needed_is_named_with_the_rest() {
        assert_eq!(names().needed(Right::Write), ["openid", "mcp:write"]);
        assert_eq!(names().all(), ["openid", "mcp:call", "mcp:write", "mcp:admin"]);
    }
}
