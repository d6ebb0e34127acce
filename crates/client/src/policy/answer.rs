//! The answers to the questions of policies, each from where it is to be had.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use countersign_crypto::PublicKey;
use countersign_keys::{KeyRef, load_public_key};
use countersign_policy::{
    Access, Answer, CouldNot, CouldNotReason, Evidence, EvidenceQuestion, ImageData, Memo, ObjectName,
    Question, TrustRoot,
};
use countersign_registry::auth::DockerConfig;
use countersign_registry::evidence::{Search, discover};
use countersign_registry::manifest::Kind;
use countersign_registry::{Reference, Registry, RegistryError, RegistryOptions, Store as _};
use countersign_verify::revocation::Revocations;
use tokio::time::Instant;

use super::cluster::Cluster;
use super::flight::{Answered, Flights};

/// The largest configuration of an image that is read, in bytes.
const MAX_CONFIG: u64 = 8 << 20;
/// How long credentials of one kind of access are used before secrets are read again.
const ACCESS_KEPT: Duration = Duration::from_secs(60);
/// The most kinds of access whose credentials are kept.
const MAX_ACCESSES: usize = 1000;
/// How many judgements are kept.
const JUDGEMENTS: usize = 20_000;

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
    options: SourceOptions,
    flights: Flights,
    memo: Memo,
    registries: Mutex<HashMap<Arc<Access>, (Instant, Registry)>>,
    trust: Mutex<BTreeMap<Option<String>, Arc<TrustRoot>>>,
    revocations: Mutex<Result<Vec<Arc<Revocations>>, CouldNot>>,
}

