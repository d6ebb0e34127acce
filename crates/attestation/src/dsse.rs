//! DSSE: an envelope around a payload, and what of it is signed.

use serde::{Deserialize, Serialize};

use crate::json::{self, Base64, Bounded, JsonError};

/// The payload type of in-toto statements.
pub const IN_TOTO_PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// Whether a payload type is that of in-toto statements: the one that is written, or since version 1.2 of the specification one
/// with the name of a predicate in it, which says nothing that the statement does not say itself.
///
/// ```
/// use countersign_attestation::dsse::is_in_toto;
/// assert!(is_in_toto("application/vnd.in-toto+json") && is_in_toto("application/vnd.in-toto.provenance+json"));
/// assert!(!is_in_toto("application/vnd.in-toto.bundle") && !is_in_toto("application/vnd.in-toto.+json"));
/// ```
#[must_use]
pub fn is_in_toto(payload_type: &str) -> bool {
    let named =
        payload_type.strip_prefix("application/vnd.in-toto.").and_then(|rest| rest.strip_suffix("+json"));
    let word = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    payload_type == IN_TOTO_PAYLOAD_TYPE || named.is_some_and(word)
}

/// The largest envelope read, in bytes of JSON.
pub const MAX_ENVELOPE_LEN: usize = 16 * 1024 * 1024;
/// The most signatures read from one envelope. A bundle allows only one.
pub const MAX_SIGNATURES: usize = 32;

/// The pre-authentication encoding: the bytes which a DSSE signature covers. Lengths count bytes of UTF-8.
///
/// ```
/// use countersign_attestation::dsse::pae;
/// assert_eq!(pae("http://example.com/HelloWorld", b"hello world"),
///            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
/// ```
#[must_use]
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out
}

/// A signature in an envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The signature's bytes.
    pub sig: Vec<u8>,
    /// A hint at the key, not authenticated and not used here; empty beside a certificate.
    pub keyid: String,
}

/// A payload, its type, and signatures over both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// What the payload is, such as [`IN_TOTO_PAYLOAD_TYPE`].
    pub payload_type: String,
    /// The payload, exactly as it was signed.
    pub payload: Vec<u8>,
    /// The signatures, in their order.
    pub signatures: Vec<Signature>,
}

impl Envelope {
    /// The bytes which each signature covers; see [`pae`].
    #[must_use]
    pub fn pae(&self) -> Vec<u8> {
        pae(&self.payload_type, &self.payload)
    }

    /// Reads an envelope.
    ///
    /// ```
    /// use countersign_attestation::Envelope;
    /// let json = br#"{"payload":"e30=","payloadType":"text/json","signatures":[{"sig":"AAE="}]}"#;
    /// let envelope = Envelope::from_json(json)?;
    /// assert_eq!(envelope.payload, b"{}");
    /// assert_eq!(Envelope::from_json(&envelope.to_json())?, envelope);
    /// # Ok::<(), countersign_attestation::JsonError>(())
    /// ```
    ///
    /// # Errors
    /// [`JsonError`]: limits, members missing, given twice or of another type, no signature at all.
    pub fn from_json(bytes: &[u8]) -> Result<Self, JsonError> {
        json::from_slice::<WireEnvelope>(bytes, MAX_ENVELOPE_LEN)?.try_into()
    }

    /// Writes the envelope; members in the order of the protobuf message, `keyid` always there.
    #[must_use]
    #[expect(clippy::expect_used, reason = "strings and lists only: there is nothing JSON cannot say")]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(&WireEnvelope::from(self)).expect("an envelope as JSON")
    }
}

/// The envelope's JSON, for crates which embed it in theirs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WireEnvelope {
    payload: Base64,
    #[serde(alias = "payload_type")]
    payload_type: String,
    signatures: Bounded<WireSignature, MAX_SIGNATURES>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct WireSignature {
    sig: Base64,
    #[serde(default, deserialize_with = "json::null_is_default")]
    keyid: String,
}

impl TryFrom<WireEnvelope> for Envelope {
    type Error = JsonError;

    fn try_from(wire: WireEnvelope) -> Result<Self, JsonError> {
        if wire.signatures.0.is_empty() {
            return Err(JsonError::Shape("a DSSE envelope has at least one signature, found none".into()));
        }
        Ok(Self {
            payload_type: wire.payload_type,
            payload: wire.payload.0,
            signatures: wire
                .signatures
                .0
                .into_iter()
                .map(|s| Signature { sig: s.sig.0, keyid: s.keyid })
                .collect(),
        })
    }
}

