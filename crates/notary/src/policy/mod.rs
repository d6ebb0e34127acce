//! Trust policy documents (`trust-store-trust-policy.md`): which statement is for an artifact, and what it asks for.
//!
//! A document is checked as a whole before any part of it is used. Members which are not known are refused, so that a
//! misspelt one is not a rule that was never there.

mod identity;
mod scope;

use std::collections::BTreeMap;

use countersign_attestation::json;
use serde::Deserialize;

pub use identity::{DistinguishedName, TrustedIdentities};

use crate::store::{StoreName, StoreType};
use crate::{Reason, Refusal};

/// The largest document read, in bytes.
pub const MAX_POLICY_LEN: usize = 1 << 20;
const VERSION: &str = "1.0";
const ANY: &str = "*";

/// What becomes of a check that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// It is a refusal.
    Enforce,
    /// It is told.
    Log,
    /// The check is not made.
    Skip,
}

/// What a level asks of each check. Integrity is always enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Actions {
    /// A chain to a trust store, and a trusted identity.
    pub authenticity: Action,
    /// That the certificates were valid when it was signed.
    pub authentic_timestamp: Action,
    /// The signature's own "best before".
    pub expiry: Action,
    /// That no certificate has been revoked.
    pub revocation: Action,
}

/// A level of verification, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    /// Everything is enforced.
    Strict,
    /// Timestamp, expiry and revocation are only logged.
    Permissive,
    /// All but integrity is only logged.
    Audit,
    /// Nothing is verified.
    Skip,
}

impl Level {
    /// The name in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Permissive => "permissive",
            Self::Audit => "audit",
            Self::Skip => "skip",
        }
    }

    const fn actions(self) -> Option<Actions> {
        let (authenticity, others) = match self {
            Self::Strict => (Action::Enforce, Action::Enforce),
            Self::Permissive => (Action::Enforce, Action::Log),
            Self::Audit => (Action::Log, Action::Log),
            Self::Skip => return None,
        };
        Some(Actions { authenticity, authentic_timestamp: others, expiry: others, revocation: others })
    }
}

/// When timestamps are verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum VerifyTimestamp {
    /// Always, when there is a store of timestamp authorities.
    #[default]
    Always,
    /// Only when a certificate of the chain has expired.
    AfterCertExpiry,
}

/// What is asked of a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// What becomes of each check.
    pub actions: Actions,
    /// When timestamps are verified.
    pub verify_timestamp: VerifyTimestamp,
    /// The stores, at least one.
    pub stores: Vec<StoreName>,
    /// Who may sign.
    pub identities: TrustedIdentities,
}

impl Rules {
    pub(crate) fn stores_of(&self, kind: StoreType) -> impl Iterator<Item = &StoreName> {
        self.stores.iter().filter(move |store| store.kind == kind)
    }
}

/// One statement of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Its name.
    pub name: String,
    /// The level it starts from.
    pub level: Level,
    /// What it asks for; `None` with [`Level::Skip`] only.
    pub rules: Option<Rules>,
}

/// A policy for artifacts in registries: `trustpolicy.oci.json`, or `trustpolicy.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OciPolicy(Vec<(Vec<String>, Statement)>);

