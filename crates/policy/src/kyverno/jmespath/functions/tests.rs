//! Every function with what it gives back, and with what it refuses.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::whole;
use crate::kyverno::jmespath::{Budget, Error, Expression};

fn search(expression: &str) -> Result<Value, Error> {
    let data = json!({
        "rsa": include_str!("../../../../tests/data/rsa.pem"),
        "p256": include_str!("../../../../tests/data/p256.pem"),
        "labels": {"app": "web", "tier": "front"},
        "people": [{"n": "b", "age": 2}, {"n": "a", "age": 3}, {"n": "c", "age": 1}],
        "null": null
    });
    let now: Timestamp = "2026-11-26T12:00:00Z".parse().unwrap();
    Expression::parse(expression)?.search(&data, now, &Budget::default())
}

#[track_caller]
fn gives(rows: &[(&str, Value)]) {
    for (expression, expected) in rows {
        assert_eq!(search(expression).as_ref(), Ok(expected), "{expression}");
    }
}

/// The functions refuse these, when they are called: not for their syntax, and without falling over.
#[track_caller]
fn refuses(rows: &[&str]) {
    for expression in rows {
        let found = search(expression);
        assert!(matches!(found, Err(Error::Function { .. })), "{expression}: {found:?}");
    }
}

#[test]
fn functions_of_the_language_itself() {
    gives(&[
        ("abs(`-1.5`)", json!(1.5)),
        ("avg(`[1, 2]`)", json!(1.5)),
        ("avg(`[]`)", json!(null)),
        ("ceil(`1.2`)", json!(2)),
        ("floor(`-1.2`)", json!(-2)),
        ("contains('abc', 'b')", json!(true)),
        ("contains('abc', `1`)", json!(false)),
        ("contains(`[1, 2]`, `2.0`)", json!(true)),
        ("contains(`[1, 2]`, '2')", json!(false)),
        ("starts_with('abc', 'ab')", json!(true)),
        ("ends_with('abc', 'ab')", json!(false)),
        ("join(', ', `[\"a\", \"b\"]`)", json!("a, b")),
        ("keys(labels)", json!(["app", "tier"])),
        ("values(labels)", json!(["web", "front"])),
        ("length('äb')", json!(2)),
        ("length(labels)", json!(2)),
        ("map(&age, people)", json!([2, 3, 1])),
        ("map(&other, people)", json!([null, null, null])),
        ("max(`[1, 3, 2]`)", json!(3)),
        ("max(`[\"a\", \"c\"]`)", json!("c")),
        ("max(`[]`)", json!(null)),
        ("min(`[1, 3, 2]`)", json!(1)),
        ("max_by(people, &age).n", json!("a")),
        ("min_by(people, &n).n", json!("a")),
        ("merge(labels, `{\"app\": \"x\"}`)", json!({"app": "x", "tier": "front"})),
        ("not_null(null, `1`, `2`)", json!(1)),
        ("not_null(null)", json!(null)),
        ("reverse('abc')", json!("cba")),
        ("reverse(`[1, 2]`)", json!([2, 1])),
        ("sort(`[3, 1, 2]`)", json!([1, 2, 3])),
        ("sort(`[\"b\", \"a\"]`)", json!(["a", "b"])),
        ("sort_by(people, &age)[].n", json!(["c", "b", "a"])),
        ("to_array(`1`)", json!([1])),
        ("to_array(`[1]`)", json!([1])),
        ("to_number('1.50')", json!(1.5)),
        ("to_number('x')", json!(null)),
        ("to_number('inf')", json!(null)),
        ("to_string(`[1, \"a\"]`)", json!("[1,\"a\"]")),
        ("to_string('a')", json!("a")),
        ("type(labels)", json!("object")),
        ("type(`true`)", json!("boolean")),
    ]);
    refuses(&[
        "abs('1')",
        "avg(`[\"a\"]`)",
        "ceil('1')",
        "floor(null)",
        "contains(labels, 'a')",
        "starts_with(`1`, 'a')",
        "ends_with('a', `1`)",
        "join(`1`, `[]`)",
        "join(',', `[1]`)",
        "keys(`[]`)",
        "values('a')",
        "length(`1`)",
        "map(`1`, `[]`)",
        "max(`[1, \"a\"]`)",
        "max_by(people, &labels)",
        "min_by(`{}`, &a)",
        "merge(labels, `1`)",
        "reverse(labels)",
        "sort(`[1, \"a\"]`)",
        "sort_by(people, `1`)",
        "sort_by(`[{\"a\": 1}, {\"a\": \"b\"}]`, &a)",
        "sort_by(`[{\"a\": null}]`, &a)",
    ]);
}

