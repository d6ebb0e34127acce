//! Arrows point down: a crate uses only crates below it.

use crate::assert_none;
use crate::workspace::{Kind, Metadata};

/// The layers from the top to the bottom. Crates of one layer do not know each other.
///
/// A crate moves or a new one is added here and in ARCHITECTURE.md together.
const LAYERS: &[&[&str]] = &[
    &["countersign"],
    &["countersign-kubernetes"],
    &["countersign-server"],
    &["countersign-builder"],
    &["countersign-client"],
    &["countersign-policy"],
    &["countersign-ca"],
    &["countersign-tsa"],
    &["countersign-log"],
    &["countersign-registry"],
    &["countersign-trust"],
    &["countersign-web"],
    &["countersign-slsa"],
    &["countersign-notary"],
    &["countersign-verify"],
    &["countersign-keys"],
    &["countersign-x509"],
    &["countersign-tlog"],
    &["countersign-bundle"],
    &["countersign-attestation"],
    &["countersign-clock", "countersign-crypto", "countersign-http"],
];

/// Packages which are no part of the product: they test or measure it and may use every crate.
const OUTSIDE: &[&str] = &[
    "countersign-house",
    "countersign-benches",
    "countersign-conformance",
    "countersign-verify-differential",
];

/// Tests that reach up, each with its reason.
const TEST_EXCEPTIONS: &[(&str, &str, &str)] = &[];

fn layer(package: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&package))
}

/// True when the first package lies above the second.
fn above(package: &str, used: &str) -> bool {
    layer(package).zip(layer(used)).is_some_and(|(from, to)| from < to)
}

#[test]
fn every_crate_has_its_layer() {
    let known = |member: &String| layer(member).is_some() || OUTSIDE.contains(&member.as_str());
    let unknown: Vec<String> =
        Metadata::load().members().into_iter().filter(|member| !known(member)).collect();
    assert_none("these crates are missing in the table of layers:", &unknown);
}

#[test]
fn arrows_point_down() {
    let metadata = Metadata::load();
    let members = metadata.members();
    let mut wrong = Vec::new();
    for package in members.iter().filter(|member| !OUTSIDE.contains(&member.as_str())) {
        for kind in [Kind::Normal, Kind::Dev, Kind::Build] {
            for used in metadata.dependencies(package, kind).intersection(&members) {
                let excepted = kind == Kind::Dev
                    && TEST_EXCEPTIONS.iter().any(|(from, to, _)| from == package && to == used);
                if !above(package, used) && !excepted {
                    wrong.push(format!("{package} -> {used} ({kind:?})"));
                }
            }
        }
    }
    assert_none("these arrows do not point down:", &wrong);
}

#[test]
fn the_table_itself_tells_up_from_down() {
    assert!(above("countersign", "countersign-crypto"));
    assert!(!above("countersign-bundle", "countersign-x509"));
    assert!(!above("countersign-clock", "countersign-crypto"));
}