/// A policy for files: `trustpolicy.blob.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobPolicy(Vec<(bool, Statement)>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct WireDocument<T> {
    version: String,
    trust_policies: json::Bounded<T, 1024>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct WireOci {
    name: String,
    registry_scopes: json::Bounded<String, 1024>,
    signature_verification: WireVerification,
    #[serde(default)]
    trust_stores: json::Bounded<String, 64>,
    #[serde(default)]
    trusted_identities: json::Bounded<String, 256>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct WireBlob {
    name: String,
    #[serde(default)]
    global_policy: bool,
    signature_verification: WireVerification,
    #[serde(default)]
    trust_stores: json::Bounded<String, 64>,
    #[serde(default)]
    trusted_identities: json::Bounded<String, 256>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct WireVerification {
    level: String,
    #[serde(default, rename = "override")]
    overrides: json::UniqueMap<String, 8>,
    #[serde(default)]
    verify_timestamp: Option<String>,
}

impl OciPolicy {
    /// Reads and checks a document.
    ///
    /// # Errors
    /// [`Reason::TrustPolicyMalformed`], naming the statement and the rule.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let wire: Vec<WireOci> = document(bytes)?;
        let mut statements: Vec<(Vec<String>, Statement)> = Vec::new();
        for wire in wire {
            let scopes = wire.registry_scopes.0;
            let statement = statement(
                wire.name,
                &wire.signature_verification,
                &wire.trust_stores.0,
                &wire.trusted_identities.0,
            )?;
            let name = statement.name.clone();
            let bad = |expected: &str, found: String| Err(in_statement(&name, &malformed(expected, found)));
            let is_global = scopes.iter().any(|scope| scope == ANY);
            if scopes.is_empty() || (is_global && scopes.len() > 1) {
                return bad("registryScopes of repositories, or \"*\" alone", format!("{scopes:?}"));
            }
            if is_global && statement.level == Level::Skip {
                return bad("a level other than skip for all repositories (\"*\")", "skip".into());
            }
            if let Some(scope) = scopes.iter().find(|scope| *scope != ANY && !scope::is_repository(scope)) {
                return bad("a repository such as registry.example.com/team/app", format!("{scope:?}"));
            }
            let taken = |scope: &String| statements.iter().any(|(others, _)| others.contains(scope));
            let twice = |scope: &String| scopes.iter().filter(|other| *other == scope).count() > 1;
            if let Some(scope) = scopes.iter().find(|scope| taken(scope) || twice(scope)) {
                return bad("each registry scope in one statement, once", format!("{scope:?} again"));
            }
            statements.push((scopes, statement));
        }
        check_names(statements.iter().map(|(_, statement)| statement))?;
        Ok(Self(statements))
    }

    /// The statement for a repository: the one that names it, else the one for all.
    ///
    /// # Errors
    /// [`Reason::NoApplicablePolicy`].
    pub fn statement_for(&self, repository: &str) -> Result<&Statement, Refusal> {
        let of = |wanted: &str| self.0.iter().find(|(scopes, _)| scopes.iter().any(|scope| scope == wanted));
        of(repository).or_else(|| of(ANY)).map(|(_, statement)| statement).ok_or_else(|| {
            let expected =
                format!("a statement of the trust policy for {repository:?}, or for all repositories");
            Refusal::new(Reason::NoApplicablePolicy, expected, "none")
        })
    }

    /// All statements.
    pub fn statements(&self) -> impl Iterator<Item = &Statement> {
        self.0.iter().map(|(_, statement)| statement)
    }
}

impl BlobPolicy {
    /// Reads and checks a document.
    ///
    /// # Errors
    /// [`Reason::TrustPolicyMalformed`], naming the statement and the rule.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let wire: Vec<WireBlob> = document(bytes)?;
        let mut statements: Vec<(bool, Statement)> = Vec::new();
        for wire in wire {
            let statement = statement(
                wire.name,
                &wire.signature_verification,
                &wire.trust_stores.0,
                &wire.trusted_identities.0,
            )?;
            if wire.global_policy {
                let bad = |expected: &str, found: &str| {
                    Err(in_statement(&statement.name, &malformed(expected, found)))
                };
                if statements.iter().any(|(global, _)| *global) {
                    return bad("one global policy", "a second one");
                }
                if statement.level == Level::Skip {
                    return bad("a level other than skip for the global policy", "skip");
                }
            }
            statements.push((wire.global_policy, statement));
        }
        check_names(statements.iter().map(|(_, statement)| statement))?;
        Ok(Self(statements))
    }

    /// The statement of this name; without a name, the global one.
    ///
    /// # Errors
    /// [`Reason::NoApplicablePolicy`].
    pub fn statement_for(&self, name: Option<&str>) -> Result<&Statement, Refusal> {
        let found = match name {
            Some(name) => self.0.iter().find(|(_, statement)| statement.name == name),
            None => self.0.iter().find(|(global, _)| *global),
        };
        found.map(|(_, statement)| statement).ok_or_else(|| {
            let expected = match name {
                Some(name) => format!("a statement of the trust policy called {name:?}"),
                None => "a global statement of the trust policy, or the name of another".to_owned(),
            };
            Refusal::new(Reason::NoApplicablePolicy, expected, "none")
        })
    }

    /// All statements.
    pub fn statements(&self) -> impl Iterator<Item = &Statement> {
        self.0.iter().map(|(_, statement)| statement)
    }
}

