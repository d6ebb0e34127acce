//! Who must have signed: one somebody, or several of whom so many must have.

use std::collections::BTreeMap;

use countersign_registry::Repository;
use countersign_slsa::roots;

use super::schema::{Require, SignedBy, Trust};
use super::trust;
use crate::authority::{Authority, Demands, Forms, IdentityRule, KeySource, Who as Signer};
use crate::judge::{Fact, keys_from_pem};
use crate::lint::Lint;
use crate::pattern::Pattern;
use crate::read::ReadError;
use crate::statements::Root;
use crate::trust::{TrustBase, TrustSpec};

const GITHUB_ISSUER: &str = "https://token.actions.githubusercontent.com";
const GITLAB_ISSUER: &str = "https://gitlab.com";
/// How deep anyOf, allOf and atLeast may nest.
const MAX_DEPTH: usize = 8;
/// The most signers of one policy.
const MAX_SIGNERS: usize = 256;

/// Who must have signed.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Who {
    /// Somebody.
    One(Box<Authority>),
    /// So many of these, by as many different signatures. Never none, never more than there are.
    Several {
        /// How many.
        need: usize,
        /// No two are the same.
        of: Vec<Who>,
    },
}

/// Reads signers. What all of them share is here.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    written: &'a Trust,
    trust: TrustSpec,
    demands: Demands,
    repository: Option<Repository>,
    lints: Vec<Lint>,
    count: usize,
}

