//! Signing configurations: reading, the written form, and choosing services.
#![no_main]

use countersign_bundle::{Selector, SigningConfig};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(config) = SigningConfig::from_json(data) else { return };
    let written = config.to_json().expect("what was read can be written");
    assert_eq!(SigningConfig::from_json(&written), Ok(config.clone()));
    let Some(first) = config.rekor_tlog_urls.first() else { return };
    if let Ok(chosen) =
        config.rekor_tlog_config.select(&config.rekor_tlog_urls, &[1, 2], first.valid_for.start)
    {
        assert!(!chosen.is_empty());
        if let Selector::Exact(count) = config.rekor_tlog_config.selector {
            assert_eq!(chosen.len(), count as usize);
        }
    }
});
