//! The answers to the questions of policies, each from where it is to be had.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use countersign_crypto::{Digest, PublicKey};
use countersign_keys::{KeyRef, load_public_key};
use countersign_policy::cluster_image::TrustRootObject;
use countersign_policy::{
    Access, Answer, AttachedQuestion, CouldNot, CouldNotReason, Evidence, EvidenceQuestion, ImageData, Memo,
    ObjectName, Question, TrustRoot,
};
use countersign_registry::evidence::{Attached, Found, Search, attached, discover};
use countersign_registry::manifest::Kind;
use countersign_registry::{Reference, RegistryOptions, Store as _};
use countersign_verify::revocation::Revocations;
use jiff::Timestamp;
use tokio::time::Instant;

use super::cluster::{Cluster, SecretData};
use super::flight::{Answered, Flights, Room};
use super::registries::{Client, Registries};
use super::trust_objects::{TrustObjects, TrustTrouble};

/// The largest configuration of an image that is read, in bytes.
const MAX_CONFIG: u64 = 8 << 20;
/// The most answers that are kept.
const ANSWERS: usize = 50_000;
/// The most bytes of the answers that are kept: evidence for some ten thousand images, unless somebody makes it large.
const BYTES: usize = 96 << 20;
/// How many judgements are kept. One more costs a signature's verification each time, and no request.
const JUDGEMENTS: usize = 2_000;

/// Where answers come from.
#[derive(Debug)]
pub struct SourceOptions {
    /// How registries are talked to; its credentials are for everybody.
    pub registry: RegistryOptions,
    /// The cluster.
    pub cluster: Arc<dyn Cluster>,
    /// The installation's own trust root, under no name, and others under theirs.
    pub trust: BTreeMap<Option<String>, Arc<TrustRoot>>,
}

/// Answers the questions of policies, and keeps what may be kept: what lies under a digest, but never what a tag names.
#[derive(Debug)]
pub struct Source {
    cluster: Arc<dyn Cluster>,
    /// The namespace in which this runs.
    namespace: Option<String>,
    flights: Flights<Question, Answer>,
    memo: Memo,
    registries: Registries,
    trust: Mutex<BTreeMap<Option<String>, Arc<TrustRoot>>>,
    objects: TrustObjects,
    revocations: Mutex<Result<Vec<Arc<Revocations>>, CouldNot>>,
    /// What is known of files.
    files: Mutex<HashMap<Digest, Arc<Evidence>>>,
}

impl Source {
    /// A source with these options.
    #[must_use]
    pub fn new(options: SourceOptions) -> Self {
        let SourceOptions { registry, cluster, trust } = options;
        Self {
            cluster,
            namespace: None,
            flights: Flights::new(Room { answers: ANSWERS, bytes: BYTES, weigh }),
            memo: Memo::new(JUDGEMENTS),
            objects: TrustObjects::new(&registry.http),
            registries: Registries::new(registry),
            trust: Mutex::new(trust),
            revocations: Mutex::new(Ok(Vec::new())),
            files: Mutex::default(),
        }
    }