#[test]
fn functions_over_texts() {
    gives(&[
        ("compare('a', 'b')", json!(-1)),
        ("compare('b', 'a')", json!(1)),
        ("compare('a', 'a')", json!(0)),
        ("equal_fold('GitHub', 'github')", json!(true)),
        ("equal_fold('a', 'b')", json!(false)),
        ("replace('aaa', 'a', 'b', `2`)", json!("bba")),
        ("replace('aaa', 'a', 'b', `-1`)", json!("bbb")),
        ("replace('aaa', 'a', 'b', `0`)", json!("aaa")),
        ("replace_all('a-a', 'a', 'bb')", json!("bb-bb")),
        ("replace_all('ab', '', '.')", json!(".a.b.")),
        ("to_upper('aé')", json!("AÉ")),
        ("to_lower('AB')", json!("ab")),
        ("trim('xxaxx', 'x')", json!("a")),
        ("trim('/a/', '')", json!("/a/")),
        ("trim_prefix('docker://a', 'docker://')", json!("a")),
        ("trim_prefix('a', 'b')", json!("a")),
        ("split('a,b,', ',')", json!(["a", "b", ""])),
        ("split('ab', '')", json!(["a", "b"])),
        ("regex_match('^v[0-9]+$', 'v12')", json!(true)),
        ("regex_match('[0-9]', 'v12')", json!(true)),
        ("regex_match('^[0-9]+$', `12`)", json!(true)),
        ("regex_match('^a$', 'b')", json!(false)),
        ("regex_replace_all('([a-z])([0-9])', 'a1b2', '$2${1}')", json!("1a2b")),
        ("regex_replace_all('[0-9]', `12`, `7`)", json!("77")),
        ("regex_replace_all_literal('[0-9]', 'a1', '$1')", json!("a$1")),
        ("pattern_match('ghcr.io/*', 'ghcr.io/a/b')", json!(true)),
        ("pattern_match('1?', `12`)", json!(true)),
        ("pattern_match('a', 'ab')", json!(false)),
        ("label_match(`{\"app\": \"web\"}`, labels)", json!(true)),
        ("label_match(`{\"app\": \"db\"}`, labels)", json!(false)),
        ("label_match(`{\"new\": \"x\"}`, labels)", json!(false)),
        ("to_boolean('TrUe')", json!(true)),
        ("to_boolean('false')", json!(false)),
        ("truncate('äbc', `2`)", json!("äb")),
        ("truncate('abc', `-1`)", json!("")),
        ("truncate('abc', `9`)", json!("abc")),
        ("path_canonicalize('/var//lib/../run/./x/')", json!("/var/run/x")),
        ("path_canonicalize('/../..')", json!("/")),
        ("path_canonicalize('../a')", json!("../a")),
        ("path_canonicalize('a/..')", json!(".")),
        ("path_canonicalize('')", json!("")),
        ("base64_encode('hello')", json!("aGVsbG8=")),
        ("base64_decode('aGVsbG8=')", json!("hello")),
    ]);
    refuses(&[
        "compare('a', `1`)",
        "equal_fold(null, 'a')",
        "replace('a', 'a', 'b', 'c')",
        "replace_all('a', 'a', null)",
        "to_upper(`1`)",
        "to_lower(null)",
        "trim('a', `1`)",
        "trim_prefix(`1`, 'a')",
        "split('a', `1`)",
        "regex_match('(', 'a')",
        "regex_match('a{1000}{1000}{1000}', 'a')",
        "regex_match('a', `true`)",
        "regex_replace_all('(', 'a', 'b')",
        "regex_replace_all('a', labels, 'b')",
        "regex_replace_all_literal('a', 'a', null)",
        "pattern_match('a', null)",
        "label_match(labels, 'a')",
        "to_boolean('yes')",
        "to_boolean(`true`)",
        "truncate('abc', '2')",
        "path_canonicalize(`1`)",
        "base64_encode(`1`)",
        "base64_decode('?')",
        "base64_decode('/w==')",
    ]);
}

