//! What a plugin for keys writes: its answer, with the public key and the signature in it.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(answer) = countersign_keys::PluginAnswer::parse(data) {
        let _ = answer.public_key();
        let _ = answer.signature();
    }
});
