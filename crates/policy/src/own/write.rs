//! Authorities, to which all languages come down, written as `signedBy`, `trust` and `require`.

use serde_json::{Map, Value, json};

use crate::authority::{Authority, IdentityRule, KeySource, Who};
use crate::pattern::Pattern;
use crate::trust::{TrustBase, TrustSpec};

/// Somebody, or several of whom so many must have signed, of any language.
#[derive(Debug, Clone)]
pub(crate) enum Signers {
    /// Somebody.
    One(Box<Authority>),
    /// So many of these.
    Several {
        /// How many.
        need: usize,
        /// Of whom.
        of: Vec<Signers>,
    },
}

impl Signers {
    /// All authorities in it.
    pub(crate) fn authorities(&self) -> Vec<&Authority> {
        match self {
            Self::One(authority) => vec![&**authority],
            Self::Several { of, .. } => of.iter().flat_map(Self::authorities).collect(),
        }
    }

    /// Whether several must have signed somewhere in it.
    pub(crate) fn needs_several(&self) -> bool {
        match self {
            Self::One(_) => false,
            Self::Several { need, of } => *need > 1 || of.iter().any(Self::needs_several),
        }
    }

    /// As `signedBy`.
    ///
    /// # Errors
    /// In words, what cannot be said.
    pub(crate) fn written(&self) -> Result<Value, String> {
        match self {
            Self::One(authority) => signer(authority),
            Self::Several { need, of } => {
                let written = of.iter().map(Self::written).collect::<Result<Vec<_>, _>>()?;
                Ok(several(*need, written))
            }
        }
    }
}

/// So many of these, in the shortest form.
fn several(need: usize, mut of: Vec<Value>) -> Value {
    match (need, of.len()) {
        (1, 1) => of.remove(0),
        (1, _) => json!({ "anyOf": of }),
        (need, all) if need == all => json!({ "allOf": of }),
        (need, _) => json!({ "atLeast": need, "of": of }),
    }
}

fn signer(authority: &Authority) -> Result<Value, String> {
    let mut written: Map<String, Value> = match &authority.who {
        Who::Key(KeySource::Pem(key) | KeySource::Reference(key)) => {
            [("key".to_owned(), Value::from(key.as_str()))].into_iter().collect()
        }
        Who::Identities(rules) => {
            let mut rules = rules.iter().map(identity).collect::<Result<Vec<_>, _>>()?;
            if rules.len() > 1 && !authority.annotations.is_empty() {
                return Err("annotations of several identities at once".into());
            }
            if rules.len() == 1 {
                rules.remove(0)
            } else {
                Map::from_iter([("anyOf".to_owned(), json!(rules))])
            }
        }
        Who::AnyIdentity => {
            ["subject", "issuer"].into_iter().map(|name| (name.to_owned(), Value::from("*"))).collect()
        }
        Who::Notary { .. } => return Err("signers of the Notary Project".into()),
    };
    if !authority.annotations.is_empty() {
        written.insert("annotations".into(), json!(authority.annotations));
    }
    Ok(written.into())
}

fn identity(rule: &IdentityRule) -> Result<Map<String, Value>, String> {
    let [issuer] = rule.issuer.as_slice() else {
        return Err("an issuer and a regular expression for it, both of which must match".into());
    };
    let mut written = Map::new();
    for (field, pattern) in [("subject", &rule.subject), ("issuer", issuer)] {
        match pattern {
            Pattern::Regex(text) => written.insert(format!("{field}Regex"), text.clone().into()),
            other => written.insert(field.into(), wildcard(other)?.into()),
        };
    }
    if !rule.extensions.is_empty() {
        let mut extensions = Map::new();
        for (name, pattern) in &rule.extensions {
            extensions.insert(name.clone(), wildcard(pattern)?.into());
        }
        written.insert("extensions".into(), extensions.into());
    }
    Ok(written)
}

fn wildcard(pattern: &Pattern) -> Result<&str, String> {
    match pattern {
        Pattern::Exact(text) if text.contains(['*', '?']) => {
            Err(format!("the text \"{text}\", not as a pattern"))
        }
        Pattern::Exact(text) | Pattern::Wildcard(text) => Ok(text),
        Pattern::Regex(text) => Err(format!("the regular expression {text} over an extension")),
    }
}

/// What all these share, as the fields `trust`, `require` and `evidenceRepository` of a policy.
///
/// # Errors
/// In words, what cannot be said: above all that they do not share it.
pub(crate) fn shared(authorities: &[&Authority]) -> Result<Map<String, Value>, String> {
    let mut fields = Map::new();
    let Some(first) = authorities.first() else { return Ok(fields) };
    let differs =
        |same: fn(&Authority, &Authority) -> bool| authorities.iter().any(|other| !same(first, other));
    if differs(|a, b| a.trust == b.trust) {
        return Err("trust that is another for each signer; make it several policies".into());
    }
    if differs(|a, b| a.demands == b.demands) {
        return Err(
            "evidence that is demanded of one signer and not of another; make it several policies".into()
        );
    }
    if differs(|a, b| a.repository == b.repository) {
        return Err("signatures that lie in several repositories; make it several policies".into());
    }
    for authority in authorities {
        if authority.forms.hash.is_some() {
            return Err("a hash that keys sign over other than the one that goes with them".into());
        }
        if !authority.forms.tag_prefix.is_empty() {
            return Err("a prefix before the tags of signatures".into());
        }
        if authority.trust.roots_at.is_some() {
            return Err(
                "certificate authorities in a Secret; write them into trust.certificateAuthorities".into()
            );
        }
        if authority.trust.logs_of.is_some() || authority.trust.timestamps_of.is_some() {
            return Err("logs or timestamp authorities of another trust root".into());
        }
    }
    let trust = trust(&first.trust);
    if !trust.is_empty() {
        fields.insert("trust".into(), trust.into());
    }
    let mut require = Map::new();
    let demands = first.demands;
    for (name, value, default) in [
        ("transparencyLog", demands.log, true),
        ("ctLog", demands.sct, true),
        ("timestamp", demands.timestamp, false),
    ] {
        if value != default {
            require.insert(name.into(), value.into());
        }
    }
    if !require.is_empty() {
        fields.insert("require".into(), require.into());
    }
    if let Some(repository) = &first.repository {
        fields.insert("evidenceRepository".into(), repository.to_string().into());
    }
    Ok(fields)
}

fn trust(trust: &TrustSpec) -> Map<String, Value> {
    let (root, document) = match &trust.base {
        TrustBase::Installation => (None, None),
        TrustBase::Named(name) => (Some(name), None),
        TrustBase::Document(document) => (None, Some(document)),
    };
    let given = [
        ("root", root),
        ("document", document),
        ("certificateAuthorities", trust.roots.as_ref()),
        ("transparencyLogs", trust.log_keys.as_ref()),
        ("transparencyLogUrl", trust.log_url.as_ref()),
        ("ctLogs", trust.ct_keys.as_ref()),
        ("timestampAuthorities", trust.timestamp_chain.as_ref()),
    ];
    given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.clone().into()))).collect()
}
