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
    let operator = serde_json::from_value(json!(operator)).unwrap();
    let condition = Condition { key, operator, value, message: String::new() };
    let single = Conditions(vec![Block { any: Vec::new(), all: vec![condition] }]);
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

#[track_caller]
fn table(rows: &[(Value, &str, Value, bool)]) {
    for (key, operator, value, holds) in rows {
        assert_eq!(one(key.clone(), operator, value.clone()), Ok(*holds), "{key} {operator} {value}");
    }
}

#[test]
fn equals_and_not_equals_are_opposites_but_for_null() {
    let rows = [
        (json!("a"), json!("a"), true),
        (json!("a"), json!("b"), false),
        (json!("v1.2"), json!("v1.*"), true),
        (json!("v1.*"), json!("v1.2"), false),
        (json!("a"), json!(1), false),
        (json!("a"), json!(null), false),
        (json!(""), json!(""), true),
        (json!("5"), json!(""), false),
        (json!(true), json!(true), true),
        (json!(true), json!("true"), false),
        (json!(5), json!(5.0), true),
        (json!(5.5), json!("5.5"), true),
        (json!(5), json!("five"), false),
        (json!(5), json!([5]), false),
        (json!("1h"), json!("60m"), true),
        (json!("1h"), json!(3600), true),
        (json!(3600), json!("1h"), false),
        (json!("1Gi"), json!("1024Mi"), true),
        (json!("1000m"), json!("1"), true),
        (json!("1"), json!("1*"), false),
        (json!([1, "a"]), json!([1.0, "a"]), true),
        (json!([1]), json!([1, 2]), false),
        (json!([1]), json!("1"), false),
        (json!({"a": 1}), json!({"a": 1}), true),
        (json!({"a": 1}), json!({"a": 2}), false),
        (json!({"a": 1}), json!({"b": 1}), false),
    ];
    for (key, value, equal) in rows {
        for (operator, holds) in
            [("Equals", equal), ("Equal", equal), ("NotEquals", !equal), ("NotEqual", !equal)]
        {
            assert_eq!(one(key.clone(), operator, value.clone()), Ok(holds), "{key} {operator} {value}");
        }
    }
    table(&[(json!(null), "Equals", json!(null), false), (json!(null), "NotEquals", json!("a"), false)]);
}

#[test]
fn amounts_are_ordered_by_what_they_are() {
    // (less, more): the first is less than the second.
    let rows = [
        (json!(1), json!(2)),
        (json!(1), json!("2.5")),
        (json!("1"), json!(2)),
        (json!("1e3"), json!(1001)),
        (json!("9"), json!("10")),
        (json!("1Mi"), json!("1Gi")),
        (json!("100m"), json!("1")),
        (json!("59m"), json!("1h")),
        (json!("1h"), json!(3601)),
        (json!(59), json!("1m")),
        (json!("1.9.0"), json!("1.10.0")),
        (json!("1.0.0-rc.1"), json!("1.0.0")),
    ];
    for (less, more) in rows {
        for (operator, forward, same, back) in [
            ("LessThan", true, false, false),
            ("LessThanOrEquals", true, true, false),
            ("GreaterThan", false, false, true),
            ("GreaterThanOrEquals", false, true, true),
        ] {
            table(&[
                (less.clone(), operator, more.clone(), forward),
                (less.clone(), operator, less.clone(), same),
                (more.clone(), operator, less.clone(), back),
            ]);
        }
    }
    for operator in ["LessThan", "LessThanOrEquals", "GreaterThan", "GreaterThanOrEquals"] {
        table(&[
            (json!("a"), operator, json!("b"), false),
            (json!("1"), operator, json!("x"), false),
            (json!("1h"), operator, json!("x"), false),
            (json!("1.0.0"), operator, json!("latest"), false),
            (json!("1.0.0"), operator, json!(1), false),
            (json!("inf"), operator, json!(1), false),
            (json!(1), operator, json!("nan"), false),
            (json!(true), operator, json!(true), false),
            (json!(null), operator, json!(1), false),
            (json!([1]), operator, json!([1]), false),
            (json!(1), operator, json!({}), false),
        ]);
    }
}

