//! Attestors as they are written become authorities: who must have signed, with counts and nesting.
//!
//! | written | read here |
//! |---|---|
//! | several PEM blocks in `publicKeys` | one entry each; without `count` all of them |
//! | `subject`, `issuer` | wildcards over the whole text |
//! | `subjectRegExp`, `issuerRegExp` | over the whole text too; Kyverno finds them anywhere in it |
//! | `subject` and `subjectRegExp` | one of them; `issuer` and `issuerRegExp`: both |
//! | identity and annotations | of one signature; Kyverno accepts two |
//! | the same attestor twice in a set | refused: one signature would count twice |

use std::collections::BTreeMap;

use countersign_bundle::TrustedRoot;
use countersign_crypto::encoding::pem_decode;
use countersign_crypto::{HashAlgorithm, PublicKey};
use countersign_registry::Repository;
use countersign_x509::Certificate;
use countersign_x509::chain::{self, Purpose};

use super::schema::{Attestor, AttestorSet, Ctlog, Kind, Rekor};
use super::schema::{CertificatesAttestor, KeylessAttestor, KeysAttestor, SignatureAlgorithm};
use crate::authority::{Authority, Demands, Forms, IdentityRule, KeySource, Who};
use crate::lint::Lint;
use crate::pattern::Pattern;
use crate::read::ReadError;
use crate::trust::TrustSpec;
use crate::{judge, judge_notary};

/// How deep attestors may nest.
const MAX_DEPTH: usize = 8;
/// The most attestors of one entry of `verifyImages`.
const MAX_ATTESTORS: usize = 256;

/// Attestors, of which so many must have signed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Set {
    /// At least one, and no more than there are.
    pub(super) need: usize,
    /// Never empty; no two are the same.
    pub(super) nodes: Vec<Node>,
}

/// One attestor, or a set in the place of one.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    /// Somebody.
    One(Box<Authority>),
    /// Several.
    Set(Set),
}

/// Reads attestors. What all of them share is here.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    /// The kind of signatures.
    pub(super) kind: Kind,
    /// The namespace of a namespaced policy, whose Secrets alone it may name; empty for one of the cluster.
    pub(super) namespace: &'a str,
    /// Where signatures are, if not beside the image.
    pub(super) repository: Option<Repository>,
    /// Annotations that every signature must carry.
    pub(super) annotations: &'a BTreeMap<String, String>,
    /// What a reader of the policy should know.
    pub(super) lints: Vec<Lint>,
    /// How many attestors were read.
    pub(super) count: usize,
    /// Whether the form that is read has no place to name a log.
    pub(super) names_no_log: bool,
}

