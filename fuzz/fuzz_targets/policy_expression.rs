//! Expressions of Kyverno's policies, on a fixed document, each with a value put into it. Neither ends in anything but a
//! value or an error, and a value between quotes comes out as it went in.
#![no_main]

use countersign_policy::kyverno::jmespath::{Budget, Expression, Piece};
use countersign_policy::kyverno::{Context, substitute};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // The first line is a value, the rest an expression.
    let (value, expression) = text.split_once('\n').unwrap_or(("", text));
    let document = json!({
        "a": [1, "b", null, {"c": [2.5, "1h", "1Gi"]}],
        "t": "2026-11-26T12:00:00Z",
        "v": value,
        "o": {"k": "x", "l": true}
    });
    let now = Timestamp::UNIX_EPOCH;
    if let Ok(expression) = Expression::parse(expression)
        && let Ok(found) = expression.search(&document, now, &Budget::default())
    {
        assert!(Budget::default().value(&found).is_ok());
    }
    if value.chars().count() < 1_000 {
        let hole = || Piece::Hole(Value::from(value));
        let quoted = [Piece::Text("['"), hole(), Piece::Text("', `\""), hole(), Piece::Text("\"`]")];
        let found = Expression::from_pieces(&quoted)
            .and_then(|quoted| quoted.search(&document, now, &Budget::default()));
        assert_eq!(found, Ok(json!([value, value])));
    }
    let context = Context::new(document, now);
    let _ = substitute(&Value::from(expression), &context);
    let _ = substitute(&Value::from(format!("{{{{ {expression} }}}}")), &context);
    assert_eq!(substitute(&json!("<{{ v }}>"), &context), Ok(json!(format!("<{value}>"))));
});
