//! COSE envelopes, through the whole engine with a fixed policy and store: whatever is around it, only what notation has
//! signed is accepted.
#![no_main]

use countersign_notary::Format;
use libfuzzer_sys::fuzz_target;

#[path = "../notary_world.rs"]
mod world;

fuzz_target!(|data: &[u8]| world::check(Format::Cose, data));
