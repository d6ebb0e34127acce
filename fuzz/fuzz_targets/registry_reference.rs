//! Names of images: what is read can be written and read again, and is safe as part of an address.
#![no_main]

use countersign_registry::Reference;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(reference) = Reference::parse(text) else { return };
    let written = reference.to_string();
    assert_eq!(Reference::parse(&written).as_ref(), Ok(&reference));
    let path = reference.repository().path();
    assert!(!path.split('/').any(|part| part.is_empty() || part.starts_with('.')), "{path}");
    assert!(written.bytes().all(|b| b.is_ascii_graphic() && !b"?#%\\".contains(&b)), "{written}");
});