impl Reader<'_> {
    /// Sets, all of which must be satisfied.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(super) fn sets(&mut self, sets: &[AttestorSet], path: &str) -> Result<Vec<Set>, ReadError> {
        sets.iter().enumerate().map(|(index, set)| self.set(set, &format!("{path}[{index}]"), 0)).collect()
    }

    /// The one attestor of the older form, which has no place to name a log.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(super) fn older(&mut self, set: &AttestorSet, path: &str) -> Result<Set, ReadError> {
        self.names_no_log = true;
        let read = self.set(set, path, 0);
        self.names_no_log = false;
        read
    }

    fn set(&mut self, set: &AttestorSet, path: &str, depth: usize) -> Result<Set, ReadError> {
        let wrong = |field: &str, message: String| Err(ReadError::new(format!("{path}.{field}"), message));
        if set.entries.is_empty() {
            return wrong(
                "entries",
                "expected at least one attestor, found none: nobody would have to sign".into(),
            );
        }
        if depth > MAX_DEPTH {
            return wrong("entries", format!("expected at most {MAX_DEPTH} levels of attestors"));
        }
        // As Kyverno does it, before keys are taken apart.
        if let Some(count) = set.count.filter(|count| *count == 0 || *count > set.entries.len()) {
            let most = set.entries.len();
            return wrong(
                "count",
                format!("expected 1 to {most}, as many as there are entries, found {count}"),
            );
        }
        let mut nodes: Vec<Node> = Vec::new();
        for (index, entry) in set.entries.iter().enumerate() {
            let path = format!("{path}.entries[{index}]");
            for node in self.entry(entry, &path, depth)? {
                if nodes.iter().any(|other| same(other, &node)) {
                    let message = "expected another attestor than the ones before, found the same: one signature \
                                   would count twice";
                    return Err(ReadError::new(path, message));
                }
                nodes.push(node);
            }
        }
        self.count += nodes.len();
        if self.count > MAX_ATTESTORS {
            return wrong("entries", format!("expected at most {MAX_ATTESTORS} attestors"));
        }
        Ok(Set { need: set.count.unwrap_or(nodes.len()), nodes })
    }

    fn entry(&mut self, entry: &Attestor, path: &str, depth: usize) -> Result<Vec<Node>, ReadError> {
        if let (Some(nested), None, None, None) =
            (&entry.attestor, &entry.keys, &entry.certificates, &entry.keyless)
        {
            if !entry.annotations.is_empty() || !entry.repository.is_empty() {
                let message = "expected annotations and repository inside of the nested entries";
                return Err(ReadError::new(path, message));
            }
            return Ok(vec![Node::Set(self.set(nested, &format!("{path}.attestor"), depth + 1)?)]);
        }
        let found = match (&entry.keys, &entry.certificates, &entry.keyless, &entry.attestor) {
            (Some(keys), None, None, None) => self.keys(keys, &format!("{path}.keys"))?,
            (None, Some(certificates), None, None) => {
                vec![self.certificates(certificates, &format!("{path}.certificates"))?]
            }
            (None, None, Some(keyless), None) => vec![self.keyless(keyless, &format!("{path}.keyless"))?],
            _ => {
                let message = "expected one of keys, certificates, keyless and attestor, and only one";
                return Err(ReadError::new(path, message));
            }
        };
        let mut annotations = self.annotations.clone();
        annotations.extend(entry.annotations.clone());
        let repository = match entry.repository.as_str() {
            "" => self.repository.clone(),
            own => Some(repository(own, &format!("{path}.repository"))?),
        };
        let of_keys = entry.keys.as_ref().map(|keys| keys.signature_algorithm).unwrap_or_default();
        let hash = hash(entry.signature_algorithm, path)?.or(hash(of_keys, &format!("{path}.keys"))?);
        if hash.is_some() && found.iter().any(|(_, who, _)| !matches!(who, Who::Key(_))) {
            let message =
                "expected sha256: only a key is said to sign over another hash; leave the field out";
            return Err(ReadError::new(format!("{path}.signatureAlgorithm"), message));
        }
        let older = self.kind != Kind::SigstoreBundle;
        let forms = Forms { older, hash, ..Forms::default() };
        let authority = |(name, who, (trust, demands)): Attested| Authority {
            name,
            who,
            trust,
            demands,
            annotations: annotations.clone(),
            repository: repository.clone(),
            forms: forms.clone(),
        };
        Ok(found.into_iter().map(|attested| Node::One(Box::new(authority(attested)))).collect())
    }

    fn keys(&mut self, keys: &KeysAttestor, path: &str) -> Result<Vec<Attested>, ReadError> {
        if self.kind == Kind::Notary {
            return Err(ReadError::new(
                path,
                "expected certificates: signers of the Notary Project have them",
            ));
        }
        let trust = trust(keys.rekor.as_ref(), keys.ctlog.as_ref(), "", path)?;
        let named = |source: KeySource, name: String| (name, Who::Key(source), trust.clone());
        let public_keys = keys.public_keys.trim();
        let sources = match (public_keys, &keys.secret, keys.kms.as_str()) {
            ("", Some(secret), "") => {
                self.own_namespace(&secret.namespace, &format!("{path}.secret.namespace"))?;
                let reference = format!("k8s://{}/{}", secret.namespace, secret.name);
                vec![named(KeySource::Reference(reference.clone()), reference)]
            }
            ("", None, kms) if kms.contains("://") => {
                vec![named(self.elsewhere(kms, &format!("{path}.kms"))?, kms.to_owned())]
            }
            (pem, None, "") if pem.starts_with("-----BEGIN") => {
                let keys =
                    public_keys_of(pem).map_err(|e| ReadError::new(format!("{path}.publicKeys"), e))?;
                keys.into_iter()
                    .map(|key| {
                        let name =
                            format!("key {}", countersign_crypto::encoding::hex_encode(&key.fingerprint()));
                        named(KeySource::Pem(key.to_pem()), name)
                    })
                    .collect()
            }
            (reference, None, "") if reference.contains("://") => {
                let source = self.elsewhere(reference, &format!("{path}.publicKeys"))?;
                vec![named(source, reference.to_owned())]
            }
            _ => {
                let message = "expected one of publicKeys (PEM, or a reference such as k8s://namespace/secret), \
                               secret and kms (a reference such as awskms:///…), and only one";
                return Err(ReadError::new(path, message));
            }
        };
        Ok(sources)
    }

    /// A key behind a reference: in a Secret, or in a key service. Key services are asked with the credentials of whoever
    /// evaluates, at an address that the reference may name, so that a policy of a namespace names none.
    fn elsewhere(&self, reference: &str, path: &str) -> Result<KeySource, ReadError> {
        if let Some(secret) = reference.strip_prefix("k8s://") {
            self.own_namespace(secret.split('/').next().unwrap_or_default(), path)?;
            return Ok(KeySource::Reference(reference.to_owned()));
        }
        let source = KeySource::in_service(reference).map_err(|e| ReadError::new(path, e))?;
        if self.namespace.is_empty() {
            return Ok(source);
        }
        let message = format!(
            "expected PEM, or a Secret of the policy's own namespace (k8s://{}/NAME), found {reference}: for a policy of a \
             namespace no key service is asked",
            self.namespace
        );
        Err(ReadError::new(path, message))
    }

    /// A policy of a namespace reads nothing of others.
    fn own_namespace(&self, namespace: &str, path: &str) -> Result<(), ReadError> {
        if self.namespace.is_empty() || self.namespace == namespace {
            return Ok(());
        }
        let own = self.namespace;
        Err(ReadError::new(path, format!("expected the policy's own namespace {own}, found {namespace}")))
    }

    fn certificates(&mut self, given: &CertificatesAttestor, path: &str) -> Result<Attested, ReadError> {
        let wrong =
            |field: &str, e: &dyn std::fmt::Display| ReadError::new(format!("{path}.{field}"), e.to_string());
        if given.cert.trim().is_empty() && given.cert_chain.trim().is_empty() {
            return Err(ReadError::new(path, "expected cert, certChain or both, found neither"));
        }
        let read = |pem: &str, field: &str| match pem.trim() {
            "" => Ok(Vec::new()),
            pem => Certificate::chain_from_pem(pem).map_err(|e| wrong(field, &e)),
        };
        let (cert, chain) = (read(&given.cert, "cert")?, read(&given.cert_chain, "certChain")?);
        if self.kind == Kind::Notary {
            return self.notary(given, &cert, path);
        }
        match cert.as_slice() {
            [] => {
                let name = chain.last().map(Certificate::describe).unwrap_or_default();
                let trust = trust(given.rekor.as_ref(), given.ctlog.as_ref(), given.cert_chain.trim(), path)?;
                Ok((format!("a certificate of {name}"), Who::AnyIdentity, trust))
            }
            [leaf] => {
                if !chain.is_empty() {
                    let is_root = |certificate: &&Certificate| certificate.is_self_signed();
                    let anchors: Vec<Certificate> = chain.iter().filter(is_root).cloned().collect();
                    let anchors = if anchors.is_empty() { chain.clone() } else { anchors };
                    chain::verify(leaf, &chain, &anchors, Purpose::CodeSigning, leaf.not_before())
                        .map_err(|e| wrong("certChain", &e))?;
                }
                let trust = trust(given.rekor.as_ref(), given.ctlog.as_ref(), "", path)?;
                Ok((leaf.describe(), Who::Key(KeySource::Pem(leaf.to_pem())), trust))
            }
            several => Err(wrong("cert", &format!("expected one certificate, found {}", several.len()))),
        }
    }

    fn notary(
        &mut self,
        given: &CertificatesAttestor,
        cert: &[Certificate],
        path: &str,
    ) -> Result<Attested, ReadError> {
        if given.rekor.is_some() {
            let message = "expected nothing: signatures of the Notary Project are in no log";
            return Err(ReadError::new(format!("{path}.rekor"), message));
        }
        let certificates = match cert {
            [] => given.cert_chain.trim(),
            _ => given.cert.trim(),
        };
        if !cert.is_empty() && !given.cert_chain.trim().is_empty() {
            self.lints.push(Lint::new(
                format!("{path}.certChain"),
                "only_the_certificate_is_trusted",
                "only what cert names is trusted; Kyverno trusts whoever has a certificate below certChain as well",
            ));
        }
        let timestamps = given.ctlog.as_ref().map(|ctlog| ctlog.tsa_cert_chain.trim()).unwrap_or_default();
        judge_notary::trust(certificates, timestamps)
            .map_err(|e| ReadError::new(path, format!("{e}; expected the signer's authority")))?;
        let who = Who::Notary {
            certificates: certificates.to_owned(),
            timestamp_certificates: timestamps.to_owned(),
        };
        Ok(("a signer of the Notary Project".into(), who, (TrustSpec::default(), Demands::default())))
    }

    fn keyless(&mut self, keyless: &KeylessAttestor, path: &str) -> Result<Attested, ReadError> {
        if self.kind == Kind::Notary {
            return Err(ReadError::new(
                path,
                "expected certificates: the Notary Project has no keyless signing",
            ));
        }
        let roots = keyless.roots.trim();
        if keyless.rekor.is_none() && roots.is_empty() && !self.names_no_log {
            let message = "expected rekor (rekor: {url: …}) or roots, as Kyverno does, found neither";
            return Err(ReadError::new(path, message));
        }
        let trust = trust(keyless.rekor.as_ref(), keyless.ctlog.as_ref(), roots, path)?;
        let subjects = self.patterns(&keyless.subject, &keyless.subject_reg_exp, path, "subject");
        let issuers = self.patterns(&keyless.issuer, &keyless.issuer_reg_exp, path, "issuer");
        match (subjects.is_empty(), issuers.is_empty()) {
            (false, false) => {}
            (true, true) if !roots.is_empty() && keyless.additional_extensions.is_empty() => {
                self.lints.push(Lint::new(
                    path,
                    "any_identity_below_the_roots",
                    "whoever has a certificate below these roots may sign; name subject and issuer to say who",
                ));
                return Ok(("anybody below the roots".into(), Who::AnyIdentity, trust));
            }
            (true, _) => {
                let message = "expected subject or subjectRegExp, found neither: anybody could sign. Write \
                               subject: \"*\" if that is meant";
                return Err(ReadError::new(path, message));
            }
            (false, true) => {
                let message = "expected issuer or issuerRegExp, found neither: anybody can vouch for a name. \
                               Write issuer: \"*\" if that is meant";
                return Err(ReadError::new(path, message));
            }
        }
        let extensions: BTreeMap<String, Pattern> = keyless
            .additional_extensions
            .iter()
            .map(|(name, value)| (name.clone(), Pattern::wildcard(value)))
            .collect();
        let shown = |patterns: &[Pattern], word: &str| {
            patterns.iter().map(ToString::to_string).collect::<Vec<_>>().join(word)
        };
        let name = format!("{} of {}", shown(&subjects, " or "), shown(&issuers, " and "));
        let rules: Vec<IdentityRule> = subjects
            .into_iter()
            .map(|subject| IdentityRule { subject, issuer: issuers.clone(), extensions: extensions.clone() })
            .collect();
        for rule in &rules {
            judge::identity(rule).map_err(|e| ReadError::new(path, e.to_string()))?;
        }
        Ok((name, Who::Identities(rules), trust))
    }

    /// The wildcard and the regular expression of a field, as many as are there.
    fn patterns(&mut self, wildcard: &str, regex: &str, path: &str, field: &str) -> Vec<Pattern> {
        let mut patterns = Vec::new();
        if !wildcard.is_empty() {
            patterns.push(Pattern::wildcard(wildcard));
        }
        if !regex.is_empty() {
            if !(regex.starts_with('^') && regex.ends_with('$')) {
                self.lints.push(Lint::new(
                    format!("{path}.{field}RegExp"),
                    "regex_matches_the_whole",
                    "the whole text must match; Kyverno is content with a part of it. Write .* where anything may stand",
                ));
            }
            patterns.push(Pattern::Regex(regex.to_owned()));
        }
        patterns
    }
}

