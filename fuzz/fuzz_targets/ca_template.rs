//! Claim templates: read or refused with a position inside the text.
#![no_main]

use countersign_ca::config::Template;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data)
        && let Err(error) = Template::parse(text)
    {
        assert!(text.is_char_boundary(error.position));
    }
});
