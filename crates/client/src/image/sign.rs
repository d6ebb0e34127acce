//! Signing images and statements about them, and writing the evidence where verifiers look for it.

use std::collections::{BTreeMap, HashSet};

use countersign_attestation::SimpleSigning;
use countersign_attestation::dsse::IN_TOTO_PAYLOAD_TYPE;
use countersign_attestation::statement::{Statement, StatementVersion, Subject};
use countersign_bundle::legacy::{self, Annotations};
use countersign_registry::descriptor::Platform;
use countersign_registry::evidence::{self, Material, SimpleSigned};
use countersign_registry::manifest::Kind;
use countersign_registry::{Descriptor, Name, Reference, Store, Written};
use countersign_verify::SIGN_PREDICATE_TYPE;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use serde_json::Value;
use serde_json::value::RawValue;

use super::Images;
use crate::ClientError;
use crate::sign::{Older, Session, Signed};

/// The most manifests below one index that are signed.
const MAX_CHILDREN: usize = 1000;
/// How deep indexes may stand in each other.
const MAX_DEPTH: usize = 4;

/// How many images are under way at once: as many as a registry is asked at once.
const AT_ONCE: usize = 8;

/// An image to be signed, resolved.
#[derive(Debug, Clone)]
pub struct Target {
    /// The image by its digest.
    pub reference: Reference,
    /// Its manifest.
    pub descriptor: Descriptor,
    /// The platform, where an index names it.
    pub platform: Option<Platform>,
}

/// The forms of evidence that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forms {
    /// Sigstore bundles, as referrers.
    pub bundle: bool,
    /// cosign's older tags.
    pub older: bool,
}

/// What is signed along with an image, and how it is written.
#[derive(Debug, Clone)]
pub struct Signing {
    /// Annotations.
    pub annotations: Vec<(String, String)>,
    /// The forms.
    pub forms: Forms,
    /// The name of the image in the older form, instead of its repository.
    pub identity: Option<String>,
}

/// A statement about an image, and how it is written.
#[derive(Debug, Clone)]
pub struct Attesting {
    /// What kind of statement.
    pub predicate_type: String,
    /// The statement's bytes.
    pub payload: Vec<u8>,
    /// The forms.
    pub forms: Forms,
}

/// What was signed, and what was written where.
#[derive(Debug)]
pub struct Made {
    /// The bundle, when that form was asked for.
    pub signed: Option<Signed>,
    /// The older form, when that was asked for.
    pub older: Option<Older>,
    /// What was written.
    pub places: Vec<Written>,
}

/// Resolves references, with all the manifests below them when `recursive`. An image that is named twice is there once.
///
/// # Errors
/// [`ClientError::Registry`].
pub async fn targets(
    images: &Images,
    references: &[Reference],
    recursive: bool,
) -> Result<Vec<Target>, ClientError> {
    let mut all = Vec::new();
    let mut seen = HashSet::new();
    let resolve = |reference: &Reference| {
        let (home, name) = (images.home(reference), reference.name());
        async move { home.fetch(&name).await }
    };
    let mut resolved = stream::iter(references.iter().map(resolve)).buffered(AT_ONCE);
    for reference in references {
        let home = images.home(reference);
        let mut named = resolved.try_next().await?;
        let before = all.len();
        let mut open = vec![(reference.name(), 0, None)];
        while let Some((name, depth, platform)) = open.pop() {
            let manifest = match named.take() {
                Some(manifest) => manifest,
                None => home.fetch(&name).await?,
            };
            let digest = manifest.descriptor.digest;
            if !seen.insert((reference.repository().clone(), digest)) {
                continue;
            }
            if let Kind::Index(index) = &manifest.kind
                && recursive
            {
                // What was taken counts too: many small indexes in one make as much work as a large one.
                let count = all.len() - before + open.len() + index.manifests.len();
                if depth >= MAX_DEPTH || count > MAX_CHILDREN {
                    return Err(ClientError::Usage(format!(
                        "{reference} has more than {MAX_CHILDREN} manifests or {MAX_DEPTH} levels of them; sign the \
                         ones that matter by digest"
                    )));
                }
                // The last is taken next, so that they are signed in their order.
                let below = index.manifests.iter().rev();
                open.extend(below.map(|m| (Name::Digest(m.digest), depth + 1, m.platform.clone())));
            }
            all.push(Target { reference: reference.at(digest), descriptor: manifest.descriptor, platform });
        }
    }
    Ok(all)
}

