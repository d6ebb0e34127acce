//! What was revoked, as arguments: lists beside those that come with an instance.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use countersign_client::artifact::read_limited;
use countersign_client::policy::Source;
use countersign_client::verify::material;
use countersign_clock::{Clock as _, SystemClock, Timestamp};
use countersign_http::text::printable;
use countersign_http::{Http, HttpOptions, parse_url};
use countersign_keys::{KeyRef, load_public_key};
use countersign_kubernetes::api::{Client, follow_revocations, look_at_revocations};
use countersign_kubernetes::certificate::Memory;
use countersign_kubernetes::revocation::{Place, RevocationLists, RevocationOptions};
use countersign_kubernetes::webhook::Metrics;
use countersign_trust::instances::{InstanceError, Instances};
use countersign_trust::revocations::remember;
use countersign_verify::TrustMaterial;
use countersign_verify::revocation::{MAX_SIGNED_LIST, RevocationAuthority, Revocations, Text, open};
use tokio::sync::watch;

use crate::args::services::TrustArgs;
use crate::failure::{Failure, NETWORK, TRUST};
use crate::out::say;

/// How long an address of a list may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Arguments about what was revoked.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Revocation")]
pub(crate) struct RevocationArgs {
    /// A file with a signed revocation list, as `countersign revoke --list` writes it
    #[arg(long, value_name = "FILE")]
    pub(crate) revocations: Vec<PathBuf>,
    /// A key that may sign revocation lists: a file, or a key elsewhere (docs/keys.md)
    #[arg(long, value_name = "KEY")]
    pub(crate) revocation_key: Vec<String>,
    /// An identity that may sign revocation lists; goes with --revocation-issuer
    #[arg(long, value_name = "NAME", requires = "revocation_issuer")]
    pub(crate) revocation_identity: Vec<String>,
    /// Who vouches for those identities
    #[arg(long, value_name = "URL", requires = "revocation_identity")]
    pub(crate) revocation_issuer: Option<String>,
}

impl RevocationArgs {
    /// Who may sign lists; `None` when nobody is named.
    pub(crate) fn authority(&self) -> Result<Option<RevocationAuthority>, Failure> {
        if self.revocation_key.is_empty() && self.revocation_identity.is_empty() {
            return Ok(None);
        }
        let mut keys = Vec::new();
        for text in &self.revocation_key {
            keys.push(load_public_key(&KeyRef::parse(text)?)?);
        }
        let issuer = Text::Exact(self.revocation_issuer.clone().unwrap_or_default());
        let named = |name: &String| (Text::Exact(name.clone()), issuer.clone());
        let identities: Vec<(Text, Text)> = self.revocation_identity.iter().map(named).collect();
        RevocationAuthority::new(&keys, &identities).map(Some).map_err(|e| Failure::usage(e.to_string()))
    }

    /// What lists are checked with: a key needs nobody else's word.
    pub(crate) fn material(
        authority: &RevocationAuthority,
        trust: &TrustArgs,
    ) -> Result<TrustMaterial, Failure> {
        if authority.identities().is_empty() {
            return Ok(TrustMaterial::empty());
        }
        Ok(material(&trust.load(None)?)?)
    }

    /// Who may revoke and where lists come from, these included: what is named, else what the instance that is meant has.
    pub(crate) fn followed(
        &self,
        trust: &TrustArgs,
        mut places: Vec<Place>,
    ) -> Result<Option<Followed>, Failure> {
        places.extend(self.revocations.iter().cloned().map(Place::File));
        let authority = match self.authority()? {
            Some(authority) => authority,
            // What is named by hand takes the place of what the instance has.
            None => match trust.revocations_of()? {
                Some(own) => {
                    places.push(Place::File(own.kept));
                    places.extend(own.url.as_deref().map(address).transpose()?);
                    own.authority
                }
                None if places.is_empty() => return Ok(None),
                None => return Err(nobody("a revocation list is named")),
            },
        };
        let material = Self::material(&authority, trust)?;
        Ok(Some(Followed { authority, material, places }))
    }

    /// The lists of the files. Lists by identities are checked with the trust root that is meant.
    pub(crate) fn load(&self, trust: &TrustArgs) -> Result<Vec<Arc<Revocations>>, Failure> {
        let authority = match (self.authority()?, self.revocations.is_empty()) {
            (Some(authority), false) => authority,
            (None, true) => return Ok(Vec::new()),
            (None, false) => {
                return Err(nobody("--revocations names a list"));
            }
            (Some(_), true) => {
                return Err(Failure::usage(
                    "it is said who may sign revocation lists, and no list is named: add --revocations FILE",
                ));
            }
        };
        let material = Self::material(&authority, trust)?;
        let now = SystemClock.now();
        self.revocations.iter().map(|path| read(path, &authority, &material, now).map(Arc::new)).collect()
    }
}