#[test]
fn durations_are_compared_as_such() {
    for (operator, less, same, more) in [
        ("DurationLessThan", true, false, false),
        ("DurationLessThanOrEquals", true, true, false),
        ("DurationGreaterThan", false, false, true),
        ("DurationGreaterThanOrEquals", false, true, true),
    ] {
        table(&[
            (json!("1m"), operator, json!("1h"), less),
            (json!("60m"), operator, json!("1h"), same),
            (json!(3600), operator, json!("1h"), same),
            (json!("1h"), operator, json!(3600), same),
            (json!(1), operator, json!(2), less),
            (json!(1.9), operator, json!(1), same),
            (json!("2h"), operator, json!("1h"), more),
            (json!("0"), operator, json!("0s"), same),
            (json!("1"), operator, json!("1h"), false),
            (json!("1h"), operator, json!("soon"), false),
            (json!(null), operator, json!("1h"), false),
            (json!(true), operator, json!("1h"), false),
            (json!("1h"), operator, json!(["1h"]), false),
            (json!(1e300), operator, json!("1h"), false),
        ]);
    }
}

#[test]
fn membership_of_a_single_key() {
    let rows = [
        (json!("a"), json!(["a", "b"]), Some(true)),
        (json!("c"), json!(["a", "b"]), Some(false)),
        (json!("abc"), json!(["a*"]), Some(true)),
        (json!("a*"), json!(["abc"]), Some(true)),
        (json!("a"), json!([]), Some(false)),
        (json!(1), json!([1, 2]), Some(true)),
        (json!(1), json!(["1"]), Some(true)),
        (json!(true), json!(["true"]), Some(true)),
        (json!("a"), json!("a"), Some(true)),
        (json!("abc"), json!("a*"), Some(true)),
        (json!("b"), json!("[\"a\", \"b\"]"), Some(true)),
        (json!("c"), json!("[\"a\", \"b\"]"), Some(false)),
        (json!("a"), json!(1), None),
        (json!("a"), json!(null), None),
        (json!("a"), json!({"a": 1}), None),
        (json!("a"), json!("[1]"), None),
        (json!(null), json!([null]), None),
        (json!({"a": 1}), json!(["a"]), None),
    ];
    for (key, value, found) in rows {
        for (operator, holds) in [
            ("In", found == Some(true)),
            ("AnyIn", found == Some(true)),
            ("AllIn", found == Some(true)),
            ("NotIn", found == Some(false)),
            ("AnyNotIn", found == Some(false)),
            ("AllNotIn", found == Some(false)),
        ] {
            assert_eq!(one(key.clone(), operator, value.clone()), Ok(holds), "{key} {operator} {value}");
        }
    }
}

#[test]
fn membership_of_several_keys() {
    for (key, value, any, all, any_not, all_not) in [
        (json!(["a", "b"]), json!(["a", "b", "c"]), true, true, false, false),
        (json!(["a", "x"]), json!(["a", "b", "c"]), true, false, true, false),
        (json!(["x", "y"]), json!(["a", "b", "c"]), false, false, true, true),
        (json!(["ab", "ac"]), json!(["a*"]), true, true, false, false),
        (json!([1, 2]), json!(["1", 2]), true, true, false, false),
        (json!([]), json!(["a"]), false, true, false, true),
        (json!(["a"]), json!("a"), true, true, false, false),
        (json!(["a", "b"]), json!("[\"a\"]"), true, false, true, false),
        (json!(["5", "15"]), json!("10-20"), true, false, true, false),
        (json!([12, "15"]), json!("10-20"), true, true, false, false),
        (json!(["1h", "3h"]), json!("30m-2h"), true, false, true, false),
        (json!(["512Mi"]), json!("1Mi-1Gi"), true, true, false, false),
        (json!(["x"]), json!("10-20"), false, false, false, true),
        (json!(["a"]), json!(null), false, false, false, false),
        (json!(["a"]), json!({"a": 1}), false, false, false, false),
    ] {
        table(&[
            (key.clone(), "AnyIn", value.clone(), any),
            (key.clone(), "AllIn", value.clone(), all),
            (key.clone(), "AnyNotIn", value.clone(), any_not),
            (key.clone(), "AllNotIn", value.clone(), all_not),
        ]);
    }
    table(&[
        (json!([1, 2]), "AnyIn", json!(2), true),
        (json!([1, 2]), "AnyNotIn", json!(2), true),
        (json!([1]), "AllIn", json!(1), false),
        (json!(15), "AnyIn", json!("10-20"), true),
        (json!("25"), "AllNotIn", json!("10-20"), true),
        (json!("-5"), "AnyIn", json!("-10--1"), true),
    ]);
}