/// Does something for each image, several at once, and tells how it went in the order in which they stand. What becomes
/// of one is nothing to the others; only an error of `tell` ends it early.
///
/// # Errors
/// The one of `tell`.
pub async fn each<R, E>(
    targets: &[Target],
    work: impl AsyncFn(&Target) -> R,
    mut tell: impl FnMut(&Target, R) -> Result<(), E>,
) -> Result<(), E> {
    let mut done = stream::iter(targets.iter().map(|target| work(target))).buffered(AT_ONCE);
    for target in targets {
        if let Some(result) = done.next().await {
            tell(target, result)?;
        }
    }
    Ok(())
}

impl Signing {
    /// The statement with which an image is signed.
    ///
    /// # Errors
    /// [`ClientError::Usage`] when there are more annotations than a statement holds.
    pub fn statement(&self, target: &Target) -> Result<Vec<u8>, ClientError> {
        let annotations = self.optional();
        let digest = target.descriptor.digest;
        let subject = Subject {
            name: String::new(),
            digest: [(digest.algorithm().name().to_owned(), digest.to_hex())].into(),
            annotations,
        };
        statement(subject, SIGN_PREDICATE_TYPE, RawValue::from_string("{}".into()).ok())
    }

    /// The payload with which an image is signed in the older form.
    #[must_use]
    pub fn payload(&self, target: &Target) -> SimpleSigning {
        let repository = || target.reference.repository().to_string();
        SimpleSigning {
            docker_reference: self.identity.clone().unwrap_or_else(repository),
            digest: target.descriptor.digest,
            optional: self.optional(),
        }
    }

    fn optional(&self) -> BTreeMap<String, Value> {
        self.annotations.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect()
    }
}

impl Attesting {
    /// A statement of this kind about an image. `predicate` is JSON text.
    ///
    /// # Errors
    /// [`ClientError::Usage`] when it is over the limits of a statement.
    pub fn about(
        target: &Target,
        predicate_type: &str,
        predicate: Box<RawValue>,
        forms: Forms,
    ) -> Result<Self, ClientError> {
        let digest = target.descriptor.digest;
        let subject = Subject {
            name: target.reference.repository().to_string(),
            digest: [(digest.algorithm().name().to_owned(), digest.to_hex())].into(),
            annotations: BTreeMap::new(),
        };
        let payload = statement(subject, predicate_type, Some(predicate))?;
        Ok(Self { predicate_type: predicate_type.to_owned(), payload, forms })
    }

    /// A whole statement as it is, which must be about the image.
    ///
    /// # Errors
    /// [`ClientError::Usage`].
    pub fn whole(target: &Target, payload: Vec<u8>, forms: Forms) -> Result<Self, ClientError> {
        let statement = Statement::from_json(&payload).map_err(|e| ClientError::Usage(e.to_string()))?;
        let digest = target.descriptor.digest;
        if !statement.subjects.iter().any(|s| s.matches(&digest)) {
            return Err(ClientError::Usage(format!(
                "the statement says nothing about {} ({digest})",
                target.reference
            )));
        }
        Ok(Self { predicate_type: statement.predicate_type, payload, forms })
    }
}

fn statement(
    subject: Subject,
    predicate_type: &str,
    predicate: Option<Box<RawValue>>,
) -> Result<Vec<u8>, ClientError> {
    let statement = Statement {
        version: StatementVersion::V1,
        subjects: vec![subject],
        predicate_type: predicate_type.to_owned(),
        predicate,
    };
    statement.to_json().map_err(|e| ClientError::Usage(e.to_string()))
}

/// Signs an image and writes the signature. With `store` absent nothing is written.
///
/// # Errors
/// Any [`ClientError`].
pub async fn sign(
    session: &Session<'_>,
    store: Option<&dyn Store>,
    target: &Target,
    signing: &Signing,
    now: Timestamp,
) -> Result<Made, ClientError> {
    let mut written = Made { signed: None, older: None, places: Vec::new() };
    if signing.forms.bundle {
        let signed = session.sign_payload(IN_TOTO_PAYLOAD_TYPE, signing.statement(target)?).await?;
        if let Some(store) = store {
            let places =
                evidence::attach_bundle(store, &target.descriptor, &signed.json, SIGN_PREDICATE_TYPE, now)
                    .await?;
            written.places.extend(places);
        }
        written.signed = Some(signed);
    }
    if signing.forms.older {
        let older = session.sign_older(&signing.payload(target)).await?;
        if let Some(store) = store {
            let layer = SimpleSigned {
                payload: older.document.clone(),
                signature: older.annotations.get(legacy::SIGNATURE).cloned().unwrap_or_default(),
                material: material(&older.annotations),
            };
            let places = evidence::attach_signature(store, &target.descriptor.digest, &layer).await?;
            written.places.extend(places);
        }
        written.older = Some(older);
    }
    Ok(written)
}

