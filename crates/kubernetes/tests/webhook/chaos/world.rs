//! The truth: which images there are, and who has really signed each of them.

use std::collections::{BTreeMap, HashMap};

use countersign_bundle::TrustedRoot;
use countersign_crypto::{Digest, KeyPair, Signer as _};
use countersign_policy::{PolicySet, load, read_documents};
use countersign_registry::descriptor::media_type;
use countersign_registry::evidence::{Form, Found};
use serde_json::{Value, json};

use super::registry::Contents;
use crate::cluster::{By, Cluster, key};

/// Who has signed an image. Nothing else lets it pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Truth {
    first: bool,
    second: bool,
    /// Alice, by the authorities of the first trust root, and of the second.
    alice: [bool; 2],
}

/// An image of one of the registries.
#[derive(Debug, Clone)]
pub(super) struct Image {
    /// With a tag.
    pub(super) name: String,
    /// What the tag names; none for a tag that names something else each time.
    pub(super) digest: Option<Digest>,
}

impl Image {
    /// In one of the ways that it can be written.
    pub(super) fn written(&self, way: usize) -> String {
        let Some(digest) = self.digest else { return self.name.clone() };
        let (repository, _) = self.name.rsplit_once(':').unwrap();
        match way % 3 {
            0 => self.name.clone(),
            1 => format!("{repository}@{digest}"),
            _ => format!("{}@{digest}", self.name),
        }
    }
}

/// The policies, and who must have signed for each.
pub(super) struct Rule {
    documents: Vec<Value>,
    /// By what is true of an image, under one of the trust roots.
    pub(super) accepts: fn(Truth, usize) -> bool,
}

impl Rule {
    pub(super) fn policies(&self) -> PolicySet {
        let text: Vec<String> = self.documents.iter().map(Value::to_string).collect();
        load(read_documents(&text.join("\n---\n")).unwrap()).unwrap().into_policy_set(&[])
    }
}

pub(super) struct World {
    pub(super) images: Vec<Image>,
    pub(super) truth: HashMap<Digest, Truth>,
    pub(super) rules: Vec<Rule>,
    /// Two trust roots, of which each knows other authorities.
    pub(super) roots: [TrustedRoot; 2],
    pub(super) first: KeyPair,
    first_cluster: Cluster,
    stranger: Cluster,
    second: KeyPair,
    mallory: KeyPair,
}

/// What lies beside an image of each kind.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Signed(Truth),
    Nothing,
    /// Signed by a key that nobody asks for.
    Mallory,
    /// Another image's evidence.
    Moved,
    /// Evidence with one byte changed.
    Altered,
}

const KINDS: [Kind; 9] = [
    Kind::Signed(Truth { first: true, second: false, alice: [false, false] }),
    Kind::Nothing,
    Kind::Signed(Truth { first: true, second: true, alice: [false, false] }),
    Kind::Mallory,
    Kind::Signed(Truth { first: false, second: false, alice: [true, false] }),
    Kind::Moved,
    Kind::Signed(Truth { first: true, second: true, alice: [true, false] }),
    Kind::Altered,
    Kind::Signed(Truth { first: false, second: false, alice: [false, true] }),
];

impl World {
    /// Without images, over these registries.
    pub(super) fn new(hosts: &[String]) -> Self {
        let (first_cluster, stranger) = (Cluster::new(), Cluster::new());
        let (first, second, mallory) = (key(), key(), key());
        let rules = rules(hosts, &first, &second);
        let roots = [first_cluster.world.root.clone(), stranger.world.root.clone()];
        Self {
            images: Vec::new(),
            truth: HashMap::new(),
            rules,
            roots,
            first,
            first_cluster,
            stranger,
            second,
            mallory,
        }
    }

    /// Fills a registry with so many images.
    pub(super) fn fill(&mut self, host: &str, count: usize) -> Contents {
        let mut contents = Contents::default();
        let config = contents.put_blob(media_type::OCI_CONFIG, b"{}".to_vec());
        let mut digests = Vec::new();
        for number in 0..count {
            let name = format!("{host}/app:v{number}");
            let layer = contents.put_blob(media_type::OCI_LAYER, name.clone().into_bytes());
            let document = json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
                "config": config, "layers": [layer]});
            let digest = contents.put_manifest(media_type::OCI_MANIFEST, &document).digest;
            contents.tags.insert(format!("v{number}"), vec![digest.to_string()]);
            digests.push(digest);
            let victim = digests[number / KINDS.len() * KINDS.len()];
            let (truth, found) = self.evidence(&name, digest, victim, KINDS[number % KINDS.len()]);
            self.truth.insert(digest, truth);
            put(&mut contents, digest, found);
            self.images.push(Image { name, digest: Some(digest) });
        }
        for (number, pair) in digests.chunks_exact(KINDS.len()).enumerate() {
            let tag = format!("moves{number}");
            contents.tags.insert(tag.clone(), pair[..4].iter().map(ToString::to_string).collect());
            self.images.push(Image { name: format!("{host}/app:{tag}"), digest: None });
        }
        self.images.push(Image { name: format!("{host}/app:absent"), digest: None });
        contents
    }

    fn evidence(&mut self, name: &str, digest: Digest, victim: Digest, kind: Kind) -> (Truth, Vec<Found>) {
        let truth = if let Kind::Signed(truth) = kind { truth } else { Truth::default() };
        let about = if matches!(kind, Kind::Moved) { victim } else { digest };
        let cluster = if truth.alice[1] { &mut self.stranger } else { &mut self.first_cluster };
        let reference = countersign_registry::Reference::parse(name).unwrap().to_string();
        cluster.tags = BTreeMap::from([(reference, about)]);
        cluster.evidence.clear();
        let keys = [
            (truth.first || matches!(kind, Kind::Moved | Kind::Altered), &self.first),
            (truth.second, &self.second),
            (matches!(kind, Kind::Mallory), &self.mallory),
        ];
        for (_, key) in keys.into_iter().filter(|(signs, _)| *signs) {
            cluster.sign(name, By::Key(key), &json!({}));
            cluster.sign_older(name, key, &json!({}));
        }
        if truth.alice != [false, false] || matches!(kind, Kind::Altered) {
            cluster.sign(name, By::Alice, &json!({}));
        }
        let mut found: Vec<Found> = std::mem::take(&mut cluster.evidence).into_values().flatten().collect();
        if matches!(kind, Kind::Altered) {
            found.iter_mut().for_each(alter);
        }
        (truth, found)
    }
}

