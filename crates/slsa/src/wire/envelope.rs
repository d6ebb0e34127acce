//! DSSE envelopes by themselves: no log entry, and a certificate at most as a member `cert` beside a signature.

use countersign_attestation::Envelope;
use countersign_attestation::dsse::MAX_SIGNATURES;
use countersign_attestation::json::Bounded;
use countersign_bundle::{Bundle, BundleError, BundleVersion, Content, KeyMaterial, VerificationMaterial};
use countersign_crypto::encoding;
use serde::Deserialize;

use super::{Piece, beside, of_json, push, shape};

/// The most signatures of one envelope: each is judged by itself, with the whole statement.
const MAX_OF_ENVELOPE: usize = 8;

#[derive(Deserialize)]
struct Signatures {
    signatures: Bounded<Beside, MAX_SIGNATURES>,
}

#[derive(Deserialize)]
struct Beside {
    #[serde(default)]
    cert: Option<String>,
}

/// The bundles of an envelope, one for each signature: two signatures are two signers, and one of them may be unknown.
pub(super) fn read(text: &str, place: &str, pieces: &mut Vec<Piece>) -> Result<(), BundleError> {
    let (envelope, beside_it) = match both(text) {
        Ok(both) => both,
        Err(error) => return push(pieces, place.to_owned(), Err(error)),
    };
    let one = envelope.signatures.len() == 1;
    for (index, (signature, certificate)) in envelope.signatures.iter().zip(&beside_it).enumerate() {
        let place = if one { place.to_owned() } else { beside(place, &format!("signatures[{index}]")) };
        let single = Envelope {
            payload_type: envelope.payload_type.clone(),
            payload: envelope.payload.clone(),
            signatures: vec![signature.clone()],
        };
        push(pieces, place, bundle(single, certificate.cert.as_deref()))?;
    }
    Ok(())
}

fn both(text: &str) -> Result<(Envelope, Vec<Beside>), BundleError> {
    let envelope = Envelope::from_json(text.as_bytes())?;
    if envelope.signatures.len() > MAX_OF_ENVELOPE {
        let found = envelope.signatures.len();
        return Err(shape(format!("{found} signatures in one envelope, at most {MAX_OF_ENVELOPE} are read")));
    }
    Ok((envelope, of_json::<Signatures>(text)?.signatures.0))
}

fn bundle(envelope: Envelope, certificate: Option<&str>) -> Result<Bundle, BundleError> {
    let content = match certificate.filter(|text| !text.trim().is_empty()) {
        None => KeyMaterial::PublicKeyHint(String::new()),
        Some(pem) => {
            let blocks = encoding::pem_decode(pem).map_err(|e| shape(format!("cert: {e}")))?;
            if blocks.is_empty() || blocks.iter().any(|block| block.label != "CERTIFICATE") {
                return Err(shape("cert: expected certificates in PEM"));
            }
            KeyMaterial::CertificateChain(blocks.into_iter().map(|block| block.der).collect())
        }
    };
    let verification_material =
        VerificationMaterial { content, tlog_entries: Vec::new(), rfc3161_timestamps: Vec::new() };
    let bundle =
        Bundle { version: BundleVersion::Legacy, verification_material, content: Content::Dsse(envelope) };
    bundle.check_shape()?;
    Ok(bundle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(signatures: &str) -> Vec<Piece> {
        let text = format!(r#"{{"payload":"e30=","payloadType":"t","signatures":[{signatures}]}}"#);
        let mut pieces = Vec::new();
        read(&text, "", &mut pieces).unwrap();
        pieces
    }

    #[test]
    fn a_certificate_beside_the_signature_is_taken_and_anything_else_there_is_an_error() {
        let pem = encoding::pem_encode("CERTIFICATE", b"der").replace('\n', "\\n");
        let good = piece(&format!(r#"{{"sig":"AA==","cert":"{pem}"}}"#)).remove(0).bundle.unwrap();
        assert_eq!(good.verification_material.content.leaf(), Some(b"der".as_slice()));
        assert!(good.verification_material.tlog_entries.is_empty());
        for bad in ["\"no pem\"", "1", "\"-----BEGIN PUBLIC KEY-----\\nAA==\\n-----END PUBLIC KEY-----\\n\""]
        {
            assert!(piece(&format!(r#"{{"sig":"AA==","cert":{bad}}}"#))[0].bundle.is_err(), "{bad}");
        }
    }

    #[test]
    fn r72c7_an_empty_signature_is_an_error() {
        assert!(piece(r#"{"sig":""}"#)[0].bundle.is_err());
        assert!(piece("")[0].bundle.is_err());
    }

    #[test]
    fn each_signature_stands_by_itself_up_to_a_number() {
        let of = |count: usize| piece(&vec![r#"{"sig":"AA=="}"#; count].join(","));
        assert_eq!(of(3).iter().filter(|piece| piece.bundle.is_ok()).count(), 3);
        assert!(of(MAX_OF_ENVELOPE + 1)[0].bundle.is_err());
    }
}
