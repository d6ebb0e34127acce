//! Key references: parsing, and that what is read reads the same again and names no other address.
#![no_main]

use countersign_keys::KeyRef;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(reference) = KeyRef::parse(text) else { return };
    assert_eq!(KeyRef::parse(&reference.to_string()).ok(), Some(reference.clone()));
    let part = |text: &str| !text.is_empty() && text != "." && text != ".." && !text.contains(['/', '?', '#', '%']);
    match &reference {
        KeyRef::Kubernetes { namespace, secret } => assert!(part(namespace) && part(secret)),
        KeyRef::HashiVault { key } => assert!(part(key)),
        KeyRef::AzureKms { vault, key, .. } => assert!(part(vault) && part(key) && !vault.contains('@')),
        KeyRef::GcpKms { project, location, ring, key, .. } => {
            assert!([project, location, ring, key].into_iter().all(|text| part(text)));
        }
        _ => {}
    }
});
