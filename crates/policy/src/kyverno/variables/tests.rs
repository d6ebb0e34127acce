//! What is replaced, what stays, and what is refused.

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn context() -> Context {
    Context::new(
        json!({
            "request": {
                "namespace": "prod",
                "operation": "CREATE",
                "object": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"image": "a:1"}]}}
            },
            "keys": {"data": {"prod": "PEM", "my-ns": "OTHER"}},
            "field": "metadata.labels",
            "count": 3,
            "list": ["a", "b"],
            "nothing": null,
            "evil": "{{ keys.data.prod }}",
            "quote": "x') || to_boolean('true"
        }),
        Timestamp::UNIX_EPOCH,
    )
    .with("name", json!("my-ns"))
}

fn one(text: &str) -> Result<Value, Reason> {
    substitute(&json!(text), &context()).map_err(|error| error.reason)
}

#[test]
fn variables_are_replaced() {
    for (text, expected) in [
        ("plain", json!("plain")),
        ("", json!("")),
        ("{{ request.namespace }}", json!("prod")),
        ("{{request.namespace}}", json!("prod")),
        ("ns={{ request.namespace }}!", json!("ns=prod!")),
        ("{{ request.namespace }}/{{ name }}", json!("prod/my-ns")),
        ("{{ count }}", json!(3)),
        ("n{{ count }}", json!("n3")),
        ("{{ list }}", json!(["a", "b"])),
        ("l{{ list }}", json!("l[\"a\",\"b\"]")),
        ("{{ nothing }}", json!(null)),
        ("n{{ nothing }}", json!("nnull")),
        ("{{ keys.data.{{ request.namespace }} }}", json!("PEM")),
        ("{{ keys.data.{{ name }} }}", json!("OTHER")),
        ("{{ request.object.{{ field }}.app }}", json!("web")),
        ("{{ missing || 'default' }}", json!("default")),
        ("{{ request.object.spec.containers[].{i: image} | [0].i }}", json!("a:1")),
        ("{{{a: count}}}", json!({"a": 3})),
        ("{{ {a: {b: count}} }}", json!({"a": {"b": 3}})),
        ("{{ regex_match('^p.{3}$', '{{ request.namespace }}') }}", json!(true)),
        ("{{- name }}", json!("my-ns")),
        ("\\{{ name }}", json!("{{ name }}")),
        ("a \\{{ b }} {{ count }}", json!("a {{ b }} 3")),
        ("\\$(./x)", json!("$(./x)")),
        ("costs $5 (or $(so many))", json!("costs $5 (or $(so many))")),
        ("}} {", json!("}} {")),
    ] {
        assert_eq!(one(text), Ok(expected), "{text}");
    }
}

#[test]
fn values_are_never_read_as_expressions() {
    assert_eq!(one("{{ evil }}"), Ok(json!("{{ keys.data.prod }}")));
    assert_eq!(one("x {{ evil }}"), Ok(json!("x {{ keys.data.prod }}")));
    assert_eq!(one("{{ regex_match('^y$', '{{ quote }}') }}"), Ok(json!(false)));
    assert_eq!(one("{{ to_upper('{{ evil }}') }}"), Ok(json!("{{ KEYS.DATA.PROD }}")));
}

