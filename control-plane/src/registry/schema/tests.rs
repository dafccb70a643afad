use std::time::{Duration, Instant};

use serde_json::json;

use super::*;

fn violations(schema: Value, value: Value) -> String {
    let check = SchemaCheck::compile(&schema).expect("the schema compiles");
    describe("arguments", &check.check(&value).expect_err("the value is wrong"))
}

fn fault(schema: Value) -> String {
    SchemaCheck::compile(&schema).expect_err("the schema is refused")
}

#[test]
fn a_violation_names_the_field_what_is_allowed_and_what_it_got() {
    let schema = json!({
        "type": "object",
        "properties": {
            "text": {"type": "string", "maxLength": 3},
            "level": {"enum": ["low", "high"]},
            "items": {"type": "array", "items": {
                "type": "object",
                "properties": {"name": {"type": ["string", "null"]}},
                "required": ["name"],
            }},
        },
        "required": ["text"],
        "additionalProperties": false,
    });
    let says =
        |value, text: &str| assert_eq!(violations(schema.clone(), value), format!("arguments: {text}"));
    says(json!({"text": 5}), "text must be a string, got 5");
    says(json!({}), "text is required");
    says(json!([]), "the value must be an object, got an array of 0");
    says(
        json!({"text": "long"}),
        "text must have at most 3 characters, got \"long\"",
    );
    says(
        json!({"text": "a", "level": "mid"}),
        "level must be one of [\"low\",\"high\"], got \"mid\"",
    );
    says(
        json!({"text": "a", "items": [{"name": "x"}, {"name": true}]}),
        "items[1].name must be null or a string, got true",
    );
    says(json!({"text": "a", "items": [{}]}), "items[0].name is required");
    says(
        json!({"text": "a", "a b": 1}),
        "[\"a b\"] is not known here; allowed: items, level, text",
    );
}

#[test]
fn at_most_five_violations_are_shown() {
    let schema = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let text = violations(
        schema,
        json!({"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6, "g": 7}),
    );
    assert_eq!(text.matches("must be a string").count(), 5);
    assert!(text.ends_with("; and more"), "{text}");
}

#[test]
fn a_fitting_value_passes_and_references_within_the_schema_work() {
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {"id": {"type": "string", "pattern": "^[a-z]+$"}},
        "properties": {"from": {"$ref": "#/$defs/id"}, "to": {"$ref": "#/$defs/id"}},
    });
    let check = SchemaCheck::compile(&schema).unwrap();
    assert_eq!(check.check(&json!({"from": "a", "to": "b"})), Ok(()));
    assert!(check.check(&json!({"from": "a", "to": "B"})).is_err());
}

#[test]
fn draft_07_is_taken_where_the_schema_says_so() {
    let schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {"pair": {"items": [{"type": "string"}, {"type": "number"}]}},
    });
    let check = SchemaCheck::compile(&schema).unwrap();
    assert!(check.check(&json!({"pair": ["a", 1]})).is_ok());
    assert!(check.check(&json!({"pair": [1, 1]})).is_err());
    assert!(fault(json!({"$schema": "https://example.com/my-draft"})).contains("unknown $schema"));
}

#[test]
fn references_out_of_the_schema_are_refused() {
    for reference in [
        "https://example.com/schema.json",
        "other.json",
        "file:///etc/passwd",
        "#name",
        "",
    ] {
        let problem = fault(json!({"properties": {"a": {"$ref": reference}}}));
        assert!(problem.contains("nothing is fetched"), "{reference}: {problem}");
    }
    assert!(fault(json!({"$ref": "#/$defs/none"})).contains("leads nowhere"));
    assert!(fault(json!({"allOf": [{"$id": "https://example.com/x"}]})).contains("$id"));
    assert!(fault(json!({"$dynamicRef": "#x"})).contains("$dynamicRef"));
}

#[test]
fn schemas_that_would_cost_too_much_are_refused() {
    let recursive = json!({"type": "object", "properties": {"child": {"$ref": "#"}}});
    assert!(fault(recursive).contains("refers to itself"));

    let mut doubling = json!({"$defs": {"d0": {"type": "string"}}, "$ref": "#/$defs/d14"});
    for step in 1..=14 {
        let inner = json!({"$ref": format!("#/$defs/d{}", step - 1)});
        doubling["$defs"][format!("d{step}")] = json!({"anyOf": [inner, inner]});
    }
    assert!(fault(doubling).contains("too complex"));

    let mut unevaluated = json!({"type": "object"});
    for _ in 0..20 {
        unevaluated = json!({"allOf": [unevaluated], "unevaluatedProperties": false});
    }
    assert!(fault(unevaluated).contains("too complex"));

    let mut deep = json!({});
    for _ in 0..40 {
        deep = json!({"not": deep});
    }
    assert!(fault(deep).contains("deep"));
    assert!(fault(json!({"description": "x".repeat(70_000)})).contains("too large"));
}

#[test]
fn a_value_too_large_for_its_schema_is_refused_before_it_is_checked() {
    let branches: Vec<Value> = (0..1_500).map(|number| json!({"const": number})).collect();
    let schema = json!({"type": "array", "items": {"anyOf": branches}});
    let check = SchemaCheck::compile(&schema).unwrap();
    assert!(check.check(&json!(vec![7; 1_000])).is_ok());
    let started = Instant::now();
    let problem = describe("arguments", &check.check(&json!(vec![-1; 500_000])).unwrap_err());
    assert!(problem.contains("too large"), "{problem}");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn hostile_patterns_take_linear_time_or_are_refused() {
    let schema = json!({"type": "object", "properties": {"a": {"pattern": "^(a+)+$"}}});
    let check = SchemaCheck::compile(&schema).unwrap();
    let started = Instant::now();
    assert!(check.check(&json!({"a": "a".repeat(100_000) + "!"})).is_err());
    assert!(started.elapsed() < Duration::from_secs(10));

    for pattern in ["(?=a)b", r"(a)\1", "((a{1000}){1000}){1000}", "("] {
        let problem = fault(json!({"properties": {"a": {"pattern": pattern}}}));
        assert!(problem.contains("pattern"), "{pattern}: {problem}");
    }
}

#[test]
fn an_input_schema_is_an_object_at_its_top() {
    assert!(require_object(&json!({"type": "object"})).is_ok());
    for wrong in [
        json!(true),
        json!({}),
        json!({"type": "string"}),
        json!({"type": ["object"]}),
    ] {
        assert!(require_object(&wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_stored_schema_that_no_longer_compiles_lets_nothing_through() {
    let check = SchemaCheck::of_stored(&json!({"type": 5}));
    assert!(check.unusable().is_some());
    assert!(check.check(&json!({})).is_err());
}