#[test]
fn cve_2026_41485_the_older_operators_take_lists_of_texts_alone() {
    table(&[
        (json!(["a"]), "In", json!(["a", "b"]), true),
        (json!(["a", "x"]), "In", json!(["a", "b"]), false),
        (json!(["ab"]), "In", json!(["a*"]), false),
        (json!(["a", "x"]), "NotIn", json!(["a", "b"]), true),
        (json!(["a"]), "NotIn", json!(["a", "b"]), false),
        (json!(["a"]), "In", json!("a"), true),
        (json!(["a"]), "NotIn", json!("a"), false),
        (json!(["a"]), "In", json!("[\"a\"]"), true),
        (json!(["a"]), "In", json!("x"), false),
        (json!(["a"]), "NotIn", json!("x"), false),
        (json!(["a"]), "In", json!([1]), false),
        (json!(["a"]), "NotIn", json!([1]), false),
        (json!(["a"]), "In", json!(null), false),
    ]);
    for key in [json!([null]), json!([1]), json!(["a", {"b": 1}])] {
        for operator in ["In", "NotIn"] {
            let error = one(key.clone(), operator, json!(["a"])).unwrap_err();
            assert!(matches!(error.reason, Reason::Condition(_)), "{key} {operator}");
        }
    }
}

#[test]
fn a_star_in_data_is_a_star() {
    for (key, value, holds) in [
        ("{{ star }}", "prod", false),
        ("{{ star }}", "*", true),
        ("prod", "{{ star }}", false),
        ("{{ request.namespace }}", "p*", true),
        ("p*", "{{ request.namespace }}", true),
        ("{{ request.namespace }}", "{{ star }}", true),
    ] {
        for operator in ["AnyIn", "AllIn", "In"] {
            assert_eq!(one(json!(key), operator, json!([value])), Ok(holds), "{key} {operator} [{value}]");
            let listed = one(json!([key]), operator, json!([value]));
            assert!(holds || listed != Ok(true), "[{key}] {operator} [{value}]");
        }
    }
    assert_eq!(one(json!("{{ star }}"), "Equals", json!("prod")), Ok(false));
    assert_eq!(one(json!("prod"), "Equals", json!("{{ star }}")), Ok(false));
}

#[test]
fn conditions_that_take_too_long_are_an_error() {
    let many: Vec<String> = (0..20_000).map(|number| format!("item {number}")).collect();
    let others: Vec<String> = many.iter().map(|item| format!("other {item}")).collect();
    // What makes each of them look at everything.
    for (operator, value) in
        [("AnyIn", &others), ("AllNotIn", &others), ("AllIn", &many), ("AnyNotIn", &many), ("NotIn", &many)]
    {
        let found = one(json!(many), operator, json!(value));
        if operator == "NotIn" {
            assert_eq!(found, Ok(false), "exact texts are looked up, which is quick");
        } else {
            let error = found.unwrap_err().to_string();
            assert!(error.contains("takes more than"), "{operator}: {error}");
        }
    }
}