impl<'a> Reader<'a> {
    /// Signers under this trust.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(super) fn new(
        written: &'a Trust,
        require: Require,
        repository: Option<&str>,
    ) -> Result<Self, ReadError> {
        let mut lints = Vec::new();
        let repository = repository
            .map(Repository::parse)
            .transpose()
            .map_err(|e| ReadError::new("spec.evidenceRepository", e.to_string()))?;
        let demands = trust::demands(require, &mut lints);
        Ok(Self { written, trust: trust::read(written)?, demands, repository, lints, count: 0 })
    }

    /// What a reader of the policy should know.
    pub(super) fn into_lints(self) -> Vec<Lint> {
        self.lints
    }

    /// Who must have signed.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(super) fn who(&mut self, written: &SignedBy, path: &str) -> Result<Who, ReadError> {
        self.node(written, path, 0)
    }

    /// Remarks that the newest statement cannot be told where nobody need vouch for a time.
    pub(super) fn remark_on_time(&mut self) {
        if !self.demands.log && !self.demands.timestamp {
            let message = "nobody need vouch for when a statement was signed: of those without a time each counts, not the newest, and \
                           a scan without one does not; require timestamp or transparencyLog";
            self.lints.push(Lint::new("spec.require", "no_trusted_time", message));
        }
    }

    /// Somebody of several, each of whom is enough: rules over statements ask all of them.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(super) fn any_of(&mut self, written: &SignedBy, path: &str) -> Result<Vec<Authority>, ReadError> {
        fn flat(who: Who) -> Option<Vec<Authority>> {
            match who {
                Who::One(authority) => Some(vec![*authority]),
                Who::Several { need: 1, of } => {
                    let all: Option<Vec<_>> = of.into_iter().map(flat).collect();
                    Some(all?.into_iter().flatten().collect())
                }
                Who::Several { .. } => None,
            }
        }
        let who = self.who(written, path)?;
        flat(who).ok_or_else(|| {
            let message =
                "expected one signer or anyOf; where several must say the same, write a policy for each";
            ReadError::new(path, message)
        })
    }

    /// A root of trust for builders.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(super) fn root(&mut self, root: &roots::Root, path: &str) -> Result<Option<Root>, ReadError> {
        self.count += 1;
        if self.count > MAX_SIGNERS {
            return Err(ReadError::new(path, format!("expected at most {MAX_SIGNERS} signers in a policy")));
        }
        let (who, name) = match Signer::of_root(&root.signer) {
            Signer::Key(KeySource::Pem(key) | KeySource::Reference(key)) => {
                key_source(&key).map_err(|e| ReadError::new(format!("{path}.signer.key"), e))?
            }
            who => {
                let rules = if let Signer::Identities(rules) = &who { rules.as_slice() } else { &[] };
                for rule in rules {
                    crate::judge::identity(rule)
                        .map_err(|e| ReadError::new(format!("{path}.signer"), e.to_string()))?;
                    self.not_just_anyone(rule, &format!("{path}.signer"))?;
                }
                let subject = |rule: &IdentityRule| rule.subject.to_string();
                let name = rules.first().map_or_else(String::new, subject);
                (who, name)
            }
        };
        if root.unlogged && self.demands.log {
            let message = "provenance by this signer counts in no transparency log: nobody sees what a stolen key signs";
            self.lints.push(Lint::new(path, "no_transparency_log", message));
        }
        Ok(Root::of(root, self.authority(who, name)))
    }

    fn authority(&self, who: Signer, name: String) -> Authority {
        Authority {
            name,
            who,
            trust: self.trust.clone(),
            demands: self.demands,
            annotations: BTreeMap::new(),
            repository: self.repository.clone(),
            forms: Forms::default(),
        }
    }

    fn node(&mut self, written: &SignedBy, path: &str, depth: usize) -> Result<Who, ReadError> {
        if depth > MAX_DEPTH {
            return Err(ReadError::new(path, format!("expected at most {MAX_DEPTH} levels")));
        }
        self.count += 1;
        if self.count > MAX_SIGNERS {
            return Err(ReadError::new(path, format!("expected at most {MAX_SIGNERS} signers in a policy")));
        }
        let (list, field, need) = match (&written.any_of, &written.all_of, &written.of, written.at_least) {
            (None, None, None, None) => return Ok(Who::One(Box::new(self.signer(written, path)?))),
            (Some(list), None, None, None) => (list, "anyOf", 1),
            (None, Some(list), None, None) => (list, "allOf", list.len()),
            (None, None, Some(list), Some(need)) => (list, "of", need),
            _ => {
                let message = "expected one of anyOf, allOf, and atLeast with of";
                return Err(ReadError::new(path, message));
            }
        };
        if written.names_somebody() {
            let message = format!("expected signers within {field}, found one beside it");
            return Err(ReadError::new(path, message));
        }
        let mut of = Vec::new();
        for (index, entry) in list.iter().enumerate() {
            let path = format!("{path}.{field}[{index}]");
            let node = self.node(entry, &path, depth + 1)?;
            if of.iter().any(|other| same(other, &node)) {
                let message =
                    "expected somebody else than before, found the same: one signature would count twice";
                return Err(ReadError::new(path, message));
            }
            of.push(node);
        }
        if of.is_empty() {
            let message = "expected at least one signer, found none: nobody would have to sign";
            return Err(ReadError::new(format!("{path}.{field}"), message));
        }
        if need == 0 || need > of.len() {
            let message = format!("expected 1 to {}, as many as there are signers, found {need}", of.len());
            return Err(ReadError::new(format!("{path}.atLeast"), message));
        }
        Ok(Who::Several { need, of })
    }

    fn signer(&mut self, written: &SignedBy, path: &str) -> Result<Authority, ReadError> {
        let (who, name) = match &written.key {
            Some(key) => {
                if written.names_identity() {
                    let message =
                        "expected a key or an identity, found both: a signature has one or the other";
                    return Err(ReadError::new(path, message));
                }
                key_source(key).map_err(|e| ReadError::new(format!("{path}.key"), e))?
            }
            None => {
                let rule = self.identity(written, path)?;
                let issuers: Vec<String> = rule.issuer.iter().map(ToString::to_string).collect();
                let name = format!("{} ({})", rule.subject, issuers.join(" and "));
                (Signer::Identities(vec![rule]), name)
            }
        };
        let authority = self.authority(who, written.name.clone().unwrap_or(name));
        Ok(Authority { annotations: written.annotations.clone(), ..authority })
    }

    fn identity(&mut self, written: &SignedBy, path: &str) -> Result<IdentityRule, ReadError> {
        let wrong = |message: &str| ReadError::new(path, message);
        let only_of_forges = written.workflow.is_some() || written.git_ref.is_some();
        let mut extensions: BTreeMap<String, Pattern> =
            written.extensions.iter().map(|(name, value)| (name.clone(), Pattern::wildcard(value))).collect();
        let (subject, default_issuer) = match (
            &written.email,
            &written.repo,
            &written.gitlab,
            &written.subject,
            &written.subject_regex,
        ) {
            (Some(email), None, None, None, None) => {
                if !email.contains('@') || email.contains('*') {
                    let message =
                        format!("expected an e-mail address, found \"{email}\"; subject takes patterns");
                    return Err(ReadError::new(format!("{path}.email"), message));
                }
                (Pattern::Exact(email.clone()), None)
            }
            (None, Some(repo), None, None, None) => {
                let home = home("https://github.com", repo, &format!("{path}.repo"))?;
                let subject = workflow(&home, "/", ".github/workflows/", written);
                extensions.insert("source-repository-uri".into(), Pattern::Exact(home));
                (subject, Some(GITHUB_ISSUER))
            }
            (None, None, Some(project), None, None) => {
                let home = home("https://gitlab.com", project, &format!("{path}.gitlab"))?;
                let subject = workflow(&home, "//", "", written);
                extensions.insert("source-repository-uri".into(), Pattern::Exact(home));
                (subject, Some(GITLAB_ISSUER))
            }
            (None, None, None, Some(subject), None) => (Pattern::wildcard(subject), None),
            (None, None, None, None, Some(regex)) => (Pattern::Regex(regex.clone()), None),
            (None, None, None, None, None) => {
                return Err(wrong(
                    "expected one of key, email, repo, gitlab, subject, subjectRegex, anyOf, allOf, atLeast; found none: \
                         a signature by just anyone says nothing",
                ));
            }
            _ => {
                return Err(wrong(
                    "expected one of email, repo, gitlab, subject and subjectRegex, found several",
                ));
            }
        };
        if only_of_forges && default_issuer.is_none() {
            return Err(wrong("expected workflow and ref with repo or gitlab only"));
        }
        let issuer = match (&written.issuer, &written.issuer_regex, default_issuer) {
            (None, None, Some(default)) => Pattern::Exact(default.to_owned()),
            (Some(issuer), None, _) => Pattern::wildcard(issuer),
            (None, Some(regex), _) => Pattern::Regex(regex.clone()),
            (Some(_), Some(_), _) => return Err(wrong("expected issuer or issuerRegex, found both")),
            (None, None, None) => {
                return Err(wrong(
                    "expected issuer, found none: anyone can run one that vouches for any name, so a name alone says nothing",
                ));
            }
        };
        for (field, pattern) in [("subject", &subject), ("issuer", &issuer)] {
            pattern.compile().map_err(|e| ReadError::new(format!("{path}.{field}"), e.to_string()))?;
        }
        let rule = IdentityRule { subject, issuer: vec![issuer], extensions };
        for (name, pattern) in &rule.extensions {
            let path = format!("{path}.extensions.{name}");
            pattern.compile().map_err(|e| ReadError::new(path, e.to_string()))?;
        }
        crate::judge::identity(&rule)
            .map_err(|e| ReadError::new(format!("{path}.extensions"), e.to_string()))?;
        self.not_just_anyone(&rule, path)?;
        Ok(rule)
    }

    /// Under a public authority everybody has a certificate.
    fn not_just_anyone(&mut self, rule: &IdentityRule, path: &str) -> Result<(), ReadError> {
        let any = |pattern: &Pattern| match pattern {
            Pattern::Exact(_) => false,
            Pattern::Wildcard(text) => text.chars().all(|c| matches!(c, '*' | '?')),
            Pattern::Regex(text) => {
                matches!(
                    text.trim_start_matches('^').trim_end_matches('$'),
                    ".*" | ".+" | "(?s).*" | "(?s).+"
                )
            }
        };
        let anyone = any(&rule.subject) && rule.issuer.iter().all(any) && rule.extensions.is_empty();
        let own =
            self.written.certificate_authorities.is_some() || self.trust.base != TrustBase::Installation;
        if anyone && !own {
            let message = "expected somebody, found patterns that everybody matches; name a subject and an issuer, or \
                           one's own certificate authorities in trust";
            return Err(ReadError::new(path, message));
        }
        if any(&rule.subject) {
            self.lints.push(Lint::new(
                path,
                "any_subject",
                "everybody for whom the issuer vouches may sign; name a subject unless that is meant",
            ));
        }
        Ok(())
    }
}