    /// Takes the evidence of a file, which lies in no registry. It stands in the place of what was known of it.
    pub fn set_file(&self, file: Digest, evidence: Evidence) {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).insert(file, Arc::new(evidence));
    }

    fn file(&self, file: &Digest) -> Result<Answer, CouldNot> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.get(file).cloned().map(Answer::Evidence).ok_or_else(|| {
            CouldNot::new(CouldNotReason::NotFound, format!("no evidence of the file {file} is at hand"))
        })
    }

    /// The same, which knows the namespace in which it runs: that of the secrets which policies name without one.
    #[must_use]
    pub fn in_namespace(self, namespace: impl Into<String>) -> Self {
        Self { namespace: Some(namespace.into()), ..self }
    }

    /// Puts other `TrustRoot` objects into the place of those that are there. They go before trust roots of the same name.
    pub fn set_trust_objects(&self, objects: Vec<TrustRootObject>) {
        self.objects.set(objects);
    }

    /// Fetches the trust roots that are in a repository elsewhere, as far as that is due, and tells which objects cannot
    /// be used. Until this was called, those elsewhere could not be had.
    pub async fn fetch_trust_roots(&self, now: Timestamp) -> Vec<TrustTrouble> {
        self.objects.fetch(now).await
    }

    /// Waits until [`Source::fetch_trust_roots`] may have something to do or to tell.
    pub async fn trust_roots_due(&self) {
        self.objects.due().await;
    }

    /// Puts revocation lists into the place of those that are there, or says that there should be one and nobody has it.
    /// They hold from the next evaluation on; judgements that were made by others are not used any more.
    pub fn set_revocations(&self, lists: Result<Vec<Arc<Revocations>>, CouldNot>) {
        *self.revocations.lock().unwrap_or_else(PoisonError::into_inner) = lists;
    }

    pub(super) fn revocations(&self) -> Result<Vec<Arc<Revocations>>, CouldNot> {
        self.revocations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts other trust roots into the place of those that are there.
    pub fn set_trust(&self, trust: BTreeMap<Option<String>, Arc<TrustRoot>>) {
        *self.trust.lock().unwrap_or_else(PoisonError::into_inner) = trust;
    }

    pub(super) fn memo(&self) -> &Memo {
        &self.memo
    }

    pub(super) fn forget(&self, question: &Question) {
        self.flights.forget(question);
    }

    /// The answer to a question, not older than `since`.
    pub(super) async fn answer(
        &self,
        question: &Question,
        since: Option<Instant>,
        now: Timestamp,
    ) -> Answered<Answer> {
        match question {
            Question::Trust(name) => return Answered { answer: self.trust(name, now), cached: false },
            Question::OfFile(file) => return Answered { answer: self.file(file), cached: false },
            _ => {}
        }
        self.flights.answer(question, since, kept_for, async || self.fetch(question).await).await
    }

    async fn fetch(&self, question: &Question) -> Result<Answer, CouldNot> {
        match question {
            Question::Digest { image, access } => {
                let client = self.client(access).await?;
                let resolved = client.registry.repository(image.repository()).resolve(&image.name()).await;
                Ok(Answer::Digest(resolved.map_err(|e| client.could_not(&e))?.digest))
            }
            Question::Evidence(of) => self.evidence(of).await,
            Question::Attached(of) => self.attached(of).await,
            Question::Image { image, access } => self.image(image, access).await,
            Question::Keys(reference) => self.keys(reference).await,
            Question::Certificates(reference) => self.certificates(reference).await,
            Question::ConfigMap(name) => {
                Ok(Answer::ConfigMap(Arc::new(self.cluster.config_map(name).await?)))
            }
            Question::Namespace(name) => {
                Ok(Answer::Labels(Arc::new(self.cluster.namespace_labels(name).await?)))
            }
            other => {
                Err(CouldNot::new(CouldNotReason::Unsupported, format!("{other}: nobody here can tell")))
            }
        }
    }

    fn trust(&self, name: &Option<String>, now: Timestamp) -> Result<Answer, CouldNot> {
        if let Some(answer) = name.as_deref().and_then(|name| self.objects.answer(name, now)) {
            return answer.map(Answer::Trust);
        }
        let known = self.trust.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(name).cloned().map(Answer::Trust).ok_or_else(|| {
            let text = match name {
                None => {
                    "no trust root is set; add one with `countersign trust add`, or name a file".to_owned()
                }
                Some(name) => format!(
                    "there is no trust root \"{name}\"; known are: {}",
                    known
                        .keys()
                        .flatten()
                        .cloned()
                        .chain(self.objects.names())
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
            };
            CouldNot::new(CouldNotReason::NotFound, text)
        })
    }

    async fn evidence(&self, of: &EvidenceQuestion) -> Result<Answer, CouldNot> {
        let client = self.client(&of.access).await?;
        let repository = client.registry.repository(&of.repository);
        let search = Search {
            predicate_types: of.predicate_types.clone(),
            tag_prefix: of.tag_prefix.clone(),
            ..Search::of(of.forms.iter().copied())
        };
        let found = discover(&repository, &of.image, &search).await.map_err(|e| client.could_not(&e))?;
        Ok(Answer::Evidence(Arc::new(Evidence::new(found))))
    }

    async fn attached(&self, of: &AttachedQuestion) -> Result<Answer, CouldNot> {
        let client = self.client(&of.access).await?;
        let repository = client.registry.repository(&of.repository);
        let found = attached(&repository, &of.image, &of.artifact_type).await;
        let found = found.map_err(|e| client.could_not(&e))?;
        Ok(Answer::Attached(Arc::new(found)))
    }

    async fn image(&self, image: &Reference, access: &Arc<Access>) -> Result<Answer, CouldNot> {
        let client = self.client(access).await?;
        let repository = client.registry.repository(image.repository());
        let manifest = repository.fetch(&image.name()).await.map_err(|e| client.could_not(&e))?;
        let json = |what: &str, bytes: &[u8]| {
            serde_json::from_slice(bytes)
                .map_err(|e| CouldNot::new(CouldNotReason::Unusable, format!("{what} of {image}: {e}")))
        };
        let config = match &manifest.kind {
            Kind::Image(inside) => {
                let bytes =
                    repository.blob(&inside.config, MAX_CONFIG).await.map_err(|e| client.could_not(&e))?;
                Some(json("the configuration", &bytes)?)
            }
            _ => None,
        };
        let parsed = json("the manifest", &manifest.bytes)?;
        Ok(Answer::Image(Arc::new(ImageData {
            descriptor: manifest.descriptor.clone(),
            manifest: parsed,
            config,
        })))
    }

    async fn keys(&self, reference: &str) -> Result<Answer, CouldNot> {
        let unusable = |detail: String| {
            CouldNot::new(CouldNotReason::Unusable, format!("the public key {reference}: {detail}"))
        };
        let key = match secret_name(reference) {
            Some(name) => {
                let data = self.cluster.secret(&name).await?;
                let pem = data
                    .get("cosign.pub")
                    .map(|pem| pem.as_slice())
                    .or_else(|| only(&data))
                    .ok_or_else(|| {
                        unusable(
                            "expected \"cosign.pub\" or one entry alone in the secret, found neither".into(),
                        )
                    })?;
                PublicKey::from_pem(&String::from_utf8_lossy(pem)).map_err(|e| unusable(e.to_string()))?
            }
            None => {
                let parsed = KeyRef::parse(reference).map_err(|e| unusable(e.to_string()))?;
                let load = tokio::task::spawn_blocking(move || load_public_key(&parsed));
                let loaded = load.await.map_err(|e| unusable(e.to_string()))?;
                loaded.map_err(|e| {
                    let away = crate::ClientError::from(e);
                    let reason = if away.exit_code() == 6 {
                        CouldNotReason::Unreachable
                    } else {
                        CouldNotReason::Unusable
                    };
                    CouldNot::new(reason, format!("the public key {reference}: {away}"))
                })?
            }
        };
        Ok(Answer::Keys(Arc::new(vec![key])))
    }

    async fn certificates(&self, reference: &str) -> Result<Answer, CouldNot> {
        let unusable = |detail: &str| {
            CouldNot::new(CouldNotReason::Unusable, format!("the certificates {reference}: {detail}"))
        };
        let name = secret_name(reference).ok_or_else(|| unusable("expected k8s://namespace/secret"))?;
        let data = self.cluster.secret(&name).await?;
        let pem =
            only(&data).ok_or_else(|| unusable("expected one entry in the secret, found none or several"))?;
        let text = std::str::from_utf8(pem).map_err(|_| unusable("expected PEM, found other bytes"))?;
        Ok(Answer::Certificates(Arc::new(text.to_owned())))
    }

    /// A client of registries with the credentials of an access.
    async fn client(&self, access: &Arc<Access>) -> Result<Arc<Client>, CouldNot> {
        self.registries.client(access, &*self.cluster, self.namespace.as_deref()).await
    }
}

/// The Secret of `k8s://namespace/name`.
fn secret_name(reference: &str) -> Option<ObjectName> {
    let (namespace, name) = reference.strip_prefix("k8s://")?.split_once('/')?;
    Some(ObjectName { namespace: namespace.to_owned(), name: name.to_owned() })
}

/// The one entry of a Secret, whatever it is called.
fn only(data: &SecretData) -> Option<&[u8]> {
    let mut values = data.values();
    values.next().filter(|_| values.next().is_none()).map(|bytes| bytes.as_slice())
}

/// How long an answer is kept. What a tag names is never kept: it is resolved for each request.
fn kept_for(question: &Question, answer: &Result<Answer, CouldNot>) -> Duration {
    let seconds = match (question, answer) {
        (Question::Digest { .. }, Ok(_)) => 0,
        // Long enough that a rollout in front of a broken registry does not break it more.
        (_, Err(_)) => 3,
        (Question::Evidence(_), Ok(Answer::Evidence(evidence))) if evidence.found().is_empty() => 5,
        (Question::Attached(_), Ok(Answer::Attached(found))) if found.is_empty() => 5,
        (Question::Evidence(_) | Question::Attached(_), Ok(_)) => 600,
        // What lies under a digest stays what it is.
        (Question::Image { .. }, Ok(_)) => 3600,
        (Question::Keys(_) | Question::Certificates(_), Ok(_)) => 60,
        // A rollout asks for the same one with each object. Labels of namespaces are asked for each time: who labels one
        // and goes on there at once must find it judged by them.
        (Question::ConfigMap(_), Ok(_)) => 5,
        (_, Ok(_)) => 0,
    };
    Duration::from_secs(seconds)
}

/// About how many bytes an answer takes. What is parsed takes a few times as much as its text.
fn weigh(answer: &Answer) -> usize {
    const PARSED: usize = 4;
    let texts = |annotations: &BTreeMap<String, String>| -> usize {
        annotations.iter().map(|(name, value)| name.len() + value.len()).sum()
    };
    match answer {
        Answer::Evidence(evidence) => {
            let piece = |found: &Found| size_of::<Found>() + found.bytes.len() + texts(&found.annotations);
            evidence.found().iter().map(piece).sum()
        }
        Answer::Attached(attached) => {
            attached.iter().map(|piece| size_of::<Attached>() + piece.bytes.len()).sum()
        }
        Answer::Image(image) => {
            let config = image.config.as_ref().map_or(0, |config| config.to_string().len());
            PARSED * (image.manifest.to_string().len() + config)
        }
        Answer::Certificates(pem) => pem.len(),
        Answer::ConfigMap(map) | Answer::Labels(map) => texts(map),
        _ => 0,
    }
}
