//! What the language says, and what hostile expressions get.

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn now() -> Timestamp {
    "2026-06-01T12:00:00Z".parse().unwrap()
}

fn variables() -> Variables {
    Variables::new(now())
        .with("object", &json!({"kind": "Pod", "n": 3, "half": 0.5, "labels": {"team": "a"}, "list": [1, 2, 3], "nothing": null}))
        .with("text", &json!("straße"))
}

fn value(text: &str) -> Result<Value, CelError> {
    Program::compile(text)?.evaluate(&variables())
}

#[test]
fn values_and_operators_are_those_of_the_language() {
    for (text, expected) in [
        ("1 + 2 * 3 - -4", json!(11)),
        ("7 / 2 == 3 && -7 % 3 == -1", json!(true)),
        ("-9223372036854775808", json!(i64::MIN)),
        ("0x1f + 1", json!(32)),
        ("1u + 2u", json!(3)),
        ("1.5e1 + .5", json!(15.5)),
        ("1 == 1.0 && 1u == 1 && 2.5 > 2 && 1 < 2u", json!(true)),
        ("'a' == 1", json!(false)),
        ("'a' + \"b\" + r'\\n' + '\\u00e9\\x41\\101' + '''it's'''", json!("ab\\néAAit's")),
        ("b'\\xff' == b'\\377'", json!(true)),
        ("[1, 2] + [3] == object.list", json!(true)),
        ("{'a': 1, 2: 'b'}[2] + {'a': 'x'}.a", json!("bx")),
        ("2 in object.list && !('x' in object.labels) && 'team' in object.labels", json!(true)),
        ("object.kind == 'Pod' ? 'yes' : 'no'", json!("yes")),
        ("true ? 1 : false ? 2 : 3", json!(1)),
        ("object.list[1] + object['n']", json!(5)),
        ("has(object.labels) && !has(object.labels.other)", json!(true)),
        ("object.?labels.?other.orValue('none')", json!("none")),
        ("object.?labels.?team.orValue('none') + object.?nothing.?deeper.orValue('-')", json!("a-")),
        ("object.list[?7].hasValue() || optional.of(1).hasValue()", json!(true)),
        ("[?object.?other, ?optional.of(1)] == [1] && {?'a': object.?other} == {}", json!(true)),
        ("object.?n.optMap(n, n + 1).value()", json!(4)),
        ("cel.bind(x, object.n * 2, x + x)", json!(12)),
        ("object.`kind`", json!("Pod")),
        ("type(1) == int && type('') == string && type([]) != map", json!(true)),
        ("// a remark\n1", json!(1)),
    ] {
        assert_eq!(value(text), Ok(expected), "{text}");
    }
}

#[test]
fn macros_go_over_lists_and_maps() {
    for (text, expected) in [
        ("object.list.all(x, x > 0) && [].all(x, false) && ![].exists(x, true)", json!(true)),
        ("object.list.exists(x, x == 2) && object.list.exists_one(x, x > 2)", json!(true)),
        ("object.list.filter(x, x > 1).map(x, x * x)", json!([4, 9])),
        ("object.list.map(x, x > 1, x + 1)", json!([3, 4])),
        ("object.labels.map(key, key)", json!(["team"])),
        ("object.labels.all(key, value, key == 'team' && value == 'a')", json!(true)),
        ("object.list.transformList(i, x, i * x)", json!([0, 2, 6])),
        ("object.labels.transformMap(k, v, v + k)", json!({"team": "ateam"})),
        ("[[1, 2], [3]].map(x, x.map(y, y + size(x)))", json!([[3, 4], [4]])),
        ("object.list.map(object, object)", json!([1, 2, 3])),
    ] {
        assert_eq!(value(text), Ok(expected), "{text}");
    }
}