/// Changes what is signed: the digest in cosign's payload, or the payload of a bundle.
fn alter(found: &mut Found) {
    let text = String::from_utf8(found.bytes.clone()).unwrap();
    let marker = if found.form == Form::Bundle { "\"payload\":\"" } else { "sha256:" };
    let at = text.find(marker).unwrap() + marker.len() + 4;
    let mut bytes = text.into_bytes();
    bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
    found.layer = countersign_registry::Descriptor::of(&found.layer.media_type, &bytes);
    found.bytes = bytes;
}

/// Puts evidence where clients look for it: bundles as referrers, cosign's older form under a tag.
fn put(contents: &mut Contents, image: Digest, found: Vec<Found>) {
    let empty = contents.put_blob(media_type::OCI_EMPTY, b"{}".to_vec());
    let mut older = Vec::new();
    for piece in found {
        let mut layer = json!(contents.put_blob(&piece.layer.media_type, piece.bytes));
        if piece.form != Form::Bundle {
            layer["annotations"] = json!(piece.annotations);
            older.push(layer);
            continue;
        }
        let (kind, bytes) = contents.manifests[&image.to_string()].clone();
        let subject = countersign_registry::Descriptor::of(&kind, &bytes);
        let annotations = json!({"dev.sigstore.bundle.content": "dsse-envelope",
            "dev.sigstore.bundle.predicateType": countersign_verify::SIGN_PREDICATE_TYPE});
        let document = json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
            "artifactType": media_type::BUNDLE, "config": empty, "layers": [layer], "subject": subject,
            "annotations": annotations});
        let descriptor = contents.put_manifest(media_type::OCI_MANIFEST, &document);
        let mut listed = json!(descriptor);
        listed["artifactType"] = media_type::BUNDLE.into();
        listed["annotations"] = annotations;
        contents.referrers.entry(image.to_string()).or_default().push(listed);
    }
    if !older.is_empty() {
        let document = json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": empty, "layers": older});
        let descriptor = contents.put_manifest(media_type::OCI_MANIFEST, &document);
        let tag = format!("sha256-{}.sig", image.to_hex());
        contents.tags.insert(tag, vec![descriptor.digest.to_string()]);
    }
}

/// The policies of all languages, each over both registries.
fn rules(hosts: &[String], first: &KeyPair, second: &KeyPair) -> Vec<Rule> {
    let under = |end: &str| hosts.iter().map(|host| format!("{host}/{end}")).collect::<Vec<_>>();
    let own = |name: &str, by: Value, log: bool| {
        json!({"apiVersion": "countersign.dev/v1alpha1", "kind": "ImagePolicy", "metadata": {"name": name},
            "spec": {"images": under("**"), "signedBy": by,
                "require": {"transparencyLog": log, "ctLog": log}}})
    };
    let by_key = |name: &str, key: &KeyPair| own(name, json!({"key": key.public_key().to_pem()}), false);
    let kyverno = |kind: &str, keys: Value| {
        json!({"apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": {"name": "kyverno"},
            "spec": {"validationFailureAction": "Enforce", "rules": [{
                "name": "signed", "match": {"any": [{"resources": {"kinds": ["Pod"]}}]},
                "verifyImages": [{"type": kind, "imageReferences": under("*"),
                    "attestors": [{"entries": [{"keys": keys}]}]}]}]}})
    };
    let ignoring = |key: &str, value: String| json!({key: value, "rekor": {"ignoreTlog": true}, "ctlog": {"ignoreSCT": true}});
    let globs: Vec<Value> = under("**").into_iter().map(|glob| json!({ "glob": glob })).collect();
    let controller = json!({"apiVersion": "policy.sigstore.dev/v1beta1", "kind": "ClusterImagePolicy",
        "metadata": {"name": "controller"}, "spec": {"images": globs,
            "authorities": [{"name": "key", "key": {"data": first.public_key().to_pem()}}]}});
    let email = json!({"email": crate::sigstore::NAME, "issuer": crate::sigstore::ISSUER});
    let rule = |documents: Vec<Value>, accepts: fn(Truth, usize) -> bool| Rule { documents, accepts };
    vec![
        rule(vec![by_key("first", first)], |truth, _| truth.first),
        rule(vec![by_key("first", first), by_key("second", second)], |truth, _| truth.first && truth.second),
        rule(vec![own("alice", email, true)], |truth, root| truth.alice[root]),
        rule(vec![kyverno("Cosign", ignoring("publicKeys", first.public_key().to_pem()))], |truth, _| {
            truth.first
        }),
        rule(
            vec![kyverno("SigstoreBundle", ignoring("publicKeys", "k8s://shop/signer".into()))],
            |truth, _| truth.first,
        ),
        rule(vec![controller], |truth, _| truth.first),
    ]
}
