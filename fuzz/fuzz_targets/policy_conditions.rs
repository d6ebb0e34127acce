//! Conditions of Kyverno's policies, on a predicate. What can be read is evaluated to a yes, a no or an error, and what
//! holds says which conditions did.
#![no_main]

use countersign_policy::kyverno::{Conditions, Context};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

fuzz_target!(|data: &[u8]| {
    // {"conditions": …, "predicate": …}
    let Ok(Value::Object(mut input)) = serde_json::from_slice::<Value>(data) else { return };
    let predicate = input.remove("predicate").unwrap_or_default();
    let Some(conditions) = input.remove("conditions") else { return };
    let Ok(conditions) = serde_json::from_value::<Conditions>(conditions) else { return };
    let _ = conditions.check();
    let request = json!({"request": {"namespace": "prod", "operation": "CREATE"}});
    let context = Context::new(request, Timestamp::UNIX_EPOCH).merged_over(predicate);
    assert_eq!(context.root().pointer("/request/namespace"), Some(&json!("prod")));
    if let Ok(outcome) = conditions.hold(&context) {
        assert!(!outcome.because.is_empty());
    }
});
