//! From an instance at rest to running services.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use countersign_ca::Ca;
use countersign_ca::config::{FulcioConfig, IssuerConfig, IssuerType, Issuers};
use countersign_ca::ct::CtLog;
use countersign_ca::dev_idp::DevelopmentProvider;
use countersign_ca::oidc::TokenVerifier;
use countersign_clock::Timestamp;
use countersign_crypto::{KeyPair, KeyType, Signer};
use countersign_keys::{KeyRef, PasswordSource};
use countersign_log::{Log, LogError, Options};
use countersign_tlog::NoteVerifier;
use countersign_trust::documents::{AuthorityDescription, InstanceDescription, LogDescription};
use countersign_trust::tuf::repository::{Lifetimes, Repository};
use countersign_tsa::{ObjectIdentifier, Tsa};
use countersign_verify::terms::{self, SearchKey};

use super::{Instance, InstanceKey, paths};
use crate::ServerError;
use crate::config::Role;
use crate::epoch::Lasting;
use crate::fetch::HttpTransport;
use crate::index::Index;
use crate::rate_limit::RateLimiter;
use crate::remote_key::RemoteKey;
use crate::revoke;
use crate::scrub::Scrub;
use crate::serve::{CaRole, LogRole, ServeOptions, Services, TrustRole};
use crate::store::Store;
use crate::witness::Witness;
use crate::witness::asking::Asking;

/// Sigstore's policy for timestamps, which its clients know.
const TSA_POLICY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.2");

/// The documents of the trust root, as they are served.
#[derive(Debug)]
pub(crate) struct Documents {
    pub(crate) trusted_root: Bytes,
    pub(crate) signing_config: Bytes,
    pub(crate) trust_config: Bytes,
}

/// A key with what it is for.
type LoadedKey = (InstanceKey, Arc<dyn Signer>, Option<Arc<RemoteKey>>);

impl Instance {
    /// The CT log's name in its checkpoints: its address without scheme.
    pub(crate) fn ct_origin(&self) -> String {
        format!("{}/ct", self.config.origin())
    }

    /// The instance as its trust root describes it.
    pub(crate) fn description(&self) -> Result<InstanceDescription, ServerError> {
        let base = self.config.base_url();
        let key = |key: InstanceKey| key.load_public(&self.directory);
        Ok(InstanceDescription {
            operator: self.config.organization.clone(),
            ca: AuthorityDescription { url: base.clone(), chain: self.chain(paths::CA_CHAIN)? },
            ct_log: LogDescription { url: format!("{base}/ct"), key: key(InstanceKey::Ct)? },
            log: LogDescription { url: base.clone(), key: key(InstanceKey::Log)? },
            log_v1: match self.config.log.rekor_v1 {
                true => Some(LogDescription { url: base.clone(), key: key(InstanceKey::LogV1)? }),
                false => None,
            },
            origin: self.config.origin(),
            tsa: AuthorityDescription {
                url: format!("{base}/api/v1/timestamp"),
                chain: self.chain(paths::TSA_CHAIN)?,
            },
            oidc_issuers: self.identity_providers(),
        })
    }

    /// The issuers people log in at, for the signing config. An instance without any names the development identity
    /// provider, so that a client knows where to go when it is run with `--dev`.
    fn identity_providers(&self) -> Vec<String> {
        let people: Vec<String> = self
            .config
            .ca
            .issuers
            .iter()
            .filter(|i| i.issuer_type == IssuerType::Email && !i.url.contains('*'))
            .map(|i| i.url.clone())
            .collect();
        if people.is_empty() {
            vec![format!("{}{}", self.config.base_url(), countersign_ca::dev_idp::PATH)]
        } else {
            people
        }
    }

    pub(crate) fn repository(&self, now: Timestamp) -> Result<Repository, ServerError> {
        Repository::open(&self.directory.join(paths::TUF), Lifetimes::default(), now)
            .map_err(|e| ServerError::Trust(format!("the TUF repository: {e}")))
    }

    fn documents(&self, repository: &Repository, now: Timestamp) -> Result<Documents, ServerError> {
        let target = |name: &str| {
            repository
                .target(name, now)
                .map(Bytes::from)
                .map_err(|e| ServerError::Trust(format!("the TUF repository: {e}")))
        };
        let trusted_root = target("trusted_root.json")?;
        let signing_config = target("signing_config.v0.2.json")?;
        let bad = |e: countersign_bundle::BundleError| ServerError::Trust(e.to_string());
        let both = countersign_bundle::ClientTrustConfig {
            trusted_root: countersign_bundle::TrustedRoot::from_json(&trusted_root).map_err(bad)?,
            signing_config: countersign_bundle::SigningConfig::from_json(&signing_config).map_err(bad)?,
        };
        let trust_config = both.to_json().map_err(bad)?.into();
        Ok(Documents { trusted_root, signing_config, trust_config })
    }