#[test]
fn what_has_no_value_is_refused() {
    for (text, words) in [
        ("{{ missing }}", "there is no \"missing\""),
        ("a {{ request.object.metadata.missing }}", "there is no \"missing\""),
        ("{{ keys.data.{{ missing }} }}", "there is no \"missing\""),
        ("{{ name", "expected }}"),
        ("{{ {name }}", "expected }}"),
        ("{{ name } }}", "expected }}"),
        ("{{ }}", "expected an expression"),
        ("{{}}", "expected an expression"),
        ("{{ a b }}", "expected"),
        ("{{ nope(name) }}", "no function nope()"),
        ("{{ @ }}", "has a meaning only"),
        ("$(./../key)", "expected no reference"),
        ("x$(spec.x)", "expected no reference"),
        ("{{ {{ quote }} }}", "must be a path"),
        ("{{{{{{{{{{{{{{{{{{{{ a }}}}}}}}}}}}}}}}}}}}", "at most"),
    ] {
        let error = one(text).unwrap_err().to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
}

#[test]
fn a_document_is_replaced_throughout_and_errors_say_where() {
    let document = json!({"a": [{"{{ name }}": "{{ count }}"}, 1, true, null]});
    assert_eq!(substitute(&document, &context()), Ok(json!({"a": [{"my-ns": 3}, 1, true, null]})));
    let error = substitute(&json!({"a": ["x", {"b": "{{ missing }}"}]}), &context()).unwrap_err();
    assert_eq!(error.path, "a[1].b");
    assert!(error.to_string().starts_with("a[1].b: {{ missing }}: there is no"), "{error}");
    let error = substitute(&json!({"{{ count }}": 1}), &context()).unwrap_err();
    assert_eq!(error.reason, Reason::Key { key: "{{ count }}".into(), found: "a number" });
    let error = substitute(&json!({"{{ name }}": 1, "my-ns": 2}), &context()).unwrap_err();
    assert_eq!(error.reason, Reason::TwiceKey("my-ns".into()));
}

#[test]
fn when_an_object_is_taken_away_its_old_form_is_meant() {
    let context = Context::new(
        json!({"request": {"operation": "DELETE", "oldObject": {"kind": "Pod"}}}),
        Timestamp::UNIX_EPOCH,
    );
    assert_eq!(substitute(&json!("{{ request.object.kind }}"), &context), Ok(json!("Pod")));
}

#[test]
fn mistakes_are_found_without_evaluating() {
    assert_eq!(check(&json!({"a": ["{{ not.there }}", "{{ x.{{ y }} }}", "{{- x }}"]})), Ok(()));
    for (document, path) in [
        (json!({"a": ["{{ a b }}"]}), "a[0]"),
        (json!({"a": {"b": "{{ x.{{ nope() }} }}"}}), "a.b"),
        (json!({"a": "$(./b)"}), "a"),
        (json!({"a": "{{ sha256() }}"}), "a"),
        (json!({"a": "{{"}), "a"),
        (json!({"a": "{{}}"}), "a"),
        (json!({"{{ a b }}": 1}), "{{ a b }}"),
    ] {
        assert_eq!(check(&document).unwrap_err().path, path, "{document}");
    }
}

#[test]
fn cve_2026_23881_values_do_not_multiply() {
    let context = Context::new(json!({"t": "x".repeat(1 << 20)}), Timestamp::UNIX_EPOCH);
    let text = "{{ t }}{{ t }}{{ t }}{{ t }}{{ t }}{{ t }}{{ t }}{{ t }}".repeat(16);
    let error = substitute(&json!(text), &context).unwrap_err();
    assert!(error.to_string().contains("takes more than"), "{error}");
}

#[test]
fn a_document_without_variables_has_none() {
    assert!(!has_variables(&json!({"a": ["b", 1, "\\{{ c }}"]})));
    assert!(has_variables(&json!({"a": [{"b": "x {{ c }}"}]})));
    assert!(has_variables(&json!({"{{ a }}": 1})));
}

proptest! {
    #[test]
    fn no_text_makes_it_fall_over(text in r"[a-z{}|'`$()\\. @-]{0,40}") {
        let _ = one(&text);
        let _ = check(&json!(text));
    }

    #[test]
    fn a_value_in_a_text_is_put_there_as_it_is(value in ".{0,30}") {
        let context = Context::new(json!({"v": value}), Timestamp::UNIX_EPOCH);
        prop_assert_eq!(substitute(&json!("<{{ v }}>"), &context), Ok(json!(format!("<{value}>"))));
        prop_assert_eq!(substitute(&json!("{{ to_string('{{ v }}') }}"), &context), Ok(json!(value)));
    }
}
