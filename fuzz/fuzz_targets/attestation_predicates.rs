//! The smaller predicates, by every type that is known: what is read is written and read again, and words keep their spelling.
#![no_main]

use countersign_attestation::predicate::levels::Word;
use countersign_attestation::predicate::registry;
use countersign_attestation::predicate::small::Predicate;
use countersign_attestation::predicate::{
    code_review::CodeReview, link::Link, reference::Reference, release::Release, runtime_trace::RuntimeTrace,
    scai::Scai, svr::Svr, test_result::TestResult, vsa::Vsa,
};
use libfuzzer_sys::fuzz_target;

fn again<P: Predicate + PartialEq + std::fmt::Debug>(text: &str) {
    for kind in P::TYPES {
        let Ok(read) = P::from_json(kind, text) else { continue };
        let written = read.to_json().expect("what was read can be written");
        let again = P::from_json(P::TYPES[0], written.get()).expect("what was written can be read");
        assert_eq!(again, read);
    }
}

fuzz_target!(|text: &str| {
    again::<CodeReview>(text);
    again::<Link>(text);
    again::<Reference>(text);
    again::<Release>(text);
    again::<RuntimeTrace>(text);
    again::<Scai>(text);
    again::<Svr>(text);
    again::<TestResult>(text);
    again::<Vsa>(text);
    for kind in registry::KINDS.iter().flat_map(|kind| kind.types) {
        let _ = registry::check(kind, text);
    }
    if let Ok(word) = Word::parse(text) {
        assert_eq!(word.to_string(), text);
    }
});
