//! PEP 740: the attestations of PyPI, a form of their own around the same evidence. They say neither payload type nor
//! version of a bundle; both are fixed by the document's version.

use countersign_attestation::Envelope;
use countersign_attestation::dsse::{IN_TOTO_PAYLOAD_TYPE, Signature};
use countersign_attestation::json::{Base64, Bounded};
use countersign_bundle::{
    Bundle, BundleError, BundleVersion, Content, KeyMaterial, TlogEntry, VerificationMaterial,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{MAX_PIECES, Piece, beside, of_json, push, shape};

/// The version of the documents that are read.
const VERSION: u64 = 1;
/// The most log entries of one attestation.
const MAX_ENTRIES: usize = 32;

#[derive(Deserialize)]
struct Attestation<'a> {
    version: u64,
    #[serde(borrow)]
    verification_material: Material<'a>,
    envelope: Signed,
}

#[derive(Deserialize)]
struct Material<'a> {
    certificate: Base64,
    #[serde(borrow)]
    transparency_entries: Bounded<&'a RawValue, MAX_ENTRIES>,
}

#[derive(Deserialize)]
struct Signed {
    statement: Base64,
    signature: Base64,
}

#[derive(Deserialize)]
struct Published<'a> {
    #[serde(borrow)]
    attestations: Bounded<&'a RawValue, MAX_PIECES>,
}

/// One attestation.
pub(super) fn attestation(text: &str) -> Result<Bundle, BundleError> {
    let wire: Attestation<'_> = of_json(text)?;
    if wire.version != VERSION {
        return Err(shape(format!("version: expected {VERSION}, found {}", wire.version)));
    }
    let entries = wire.verification_material.transparency_entries.0;
    let tlog_entries = entries
        .into_iter()
        .map(|entry| TlogEntry::from_json(entry.get().as_bytes()))
        .collect::<Result<Vec<_>, _>>()?;
    let envelope = Envelope {
        payload_type: IN_TOTO_PAYLOAD_TYPE.into(),
        payload: wire.envelope.statement.0,
        signatures: vec![Signature { sig: wire.envelope.signature.0, keyid: String::new() }],
    };
    let bundle = Bundle {
        version: BundleVersion::V0_3,
        verification_material: VerificationMaterial {
            content: KeyMaterial::Certificate(wire.verification_material.certificate.0),
            tlog_entries,
            rfc3161_timestamps: Vec::new(),
        },
        content: Content::Dsse(envelope),
    };
    bundle.check_shape()?;
    Ok(bundle)
}

/// A file's provenance: what each publisher attested. What the index says of the publisher is not asked, for nobody signed
/// it: who published is in the certificate.
pub(super) fn provenance(bundles: &str, place: &str, pieces: &mut Vec<Piece>) -> Result<(), BundleError> {
    let list: Bounded<Published<'_>, MAX_PIECES> = match of_json(bundles) {
        Ok(list) => list,
        Err(error) => return push(pieces, place.to_owned(), Err(error)),
    };
    for (index, published) in list.0.into_iter().enumerate() {
        for (number, one) in published.attestations.0.into_iter().enumerate() {
            let member = format!("attestation_bundles[{index}].attestations[{number}]");
            push(pieces, beside(place, &member), attestation(one.get()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::wire::read;

    fn entry() -> Value {
        json!({ "logIndex": "5", "logId": { "keyId": "AQ==" }, "kindVersion": { "kind": "dsse", "version": "0.0.1" },
            "integratedTime": "1", "inclusionPromise": { "signedEntryTimestamp": "AQ==" }, "canonicalizedBody": "e30=",
            "inclusionProof": { "logIndex": "5", "rootHash": "AQ==", "treeSize": "6", "hashes": [], "checkpoint": { "envelope": "c" } } })
    }

    fn good() -> Value {
        json!({ "version": 1, "envelope": { "statement": "e30=", "signature": "AQ==" },
            "verification_material": { "certificate": "AQ==", "transparency_entries": [entry()] } })
    }

    #[test]
    fn an_attestation_becomes_a_bundle_with_its_evidence() {
        let bundle = attestation(&good().to_string()).unwrap();
        assert_eq!(bundle.verification_material.tlog_entries.len(), 1);
        assert_eq!(bundle.content.envelope().unwrap().payload, b"{}");
        assert_eq!(bundle.content.envelope().unwrap().payload_type, IN_TOTO_PAYLOAD_TYPE);
        let file = json!({ "version": 1, "attestation_bundles": [
            { "publisher": { "kind": "GitHub", "repository": "lies/of-the-index" }, "attestations": [good(), good()] },
            { "publisher": {}, "attestations": [good()] }] });
        let pieces = read(file.to_string().as_bytes()).unwrap();
        assert_eq!(pieces.len(), 3);
        assert_eq!(pieces[2].place, "attestation_bundles[1].attestations[0]");
        assert!(pieces.iter().all(|piece| piece.bundle.is_ok()));
    }

    #[test]
    fn each_member_is_needed_and_of_its_type() {
        for pointer in [
            "/version",
            "/envelope/statement",
            "/envelope/signature",
            "/verification_material/certificate",
            "/verification_material/transparency_entries/0/logId",
            "/verification_material/transparency_entries/0/inclusionProof",
        ] {
            for bad in [Value::Null, json!(7), json!([]), json!({}), json!("%")] {
                let mut changed = good();
                *changed.pointer_mut(pointer).unwrap() = bad.clone();
                assert!(attestation(&changed.to_string()).is_err(), "{pointer} {bad}");
            }
        }
        let mut empty = good();
        empty["envelope"]["signature"] = "".into();
        assert!(attestation(&empty.to_string()).is_err());
    }
}