impl SignedBy {
    fn names_identity(&self) -> bool {
        [
            &self.email,
            &self.repo,
            &self.gitlab,
            &self.workflow,
            &self.git_ref,
            &self.subject,
            &self.subject_regex,
            &self.issuer,
            &self.issuer_regex,
        ]
        .iter()
        .any(|field| field.is_some())
            || !self.extensions.is_empty()
    }

    fn names_somebody(&self) -> bool {
        self.names_identity() || self.key.is_some() || self.name.is_some() || !self.annotations.is_empty()
    }
}

/// A key that stands here, or a reference to one; and what it is called.
fn key_source(text: &str) -> Result<(Signer, String), String> {
    if text.contains("-----BEGIN") {
        let keys = keys_from_pem(text)?;
        let [key] = keys.as_slice() else {
            return Err(format!("expected one public key, found {}; give each its own entry", keys.len()));
        };
        let name = format!("the key sha256:{}", short_hex(&key.fingerprint()));
        return Ok((Signer::Key(KeySource::Pem(text.to_owned())), name));
    }
    let source = match text.strip_prefix("k8s://") {
        // Which secrets may be read is for whoever answers to say.
        Some(secret) if !secret.is_empty() => KeySource::Reference(text.to_owned()),
        _ => KeySource::in_service(text)
            .map_err(|e| format!("{e}; or a public key as PEM, or k8s://namespace/secret"))?,
    };
    Ok((Signer::Key(source), format!("the key {text}")))
}