    /// Signs the TUF timestamp anew and reads the documents again, which a rotation may have changed.
    /// `remote` is the key that signs, when it lives elsewhere.
    pub(crate) fn refresh_trust(
        &self,
        options: &ServeOptions,
        remote: Option<Arc<RemoteKey>>,
    ) -> Result<Documents, ServerError> {
        let now = options.clock.now();
        let online = match remote {
            Some(remote) => remote as Arc<dyn Signer>,
            None => self.load_key(InstanceKey::TufOnline, &self.password(options.password.as_ref()))?,
        };
        let repository = self.repository(now)?;
        repository
            .refresh(&[online], now)
            .map_err(|e| ServerError::Trust(format!("the TUF timestamp could not be signed: {e}")))?;
        self.renew_revocations(options, now);
        self.documents(&repository, now)
    }

    /// Signs the revocation list anew when half of its time is over. What is served stays valid for a while, so that it
    /// cannot be done is told and tried again.
    fn renew_revocations(&self, options: &ServeOptions, now: Timestamp) {
        if let Err(error) = revoke::renew_if_due(self, &self.password(options.password.as_ref()), now) {
            tracing::error!(%error, "the revocation list could not be signed anew; see `countersign doctor`");
        }
    }

    /// Why a log in this directory does not open, and the next step.
    pub(super) fn unopened(&self, log: &'static str, directory: &Path, error: &LogError) -> ServerError {
        let instance = self.directory.display();
        let message = match error {
            LogError::NoLog { .. } => {
                format!("{error}; put a copy back: countersign log restore COPY {instance} --newest FILE")
            }
            LogError::Corrupt { .. } if self.config.store.is_none() => format!(
                "{}/{error}; stop here and see what else is damaged: countersign log fsck {instance}",
                directory.display()
            ),
            _ => error.to_string(),
        };
        ServerError::Log { log, message }
    }

