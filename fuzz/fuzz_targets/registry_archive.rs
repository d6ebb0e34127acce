//! Tar archives: every member lies within the file, and no name leads out of it.
#![no_main]

use std::io::Cursor;

use countersign_registry::tar::contents;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(found) = contents(&mut Cursor::new(data)) else { return };
    for (name, member) in &found.files {
        assert!(member.offset + member.size <= data.len() as u64);
        assert!(!name.starts_with('/') && !name.split('/').any(|part| part == ".."), "{name}");
    }
    for (name, target) in &found.links {
        assert!(!target.starts_with('/') && !target.split('/').any(|part| part == ".."), "{target}");
        let _ = found.file(name);
    }
});