#[test]
fn arithmetic_on_numbers_quantities_and_times() {
    gives(&[
        ("add(`1`, `2.5`)", json!(3.5)),
        ("add('1Gi', '512Mi')", json!("1536Mi")),
        ("add('100m', '900m')", json!("1")),
        ("add('1h', '1800s')", json!("1h30m0s")),
        ("sum(`[1, 2, 3]`)", json!(6)),
        ("sum(`[\"1Gi\", \"1Gi\"]`)", json!("2Gi")),
        ("sum(`[\"1h\"]`)", json!("1h")),
        ("subtract(`1`, `3`)", json!(-2)),
        ("subtract('1Gi', '1Mi')", json!("1023Mi")),
        ("subtract('1h', '3660s')", json!("-1m0s")),
        ("multiply(`2`, `3`)", json!(6)),
        ("multiply('1Gi', `2`)", json!("2Gi")),
        ("multiply(`0.5`, '1')", json!("500m")),
        ("multiply('20m', `1.5`)", json!("30m")),
        ("multiply(`2`, '90s')", json!("3m0s")),
        ("divide(`1`, `4`)", json!(0.25)),
        ("divide('1Gi', '512Mi')", json!(2)),
        ("divide('1Gi', `2`)", json!("512Mi")),
        ("divide('1h', '1800s')", json!(2)),
        ("divide('1h', `4`)", json!("15m0s")),
        ("modulo(`7`, `3`)", json!(1)),
        ("modulo('7', '3')", json!("1")),
        ("modulo('5400s', '1h')", json!("30m0s")),
        ("round(`1.255`, `1`)", json!(1.3)),
        ("round(`-2.5`, `0`)", json!(-3)),
        ("round(`9.99`, `300`)", json!(9.99)),
    ]);
    refuses(&[
        "add(`1`, '1Gi')",
        "add('1Gi', '1h')",
        "add('1h', '30m')",
        "add('x', 'y')",
        "add(`true`, `1`)",
        "add('2562047h', '2562047h')",
        "add(`1.7e308`, `1.7e308`)",
        "sum(`[]`)",
        "sum(`[1, \"1Gi\"]`)",
        "sum(`[1, null]`)",
        "subtract('1h', `1`)",
        "multiply('1Gi', '1Gi')",
        "multiply('1h', '1h')",
        "multiply('2562047h', `1000`)",
        "divide(`1`, `0`)",
        "divide('1Gi', '0')",
        "divide('1Gi', `0`)",
        "divide('1h', '0s')",
        "divide('1h', `0`)",
        "divide(`1`, '1h')",
        "modulo(`1`, `0`)",
        "modulo(`1.5`, `1`)",
        "modulo('1500m', '1')",
        "modulo('1', '0')",
        "modulo('1h', '0s')",
        "modulo('1h', `1`)",
        "round(`1.5`, `0.5`)",
        "round(`1.5`, `-1`)",
        "round('1.5', `1`)",
    ]);
}

