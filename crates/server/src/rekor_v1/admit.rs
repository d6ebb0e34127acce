//! What enters a log of Rekor v1: only what its own key verifies. Whose key it is, and whether anyone trusts the
//! authority that certified it, is for those who verify: a log is no judge of authorities. But a certificate must be
//! valid when the entry is taken in, because the time which the log puts on it would say otherwise for ever.

use countersign_attestation::Envelope;
use countersign_bundle::rekor::{BodyV1, DsseSignatureV1, ProposalV1, Verifier, VerifierV1};
use countersign_clock::Timestamp;
use countersign_crypto::{Digest, HashAlgorithm, KeyType, PublicKey, Scheme};
use countersign_x509::Certificate;
use jiff::SignedDuration;

/// The entry that a proposal makes, if every signature in it verifies and every certificate in it is valid now; else the
/// reason. To look for an entry that is there already, no time is asked about: its certificate is over by now.
pub(crate) fn admit(proposal: ProposalV1, now: Option<Timestamp>) -> Result<BodyV1, String> {
    match proposal {
        ProposalV1::HashedRekord { digest, signature, verifier } => {
            signed_digest(&key_of(&verifier, now)?, &digest, &signature)?;
            Ok(BodyV1::HashedRekord { digest, signature, verifier_pem: verifier.to_pem() })
        }
        ProposalV1::Dsse { envelope, envelope_hash, verifiers } => {
            let of = every_signature(&envelope, &verifiers, now)?;
            let payload_hash = HashAlgorithm::Sha256.digest(&envelope.payload);
            let signatures = envelope
                .signatures
                .into_iter()
                .zip(of)
                .map(|(s, verifier)| DsseSignatureV1 {
                    signature: s.sig,
                    verifier_pem: verifier.to_pem(),
                    keyid: String::new(),
                })
                .collect();
            Ok(BodyV1::Dsse { envelope_hash, payload_hash, signatures })
        }
        ProposalV1::Intoto { envelope, envelope_hash, verifiers } => {
            let pae = envelope.pae();
            for (signature, verifier) in envelope.signatures.iter().zip(&verifiers) {
                signed_message(&Keyed::new(key_of(verifier, now)?, &pae), &pae, &signature.sig)
                    .map_err(|e| format!("could not verify envelope: {e}"))?;
            }
            let payload_hash = HashAlgorithm::Sha256.digest(&envelope.payload);
            let signatures = envelope
                .signatures
                .into_iter()
                .zip(verifiers)
                .map(|(s, verifier)| DsseSignatureV1 {
                    signature: s.sig,
                    verifier_pem: verifier.sent,
                    keyid: s.keyid,
                })
                .collect();
            Ok(BodyV1::Intoto {
                payload_type: envelope.payload_type,
                envelope_hash,
                payload_hash,
                signatures,
            })
        }
        _ => Err("this kind of entry is not taken".into()),
    }
}

fn key_of(verifier: &VerifierV1, now: Option<Timestamp>) -> Result<PublicKey, String> {
    match &verifier.verifier {
        Verifier::PublicKey(spki) => {
            PublicKey::from_spki_der(spki).map_err(|e| format!("invalid public key: {e}"))
        }
        Verifier::Certificate(der) => {
            let certificate = Certificate::from_der(der).map_err(|e| format!("invalid certificate: {e}"))?;
            now.map_or(Ok(()), |now| valid_now(&certificate, now))?;
            Ok(certificate.public_key().clone())
        }
    }
}

/// How far the clock of an authority may be ahead of the log's. An authority's certificates begin when they are issued, and
/// an entry is sent within a second of that. Machines that keep their clocks are less than a second apart; more than this
/// would serve nobody, because verifiers allow for nothing: a timestamp before the certificate's beginning is refused.
/// rekor-tiles and Rekor do not look at the time at all.
pub(crate) const CLOCKS_APART: SignedDuration = SignedDuration::from_secs(5);