impl From<&Envelope> for WireEnvelope {
    fn from(envelope: &Envelope) -> Self {
        Self {
            payload: Base64(envelope.payload.clone()),
            payload_type: envelope.payload_type.clone(),
            signatures: Bounded(
                envelope
                    .signatures
                    .iter()
                    .map(|s| WireSignature { sig: Base64(s.sig.clone()), keyid: s.keyid.clone() })
                    .collect(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use countersign_crypto::encoding::hex_decode;
    use countersign_crypto::{KeyType, PublicKey, Scheme, ecdsa};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn v25_pae_counts_bytes_of_utf8() {
        assert_eq!(
            pae("application/\u{fc}", "\u{1f511}".as_bytes()),
            "DSSEv1 14 application/\u{fc} 4 \u{1f511}".as_bytes()
        );
        assert_eq!(pae("", b""), b"DSSEv1 0  0 ");
    }

    /// The vector of secure-systems-lab/dsse, `protocol.md`.
    #[test]
    fn the_vector_of_the_specification_verifies_in_either_alphabet() {
        let x = hex_decode("67cd390f77aa359cb08c2235f652270493a9ed832b0abcc01f70954c0390d238").unwrap();
        let y = hex_decode("0c782bd54e269125a44f4433aff1432ce94e12bca73aa67ac80cea12608ddf74").unwrap();
        let key = PublicKey::from_coordinates(KeyType::EcdsaP256, &x, &y).unwrap();
        let sig = "A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA==";
        for sig in [sig.to_owned(), sig.replace('+', "-")] {
            let json = serde_json::json!({"payload": "aGVsbG8gd29ybGQ=", "payloadType": "http://example.com/HelloWorld",
                "signatures": [{"sig": sig}]});
            let envelope = Envelope::from_json(json.to_string().as_bytes()).unwrap();
            let der = ecdsa::der_from_fixed(KeyType::EcdsaP256, &envelope.signatures[0].sig).unwrap();
            key.verify(Scheme::ECDSA_SHA256, &envelope.pae(), &der).unwrap();
        }
    }

    #[test]
    fn v11_wrong_types_in_each_member_are_errors_and_no_crash() {
        let good =
            serde_json::json!({"payload":"e30=","payloadType":"t","signatures":[{"sig":"AAE=","keyid":""}]});
        assert!(Envelope::from_json(good.to_string().as_bytes()).is_ok());
        for member in ["payload", "payloadType", "signatures"] {
            for bad in
                [serde_json::json!(null), serde_json::json!(1), serde_json::json!([1]), serde_json::json!({})]
            {
                let mut value = good.clone();
                value[member] = bad;
                assert!(Envelope::from_json(value.to_string().as_bytes()).is_err(), "{value}");
            }
        }
        for bad in ["AA", "AB==", "A A=", "\u{e9}"] {
            let mut value = good.clone();
            value["payload"] = bad.into();
            assert!(Envelope::from_json(value.to_string().as_bytes()).is_err(), "{value}");
        }
    }

    #[test]
    fn the_same_member_twice_is_refused_in_either_spelling() {
        let twice = br#"{"payload":"e30=","payload":"e30=","payloadType":"t","signatures":[{"sig":"AA=="}]}"#;
        assert!(Envelope::from_json(twice).is_err());
        let both =
            br#"{"payload":"e30=","payloadType":"t","payload_type":"u","signatures":[{"sig":"AA=="}]}"#;
        assert!(Envelope::from_json(both).is_err());
    }

    #[test]
    fn no_signature_and_too_many_are_refused() {
        let with = |n: usize| {
            let sigs = vec![r#"{"sig":"AA=="}"#; n].join(",");
            format!(r#"{{"payload":"e30=","payloadType":"t","signatures":[{sigs}]}}"#)
        };
        assert!(Envelope::from_json(with(0).as_bytes()).is_err());
        assert!(Envelope::from_json(with(MAX_SIGNATURES).as_bytes()).is_ok());
        assert!(Envelope::from_json(with(MAX_SIGNATURES + 1).as_bytes()).is_err());
    }

    #[test]
    fn the_members_are_written_in_the_order_of_the_protobuf_message() {
        let signatures = vec![Signature { sig: vec![0], keyid: "\"k\n".into() }];
        let envelope = Envelope { payload_type: "<t>".into(), payload: b"{}".to_vec(), signatures };
        assert_eq!(
            String::from_utf8(envelope.to_json()).unwrap(),
            r#"{"payload":"e30=","payloadType":"<t>","signatures":[{"sig":"AA==","keyid":"\"k\n"}]}"#
        );
    }

    proptest! {
        #[test]
        fn json_round_trips(payload_type in ".*", payload: Vec<u8>, sig: Vec<u8>, keyid in ".*") {
            let envelope = Envelope { payload_type, payload, signatures: vec![Signature { sig, keyid }] };
            prop_assert_eq!(Envelope::from_json(&envelope.to_json()).unwrap(), envelope);
        }

        #[test]
        fn pae_tells_type_and_payload_apart(a in ".{0,20}", b: Vec<u8>, c in ".{0,20}", d: Vec<u8>) {
            prop_assert_eq!(pae(&a, &b) == pae(&c, &d), (a, b) == (c, d));
        }
    }
}
