//! CEL: whatever an expression says, reading it and evaluating it ends, and a condition is true or false or an error.
#![no_main]

use countersign_policy::cel::{Program, Variables};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(program) = Program::compile(text) else { return };
    assert_eq!(program.text(), text);
    let object = serde_json::json!({"kind": "Pod", "n": 1, "list": [1, "a", null], "map": {"a": {"b": 0.5}}});
    let variables = Variables::new(jiff::Timestamp::UNIX_EPOCH).with("object", &object);
    let value = program.evaluate(&variables);
    if let Ok(holds) = program.holds(&variables) {
        assert_eq!(value, Ok(holds.into()));
    }
});
