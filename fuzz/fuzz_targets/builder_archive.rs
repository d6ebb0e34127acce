//! Archives of sources: nothing is written outside of the directory they are unpacked in.
#![no_main]

use std::fs;

use countersign_builder::control::unpack_source;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let place = std::env::temp_dir().join(format!("countersign-fuzz-{}", std::process::id()));
    let _ = fs::remove_dir_all(&place);
    fs::create_dir_all(place.join("beside")).unwrap();
    let _ = unpack_source(&mut &*data, &place.join("top"), 1);
    let names: Vec<_> = fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| name == "beside" || name == "top"), "{names:?}");
    assert!(fs::read_dir(place.join("beside")).unwrap().next().is_none());
    fs::remove_dir_all(&place).unwrap();
});
