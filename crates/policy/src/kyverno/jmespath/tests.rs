//! Expressions, as jmespath.org has them and as Kyverno does.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn now() -> Timestamp {
    "2026-11-26T12:00:00Z".parse().unwrap()
}

fn search(expression: &str, data: &Value) -> Result<Value, Error> {
    Expression::parse(expression)?.search(data, now(), &Budget::default())
}

fn data() -> Value {
    json!({
        "name": "web",
        "empty": "",
        "nothing": null,
        "count": 3,
        "half": 0.5,
        "labels": {"app": "web", "tier": "front"},
        "containers": [
            {"name": "a", "image": "ghcr.io/a:1", "cpu": 2},
            {"name": "b", "image": "ghcr.io/b:2", "cpu": 1},
            {"name": "c", "cpu": 3}
        ],
        "deep": [[1, 2], [3], 4],
        "a key": {"x y": 1},
        "{{ name }}": "braces"
    })
}

#[test]
fn the_language_is_jmespath() {
    for (expression, expected) in [
        ("name", json!("web")),
        ("labels.app", json!("web")),
        ("\"a key\".\"x y\"", json!(1)),
        ("@.name", json!("web")),
        ("containers[0].name", json!("a")),
        ("containers[-1].name", json!("c")),
        ("containers[9]", json!(null)),
        ("containers[*].name", json!(["a", "b", "c"])),
        ("containers[].image", json!(["ghcr.io/a:1", "ghcr.io/b:2"])),
        ("containers[:2].name", json!(["a", "b"])),
        ("containers[::-1].name", json!(["c", "b", "a"])),
        ("containers[1:].cpu", json!([1, 3])),
        ("labels.*", json!(["web", "front"])),
        ("deep[]", json!([1, 2, 3, 4])),
        ("deep[][]", json!([1, 2, 3, 4])),
        ("containers[?cpu > `1`].name", json!(["a", "c"])),
        ("containers[?image == 'ghcr.io/b:2'].name | [0]", json!("b")),
        ("containers[?image].name", json!(["a", "b"])),
        ("containers[?!image].name", json!(["c"])),
        ("[name, count]", json!(["web", 3])),
        ("{n: name, c: count}", json!({"n": "web", "c": 3})),
        ("containers[].{n: name, c: cpu} | [0]", json!({"n": "a", "c": 2})),
        ("name && count", json!(3)),
        ("empty || 'default'", json!("default")),
        ("missing || 'default'", json!("default")),
        ("missing.further || nothing || 'default'", json!("default")),
        ("!missing", json!(true)),
        ("missing == nothing", json!(true)),
        ("count == `3.0`", json!(true)),
        ("count != `4` && name == 'web'", json!(true)),
        ("name < 'z'", json!(null)),
        ("(count > `1` && half < `1`) || `false`", json!(true)),
        ("`{\"a\": [1]}`.a[0]", json!(1)),
        ("'it\\'s'", json!("it's")),
        ("`\"\\`\"`", json!("`")),
        ("nothing.further", json!(null)),
        ("name.further", json!(null)),
        ("missing | [0]", json!(null)),
        ("containers[*].missing", json!([])),
        ("missing[*].name", json!(null)),
        ("length(missing || `[]`)", json!(0)),
        ("containers[?contains(image || '', 'b')].name", json!(["b"])),
        ("sort_by(containers, &cpu)[].name", json!(["b", "a", "c"])),
    ] {
        assert_eq!(search(expression, &data()), Ok(expected), "{expression}");
    }
}

#[test]
fn a_missing_key_is_an_error_and_names_the_key() {
    for (expression, key) in [
        ("missing", "missing"),
        ("labels.other", "other"),
        ("missing.x", "missing"),
        ("name && missing", "missing"),
    ] {
        assert_eq!(search(expression, &data()), Err(Error::UnknownKey(key.into())), "{expression}");
    }
}

