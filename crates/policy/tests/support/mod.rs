//! A cluster and its registries, in memory: whatever a policy asks is answered, with evidence that was really signed.
//!
//! The evidence is made by the Sigstore in memory of the engine's own tests. Nothing here is believed by anybody: what a
//! test puts in is verified like anything else.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use countersign_attestation::dsse::{IN_TOTO_PAYLOAD_TYPE, Signature};
use countersign_attestation::{Envelope, SimpleSigning};
use countersign_bundle::{
    Bundle, BundleVersion, Content, KeyMaterial, TrustedRoot, VerificationMaterial, legacy,
};
use countersign_crypto::{Digest, HashAlgorithm, KeyPair, KeyType, PublicKey, Signer as _, encoding};
use countersign_policy::kyverno::PolicyException;
use countersign_policy::{
    Answer, CouldNot, CouldNotReason, Decision, Evidence, ImageData, Known, Policy, PolicySet, Question,
    Request, TrustRoot,
};
use countersign_registry::evidence::{Attached, Form, Found, Origin};
use countersign_registry::{Descriptor, Reference, descriptor::media_type};
use countersign_verify::SIGN_PREDICATE_TYPE;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::sigstore::{T, World, at};

/// Who signs.
#[derive(Clone, Copy)]
pub(crate) enum By<'a> {
    /// Somebody with a certificate: `alice@example.com` of `https://issuer.example`.
    Alice,
    /// The holder of a key.
    Key(&'a KeyPair),
}

/// Everything a policy can ask for. What is not there is not found; what is away cannot be reached.
pub(crate) struct Cluster {
    /// The authorities; [`World::root`] is what the installation trusts.
    pub(crate) world: World,
    /// Digests by image and tag.
    pub(crate) tags: BTreeMap<String, Digest>,
    /// Evidence by `repository@digest`.
    pub(crate) evidence: BTreeMap<String, Vec<Found>>,
    /// Evidence of files by their digests.
    pub(crate) files: BTreeMap<String, Vec<Found>>,
    /// Attached documents with their types, by `repository@digest`.
    pub(crate) attached: BTreeMap<String, Vec<(String, Attached)>>,
    /// What the tag of a piece of older evidence begins with, by the piece's digest.
    pub(crate) prefixes: HashMap<Digest, String>,
    /// Certificates by reference.
    pub(crate) certificates: BTreeMap<String, String>,
    /// Manifests and configurations by `repository@digest`.
    pub(crate) images: BTreeMap<String, ImageData>,
    /// Trust roots by name; without a name it is the world's.
    pub(crate) roots: BTreeMap<String, TrustedRoot>,
    /// ConfigMaps by `namespace/name`.
    pub(crate) config_maps: BTreeMap<String, BTreeMap<String, String>>,
    /// Labels by namespace.
    pub(crate) namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// Keys by reference.
    pub(crate) keys: BTreeMap<String, Vec<PublicKey>>,
    /// Questions that are not answered, by a part of their text.
    pub(crate) away: BTreeSet<String>,
    /// When timestamp authorities see signatures.
    pub(crate) stamped_at: i64,
    /// The time of evaluations: an hour after things were signed.
    pub(crate) now: Timestamp,
}

pub(crate) fn key() -> KeyPair {
    KeyPair::generate(KeyType::EcdsaP256).unwrap()
}

fn copy(key: &KeyPair) -> KeyPair {
    KeyPair::from_pkcs8(&key.to_pkcs8().unwrap()).unwrap()
}

/// The digest of an image that is made of this word.
pub(crate) fn digest_of(word: &str) -> Digest {
    HashAlgorithm::Sha256.digest(word.as_bytes())
}

/// A pod with these images.
pub(crate) fn pod(images: &[&str]) -> Value {
    let containers: Vec<Value> = images
        .iter()
        .enumerate()
        .map(|(i, image)| json!({"name": format!("c{i}"), "image": image}))
        .collect();
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "app", "namespace": "prod"},
        "spec": {"containers": containers}})
}