/// What is called how, and whom else it trusts.
type Attested = (String, Who, (TrustSpec, Demands));

/// The hash that a signature is over; none for what goes with the key, which is what the API server's default means.
fn hash(algorithm: SignatureAlgorithm, path: &str) -> Result<Option<HashAlgorithm>, ReadError> {
    match algorithm {
        SignatureAlgorithm::Sha256 => Ok(None),
        SignatureAlgorithm::Sha384 => Ok(Some(HashAlgorithm::Sha384)),
        SignatureAlgorithm::Sha512 => Ok(Some(HashAlgorithm::Sha512)),
        SignatureAlgorithm::Sha224 => {
            let message = "expected sha256, sha384 or sha512, found sha224, over which nothing is verified here; sign \
                           over one of these";
            Err(ReadError::new(format!("{path}.signatureAlgorithm"), message))
        }
    }
}

/// Whether two nodes are the same but for their names.
fn same(one: &Node, other: &Node) -> bool {
    match (one, other) {
        (Node::One(one), Node::One(other)) => {
            one.who == other.who && one.annotations == other.annotations && one.repository == other.repository
        }
        (Node::Set(one), Node::Set(other)) => one == other,
        _ => false,
    }
}

/// The repository where signatures are.
///
/// # Errors
/// [`ReadError`].
pub(super) fn repository(text: &str, path: &str) -> Result<Repository, ReadError> {
    Repository::parse(text).map_err(|e| ReadError::new(path, e.to_string()))
}