#[test]
fn functions_are_those_that_policies_use() {
    for (text, expected) in [
        ("size(text) == 6 && text.size() == 6 && [1].size() == 1 && size({'a': 1}) == 1", json!(true)),
        ("'abc'.startsWith('a') && 'abc'.endsWith('c') && 'abc'.contains('b')", json!(true)),
        ("'abc'.matches('^a.c$') && 'abc'.matches('b') && !'abc'.matches('^b')", json!(true)),
        ("'a:1,b:22'.findAll('[0-9]+')", json!(["1", "22"])),
        ("text.substring(1, 3) + text.charAt(4) + text.substring(5)", json!("trße")),
        ("'a.b.c'.split('.').join('/') + 'aXbX'.replace('X', '-')", json!("a/b/ca-b-")),
        ("[text.indexOf('ß'), text.lastIndexOf('x'), 'abab'.indexOf('b', 2)]", json!([4, -1, 3])),
        ("' A '.trim().lowerAscii() + 'b'.upperAscii()", json!("aB")),
        ("timestamp('2026-05-31T12:00:00Z') + duration('24h') == now()", json!(true)),
        (
            "now() - timestamp('2026-05-31T12:00:00Z') <= duration('1d'.size() == 2 ? '24h' : '1h')",
            json!(true),
        ),
        ("now().getFullYear() * 10000 + now().getMonth() * 100 + now().getDate()", json!(20_260_501)),
        ("[now().getDayOfWeek(), now().getHours(), duration('90m').getMinutes()]", json!([1, 12, 90])),
        (
            "[string(now()), string(duration('1500ms')), string(1.5), string(true)]",
            json!(["2026-06-01T12:00:00Z", "1.5s", "1.5", "true"]),
        ),
        ("[int('7'), int(3.9), int(-3.9), int(timestamp('1970-01-01T00:01:00Z'))]", json!([7, 3, -3, 60])),
        ("double('1.5') + double(1) == 2.5 && uint('3') == 3u && bool('true')", json!(true)),
        ("string(base64.decode('aGk=')) + base64.encode(b'hi')", json!("hiaGk=")),
        ("math.greatest(1, 3.5, 2) == 3.5 && math.least([4, 2]) == 2 && math.abs(-2) == 2", json!(true)),
        (
            "sets.contains([1, 2], [2]) && sets.equivalent([1, 1], [1]) && !sets.intersects([1], [2])",
            json!(true),
        ),
        ("[3, 1, 2].sort() == [1, 2, 3] && [1, 1].distinct() == [1] && [1, 2].sum() == 3", json!(true)),
        (
            "[[1], [2, 3]].flatten().slice(1, 3) == [2, 3] && [5, 6].max() == 6 && [1, 2].last().value() == 2",
            json!(true),
        ),
    ] {
        assert_eq!(value(text), Ok(expected), "{text}");
    }
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (text, at, word) in [
        ("", 0, "the end"),
        ("1 +", 3, "the end"),
        ("1 = 1", 2, "=="),
        ("a.b(", 4, "a value"),
        ("nope(1)", 0, "no function nope()"),
        ("a.startsWith()", 1, "2 arguments"),
        ("http.Get('http://x')", 4, "asks the outside"),
        ("has(a)", 4, "has(a.b)"),
        ("[1].map(1, 1)", 8, "a name"),
        ("'open", 0, "no end"),
        ("99999999999999999999", 0, "a number"),
        ("9223372036854775808", 0, "a value"),
        ("'\\q'", 2, "one of"),
        ("a #", 2, "#"),
    ] {
        match Program::compile(text) {
            Err(CelError::Syntax { at: found, detail }) => {
                assert!(found == at && detail.contains(word), "{text}: {found} {detail}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn what_has_no_value_is_an_error_and_never_false() {
    for text in [
        "other",
        "object.other",
        "object.list[3]",
        "object.kind.x",
        "1 + 'a'",
        "1 < 'a'",
        "9223372036854775807 + 1",
        "-9223372036854775808 / -1",
        "-9223372036854775808 % -1",
        "-(-9223372036854775808)",
        "1 / 0",
        "1 % 0",
        "1 - 1u",
        "int(1e30)",
        "uint(-1)",
        "timestamp('yesterday')",
        "duration('1 day')",
        "now() + duration('2562047h') + duration('2562047h') + timestamp('9999-12-31T00:00:00Z')",
        "'a'.matches('(')",
        "'ab'.substring(2, 1)",
        "{'a': 1, 'a': 2}",
        "optional.none().value()",
        "[1, 'a'].sort()",
        "object.list.all(x, x.y)",
        "true && 1",
        "1 ? 2 : 3",
        "!1",
    ] {
        assert!(value(text).is_err(), "{text}");
        let negated = Program::compile(&format!("!({text})")).unwrap();
        assert!(negated.holds(&variables()).is_err(), "{text}");
    }
}

#[test]
fn a_condition_is_true_or_false_and_nothing_else() {
    let holds = |text: &str| Program::compile(text).unwrap().holds(&variables());
    assert_eq!(holds("true"), Ok(true));
    assert_eq!(holds("1 == 2"), Ok(false));
    for text in ["1", "'true'", "null", "[true]", "optional.of(true)"] {
        assert!(matches!(holds(text), Err(CelError::NotACondition(_))), "{text}");
    }
}

#[test]
fn what_decides_hides_what_went_wrong_beside_it() {
    for (text, expected) in [
        ("object.other || true", Some(true)),
        ("true || object.other", Some(true)),
        ("object.other && false", Some(false)),
        ("object.other || false", None),
        ("object.other && true", None),
        ("[1, 2].exists(x, x == 2 || object.other)", Some(true)),
        ("[1, 2].all(x, x == 2 && object.other)", Some(false)),
        ("[1, 2].all(x, x == 1 || object.other)", None),
    ] {
        assert_eq!(Program::compile(text).unwrap().holds(&variables()).ok(), expected, "{text}");
    }
}

#[test]
fn names_from_outside_are_known_before_an_evaluation() {
    let program =
        Program::compile("a.b + [1].map(x, x + c) + cel.bind(d, e, d) + string(type(1) == int)").unwrap();
    assert_eq!(program.names().into_iter().collect::<Vec<_>>(), ["a", "c", "e"]);
}

#[test]
fn hostile_expressions_end() {
    let ten = "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]";
    let nested = (0..9).fold("true".to_owned(), |inner, n| format!("{ten}.all(v{n}, {inner})"));
    let doubled = (0..30).rev().fold("size(v29)".to_owned(), |inner, n| {
        let of = if n == 0 { "'0123456789'".to_owned() } else { format!("v{} + v{}", n - 1, n - 1) };
        format!("[{of}].map(v{n}, {inner})")
    });
    let shared = (0..28).rev().fold("v27 == v27".to_owned(), |inner, n| {
        let of = if n == 0 { "[0]".to_owned() } else { format!("[v{}, v{}]", n - 1, n - 1) };
        format!("cel.bind(v{n}, {of}, {inner})")
    });
    let regexes = format!(
        "{ten}.all(a, {ten}.all(b, {ten}.all(c, {ten}.all(d, 'a'.matches(string(a)+string(b)+string(c)+string(d)+'|a')))))"
    );
    // A list of a million, and a text of a million characters; each is shared, and costs nothing to name again.
    let large = |of: &str, more: &str, body: &str| {
        let one = (1..6)
            .fold(format!("[{of}]"), |list, _| format!("[0,1,2,3,4,5,6,7,8,9].map(n, {list}).flatten()"));
        format!(
            "cel.bind(l, {one}, cel.bind(t, l.map(x, '0123456789').join(), {more}))",
            more = more.replace("BODY", body)
        )
    };
    let hundred = format!("{ten}.all(a, {ten}.all(b, BODY))");
    let compared = large("1", &format!("{ten}.all(z, {hundred})"), "t == t");
    let ordered = large("1", &format!("{ten}.all(z, {hundred})"), "t <= t");
    let flattened = large("1", &hundred, "size([l, l, l, l, l, l, l, l, l, l].flatten()) > 0");
    let begun = large("1", &format!("{ten}.all(z, {hundred})"), "l.exists(x, true)");
    for (what, text) in [
        ("nested", nested),
        ("doubled", doubled),
        ("shared", shared),
        ("regexes", regexes),
        ("compared", compared),
        ("ordered", ordered),
        ("flattened", flattened),
        ("begun", begun),
    ] {
        assert_eq!(value(&text), Err(CelError::TooMuch), "{what}");
    }
    for (what, text) in [
        ("brackets", "(".repeat(10_000)),
        ("lists", "[".repeat(10_000)),
        ("nots", format!("{}true", "!".repeat(10_000))),
        ("dots", format!("a{}", ".a".repeat(5_000))),
        ("sums", format!("1{}", "+1".repeat(5_000))),
        ("choices", format!("{}1", "true?1:".repeat(2_000))),
        ("calls", format!("'a'{}", ".trim()".repeat(2_000))),
        ("long", " ".repeat(MAX_LENGTH + 1)),
    ] {
        assert!(matches!(Program::compile(&text), Err(CelError::Syntax { .. })), "{what}");
    }
    let nested = (0..40).fold("a".to_owned(), |inner, n| format!("[{inner}].map(x{n}, x{n})[0]"));
    assert_eq!(Program::compile(&nested).unwrap().names().into_iter().collect::<Vec<_>>(), ["a"]);
    let wide = format!("true{}", " && true".repeat(1_000));
    assert_eq!(value(&wide), Ok(json!(true)), "many conditions side by side are no depth");
}

proptest! {
    #[test]
    fn nothing_panics(text in r#"([a-z0-9\.\[\]\(\)\{\},:?+*/%<>=!&|"'\\ -]|object|list|all|map|has|size|matches|now|null|true){0,40}"#) {
        let _ = value(&text);
    }
}
