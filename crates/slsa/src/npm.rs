//! npm's own word for a package: the registry signs with a key of its own that this tarball was published as this version.
//! Beside it stands the provenance; both are needed, for each alone can be of another package.

use countersign_attestation::json::{self, Bounded};
use countersign_bundle::{Bundle, KeyMaterial, ValidFor};
use countersign_crypto::{HashAlgorithm, PublicKey, encoding};
use countersign_verify::{
    Payload, Reason, Requirements, RequirementsError, SigningKey, Subject, TrustMaterial, Verified, verify,
};
use jiff::Timestamp;
use serde::Deserialize;

use crate::expect::Package;
use crate::report::{Attempt, Build, CheckName, Recorder, Report, signer_in_words};
use crate::wire::Piece;
use crate::{Facts, package};

/// The type of npm's publish attestations.
pub const PUBLISH: &str = "https://github.com/npm/attestation/tree/main/specs/publish/v0.1";
/// What a key has to be for.
const USAGE: &str = "npm:attestations";
/// The largest document with keys, in bytes.
const MAX_KEYS_LEN: usize = 1024 * 1024;
/// The most keys of one document.
const MAX_KEYS: usize = 64;

/// Keys of a registry of npm.
#[derive(Debug, Clone)]
pub struct Keys(Vec<Key>);

#[derive(Debug, Clone)]
struct Key {
    id: String,
    usage: String,
    key: PublicKey,
    valid_for: Option<ValidFor>,
}