#[test]
fn functions_over_times() {
    gives(&[
        ("time_since('', '2026-11-25T12:00:00Z', '')", json!("24h0m0s")),
        ("time_since('', '2026-11-27T12:00:00Z', '')", json!("-24h0m0s")),
        ("time_since('', '2023-01-01T00:00:00Z', '2023-01-01T01:00:00+01:00')", json!("0s")),
        ("time_since('2006-01-02', '2023-01-01', '2023-01-02')", json!("24h0m0s")),
        ("time_since('', '0001-01-01T00:00:00Z', '')", json!("2562047h47m16.854775807s")),
        ("time_now()", json!("2026-11-26T12:00:00Z")),
        ("time_now_utc()", json!("2026-11-26T12:00:00Z")),
        ("time_add('2023-01-01T00:00:00+02:00', '90m')", json!("2023-01-01T01:30:00+02:00")),
        ("time_parse('1', '1700000000')", json!("2023-11-14T22:13:20Z")),
        (
            "time_parse('Mon Jan 02 2006 15:04:05 -0700', 'Fri Jun 22 2022 17:45:00 +0100')",
            json!("2022-06-22T17:45:00+01:00"),
        ),
        ("time_to_cron('2023-02-02T15:04:05Z')", json!("4 15 2 2 4")),
        ("time_utc('2023-01-01T01:00:00+02:00')", json!("2022-12-31T23:00:00Z")),
        ("time_diff('2023-01-01T00:00:00Z', '2023-01-01T00:00:01.5Z')", json!("1.5s")),
        ("time_before('2023-01-01T00:00:00Z', '2023-01-01T00:00:01Z')", json!(true)),
        ("time_before('2023-01-01T00:00:00Z', '2023-01-01T01:00:00+01:00')", json!(false)),
        ("time_after('2023-01-01T00:00:01Z', '2023-01-01T00:00:00Z')", json!(true)),
        ("time_between('2023-06-01T00:00:00Z', '2023-01-01T00:00:00Z', '2024-01-01T00:00:00Z')", json!(true)),
        (
            "time_between('2023-01-01T00:00:00Z', '2023-01-01T00:00:00Z', '2024-01-01T00:00:00Z')",
            json!(false),
        ),
        ("time_truncate('2023-01-01T10:42:00Z', '1h')", json!("2023-01-01T10:00:00Z")),
    ]);
    refuses(&[
        "time_since('', '', '')",
        "time_since('', 'yesterday', '')",
        "time_since('2006', '2023-01-01T00:00:00Z', '')",
        "time_since(null, '2026-11-25T12:00:00Z', '')",
        "time_add('2023-01-01', '1h')",
        "time_add('2023-01-01T00:00:00Z', '1d')",
        "time_add('9999-12-31T00:00:00Z', '2562047h')",
        "time_parse('1', 'x')",
        "time_parse('1', '99999999999999999')",
        "time_parse('2006', 'x')",
        "time_to_cron('x')",
        "time_utc(`1`)",
        "time_diff('x', '2023-01-01T00:00:00Z')",
        "time_before('2023-01-01T00:00:00Z', null)",
        "time_after('x', 'y')",
        "time_between('2023-06-01T00:00:00Z', '', '')",
        "time_truncate('2023-01-01T10:42:00Z', 'x')",
    ]);
}

#[test]
fn functions_over_objects_and_lists() {
    gives(&[
        ("lookup(labels, 'app')", json!("web")),
        ("lookup(labels, 'other')", json!(null)),
        ("lookup(people, `1`).n", json!("a")),
        ("lookup(people, `9`)", json!(null)),
        ("lookup(people, `-1`)", json!(null)),
        ("items(labels, 'k', 'v')", json!([{"k": "app", "v": "web"}, {"k": "tier", "v": "front"}])),
        ("items(`[\"a\"]`, 'i', 'v')", json!([{"i": 0, "v": "a"}])),
        ("object_from_lists(`[\"a\", \"b\"]`, `[1]`)", json!({"a": 1, "b": null})),
        ("object_from_lists(`[1, true]`, `[1, 2]`)", json!({"1": 1, "true": 2})),
    ]);
    refuses(&[
        "lookup(labels, `1`)",
        "lookup(people, 'a')",
        "lookup(people, `0.5`)",
        "lookup('a', 'a')",
        "items(labels, `1`, 'v')",
        "items('a', 'k', 'v')",
        "object_from_lists(labels, `[]`)",
        "object_from_lists(`[null]`, `[1]`)",
    ]);
}