impl Cluster {
    pub(crate) fn new() -> Self {
        Self {
            world: World::new(),
            tags: BTreeMap::new(),
            evidence: BTreeMap::new(),
            files: BTreeMap::new(),
            attached: BTreeMap::new(),
            prefixes: HashMap::new(),
            certificates: BTreeMap::new(),
            images: BTreeMap::new(),
            roots: BTreeMap::new(),
            config_maps: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            keys: BTreeMap::new(),
            away: BTreeSet::new(),
            stamped_at: T,
            now: at(T + 3600),
        }
    }

    /// Puts an image under a tag.
    pub(crate) fn put(&mut self, image: &str) -> Digest {
        let digest = digest_of(image);
        self.tags.insert(Reference::parse(image).unwrap().to_string(), digest);
        digest
    }

    /// Signs an image as cosign does it now: a bundle over a statement that says no more.
    pub(crate) fn sign(&mut self, image: &str, by: By<'_>, annotations: &Value) {
        let statement = statement(&self.digest(image), SIGN_PREDICATE_TYPE, &json!({}), annotations);
        self.add_bundle(image, by, &statement, true);
    }

    /// Signs an image as cosign did it before, with a key, in no log.
    pub(crate) fn sign_older(&mut self, image: &str, key: &KeyPair, annotations: &Value) {
        let optional = serde_json::from_value(annotations.clone()).unwrap();
        let payload = SimpleSigning { docker_reference: String::new(), digest: self.digest(image), optional }
            .to_json()
            .unwrap();
        let bundle = Bundle {
            version: BundleVersion::Legacy,
            verification_material: VerificationMaterial {
                content: KeyMaterial::PublicKeyHint(String::new()),
                tlog_entries: vec![],
                rfc3161_timestamps: vec![],
            },
            content: Content::SimpleSigning {
                signature: key.sign(&payload).unwrap(),
                payload: payload.clone(),
            },
        };
        let layer = Descriptor::of(media_type::SIMPLE_SIGNING, &payload);
        self.add(image, Form::CosignSignature, layer, legacy::to_annotations(&bundle, &[]), payload);
    }

    /// Says something about an image.
    pub(crate) fn attest(&mut self, image: &str, by: By<'_>, kind: &str, predicate: &Value) {
        let statement = statement(&self.digest(image), kind, predicate, &json!({}));
        self.add_bundle(image, by, &statement, true);
    }

    /// Adds any statement in a bundle, with a timestamp or without.
    pub(crate) fn add_bundle(&mut self, image: &str, by: By<'_>, statement: &Value, stamped: bool) {
        let bytes = self.bundle(by, statement, stamped).to_json().unwrap();
        let layer = Descriptor::of(media_type::BUNDLE, &bytes);
        self.add(image, Form::Bundle, layer, BTreeMap::new(), bytes);
    }

    /// Adds a piece of evidence.
    pub(crate) fn add(
        &mut self,
        image: &str,
        form: Form,
        layer: Descriptor,
        annotations: BTreeMap<String, String>,
        bytes: Vec<u8>,
    ) {
        let place = self.place(image);
        let manifest = Descriptor::of(media_type::OCI_MANIFEST, layer.digest.to_string().as_bytes());
        let found = Found { form, origin: Origin::ReferrersApi, manifest, layer, annotations, bytes };
        self.evidence.entry(place).or_default().push(found);
    }

    pub(crate) fn bundle(&mut self, by: By<'_>, statement: &Value, stamped: bool) -> Bundle {
        let payload = serde_json::to_vec(statement).unwrap();
        let before = match by {
            By::Alice => None,
            By::Key(key) => Some(std::mem::replace(&mut self.world.signing, copy(key))),
        };
        let mut envelope =
            Envelope { payload_type: IN_TOTO_PAYLOAD_TYPE.into(), payload, signatures: vec![] };
        let sig = self.world.signing.sign(&envelope.pae()).unwrap();
        envelope.signatures.push(Signature { sig, keyid: String::new() });
        let content = Content::Dsse(envelope);
        let material = match by {
            By::Alice => KeyMaterial::Certificate(self.world.certificate(&[0])),
            By::Key(key) => {
                KeyMaterial::PublicKeyHint(encoding::base64_encode(&key.public_key().fingerprint()))
            }
        };
        let entry = self.world.entry(0, &content, &material);
        if let Some(before) = before {
            self.world.signing = before;
        }
        let stamp = || self.world.tsa[0].stamp(content.signature(), self.stamped_at);
        Bundle {
            version: BundleVersion::V0_3,
            verification_material: VerificationMaterial {
                rfc3161_timestamps: stamped.then(stamp).into_iter().collect(),
                content: material,
                tlog_entries: vec![entry],
            },
            content,
        }
    }