#[test]
fn a_variable_without_a_value_is_an_error_and_says_where() {
    let read = conditions(json!({"all": [
        {"key": "a", "operator": "Equals", "value": "a"},
        {"key": "{{ missing }}", "operator": "Equals", "value": "a"}
    ]}));
    assert_eq!(read.hold(&context()).unwrap_err().path, "all[1].key");
    let read = conditions(json!([
        {"all": [{"key": "a", "operator": "Equals", "value": "a"}]},
        {"any": [{"key": "a", "operator": "Equals", "value": ["{{ missing }}"]}]}
    ]));
    assert_eq!(read.hold(&context()).unwrap_err().path, "[1].any[0].value[0]");
}

#[test]
fn an_outcome_says_why() {
    let why = |read: Value| conditions(read).hold(&context()).unwrap().because;
    assert_eq!(
        why(json!({"all": [{"key": "{{ request.namespace }}", "operator": "Equals", "value": "test"}]})),
        ["not: \"prod\" Equals \"test\""]
    );
    assert_eq!(
        why(json!({"any": [
            {"key": 1, "operator": "GreaterThan", "value": 2, "message": "too few in {{ request.namespace }}"},
            {"key": "{{ list }}", "operator": "AnyIn", "value": ["c"]}
        ]})),
        ["too few in prod", "not: [\"a\",\"b\"] AnyIn [\"c\"]"]
    );
    assert_eq!(why(json!([{"key": 1, "operator": "Equals", "value": 1}])), ["1 Equals 1"]);
    let long = why(json!([{"key": "x".repeat(5_000), "operator": "Equals", "value": 1}]));
    assert!(long[0].chars().count() < 300, "{}", long[0].len());
}

#[test]
fn what_says_nothing_is_refused_when_it_is_read() {
    let yes = json!({"key": "a", "operator": "Equals", "value": "a"});
    for (read, words) in [
        (json!([]), "at least one condition"),
        (json!({}), "at least one condition"),
        (json!({"any": []}), "at least one condition"),
        (json!({"all": []}), "at least one condition"),
        (json!({"any": [yes], "all": []}), "at least one condition"),
        (json!([{"all": [yes]}, {}]), "[1]: expected at least one condition"),
        (json!({"all": [yes], "none": [yes]}), "unknown field `none`"),
        (json!({"all": [{"key": "a", "operator": "Like", "value": "a"}]}), "unknown variant `Like`"),
        (json!({"all": [{"key": "a", "operator": "equals", "value": "a"}]}), "unknown variant `equals`"),
        (json!({"all": [{"key": "a", "operator": "Equals"}]}), "missing field `value`"),
        (json!({"all": [{"operator": "Equals", "value": "a"}]}), "missing field `key`"),
        (json!([{"key": "a", "operator": "Equals", "value": "a", "extra": 1}]), "unknown field `extra`"),
        (json!([yes, {"all": [yes]}]), "unknown field"),
        (json!("text"), "expected conditions"),
        (json!(null), "expected conditions"),
    ] {
        let error = serde_json::from_value::<Conditions>(read.clone()).unwrap_err().to_string();
        assert!(error.contains(words), "{read}: {error}");
    }
}

#[test]
fn mistakes_in_expressions_are_found_when_a_policy_is_read() {
    let read = conditions(json!([{"any": [{"key": "{{ nope() }}", "operator": "Equals", "value": 1}]}]));
    assert_eq!(read.check().unwrap_err().path, "any[0].key");
    assert_eq!(conditions(json!([{"key": "{{ a }}", "operator": "Equals", "value": 1}])).check(), Ok(()));
}

mod any_values {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[-0-9a-zA-Z.*?!|\" ]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(2, 8, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
                prop::collection::btree_map("[a-c]", inner, 0..3).prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_values_make_an_operator_fall_over(key in value(), value in value()) {
            for operator in [
                "Equals", "NotEquals", "In", "NotIn", "AnyIn", "AllIn", "AnyNotIn", "AllNotIn", "GreaterThan",
                "GreaterThanOrEquals", "LessThan", "LessThanOrEquals", "DurationGreaterThan",
                "DurationGreaterThanOrEquals", "DurationLessThan", "DurationLessThanOrEquals",
            ] {
                let _ = one(key.clone(), operator, value.clone());
            }
        }
    }
}