/// The keys of a PEM text; at least one.
fn public_keys_of(pem: &str) -> Result<Vec<PublicKey>, String> {
    let blocks = pem_decode(pem).map_err(|e| e.to_string())?;
    blocks
        .iter()
        .map(|block| match block.label.as_str() {
            "PUBLIC KEY" => PublicKey::from_spki_der(&block.der).map_err(|e| e.to_string()),
            other => Err(format!("expected PEM blocks \"PUBLIC KEY\", found \"{other}\"")),
        })
        .collect()
}

/// Logs, CT logs, timestamp authorities and roots, and what is asked of them. What is given is read once, so that a
/// policy with a broken key is refused as a policy.
fn trust(
    rekor: Option<&Rekor>,
    ctlog: Option<&Ctlog>,
    roots: &str,
    path: &str,
) -> Result<(TrustSpec, Demands), ReadError> {
    let given = |text: &str| Some(text.trim()).filter(|text| !text.is_empty()).map(str::to_owned);
    let log = !rekor.is_some_and(|rekor| rekor.ignore_tlog);
    let spec = TrustSpec {
        roots: given(roots),
        log_keys: rekor.and_then(|rekor| given(&rekor.pubkey)),
        ct_keys: ctlog.and_then(|ctlog| given(&ctlog.pubkey)),
        timestamp_chain: ctlog.and_then(|ctlog| given(&ctlog.tsa_cert_chain)),
        log_url: rekor.filter(|_| log).and_then(|rekor| given(&rekor.url)),
        ..TrustSpec::default()
    };
    let alone =
        TrustSpec { log_url: spec.log_url.clone().filter(|_| spec.log_keys.is_some()), ..spec.clone() };
    alone.apply(&mut TrustedRoot::default()).map_err(|e| ReadError::new(path, e))?;
    let demands = Demands {
        log,
        sct: !ctlog.is_some_and(|ctlog| ctlog.ignore_sct),
        timestamp: spec.timestamp_chain.is_some(),
    };
    Ok((spec, demands))
}