    fn digest(&self, image: &str) -> Digest {
        let reference = Reference::parse(image).unwrap();
        reference.digest().copied().unwrap_or_else(|| self.tags[&reference.to_string()])
    }

    /// Where evidence of an image is.
    pub(crate) fn place(&self, image: &str) -> String {
        format!("{}@{}", Reference::parse(image).unwrap().repository(), self.digest(image))
    }

    /// What policies say of a request.
    pub(crate) fn decide(&self, policy: impl Policy + 'static, request: &Request) -> Decision {
        self.decide_all(vec![Box::new(policy)], Vec::new(), request)
    }

    pub(crate) fn decide_all(
        &self,
        policies: Vec<Box<dyn Policy>>,
        exceptions: Vec<PolicyException>,
        request: &Request,
    ) -> Decision {
        let anywhere = countersign_policy::Glob::wildcard("kyverno").unwrap();
        let set = PolicySet::new(policies).excepting(exceptions, &[anywhere]);
        set.evaluate(request, self, self.now).expect("everything was answered")
    }

    fn find(&self, question: &Question) -> Option<Answer> {
        Some(match question {
            Question::Digest { image, .. } => Answer::Digest(*self.tags.get(&image.to_string())?),
            Question::Evidence(of) => {
                let all = self.evidence.get(&format!("{}@{}", of.repository, of.image));
                let prefix = |found: &&Found| match self.prefixes.get(&found.layer.digest) {
                    Some(prefix) => *prefix == of.tag_prefix,
                    None => of.tag_prefix.is_empty() || found.form == Form::Bundle,
                };
                let found = all.into_iter().flatten().filter(|found| of.forms.contains(&found.form));
                Answer::Evidence(Arc::new(Evidence::new(found.filter(prefix).cloned().collect())))
            }
            Question::OfFile(digest) => {
                Answer::Evidence(Arc::new(Evidence::new(self.files.get(&digest.to_string())?.clone())))
            }
            Question::Attached(of) => {
                let all = self.attached.get(&format!("{}@{}", of.repository, of.image));
                let found = all.into_iter().flatten().filter(|(kind, _)| *kind == of.artifact_type);
                Answer::Attached(Arc::new(found.map(|(_, document)| document.clone()).collect()))
            }
            Question::Certificates(reference) => {
                Answer::Certificates(Arc::new(self.certificates.get(reference)?.clone()))
            }
            Question::Image { image, .. } => {
                let place = format!("{}@{}", image.repository(), image.digest()?);
                Answer::Image(Arc::new(self.images.get(&place)?.clone()))
            }
            Question::Trust(name) => {
                let root = name.as_ref().map_or(Some(&self.world.root), |name| self.roots.get(name))?;
                Answer::Trust(Arc::new(TrustRoot::new(root.clone()).unwrap()))
            }
            Question::Keys(reference) => Answer::Keys(Arc::new(self.keys.get(reference)?.clone())),
            Question::ConfigMap(name) => {
                Answer::ConfigMap(Arc::new(self.config_maps.get(&name.to_string())?.clone()))
            }
            Question::Namespace(name) => Answer::Labels(Arc::new(self.namespaces.get(name)?.clone())),
            _ => return None,
        })
    }
}

impl Known for Cluster {
    fn answer(&self, question: &Question) -> Option<Result<Answer, CouldNot>> {
        let text = question.to_string();
        if self.away.iter().any(|part| text.contains(part)) {
            return Some(Err(CouldNot::new(CouldNotReason::Unreachable, format!("{text}: no answer"))));
        }
        let missing = || CouldNot::new(CouldNotReason::NotFound, format!("{text}: not found"));
        Some(self.find(question).ok_or_else(missing))
    }
}

/// A statement about an image.
pub(crate) fn statement(digest: &Digest, kind: &str, predicate: &Value, annotations: &Value) -> Value {
    json!({"_type": "https://in-toto.io/Statement/v1", "predicateType": kind, "predicate": predicate,
        "subject": [{"name": "image", "digest": {"sha256": digest.to_hex()}, "annotations": annotations}]})
}
