//! Proposals to a Rekor v1 log: reading, and that the body made of one, were its signatures good, reads back as it is written.
#![no_main]

use countersign_bundle::rekor::{BodyV1, DsseSignatureV1, MAX_VERIFIERS_V1, ProposalV1, VerifierV1};
use countersign_crypto::HashAlgorithm;
use libfuzzer_sys::fuzz_target;

/// Each signature with a verifier.
fn pairs(envelope: countersign_attestation::Envelope, verifiers: &[VerifierV1]) -> Vec<DsseSignatureV1> {
    assert!(!verifiers.is_empty() && verifiers.len() <= MAX_VERIFIERS_V1);
    assert!(!envelope.signatures.is_empty() && envelope.signatures.len() <= MAX_VERIFIERS_V1);
    let of = verifiers.iter().cycle();
    let pair = |(s, v): (countersign_attestation::dsse::Signature, &VerifierV1)| DsseSignatureV1 {
        signature: s.sig,
        verifier_pem: v.to_pem(),
        keyid: s.keyid,
    };
    envelope.signatures.into_iter().zip(of).map(pair).collect()
}

fuzz_target!(|data: &[u8]| {
    let body = match ProposalV1::parse(data) {
        Ok(ProposalV1::HashedRekord { digest, signature, verifier }) => {
            BodyV1::HashedRekord { digest, signature, verifier_pem: verifier.to_pem() }
        }
        Ok(ProposalV1::Dsse { envelope, envelope_hash, verifiers }) => BodyV1::Dsse {
            envelope_hash,
            payload_hash: HashAlgorithm::Sha256.digest(&envelope.payload),
            signatures: pairs(envelope, &verifiers),
        },
        Ok(ProposalV1::Intoto { envelope, envelope_hash, verifiers }) => BodyV1::Intoto {
            payload_type: envelope.payload_type.clone(),
            envelope_hash,
            payload_hash: HashAlgorithm::Sha256.digest(&envelope.payload),
            signatures: pairs(envelope, &verifiers),
        },
        _ => return,
    };
    let (kind, version) = body.kind();
    let canonical = body.canonical_body();
    let read = BodyV1::parse(kind, version, &canonical).expect("what the log stores can be read");
    assert_eq!(read.canonical_body(), canonical);
});