#[test]
fn what_is_no_expression_is_refused() {
    for expression in [
        "",
        " ",
        ".",
        "a.",
        ".a",
        "a..b",
        "a b",
        "a[",
        "a[]]",
        "a[1",
        "a[x]",
        "a[1:2:3:4]",
        "[",
        "[]x",
        "{",
        "{}",
        "{a}",
        "{a:}",
        "(a",
        "a)",
        "a ||",
        "|| a",
        "a |",
        "a == ",
        "== a",
        "!",
        "&",
        "'a",
        "\"a",
        "`a",
        "`{`",
        "`x`",
        "\"\\x\"",
        "a.'b'",
        "a.1",
        "-",
        "a = b",
        "#",
        "length(",
        "length()",
        "length(a, b)",
        "no_such_function(a)",
        "\"length\"(a)",
        "a(b)(c)",
        "99999999999999999999",
        "*.*.",
        "[*",
        "[?a",
        "[?]",
        "a[?b==]",
        "foo.{a: b",
        "length(,a)",
        "length(a,)",
        "[a,]",
        "@@",
    ] {
        let found = Expression::parse(expression);
        assert!(matches!(found, Err(Error::Syntax { .. })), "{expression}: {found:?}");
    }
}

#[test]
fn length_and_depth_are_limited() {
    let long = format!("'{}'", "x".repeat(MAX_LENGTH));
    assert!(matches!(Expression::parse(&long), Err(Error::Syntax { at: MAX_LENGTH, .. })));
    for (unit, end) in
        [("(", ")"), ("[", "]"), ("!", ""), ("a.", "a"), ("a|", "a"), ("a[?", "]"), ("{a:", "}"), ("[0]", "")]
    {
        let expression = format!("{}a{}", unit.repeat(4_000), end.repeat(4_000));
        let found = Expression::parse(&expression);
        assert!(matches!(found, Err(Error::Syntax { .. })), "{unit}");
    }
    assert!(Expression::parse(&format!("{}a{}", "(".repeat(100), ")".repeat(100))).is_ok());
}

#[test]
fn what_is_as_deep_as_it_may_be_is_evaluated() {
    let most = MAX_DEPTH / 2 - 1;
    let mut nested = json!({"a": 1});
    for _ in 0..most {
        nested = json!({"a": nested});
    }
    assert_eq!(search(&format!("a{}", ".a".repeat(most)), &nested), Ok(json!(1)));
    assert_eq!(search(&format!("{}a", "!".repeat(most - 1)), &nested), Ok(json!(true)));
    for (before, after) in [("[", "]"), ("{a: ", "}"), ("a[?", "]"), ("to_array(", ")"), ("map(&", ", @)")] {
        let expression = format!("{}@{}", before.repeat(most), after.repeat(most));
        assert!(!matches!(search(&expression, &nested), Err(Error::Syntax { .. })), "{before}");
    }
}

#[test]
fn a_value_nested_too_deep_is_not_copied() {
    let mut nested = json!(1);
    for _ in 0..1_000 {
        nested = json!([nested]);
    }
    assert_eq!(search("@", &nested), Err(Error::TooMuch));
}

#[test]
fn a_step_of_zero_is_an_error() {
    assert_eq!(search("deep[::0]", &data()), Err(Error::ZeroStep));
}

#[test]
fn cve_2026_23881_a_small_expression_cannot_make_a_large_value() {
    let doubled = |times: usize| format!("@{}", " | [@, @]".repeat(times));
    let text = json!({"t": "x".repeat(100_000), "l": vec!["x"; 2_000]});
    for expression in [
        doubled(40).as_str(),
        "replace_all(t, 'x', t)",
        "replace(t, '', t, `-1`)",
        "regex_replace_all('x', t, t)",
        "regex_replace_all_literal('x', t, t)",
        "join(t, l)",
        "items(l, t, t)",
        "map(&[@, @, @, @, @, @, @, @], l) | [@, @, @, @] | [@, @, @, @] | [@, @, @, @] | [@, @, @, @] | [@, @, @, @]",
        "split(t, '') | [@, @, @, @] | [@, @, @, @] | [@, @, @, @]",
    ] {
        let found = search(expression, &text);
        assert_eq!(found, Err(Error::TooMuch), "{expression}");
    }
    assert_eq!(search(&doubled(40), &json!(1)), Err(Error::TooMuch));
}

#[test]
fn a_regular_expression_is_compiled_once_and_not_too_many_are() {
    let data = json!({"l": (0..20_000).map(|number| format!("v{number}")).collect::<Vec<_>>()});
    assert_eq!(search("length(l[?regex_match('^v[0-9]$', @)])", &data), Ok(json!(10)));
    assert_eq!(search("l[?regex_match(@, 'v1')]", &data), Err(Error::TooMuch));
}