impl Source {
    /// A source with these options.
    #[must_use]
    pub fn new(options: SourceOptions) -> Self {
        let trust = Mutex::new(options.trust.clone());
        Self {
            options,
            flights: Flights::default(),
            memo: Memo::new(JUDGEMENTS),
            registries: Mutex::default(),
            trust,
            revocations: Mutex::new(Ok(Vec::new())),
        }
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

    /// The answer to a question.
    pub(super) async fn answer(&self, question: &Question) -> Answered {
        if let Question::Trust(name) = question {
            return Answered { answer: self.trust(name), cached: false };
        }
        self.flights.answer(question, kept_for, async || self.fetch(question).await).await
    }

    async fn fetch(&self, question: &Question) -> Result<Answer, CouldNot> {
        match question {
            Question::Digest { image, access } => {
                let repository = self.registry(access).await?.repository(image.repository());
                Ok(Answer::Digest(repository.resolve(&image.name()).await.map_err(|e| could_not(&e))?.digest))
            }
            Question::Evidence(of) => self.evidence(of).await,
            Question::Image { image, access } => self.image(image, access).await,
            Question::Keys(reference) => self.keys(reference).await,
            Question::ConfigMap(name) => {
                Ok(Answer::ConfigMap(Arc::new(self.options.cluster.config_map(name).await?)))
            }
            Question::Namespace(name) => {
                Ok(Answer::Labels(Arc::new(self.options.cluster.namespace_labels(name).await?)))
            }
            other => {
                Err(CouldNot::new(CouldNotReason::Unsupported, format!("{other}: nobody here can tell")))
            }
        }
    }

    fn trust(&self, name: &Option<String>) -> Result<Answer, CouldNot> {
        let known = self.trust.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(name).cloned().map(Answer::Trust).ok_or_else(|| {
            let text = match name {
                None => {
                    "no trust root is set; add one with `countersign trust add`, or name a file".to_owned()
                }
                Some(name) => format!(
                    "there is no trust root \"{name}\"; known are: {}",
                    known.keys().flatten().cloned().collect::<Vec<_>>().join(", ")
                ),
            };
            CouldNot::new(CouldNotReason::NotFound, text)
        })
    }

    async fn evidence(&self, of: &EvidenceQuestion) -> Result<Answer, CouldNot> {
        let repository = self.registry(&of.access).await?.repository(&of.repository);
        let search =
            Search { predicate_types: of.predicate_types.clone(), ..Search::of(of.forms.iter().copied()) };
        let found = discover(&repository, &of.image, &search).await.map_err(|e| could_not(&e))?;
        Ok(Answer::Evidence(Arc::new(Evidence::new(found))))
    }

    async fn image(&self, image: &Reference, access: &Arc<Access>) -> Result<Answer, CouldNot> {
        let repository = self.registry(access).await?.repository(image.repository());
        let manifest = repository.fetch(&image.name()).await.map_err(|e| could_not(&e))?;
        let json = |what: &str, bytes: &[u8]| {
            serde_json::from_slice(bytes)
                .map_err(|e| CouldNot::new(CouldNotReason::Unusable, format!("{what} of {image}: {e}")))
        };
        let config = match &manifest.kind {
            Kind::Image(inside) => {
                let bytes = repository.blob(&inside.config, MAX_CONFIG).await.map_err(|e| could_not(&e))?;
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
        let key = match reference.strip_prefix("k8s://").and_then(|rest| rest.split_once('/')) {
            Some((namespace, name)) => {
                let name = ObjectName { namespace: namespace.to_owned(), name: name.to_owned() };
                let data = self.options.cluster.secret(&name).await?;
                let pem = data
                    .get("cosign.pub")
                    .ok_or_else(|| unusable("the secret has no \"cosign.pub\"".into()))?;
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

    /// A client of registries with the credentials of an access.
    async fn registry(&self, access: &Arc<Access>) -> Result<Registry, CouldNot> {
        {
            let kept = self.registries.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, registry)) = kept.get(access).filter(|(at, _)| at.elapsed() < ACCESS_KEPT) {
                return Ok(registry.clone());
            }
        }
        let cluster = &self.options.cluster;
        let mut secrets = access.secrets.clone();
        for account in &access.service_accounts {
            secrets.extend(cluster.pull_secrets(account).await?);
        }
        let mut options = self.options.registry.clone();
        options.http.allow_plain_http |= access.insecure;
        for name in &secrets {
            let data = cluster.secret(name).await?;
            let config = [".dockerconfigjson", ".dockercfg"]
                .iter()
                .find_map(|key| data.get(*key))
                .ok_or_else(|| {
                    let text = format!(
                        "the secret {name}: expected a pull secret with \".dockerconfigjson\", found none"
                    );
                    CouldNot::new(CouldNotReason::Unusable, text)
                })?;
            let config = DockerConfig::from_pull_secret(config).map_err(|e| could_not(&e))?;
            options.credentials = options.credentials.with_config(config);
        }
        let registry = Registry::new(options);
        let mut kept = self.registries.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_ACCESSES {
            kept.retain(|_, (at, _)| at.elapsed() < ACCESS_KEPT);
            if kept.len() >= MAX_ACCESSES {
                kept.clear();
            }
        }
        kept.insert(access.clone(), (Instant::now(), registry.clone()));
        Ok(registry)
    }
}

/// How long an answer is kept. What a tag names is never kept: it is resolved for each request.
fn kept_for(question: &Question, answer: &Result<Answer, CouldNot>) -> Duration {
    let seconds = match (question, answer) {
        (Question::Digest { .. }, Ok(_)) => 0,
        // Long enough that a rollout in front of a broken registry does not break it more.
        (_, Err(_)) => 3,
        (Question::Evidence(_), Ok(Answer::Evidence(evidence))) if evidence.found().is_empty() => 5,
        (Question::Evidence(_), Ok(_)) => 600,
        // What lies under a digest stays what it is.
        (Question::Image { .. }, Ok(_)) => 3600,
        (Question::Keys(_), Ok(_)) => 60,
        (_, Ok(_)) => 0,
    };
    Duration::from_secs(seconds)
}

/// A registry's error as an answer.
fn could_not(error: &RegistryError) -> CouldNot {
    let reason = match error {
        RegistryError::NotFound { .. } => CouldNotReason::NotFound,
        RegistryError::Unauthorized { .. } | RegistryError::Forbidden { .. } => CouldNotReason::Unauthorized,
        RegistryError::TooManyRequests { .. } => CouldNotReason::TooManyRequests,
        RegistryError::Unreachable { .. } => CouldNotReason::Unreachable,
        _ => CouldNotReason::Unusable,
    };
    CouldNot::new(reason, error.to_string())
}