fn short_hex(bytes: &[u8]) -> String {
    bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The address of a repository on a forge.
fn home(forge: &str, name: &str, path: &str) -> Result<String, ReadError> {
    let plain = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    if name.contains('/') && name.split('/').all(plain) {
        Ok(format!("{forge}/{name}"))
    } else {
        Err(ReadError::new(path, format!("expected owner/name, found \"{name}\"; subject takes patterns")))
    }
}

/// The name that a workflow has in certificates.
fn workflow(home: &str, inside: &str, folder: &str, written: &SignedBy) -> Pattern {
    let file = match &written.workflow {
        Some(file) => format!("{folder}{file}"),
        None => "*".to_owned(),
    };
    let at = written.git_ref.as_deref().unwrap_or("*");
    Pattern::Wildcard(format!("{home}{inside}{file}@{at}"))
}

/// Whether two are the same somebody, whatever they are called.
fn same(a: &Who, b: &Who) -> bool {
    match (a, b) {
        (Who::One(a), Who::One(b)) => a.who == b.who && a.annotations == b.annotations,
        (a, b) => a == b,
    }
}

impl Who {
    /// Who made a fact: the name and who vouches for it, or the key.
    pub(super) fn signer_of(fact: &Fact) -> (String, String) {
        let signer = fact.verified.signer();
        match signer.identity() {
            Some(identity) => (identity.to_owned(), signer.issuer().unwrap_or_default().to_owned()),
            None => {
                let key = short_hex(&signer.public_key().fingerprint());
                (format!("the key sha256:{key}"), String::new())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_workflow_and_the_ref_each_alone_can_make_it_somebody_else() {
        let names = |more: serde_json::Value| {
            let mut written = json!({"repo": "acme/app"});
            if let (Some(fields), Some(more)) = (written.as_object_mut(), more.as_object()) {
                fields.extend(more.clone());
            }
            let written: SignedBy = serde_json::from_value(written).unwrap();
            let trust = Trust::default();
            let mut reader = Reader::new(&trust, Require::default(), None).unwrap();
            let subject = reader.identity(&written, "who").unwrap().subject.compile().unwrap();
            move |name: &str| subject.matches(name)
        };
        let release = "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1";
        for (more, expected) in [
            (json!({}), true),
            (json!({"workflow": "release.yml"}), true),
            (json!({"workflow": "test.yml"}), false),
            (json!({"ref": "refs/tags/*"}), true),
            (json!({"ref": "refs/heads/*"}), false),
            (json!({"repo": "acme/app2"}), false),
        ] {
            assert_eq!(names(more.clone())(release), expected, "{more}");
        }
        assert!(!names(json!({}))(
            "https://github.com/acme/app-evil/.github/workflows/release.yml@refs/tags/v1"
        ));
    }
}