#[test]
fn cve_2025_47281_functions_given_null_are_errors() {
    let data = json!({"nothing": null});
    for expression in [
        "time_since('', nothing, '')",
        "time_since('', missing, '')",
        "regex_match('a', nothing)",
        "regex_match(nothing, 'a')",
        "to_upper(nothing)",
        "split(nothing, ',')",
        "semver_compare(nothing, '>1.0.0')",
        "lookup(nothing, 'a')",
        "items(nothing, 'a', 'b')",
        "random(nothing)",
        "x509_decode(nothing)",
        "truncate(nothing, `1`)",
        "label_match(nothing, nothing)",
        "add(nothing, nothing)",
        "sum(nothing)",
        "object_from_lists(nothing, nothing)",
        "object_from_lists([nothing], [nothing])",
        "sort_by(nothing, &a)",
        "length(nothing)",
        "image_normalize(nothing)",
        "sha256(nothing)",
    ] {
        assert!(matches!(search(expression, &data), Err(Error::Function { .. })), "{expression}");
    }
}

#[test]
fn a_value_put_into_an_expression_stays_a_value() {
    let put = |before: &str, value: Value, after: &str| {
        Expression::from_pieces(&[Piece::Text(before), Piece::Hole(value), Piece::Text(after)])?.search(
            &data(),
            now(),
            &Budget::default(),
        )
    };
    let evil = "x') || to_boolean('true";
    assert_eq!(put("'", json!(evil), "'"), Ok(json!(evil)));
    assert_eq!(put("regex_match('^y$', '", json!(evil), "')"), Ok(json!(false)));
    assert_eq!(put("'", json!("ends in \\"), "'"), Ok(json!("ends in \\")));
    assert_eq!(put("`\"", json!("a\"`, b"), "\"`"), Ok(json!("a\"`, b")));
    assert_eq!(put("length(`", json!({"a": "`b"}), "`)"), Ok(json!(1)));
    assert_eq!(put("`", json!("[1, 2]"), "`"), Ok(json!([1, 2])));
    assert_eq!(put("\"", json!("a key"), "\".\"x y\""), Ok(json!(1)));
    assert_eq!(put("labels.", json!("app"), ""), Ok(json!("web")));
    assert_eq!(put("", json!("labels.tier"), ""), Ok(json!("front")));
    assert_eq!(put("containers[", json!(1), "].name"), Ok(json!("b")));
    assert_eq!(put("\"a key\".", json!("x y"), ""), Ok(json!(1)));
    for (before, value, after) in [
        ("`", json!("1` || `2"), "`"),
        ("", json!(evil), ""),
        ("", json!("name || count"), ""),
        ("length(", json!(["a"]), ")"),
        ("", json!(0.5), ""),
        ("[", json!("?x"), "]"),
    ] {
        let found = put(before, value.clone(), after);
        assert!(matches!(found, Err(Error::Syntax { .. })), "{before}{value}{after}: {found:?}");
    }
    assert_eq!(put("labels.", json!(evil), ""), Err(Error::UnknownKey(evil.into())));
}

proptest! {
    #[test]
    fn no_expression_makes_it_fall_over(expression in r#"[a-z_0-9.*|&!<>=()\[\]{}'"`,:@? -]{0,40}"#) {
        let _ = search(&expression, &data());
    }

    #[test]
    fn no_value_ends_its_quotes(value in r#"[a-z'"`\\{}|@.]{0,20}"#) {
        let pieces = [Piece::Text("'"), Piece::Hole(Value::from(value.clone())), Piece::Text("'")];
        let found = Expression::from_pieces(&pieces).unwrap().search(&Value::Null, now(), &Budget::default());
        prop_assert_eq!(found, Ok(Value::from(value.clone())));
        let pieces = [Piece::Text("`[\""), Piece::Hole(Value::from(value.clone())), Piece::Text("\"]`")];
        let found = Expression::from_pieces(&pieces).unwrap().search(&Value::Null, now(), &Budget::default());
        prop_assert_eq!(found, Ok(json!([value])));
    }
}
