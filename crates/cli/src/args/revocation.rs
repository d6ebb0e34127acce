//! What was revoked, as arguments: lists beside those that come with an instance.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use countersign_client::artifact::read_limited;
use countersign_client::verify::material;
use countersign_clock::{Clock as _, SystemClock, Timestamp};
use countersign_keys::{KeyRef, load_public_key};
use countersign_trust::instances::{InstanceError, Instances};
use countersign_trust::revocations::remember;
use countersign_verify::TrustMaterial;
use countersign_verify::revocation::{MAX_SIGNED_LIST, RevocationAuthority, Revocations, Text, open};

use crate::args::services::TrustArgs;
use crate::failure::{Failure, TRUST};
use crate::out::say;

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

    /// The lists of the files. Lists by identities are checked with the trust root that is meant.
    pub(crate) fn load(&self, trust: &TrustArgs) -> Result<Vec<Arc<Revocations>>, Failure> {
        let authority = match (self.authority()?, self.revocations.is_empty()) {
            (Some(authority), false) => authority,
            (None, true) => return Ok(Vec::new()),
            (None, false) => {
                return Err(Failure::usage(
                    "--revocations names a list, and nobody is named who may sign one; a list that vouches for itself \
                     says nothing",
                )
                .next("add --revocation-key KEY, or --revocation-identity NAME --revocation-issuer URL"));
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
    match Instances::for_user() {
        Ok(instances) => remember(&instances, authority, &list).map_err(|e| failed(&e))?,
        Err(InstanceError::NoHome) => {
            say(&format!(
                "{name}: there is no directory to remember its number in, so an older list is not noticed"
            ));
        }
        Err(e) => return Err(failed(&e)),
    }
    Ok(list)
}
