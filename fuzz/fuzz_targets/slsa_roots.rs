//! Roots of trust: what is read names somebody for some builder, at a level that exists, and no key is made up.
#![no_main]

use countersign_slsa::Roots;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(roots) = Roots::read(text) else { return };
    assert!(!roots.all.is_empty());
    assert!(roots.all.iter().all(|root| root.level <= 3));
    if let Ok(builders) = roots.ready(|_| Err("no key".into())) {
        for root in builders.roots() {
            assert!(!root.builder.matches("", None));
            assert!(!root.builder.matches("https://b.example/\0", Some("https://b.example/\0")));
        }
    }
});