    /// Opens what the roles need: keys, logs, documents.
    pub(crate) async fn services(
        &self,
        roles: &BTreeSet<Role>,
        options: &ServeOptions,
        lasting: &Lasting,
    ) -> Result<Services, ServerError> {
        // Before keys are decrypted, which takes its time.
        let v1 = self.config.log.rekor_v1.then_some((Role::Log, paths::LOG_V1, "Rekor v1"));
        let both = [(Role::Log, paths::LOG, "transparency"), (Role::Ca, paths::CT, "CT")];
        for (role, log, name) in both.into_iter().chain(v1) {
            // Past one machine any number of processes have it.
            let alone = roles.contains(&role) && self.config.store.is_none();
            let holder = alone.then(|| Log::holder_of(&self.directory.join(log))).flatten();
            if let Some(holder) = holder {
                return Err(ServerError::Log {
                    log: name,
                    message: LogError::LockedBy { holder }.to_string(),
                });
            }
        }
        let password = self.password(options.password.as_ref());
        let wanted: Vec<InstanceKey> = roles.iter().flat_map(|role| self.keys_of(*role)).copied().collect();
        let keys = self.load_keys(&wanted, &password)?;
        let key = |wanted: InstanceKey| {
            keys.iter()
                .find(|(k, ..)| *k == wanted)
                .map(|(_, signer, _)| Arc::clone(signer))
                .ok_or_else(|| ServerError::Trust("a key was not loaded".into()))
        };
        let development = &lasting.development;
        let now = options.clock.now();
        // A process without logs asks no database.
        let has_logs = roles.contains(&Role::Ca) || roles.contains(&Role::Log);
        let store = has_logs.then(|| Store::of(self)).transpose()?;
        let mut services = Services {
            base_url: self.config.base_url(),
            clock: Arc::clone(&options.clock),
            pages: self.config.web.pages,
            ca: None,
            log: None,
            rekor_v1: None,
            tsa: None,
            trust: None,
            witness: None,
            retired: match &store {
                Some(store) => crate::retired::open(&self.directory, roles.iter().copied(), store)?,
                None => BTreeMap::new(),
            },
            development: development.clone(),
            limiter: RateLimiter::new(self.config.limits.requests_per_second, self.config.limits.burst),
            metrics: Arc::clone(&lasting.metrics),
            remote_keys: keys.iter().filter_map(|(.., remote)| remote.clone()).collect(),
            scrubs: Vec::new(),
            draining: AtomicBool::new(false),
        };
        if has_logs {
            self.prepare_marks(options.marks.as_deref());
        }
        if let Some(store) = store.as_ref().filter(|_| roles.contains(&Role::Ca)) {
            services.ca = Some(self.ca_role(
                store,
                key(InstanceKey::Ca)?,
                key(InstanceKey::Ct)?,
                development.as_deref(),
                options,
            )?);
        }
        if let Some(store) = store.as_ref().filter(|_| roles.contains(&Role::Log)) {
            let signer = key(InstanceKey::Log)?;
            let log_id = NoteVerifier::rekor_v2(&self.config.origin(), signer.public_key().clone())
                .map_err(|e| ServerError::Trust(e.to_string()))?
                .key_id;
            let run = Options {
                linger: Duration::from_millis(self.config.log.batch_linger_ms),
                key_of: Some(Arc::new(countersign_crypto::sha256)),
                mark: self.mark(signer.public_key(), options.marks.as_deref()),
                ..Options::default()
            };
            let directory = self.directory.join(paths::LOG);
            let failed = |e| self.unopened("transparency", &directory, &e);
            let log =
                store.open(paths::LOG, run, vec![signer], Arc::clone(&options.clock)).map_err(failed)?;
            let search_key = self.search_key()?;
            let search = self.search(&directory, &log, search_key.clone()).map_err(failed)?;
            let section = &self.config.log;
            let witnesses = Asking::new(&self.directory, section, &log, self.config.store.is_some())?;
            let accept_dsse = section.accept_dsse_requests;
            services.log = Some(LogRole { log, log_id, accept_dsse, search, witnesses });
            if section.rekor_v1 {
                let rekor = self.rekor_v1(store, key(InstanceKey::LogV1)?, search_key, &password, options)?;
                services.rekor_v1 = Some(Arc::new(rekor));
            }
        }
        if let Some(section) = self.config.witness.as_ref().filter(|_| roles.contains(&Role::Log)) {
            services.witness = Some(Arc::new(Witness::open(&self.directory, section, &password)?));
        }
        if roles.contains(&Role::Tsa) {
            let tsa = Tsa::new(
                self.chain(paths::TSA_CHAIN)?,
                key(InstanceKey::Tsa)?,
                Arc::clone(&options.clock),
                TSA_POLICY,
            )
            .map_err(|e| ServerError::Trust(format!("the timestamp authority: {e}")))?;
            services.tsa = Some(tsa);
        }
        if roles.contains(&Role::Trust) {
            let repository = self.repository(now)?;
            match repository.refresh(&[key(InstanceKey::TufOnline)?], now) {
                Ok(()) => {}
                // What is published stays valid for a while, and is tried again.
                Err(e) if services.remote_key(InstanceKey::TufOnline).is_some_and(|k| k.away().is_some()) => {
                    tracing::warn!(error = %e, "the TUF timestamp could not be signed");
                }
                Err(e) => {
                    return Err(ServerError::Trust(format!("the TUF timestamp could not be signed: {e}")));
                }
            }
            self.renew_revocations(options, now);
            services.trust = Some(TrustRole {
                instance: self.directory.clone(),
                revocations: self.directory.join(paths::REVOCATIONS),
                documents: ArcSwap::from_pointee(self.documents(&repository, now)?),
                repository: self.directory.join(paths::TUF),
            });
        }
        if self.config.log.scrub_hours > 0 {
            let hours = Duration::from_secs(u64::from(self.config.log.scrub_hours) * 3600);
            let period = options.scrub_period.unwrap_or(hours);
            services.scrubs =
                services.logs().map(|(name, log)| Arc::new(Scrub::new(name, log.clone(), period))).collect();
        }
        Ok(services)
    }

    /// The search index of the transparency log, where there is one. It lies in this directory wherever the log does.
    fn search(
        &self,
        directory: &Path,
        log: &Log,
        key: Option<Arc<SearchKey>>,
    ) -> Result<Option<Arc<Index>>, LogError> {
        let section = &self.config.log.search;
        let open = || Index::open(directory, log.clone(), terms::of_body, key, section.commit);
        section.enabled.then(open).transpose().map(|index| index.map(Arc::new))
    }

    /// Decrypts keys side by side: each takes a tenth of a second of key derivation on purpose.
    fn load_keys(
        &self,
        wanted: &[InstanceKey],
        password: &PasswordSource,
    ) -> Result<Vec<LoadedKey>, ServerError> {
        std::thread::scope(|scope| {
            let tasks: Vec<_> =
                wanted.iter().map(|key| scope.spawn(move || self.open_key(*key, password))).collect();
            tasks
                .into_iter()
                .map(|task| {
                    task.join().unwrap_or_else(|_| Err(ServerError::Trust("a key could not be read".into())))
                })
                .collect()
        })
    }

    /// Whether signing with a key may block.
    fn lives_elsewhere(&self, key: InstanceKey) -> bool {
        !matches!(self.reference(key), None | Some(KeyRef::File(_) | KeyRef::Env(_)))
    }

