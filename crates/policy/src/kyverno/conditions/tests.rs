//! Operators and lists of conditions.

use jiff::Timestamp;
use serde_json::json;

use super::*;

fn context() -> Context {
    let now: Timestamp = "2026-11-26T12:00:00Z".parse().unwrap();
    Context::new(json!({"request": {"namespace": "prod"}, "list": ["a", "b"], "star": "*"}), now)
}

fn conditions(value: Value) -> Conditions {
    serde_json::from_value(value).unwrap()
}

fn one(key: Value, operator: &str, value: Value) -> Result<bool, VariableError> {
    let single = conditions(json!([{"key": key, "operator": operator, "value": value}]));
    single.hold(&context()).map(|outcome| outcome.holds)
}

#[test]
fn any_needs_one_and_all_needs_every_one() {
    let yes = json!({"key": "a", "operator": "Equals", "value": "a"});
    let no = json!({"key": "a", "operator": "Equals", "value": "b"});
    for (read, holds) in [
        (json!({"any": [no, yes]}), true),
        (json!({"any": [no, no]}), false),
        (json!({"all": [yes, yes]}), true),
        (json!({"all": [yes, no]}), false),
        (json!({"any": [yes], "all": [no]}), false),
        (json!({"any": [no], "all": [yes]}), false),
        (json!({"any": [no, yes], "all": [yes]}), true),
        (json!([yes, yes]), true),
        (json!([yes, no]), false),
        (json!([{"all": [yes]}, {"any": [yes, no]}]), true),
        (json!([{"all": [yes]}, {"any": [no]}]), false),
    ] {
        assert_eq!(conditions(read.clone()).hold(&context()).unwrap().holds, holds, "{read}");
    }
}

#[test]
fn operators_on_a_request() {
    assert_eq!(one(json!("{{ request.namespace }}"), "Equals", json!("prod")), Ok(true));
    assert_eq!(one(json!("{{ request.namespace }}"), "AnyIn", json!("{{ list }}")), Ok(false));
}
