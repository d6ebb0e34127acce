//! Lock files of all kinds, the first byte says which: what is pinned has an address without a password, and a digest.
#![no_main]

use countersign_attestation::purl::Purl;
use countersign_builder::address::{git, public};
use countersign_builder::materials::LockFile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((kind, text)) = input.split_first() else { return };
    // Seeds begin with a letter: A for the first kind.
    let Some(file) = LockFile::ALL.get(usize::from(kind.wrapping_sub(b'A'))) else { return };
    let Ok(found) = file.read(text) else { return };
    for resource in &found.pinned {
        assert!(!resource.digest.is_empty());
        let uri = resource.uri.as_str();
        let plain = public(uri).as_deref() == Some(uri) || git(uri, "").as_deref() == Some(uri);
        assert!(plain || Purl::parse(uri).is_some(), "{uri}");
        let location = resource.download_location.as_str();
        assert!(location.is_empty() || public(location).as_deref() == Some(location), "{location}");
    }
});