fn nobody(named: &str) -> Failure {
    Failure::usage(format!(
        "{named}, and nobody is named who may sign one; a list that vouches for itself says nothing"
    ))
    .next("add --revocation-key KEY, or --revocation-identity NAME --revocation-issuer URL")
}

/// An address of a list. The list is signed: who carries it is of no account.
pub(crate) fn address(text: &str) -> Result<Place, Failure> {
    let options = HttpOptions { allow_plain_http: true, timeout: PATIENCE, ..HttpOptions::default() };
    Ok(Place::Address(Box::new((parse_url(text)?, Http::new(options)))))
}

/// Who may revoke, and where lists come from.
#[derive(Debug)]
pub(crate) struct Followed {
    pub(crate) authority: RevocationAuthority,
    pub(crate) material: TrustMaterial,
    pub(crate) places: Vec<Place>,
}

impl Followed {
    /// Obeys the lists of a cluster once, as the webhook does: of them and of those in files the highest holds. What does
    /// not count there is told; with none that counts, nothing can be checked.
    pub(crate) async fn once(self, client: &Client, source: &Arc<Source>) -> Result<(), Failure> {
        self.look(client, source).await.map(drop)
    }

    /// The same, and goes on for as long as the program runs. Gives who tells when another list holds.
    pub(crate) async fn follow(
        self,
        client: &Client,
        source: &Arc<Source>,
    ) -> Result<watch::Receiver<u64>, Failure> {
        let lists = self.look(client, source).await?;
        for place in self.places {
            tokio::spawn(Arc::clone(&lists).follow(place));
        }
        tokio::spawn(follow_revocations(client.clone(), Ok(Arc::clone(&lists)), None));
        let (authority, mut changes) = (self.authority, lists.changes());
        let told = lists.changes();
        tokio::spawn(async move {
            while changes.changed().await.is_ok() {
                let Some(held) = lists.current().await else { continue };
                if let Err(failure) = keep_in_mind(held.from(), &authority, &held) {
                    tracing::error!(
                        error = failure.message,
                        "the number of a revocation list cannot be remembered"
                    );
                }
            }
        });
        Ok(told)
    }

    async fn look(&self, client: &Client, source: &Arc<Source>) -> Result<Arc<RevocationLists>, Failure> {
        let Self { authority, material, places } = self;
        let lists = Arc::new(RevocationLists::new(RevocationOptions {
            authority: authority.clone(),
            material: material.clone(),
            keeper: Arc::<Memory>::default(),
            source: Arc::clone(source),
            metrics: Arc::<Metrics>::default(),
            clock: Arc::new(SystemClock),
        }));
        // What an instance serves was fetched and kept a moment ago.
        for place in places.iter().filter(|place| matches!(place, Place::File(_))) {
            lists.look(place).await.map_err(|e| Failure::new(TRUST, e.to_string()))?;
        }
        let refused = look_at_revocations(client, &lists).await;
        for refused in refused.map_err(|e| Failure::new(NETWORK, e.to_string()))? {
            say(&printable(&refused.to_string()));
        }
        if let Some(held) = lists.current().await {
            keep_in_mind(held.from(), authority, &held)?;
        }
        Ok(lists)
    }
}

/// Remembers the number of a list, and refuses one that is older than what was seen.
fn keep_in_mind(name: &str, authority: &RevocationAuthority, list: &Revocations) -> Result<(), Failure> {
    match Instances::for_user() {
        Ok(instances) => {
            remember(&instances, authority, list).map_err(|e| Failure::new(TRUST, format!("{name}: {e}")))
        }
        Err(InstanceError::NoHome) => {
            say(&format!(
                "{name}: there is no directory to remember its number in, so an older list is not noticed"
            ));
            Ok(())
        }
        Err(e) => Err(Failure::new(TRUST, format!("{name}: {e}"))),
    }
}

fn read(
    path: &Path,
    authority: &RevocationAuthority,
    material: &TrustMaterial,
    now: Timestamp,
) -> Result<Revocations, Failure> {
    let name = path.display().to_string();
    // One more than is read, so that the reader is the one to say what is wrong.
    let bytes = read_limited(path, MAX_SIGNED_LIST + 1)?;
    let failed = |e: &dyn std::fmt::Display| Failure::new(TRUST, format!("{name}: {e}"));
    let list = open(&bytes, authority, material, &name, now).map_err(|e| failed(&e))?;
    keep_in_mind(&name, authority, &list)?;
    Ok(list)
}