#[derive(Deserialize)]
struct WireKeys {
    keys: Bounded<WireKey, MAX_KEYS>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireKey {
    key_id: String,
    key_usage: String,
    public_key: WirePublicKey,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WirePublicKey {
    raw_bytes: json::Base64,
    valid_for: Option<WireValidFor>,
}

#[derive(Deserialize)]
struct WireValidFor {
    start: Option<String>,
    end: Option<String>,
}

impl Keys {
    /// Reads `keys.json` as Sigstore's TUF repository has it (`registry.npmjs.org/keys.json`): each key with its id, what it is
    /// for, and when it is valid.
    ///
    /// # Errors
    /// In words.
    pub fn from_json(bytes: &[u8]) -> Result<Self, String> {
        let wire: WireKeys = json::from_slice(bytes, MAX_KEYS_LEN).map_err(|e| e.to_string())?;
        let read = |(index, wire): (usize, WireKey)| {
            let key = PublicKey::from_spki_der(&wire.public_key.raw_bytes.0)
                .map_err(|e| format!("keys[{index}].publicKey: {e}"))?;
            let time = |text: Option<String>| match text {
                None => Ok(None),
                Some(text) => {
                    text.parse::<Timestamp>().map(Some).map_err(|e| format!("keys[{index}].validFor: {e}"))
                }
            };
            let valid_for = match wire.public_key.valid_for {
                None => None,
                Some(window) => Some(ValidFor {
                    start: time(window.start)?.unwrap_or(Timestamp::UNIX_EPOCH),
                    end: time(window.end)?,
                }),
            };
            Ok(Key { id: wire.key_id, usage: wire.key_usage, key, valid_for })
        };
        let keys = wire.keys.0.into_iter().enumerate().map(read).collect::<Result<Vec<_>, String>>()?;
        if keys.is_empty() {
            return Err("keys: expected at least one, found none".into());
        }
        Ok(Self(keys))
    }

    /// The key of an id, which must be for attestations. Each is looked up by itself: what one was found for says nothing of
    /// another.
    fn find(&self, id: &str) -> Result<&Key, String> {
        let mut of_id = self.0.iter().filter(|key| key.id == id).peekable();
        if of_id.peek().is_none() {
            return Err(format!("\"{id}\", which is not among the keys"));
        }
        of_id.find(|key| key.usage == USAGE).ok_or_else(|| format!("\"{id}\", which is for other things"))
    }
}

#[derive(Deserialize)]
struct Published {
    name: String,
    version: String,
}

/// Verifies that the registry published the artifact as this package. The pieces are those of the package's attestations:
/// those of other types are passed over.
///
/// # Errors
/// [`RequirementsError`].
pub fn verify_publish(
    subject: &Subject<'_>,
    pieces: &[Piece],
    keys: &Keys,
    (name, version): (&str, &str),
    material: &TrustMaterial,
    now: Timestamp,
) -> Result<Report, RequirementsError> {
    let wanted = Package::Npm { name: name.to_owned(), version: Some(version.to_owned()) };
    let mut attempts = Vec::new();
    for piece in pieces {
        let Ok(bundle) = &piece.bundle else { continue };
        // By a key, as the registry signs; the provenance beside it is by an identity.
        let KeyMaterial::PublicKeyHint(hint) = &bundle.verification_material.content else { continue };
        let mut out = Recorder::default();
        let attempt = match keys.find(hint) {
            Err(found) => {
                let expected = format!("a signature by a key for {USAGE}");
                out.fail(CheckName::Document, Reason::WrongKey, expected, found);
                Attempt::new(piece.place.clone(), None, out, None)
            }
            Ok(key) => {
                let engine =
                    verify(subject, &by_fingerprint(bundle, key), material, &requirements(key)?, now);
                let build =
                    engine.verified().ok().and_then(|verified| content(verified, piece, &wanted, &mut out));
                Attempt::new(piece.place.clone(), Some(engine), out, build)
            }
        };
        attempts.push(attempt);
    }
    Ok(Report::new(attempts))
}

fn requirements(key: &Key) -> Result<Requirements, RequirementsError> {
    let signing = SigningKey::new(key.key.clone());
    let signing = match key.valid_for {
        Some(window) => signing.valid_for(window),
        None => signing,
    };
    Ok(Requirements::builder().key(signing).predicate_type(PUBLISH)?.build())
}

/// The same bundle with the key that was looked up named as the engine names it.
fn by_fingerprint(bundle: &Bundle, key: &Key) -> Bundle {
    let mut bundle = bundle.clone();
    let hint = encoding::base64_encode(&key.key.fingerprint());
    bundle.verification_material.content = KeyMaterial::PublicKeyHint(hint);
    bundle
}

fn content(verified: &Verified, piece: &Piece, wanted: &Package, out: &mut Recorder) -> Option<Build> {
    let Payload::Statement { statement, bytes, subject } = verified.value() else { return None };
    out.pass(
        CheckName::Evidence,
        "a publish attestation of this artifact",
        signer_in_words(verified.signer()),
    );
    let named = statement.subjects.get(*subject).map_or("", |subject| subject.name.as_str());
    package::check(Some(wanted), named, statement.subjects.len(), true, out);
    let has_sha512 =
        statement.subjects.get(*subject).is_some_and(|subject| subject.digest.contains_key("sha512"));
    out.settle(CheckName::Package, has_sha512, Reason::PackageMismatch, "a subject by its SHA-512", named);
    let said =
        statement.predicate.as_deref().and_then(|text| serde_json::from_str::<Published>(text.get()).ok());
    match (&said, wanted) {
        (Some(said), Package::Npm { name, version }) => {
            let holds = said.name == *name && Some(&said.version) == version.as_ref();
            let found = format!("{}@{}", said.name, said.version);
            let expected = format!("{name}@{}", version.as_deref().unwrap_or("any"));
            out.settle(CheckName::Provenance, holds, Reason::PackageMismatch, expected, found);
        }
        _ => out.fail(
            CheckName::Provenance,
            Reason::ProvenanceMalformed,
            "name and version that were published",
            "none",
        ),
    }
    (!out.failed()).then(|| Build {
        document: piece.document.clone(),
        verified: verified.clone(),
        statement_digest: HashAlgorithm::Sha256.digest(bytes),
        provenance: None,
        facts: Facts::default(),
        builder: PUBLISH.into(),
        level: 0,
        root: None,
        is_logged: !verified.entries().is_empty(),
        notes: Vec::new(),
    })
}
