//! Docker's `config.json` and pull secrets: read without a panic, and errors show none of it.
#![no_main]

use countersign_registry::auth::DockerConfig;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for result in [DockerConfig::parse(data), DockerConfig::from_pull_secret(data)] {
        if let Err(error) = result {
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
});