pub(crate) fn malformed(expected: impl Into<String>, found: impl Into<String>) -> Refusal {
    Refusal::new(Reason::TrustPolicyMalformed, expected, found)
}

fn in_statement(name: &str, refusal: &Refusal) -> Refusal {
    malformed(
        format!("{} in the statement {name:?} of the trust policy", refusal.expected),
        refusal.found.clone(),
    )
}

fn document<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<Vec<T>, Refusal> {
    let document: WireDocument<T> = json::from_slice(bytes, MAX_POLICY_LEN)
        .map_err(|e| malformed("a trust policy with \"version\" and \"trustPolicies\"", e.to_string()))?;
    if document.version != VERSION {
        return Err(malformed(
            format!("a trust policy of version {VERSION}"),
            format!("{:?}", document.version),
        ));
    }
    let statements = document.trust_policies.0;
    if statements.is_empty() { Err(malformed("at least one statement", "none")) } else { Ok(statements) }
}

fn check_names<'a>(statements: impl Iterator<Item = &'a Statement>) -> Result<(), Refusal> {
    let mut seen = BTreeMap::new();
    for statement in statements {
        if seen.insert(&statement.name, ()).is_some() {
            return Err(malformed("statements of different names", format!("{:?} twice", statement.name)));
        }
    }
    Ok(())
}

fn statement(
    name: String,
    verification: &WireVerification,
    stores: &[String],
    identities: &[String],
) -> Result<Statement, Refusal> {
    if name.is_empty() {
        return Err(malformed("a name for each statement", "none"));
    }
    let inside = |refusal: Refusal| in_statement(&name, &refusal);
    let (level, actions) = level(verification).map_err(inside)?;
    let verify_timestamp = match verification.verify_timestamp.as_deref() {
        None | Some("always") => VerifyTimestamp::Always,
        Some("afterCertExpiry") => VerifyTimestamp::AfterCertExpiry,
        Some(other) => {
            return Err(inside(malformed("verifyTimestamp always or afterCertExpiry", format!("{other:?}"))));
        }
    };
    let rules = match actions {
        None if stores.is_empty() && identities.is_empty() => None,
        None => {
            return Err(inside(malformed("no trustStores and no trustedIdentities with level skip", "some")));
        }
        Some(actions) => {
            if stores.is_empty() {
                return Err(inside(malformed("at least one trust store", "none")));
            }
            let stores: Result<Vec<_>, _> = stores.iter().map(|text| StoreName::parse(text)).collect();
            let identities = TrustedIdentities::parse(identities).map_err(inside)?;
            Some(Rules { actions, verify_timestamp, stores: stores.map_err(inside)?, identities })
        }
    };
    Ok(Statement { name, level, rules })
}

fn level(verification: &WireVerification) -> Result<(Level, Option<Actions>), Refusal> {
    let levels = [Level::Strict, Level::Permissive, Level::Audit, Level::Skip];
    let level = levels.into_iter().find(|level| level.name() == verification.level).ok_or_else(|| {
        malformed("a level strict, permissive, audit or skip", format!("{:?}", verification.level))
    })?;
    let Some(mut actions) = level.actions() else {
        return match verification.overrides.0.is_empty() {
            true => Ok((level, None)),
            false => Err(malformed("no override of the level skip", "one")),
        };
    };
    for (check, action) in &verification.overrides.0 {
        let action = match action.as_str() {
            "enforce" => Action::Enforce,
            "log" => Action::Log,
            "skip" => Action::Skip,
            other => return Err(malformed("an action enforce, log or skip", format!("{other:?}"))),
        };
        if action == Action::Skip && check != "revocation" {
            return Err(malformed("revocation as the only check that can be skipped", format!("{check:?}")));
        }
        match check.as_str() {
            "authenticity" => actions.authenticity = action,
            "authenticTimestamp" => actions.authentic_timestamp = action,
            "expiry" => actions.expiry = action,
            "revocation" => actions.revocation = action,
            "integrity" => return Err(malformed("integrity as it is: it is always enforced", "an override")),
            other => {
                let expected = "an override of authenticity, authenticTimestamp, expiry or revocation";
                return Err(malformed(expected, format!("{other:?}")));
            }
        }
    }
    Ok((level, Some(actions)))
}