#[test]
fn functions_that_read_other_formats() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let image = |name: &str| search(&format!("image_normalize('{name}')"));
    for (name, normal) in [
        ("nginx", "docker.io/nginx:latest"),
        ("org/nginx:1", "docker.io/org/nginx:1"),
        ("ghcr.io/org/a", "ghcr.io/org/a:latest"),
        ("localhost:5000/a:b", "localhost:5000/a:b"),
        ("localhost/a", "localhost/a:latest"),
    ] {
        assert_eq!(image(name), Ok(json!(normal)), "{name}");
    }
    assert_eq!(image(&format!("ghcr.io/a:1@{digest}")), Ok(json!(format!("ghcr.io/a@{digest}"))));
    gives(&[
        ("semver_compare('1.2.3', '>=1.0.0 <2.0.0')", json!(true)),
        ("semver_compare('2.0.0', '1.x')", json!(false)),
        ("parse_json('{\"a\": [1]}').a[0]", json!(1)),
        ("parse_yaml('a: [1, x]')", json!({"a": [1, "x"]})),
        ("sha256('abc')", json!("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")),
        ("sha1('abc')", json!("a9993e364706816aba3e25717850c26c9cd0d89d")),
        ("md5('abc')", json!("900150983cd24fb0d6963f7d28e17f72")),
        ("is_external_url('https://8.8.8.8/x')", json!(true)),
        ("is_external_url('https://10.1.2.3')", json!(false)),
        ("is_external_url('http://localhost:8080/')", json!(false)),
        ("is_external_url('http://[::1]:80')", json!(false)),
        ("is_external_url('http://[::ffff:192.168.0.1]')", json!(false)),
        ("is_external_url('http://[fd00::1]')", json!(false)),
        ("x509_decode(rsa).Subject.CommonName", json!("builder")),
        ("x509_decode(rsa).Issuer.Organization", json!(["Example"])),
        ("x509_decode(rsa).Issuer.Province", json!(null)),
        ("x509_decode(rsa).SerialNumber", json!(4660)),
        ("x509_decode(rsa).NotAfter", json!("2036-11-23T16:29:04Z")),
        ("x509_decode(rsa).PublicKey.E", json!(65537)),
        ("starts_with(x509_decode(rsa).PublicKey.N, '20862')", json!(true)),
        ("x509_decode(rsa).IsCA", json!(true)),
        ("x509_decode(rsa).DNSNames", json!(["build.example"])),
        ("x509_decode(rsa).EmailAddresses", json!(["build@example.org"])),
        ("x509_decode(rsa).SubjectKeyId", json!("/nnXMRBoxHvvt5gJzlDZ/hBREBw=")),
    ]);
    refuses(&[
        "semver_compare('latest', '>=1.0.0')",
        "semver_compare('1.0.0', 'new')",
        "parse_json('{')",
        "parse_json(`1`)",
        "parse_yaml('a: [')",
        "sha256(`1`)",
        "sha1(null)",
        "md5(labels)",
        "is_external_url('https://example.com')",
        "is_external_url('x')",
        "image_normalize('UPPER CASE')",
        "image_normalize('')",
        "x509_decode('x')",
        "x509_decode(p256)",
        "random('[a-z]{5}')",
    ]);
    assert_eq!(search("x509_decode(rsa).KeyUsage"), Err(Error::UnknownKey("KeyUsage".into())));
}

#[test]
fn whole_numbers_are_exact_or_none() {
    assert_eq!(whole(3.0), Some(3));
    assert_eq!(whole(-3.0), Some(-3));
    assert_eq!(whole(0.5), None);
    assert_eq!(whole(1e300), None);
    assert_eq!(whole(f64::NAN), None);
}