/// A new entry's certificate must be valid when the entry is taken in, in the log of either version, or begin in a moment by
/// an authority's clock that is [ahead](CLOCKS_APART). Its end is the end: nobody's clock makes an entry come late.
pub(crate) fn valid_now(certificate: &Certificate, now: Timestamp) -> Result<(), String> {
    let (begins, soon) = (certificate.not_before(), now.checked_add(CLOCKS_APART).unwrap_or(now));
    if certificate.is_valid_at(now) || now < begins && certificate.is_valid_at(soon) {
        return Ok(());
    }
    Err(format!(
        "the certificate must be valid now, {now}: it is from {} to {}",
        certificate.not_before(),
        certificate.not_after()
    ))
}

/// When the last of an entry's certificates begins, if it has one.
pub(crate) fn begins(entry: &BodyV1) -> Option<Timestamp> {
    let begins = |pem: &str| Certificate::from_pem(pem).ok().map(|certificate| certificate.not_before());
    match entry {
        BodyV1::HashedRekord { verifier_pem, .. } => begins(verifier_pem),
        BodyV1::Dsse { signatures, .. } | BodyV1::Intoto { signatures, .. } => {
            signatures.iter().filter_map(|signature| begins(&signature.verifier_pem)).max()
        }
        _ => None,
    }
}

/// `hashedrekord`: the scheme is told by the key and by the digest's algorithm.
fn signed_digest(key: &PublicKey, digest: &Digest, signature: &[u8]) -> Result<(), String> {
    let scheme = match key.key_type() {
        KeyType::Ed25519 => Scheme::Ed25519ph,
        KeyType::Rsa { .. } => Scheme::RsaPkcs1(digest.algorithm()),
        _ => Scheme::Ecdsa(digest.algorithm()),
    };
    key.verify_digest(scheme, digest, signature).map_err(|e| format!("verifying signature: {e}"))
}

/// A key with the digests of one message that its signatures may be over: with the hash that goes with the key, and
/// with SHA-256, which the upstream log takes for every key.
struct Keyed {
    key: PublicKey,
    digests: Vec<(Scheme, Digest)>,
}

impl Keyed {
    fn new(key: PublicKey, message: &[u8]) -> Self {
        let schemes = match key.key_type() {
            KeyType::Ed25519 => vec![],
            KeyType::EcdsaP384 | KeyType::EcdsaP521 => {
                vec![key.key_type().default_scheme(), Scheme::ECDSA_SHA256]
            }
            other => vec![other.default_scheme()],
        };
        let digests =
            schemes.into_iter().filter_map(|scheme| Some((scheme, scheme.hash()?.digest(message)))).collect();
        Self { key, digests }
    }
}

fn signed_message(by: &Keyed, message: &[u8], signature: &[u8]) -> Result<(), String> {
    if by.key.key_type() == KeyType::Ed25519 {
        return by.key.verify(Scheme::Ed25519, message, signature).map_err(|e| e.to_string());
    }
    let verifies =
        |(scheme, digest): &(Scheme, Digest)| by.key.verify_digest(*scheme, digest, signature).is_ok();
    if by.digests.iter().any(verifies) { Ok(()) } else { Err("a signature does not verify".into()) }
}

/// For each signature of an envelope, what verifies it. All of them must verify, and every verifier must be of use.
fn every_signature<'a>(
    envelope: &Envelope,
    verifiers: &'a [VerifierV1],
    now: Option<Timestamp>,
) -> Result<Vec<&'a VerifierV1>, String> {
    let pae = envelope.pae();
    let keys = verifiers
        .iter()
        .map(|verifier| Ok((verifier, Keyed::new(key_of(verifier, now)?, &pae))))
        .collect::<Result<Vec<_>, String>>()?;
    let verified_by = |sig: &[u8]| keys.iter().find(|(_, key)| signed_message(key, &pae, sig).is_ok());
    let found = envelope
        .signatures
        .iter()
        .map(|s| verified_by(&s.sig).map(|(verifier, _)| *verifier))
        .collect::<Option<Vec<_>>>()
        .ok_or("could not verify envelope: all signatures must have a key that verifies it")?;
    if verifiers.iter().any(|verifier| !found.contains(&verifier)) {
        return Err("could not verify envelope: a verifier verifies no signature".into());
    }
    Ok(found)
}
