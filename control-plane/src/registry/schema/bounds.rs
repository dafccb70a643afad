//! What a check may cost. It visits at most so many schema nodes for each node of the value, which is what the weight
//! counts: with every `$ref` followed, a schema of a few hundred bytes could otherwise double at each step. The work of
//! one check is bounded by the weight and the size of the value together.

use serde_json::{Map, Value};

const MAX_BYTES: usize = 64 * 1024;
const MAX_DEPTH: usize = 32;
/// Schema nodes with every `$ref` followed.
const MAX_WEIGHT: u64 = 2_000;
const MAX_PATTERNS: usize = 100;
/// Of one check, in steps of some 10 ns: about half a second.
const MAX_WORK: u64 = 50_000_000;

const DRAFTS: [&str; 3] = [
    "https://json-schema.org/draft/2020-12/schema",
    "https://json-schema.org/draft/2019-09/schema",
    "http://json-schema.org/draft-07/schema",
];

const ONE_SCHEMA: [&str; 13] = [
    "additionalItems",
    "additionalProperties",
    "contains",
    "contentSchema",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
    "extends",
];
const SCHEMA_LISTS: [&str; 5] = ["allOf", "anyOf", "items", "oneOf", "prefixItems"];
const SCHEMA_MAPS: [&str; 6] = [
    "$defs",
    "definitions",
    "dependencies",
    "dependentSchemas",
    "patternProperties",
    "properties",
];

/// What a schema costs for each node, and for each byte of text, of a value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    weight: u64,
    patterns: u64,
}

impl Cost {
    /// Whether a check of the value takes a bounded time.
    pub(super) fn allows(self, value: &Value) -> bool {
        let mut left = MAX_WORK;
        self.spend(value, &mut left).is_some()
    }

    fn spend(self, value: &Value, left: &mut u64) -> Option<()> {
        let text = |text: &str| self.patterns.saturating_mul(text.len() as u64);
        let here = match value {
            Value::String(string) => text(string),
            Value::Object(fields) => fields.keys().map(|name| text(name)).sum(),
            _ => 0,
        };
        *left = left.checked_sub(self.weight.saturating_add(here))?;
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| self.spend(item, left)),
            Value::Object(fields) => fields.values().try_for_each(|field| self.spend(field, left)),
            _ => Some(()),
        }
    }
}

/// # Errors
/// Says which bound is passed.
pub(super) fn check(schema: &Value) -> Result<Cost, String> {
    let bytes = schema.to_string().len();
    if bytes > MAX_BYTES {
        return Err(format!(
            "is too large: {bytes} bytes, at most {MAX_BYTES} are allowed"
        ));
    }
    if let Some(draft) = schema.get("$schema") {
        check_draft(draft)?;
    }
    let mut walk = Walk {
        root: schema,
        path: Vec::new(),
        weight: 0,
        patterns: 0,
    };
    walk.visit(schema, 1)?;
    Ok(Cost {
        weight: walk.weight.max(1),
        patterns: walk.patterns as u64,
    })
}

fn check_draft(draft: &Value) -> Result<(), String> {
    let known = draft.as_str().map(|uri| uri.trim_end_matches('#'));
    if known.is_some_and(|uri| DRAFTS.contains(&uri)) {
        Ok(())
    } else {
        Err(format!("has an unknown $schema; allowed: {}", DRAFTS.join(", ")))
    }
}

struct Walk<'a> {
    root: &'a Value,
    /// The schemas that the current one is inside of, by where they lie or by `$ref`.
    path: Vec<&'a Value>,
    weight: u64,
    patterns: usize,
}

impl<'a> Walk<'a> {
    /// `factor`: how often the node is visited for one node of the value.
    fn visit(&mut self, schema: &'a Value, factor: u64) -> Result<(), String> {
        let Value::Object(keywords) = schema else {
            return Ok(());
        };
        self.weight = self.weight.saturating_add(factor);
        if self.weight > MAX_WEIGHT {
            return Err(format!(
                "is too complex: more than {MAX_WEIGHT} subschemas once every $ref is followed"
            ));
        }
        if self.path.iter().any(|outer| std::ptr::eq(*outer, schema)) {
            return Err("refers to itself through $ref; recursive schemas are not supported".to_owned());
        }
        if self.path.len() >= MAX_DEPTH {
            return Err(format!("is nested more than {MAX_DEPTH} schemas deep"));
        }
        self.path.push(schema);
        self.visit_keywords(keywords, factor)?;
        self.path.pop();
        Ok(())
    }

    fn visit_keywords(&mut self, keywords: &'a Map<String, Value>, factor: u64) -> Result<(), String> {
        self.refuse_unbounded(keywords)?;
        self.count_patterns(keywords)?;
        // What is unevaluated is found by evaluating everything else a second time.
        let evaluated_twice = keywords.keys().any(|keyword| keyword.starts_with("unevaluated"));
        let factor = if evaluated_twice {
            factor.saturating_mul(2)
        } else {
            factor
        };
        if let Some(reference) = keywords.get("$ref") {
            let target = self.resolve(reference)?;
            self.visit(target, factor)?;
        }
        for keyword in ONE_SCHEMA {
            if let Some(inner) = keywords.get(keyword) {
                self.visit(inner, factor)?;
            }
        }
        for keyword in SCHEMA_LISTS {
            for inner in keywords
                .get(keyword)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                self.visit(inner, factor)?;
            }
        }
        for keyword in SCHEMA_MAPS {
            for (_, inner) in keywords
                .get(keyword)
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
            {
                self.visit(inner, factor)?;
            }
        }
        Ok(())
    }

    /// What would make a `$ref` mean something else than a place in this schema.
    fn refuse_unbounded(&self, keywords: &Map<String, Value>) -> Result<(), String> {
        for keyword in ["$dynamicRef", "$recursiveRef"] {
            if keywords.contains_key(keyword) {
                return Err(format!("uses {keyword}, which is not supported"));
            }
        }
        if keywords.contains_key("$id") && self.path.len() > 1 {
            return Err("has an $id below its top level, which is not supported".to_owned());
        }
        Ok(())
    }

    fn count_patterns(&mut self, keywords: &Map<String, Value>) -> Result<(), String> {
        let by_name = keywords.get("patternProperties").and_then(Value::as_object);
        self.patterns += usize::from(keywords.contains_key("pattern")) + by_name.map_or(0, Map::len);
        if self.patterns > MAX_PATTERNS {
            return Err(format!("has more than {MAX_PATTERNS} patterns"));
        }
        Ok(())
    }

    fn resolve(&self, reference: &Value) -> Result<&'a Value, String> {
        let text = reference.as_str().unwrap_or_default();
        let shown: String = text.chars().take(120).collect();
        let pointer = text
            .strip_prefix('#')
            .filter(|pointer| (pointer.is_empty() || pointer.starts_with('/')) && !pointer.contains('%'))
            .ok_or_else(|| {
                format!(
                    "has the $ref {shown:?}; only a place in the same schema (\"#/$defs/...\") is allowed, nothing is fetched"
                )
            })?;
        self.root
            .pointer(pointer)
            .ok_or_else(|| format!("has the $ref {shown:?}, which leads nowhere"))
    }
}