    /// A key of a file is decrypted. One that lives elsewhere is looked for; the server starts without it too.
    fn open_key(&self, key: InstanceKey, password: &PasswordSource) -> Result<LoadedKey, ServerError> {
        match self.reference(key) {
            None | Some(KeyRef::File(_) | KeyRef::Env(_)) => Ok((key, self.load_key(key, password)?, None)),
            Some(reference) => {
                let public = key.load_public(&self.directory)?;
                let remote = Arc::new(RemoteKey::new(key, reference, public, password.clone()));
                remote.probe();
                Ok((key, Arc::clone(&remote) as Arc<dyn Signer>, Some(remote)))
            }
        }
    }

    /// An identity provider with a key of its own.
    pub(crate) fn development(&self, options: &ServeOptions) -> Result<DevelopmentProvider, ServerError> {
        let key = KeyPair::generate(KeyType::EcdsaP256).map_err(|e| ServerError::Trust(e.to_string()))?;
        DevelopmentProvider::new(&self.config.base_url(), "sigstore", key, Arc::clone(&options.clock))
            .map_err(|message| ServerError::Config { path: self.directory.join(super::FILE_NAME), message })
    }

    fn ca_role(
        &self,
        store: &Store,
        signer: Arc<dyn Signer>,
        ct_signer: Arc<dyn Signer>,
        development: Option<&DevelopmentProvider>,
        options: &ServeOptions,
    ) -> Result<CaRole, ServerError> {
        let config_path = self.directory.join(super::FILE_NAME);
        let section = &self.config.ca;
        let run = CtLog::options(Options {
            linger: Duration::from_millis(self.config.log.batch_linger_ms),
            mark: self.mark(ct_signer.public_key(), options.marks.as_deref()),
            ..Options::default()
        });
        let log = store
            .open(paths::CT, run, vec![Arc::clone(&ct_signer)], Arc::clone(&options.clock))
            .map_err(|e| self.unopened("CT", &self.directory.join(paths::CT), &e))?;
        let chain = self.chain(paths::CA_CHAIN)?;
        let mut ct = CtLog::new(
            log,
            ct_signer,
            std::slice::from_ref(&chain),
            section.sct_leaf_index,
            Arc::clone(&options.clock),
        )
        .map_err(|e| ServerError::Log { log: "CT", message: e.to_string() })?;
        if self.lives_elsewhere(InstanceKey::Ct) {
            ct = ct.with_blocking_signer();
        }
        let ct = Arc::new(ct);
        let fulcio = match &section.fulcio_config {
            None => None,
            Some(path) => {
                let path = self.directory.join(path);
                let text = std::fs::read_to_string(&path)
                    .map_err(|e| ServerError::Config { path: path.clone(), message: e.to_string() })?;
                Some(
                    FulcioConfig::parse(&text)
                        .map_err(|e| ServerError::Config { path, message: e.to_string() })?,
                )
            }
        };
        let mut issuers: Vec<IssuerConfig> = section.issuers.clone();
        for issuer in &mut issuers {
            // Paths in the configuration start at the instance's directory.
            for path in [&mut issuer.jwks_file, &mut issuer.ca_file, &mut issuer.bearer_token_file] {
                if let Some(path) = path.as_mut() {
                    *path = self.directory.join(&path);
                }
            }
        }
        let transport = HttpTransport::new();
        let transport = match development {
            Some(development) => {
                if !issuers.iter().any(|i| i.url == development.issuer()) {
                    issuers.push(IssuerConfig::new(development.issuer(), IssuerType::Email));
                }
                let jwks = development.jwks().map_err(|e| ServerError::Trust(e.to_string()))?;
                // Answered in the process: the server does not call itself.
                transport
                    .with_answer(
                        &format!("{}/.well-known/openid-configuration", development.issuer()),
                        development.discovery().to_string(),
                    )
                    .with_answer(&format!("{}/keys", development.issuer()), jwks.to_string())
            }
            None => transport,
        };
        let issuers = Issuers::new(&issuers, fulcio.as_ref())
            .map_err(|e| ServerError::Config { path: config_path, message: e.to_string() })?;
        let verifier = TokenVerifier::new(Arc::new(issuers), Arc::new(transport), Arc::clone(&options.clock));
        let mut ca = Ca::new(chain, signer, Arc::clone(&ct) as _, verifier, Arc::clone(&options.clock))
            .map_err(|e| ServerError::Trust(format!("the certificate authority: {e}")))?;
        if self.lives_elsewhere(InstanceKey::Ca) {
            ca = ca.with_blocking_signer();
        }
        Ok(CaRole { ca, ct })
    }
}
