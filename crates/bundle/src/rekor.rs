//! What Rekor stores: the bodies of its entries, and the requests that make them.
//!
//! Version 2 has one kind, `hashedrekord 0.0.2`, written here byte for byte as JCS (RFC 8785) demands, because
//! verifiers rebuild the body from the bundle and hash it. Of version 1 there are the three kinds which clients make:
//! `hashedrekord 0.0.1`, `dsse 0.0.1`, `intoto 0.0.2`.

use countersign_attestation::json::{self, Base64};
use countersign_crypto::{Digest, HashAlgorithm, KeyDetails, encoding};
use serde::Deserialize;

use crate::wire::RawBytes;
use crate::{BundleError, shape};

pub use crate::rekor_request::{
    DsseRequestV002, EntryRequest, MAX_REQUEST_LEN, RequestError, RequestVerifier,
};
pub use crate::rekor_v1::{BodyV1, DsseSignatureV1};
pub use crate::rekor_v1_request::{MAX_VERIFIERS_V1, ProposalError, ProposalV1, VerifierV1};

/// The largest body read, in bytes.
pub const MAX_BODY_LEN: usize = 1024 * 1024;

/// How a signature in a log is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verifier {
    /// With the key in a certificate, DER.
    Certificate(Vec<u8>),
    /// With a key, DER `SubjectPublicKeyInfo`.
    PublicKey(Vec<u8>),
}

/// The entry `hashedrekord 0.0.2`: a signature over a digest, of an artifact or of a DSSE envelope's PAE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashedRekordV2 {
    /// The digest that was signed.
    pub digest: Digest,
    /// The signature.
    pub signature: Vec<u8>,
    /// What verifies it.
    pub verifier: Verifier,
    /// Type of key and scheme.
    pub key_details: KeyDetails,
}

impl HashedRekordV2 {
    /// The kind as it stands in a log entry.
    pub const KIND: &'static str = "hashedrekord";
    /// The version as it stands in a log entry.
    pub const VERSION: &'static str = "0.0.2";

    /// The body: exactly the bytes which the log stores and hashes.
    ///
    /// A pair of key and scheme without a name in Sigstore is written as protobuf writes "not given"; no log
    /// takes such an entry.
    #[must_use]
    pub fn canonical_body(&self) -> Vec<u8> {
        // JCS orders members by name ("keyDetails" before both of the others); every value here is base64 or a known
        // name, so nothing is escaped.
        let (verifier, details) = self.verifier_members();
        format!(
            concat!(
                "{{\"apiVersion\":\"0.0.2\",\"kind\":\"hashedrekord\",\"spec\":{{\"hashedRekordV002\":{{",
                "\"data\":{{\"algorithm\":\"{}\",\"digest\":\"{}\"}},",
                "\"signature\":{{\"content\":\"{}\",\"verifier\":{{{},{}}}}}}}}}}}"
            ),
            self.digest.algorithm().protobuf_name(),
            encoding::base64_encode(self.digest.as_bytes()),
            encoding::base64_encode(&self.signature),
            details,
            verifier
        )
        .into_bytes()
    }

    /// The two members of the verifier in JSON, of the body and of the request alike.
    pub(crate) fn verifier_members(&self) -> (String, String) {
        let (member, bytes) = match &self.verifier {
            Verifier::PublicKey(spki) => ("publicKey", spki),
            Verifier::Certificate(der) => ("x509Certificate", der),
        };
        let details = self.key_details.name().unwrap_or("PUBLIC_KEY_DETAILS_UNSPECIFIED");
        (
            format!("\"{member}\":{{\"rawBytes\":\"{}\"}}", encoding::base64_encode(bytes)),
            format!("\"keyDetails\":\"{details}\""),
        )
    }

    /// Reads a body. It must be exactly what [`HashedRekordV2::canonical_body`] writes.
    ///
    /// # Errors
    /// [`BundleError`].
    pub fn parse_body(body: &[u8]) -> Result<Self, BundleError> {
        let wire: WireBody = json::from_slice(body, MAX_BODY_LEN)?;
        if (wire.kind.as_str(), wire.api_version.as_str()) != (Self::KIND, Self::VERSION) {
            return Err(shape(format!(
                "expected an entry of kind hashedrekord 0.0.2, found {} {}",
                wire.kind, wire.api_version
            )));
        }
        let spec = wire.spec.hashed_rekord;
        let algorithm = HashAlgorithm::from_protobuf_name(&spec.data.algorithm)
            .ok_or_else(|| shape(format!("unknown hash algorithm \"{}\"", spec.data.algorithm)))?;
        let verifier = match (spec.signature.verifier.x509_certificate, spec.signature.verifier.public_key) {
            (Some(certificate), None) => Verifier::Certificate(certificate.raw_bytes.0),
            (None, Some(key)) => Verifier::PublicKey(key.raw_bytes.0),
            _ => return Err(shape("verifier: expected one of publicKey and x509Certificate")),
        };
        let own = Self {
            digest: Digest::new(algorithm, &spec.data.digest.0).map_err(|e| shape(e.to_string()))?,
            signature: spec.signature.content.0,
            verifier,
            key_details: KeyDetails::from_name(&spec.signature.verifier.key_details)
                .map_err(|e| shape(e.to_string()))?,
        };
        if own.canonical_body() != body {
            return Err(shape("the body is not in canonical form"));
        }
        Ok(own)
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireBody {
    api_version: String,
    kind: String,
    spec: WireSpec,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSpec {
    #[serde(rename = "hashedRekordV002")]
    hashed_rekord: WireHashedRekord,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireHashedRekord {
    data: WireData,
    signature: WireSignature,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireData {
    algorithm: String,
    digest: Base64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSignature {
    content: Base64,
    verifier: WireVerifier,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireVerifier {
    key_details: String,
    #[serde(default)]
    public_key: Option<RawBytes>,
    #[serde(default)]
    x509_certificate: Option<RawBytes>,
}
