//! kubeconfig files: YAML with all its anchors and nesting.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = countersign_keys::Kubeconfig::parse(text);
    }
});