/// Signs a statement about an image and writes it. With `store` absent nothing is written.
///
/// # Errors
/// Any [`ClientError`].
pub async fn attest(
    session: &Session<'_>,
    store: Option<&dyn Store>,
    target: &Target,
    attesting: &Attesting,
    now: Timestamp,
) -> Result<Made, ClientError> {
    let signed = session.sign_payload(IN_TOTO_PAYLOAD_TYPE, attesting.payload.clone()).await?;
    let mut written = Made { signed: None, older: None, places: Vec::new() };
    let kind = attesting.predicate_type.as_str();
    if attesting.forms.bundle
        && let Some(store) = store
    {
        let places = evidence::attach_bundle(store, &target.descriptor, &signed.json, kind, now).await?;
        written.places.extend(places);
    }
    if attesting.forms.older {
        let older = session.attest_older(&signed).await?;
        if let Some(store) = store {
            let layer = evidence::Envelope {
                envelope: older.document.clone(),
                predicate_type: kind.to_owned(),
                material: material(&older.annotations),
            };
            let places = evidence::attach_attestation(store, &target.descriptor.digest, &layer).await?;
            written.places.extend(places);
        }
        written.older = Some(older);
    }
    written.signed = Some(signed);
    Ok(written)
}

/// The annotations as the registry's writer takes them.
#[must_use]
fn material(annotations: &Annotations) -> Material {
    let get = |name: &str| annotations.get(name).cloned();
    Material {
        certificate: get(legacy::CERTIFICATE),
        chain: get(legacy::CHAIN),
        bundle: get(legacy::BUNDLE),
        timestamp: get(legacy::TIMESTAMP),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::{Barrier, Notify};

    fn images(count: usize) -> Vec<Target> {
        let target = |n: usize| {
            let descriptor = Descriptor::of("x", n.to_string().as_bytes());
            let reference = Reference::parse("r.example/app").unwrap().at(descriptor.digest);
            Target { reference, descriptor, platform: None }
        };
        (0..count).map(target).collect()
    }

    fn place(targets: &[Target], target: &Target) -> usize {
        targets.iter().position(|t| t.reference == target.reference).unwrap()
    }

    #[tokio::test]
    async fn so_many_images_are_under_way_at_once_and_no_more() {
        let targets = images(3 * AT_ONCE);
        // Each waits until there are as many as may be: fewer at once would never end.
        let (all, running, most) = (Barrier::new(AT_ONCE), AtomicUsize::new(0), AtomicUsize::new(0));
        let work = async |_: &Target| {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            all.wait().await;
            running.fetch_sub(1, Ordering::SeqCst);
        };
        each(&targets, work, |_, ()| Ok::<(), ()>(())).await.unwrap();
        assert_eq!(most.load(Ordering::SeqCst), AT_ONCE);
    }

    #[tokio::test]
    async fn what_ends_last_is_told_first_when_it_stands_first_and_a_failure_stops_nobody() {
        let targets = images(AT_ONCE);
        let ended: Vec<Notify> = targets.iter().map(|_| Notify::new()).collect();
        let order = Mutex::new(Vec::new());
        let work = async |target: &Target| {
            let n = place(&targets, target);
            // From the last to the first.
            if let Some(next) = ended.get(n + 1) {
                next.notified().await;
            }
            order.lock().unwrap().push(n);
            ended[n].notify_one();
            if n.is_multiple_of(2) { Err(n) } else { Ok(n) }
        };
        let mut told = Vec::new();
        let tell = |target: &Target, result: Result<usize, usize>| {
            assert_eq!(result.unwrap_or_else(|n| n), place(&targets, target));
            told.push(place(&targets, target));
            Ok::<(), ()>(())
        };
        each(&targets, work, tell).await.unwrap();
        let upwards: Vec<usize> = (0..AT_ONCE).collect();
        assert_eq!(told, upwards);
        assert_eq!(order.into_inner().unwrap(), upwards.into_iter().rev().collect::<Vec<_>>());
    }
}
