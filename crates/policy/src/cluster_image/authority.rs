//! Authorities as they are written become authorities: who must have signed, under which trust, and what they must have
//! said.
//!
//! | written | read here |
//! |---|---|
//! | `issuerRegExp`, `subjectRegExp` | over the whole text; policy-controller finds them anywhere in it |
//! | a key without `ctlog` | its signatures need not be in a log |
//! | keyless without `ctlog` | they must be in a log of the trust root, whichever it is |
//! | `ctlog: {}` | they need not be in a log |
//! | `rfc3161timestamp` | there must be a timestamp; no log unless `ctlog` names one |
//! | `url` of keyless | says where certificates come from; whom to trust is said by the trust root |

use std::collections::BTreeMap;

use countersign_attestation::predicate;
use countersign_bundle::TrustedRoot;
use countersign_crypto::encoding::pem_decode;
use countersign_crypto::{HashAlgorithm, PublicKey};
use countersign_registry::Repository;
use url::Url;

use super::CONTROLLER_NAMESPACE;
use super::inner::Program;
use super::schema::{Attestation, Ctlog, Hash, Identity, KeyRef, Keyless};
use super::schema::{SignatureFormat, Source, Static, StaticAction, Written};
use crate::authority::{Authority, Demands, Forms, IdentityRule, KeySource, Who};
use crate::lint::Lint;
use crate::pattern::Pattern;
use crate::read::ReadError;
use crate::trust::{TrustBase, TrustSpec};

/// An authority by its name.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Pull secrets of the request's namespace.
    pub(super) pull_secrets: Vec<String>,
}

/// What an authority asks for.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// Signatures, or these attestations.
    Signed { authority: Box<Authority>, attestations: Vec<Said> },
    /// `static: {action: pass}`.
    Pass,
    /// `static: {action: fail}`, with its message.
    Fail(String),
    /// What cannot be checked here, and why.
    Unsupported(String),
}

/// What must have been said.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub(super) name: String,
    /// As it is written.
    pub(super) predicate_type: String,
    /// As it stands in statements.
    pub(super) uri: String,
    pub(super) policy: Option<Program>,
}

/// Who it is and whom else to trust, or why that cannot be checked here.
type WhoElse = Result<(Who, TrustSpec), String>;

/// Reads authorities.
pub(super) struct Reader<'a> {
    pub(super) lints: &'a mut Vec<Lint>,
}

impl Reader<'_> {
    /// Reads one.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(super) fn read(&mut self, written: &Written, index: usize, path: &str) -> Result<Named, ReadError> {
        let wrong = |field: &str, message: &str| Err(ReadError::new(format!("{path}{field}"), message));
        let name = match written.name.as_str() {
            "" => format!("authority-{index}"),
            name => name.to_owned(),
        };
        let named = |kind, pull_secrets| Ok(Named { name: name.clone(), kind, pull_secrets });
        let (found, mut demands) = match (&written.key, &written.keyless, &written.fixed) {
            (None, None, Some(fixed)) => return named(fixed_kind(fixed, written, path)?, Vec::new()),
            (Some(key), None, None) => {
                (self.key(key, &format!("{path}.key"))?, Demands { log: false, sct: false, timestamp: false })
            }
            (None, Some(keyless), None) => {
                let sct = !keyless.insecure_ignore_sct.unwrap_or_default();
                let found = self.keyless(keyless, &format!("{path}.keyless"))?;
                (found, Demands { log: true, sct, timestamp: false })
            }
            (None, None, None) => return wrong("", "expected one of key, keyless and static, found none"),
            _ => return wrong("", "expected one of key, keyless and static, and only one"),
        };
        let mut found = found;
        if let Some(stamp) = &written.rfc3161timestamp {
            if stamp.trust_root_ref.is_empty() {
                return wrong(
                    ".rfc3161timestamp.trustRootRef",
                    "expected the name of a TrustRoot, found nothing",
                );
            }
            demands = Demands { log: false, timestamp: true, ..demands };
            if let Ok((_, trust)) = &mut found {
                trust.timestamps_of = Some(stamp.trust_root_ref.clone());
            }
        }
        if let Some(ctlog) = &written.ctlog {
            demands.log = self.ctlog(ctlog, &mut found, &format!("{path}.ctlog"))?;
        }
        let (repository, pull_secrets) = source(&written.source, &format!("{path}.source"))?;
        let forms = Forms {
            bundles: written.signature_format != Some(SignatureFormat::Legacy),
            older: written.signature_format != Some(SignatureFormat::Bundle),
            tag_prefix: tag_prefix(&written.source, &format!("{path}.source"))?,
            hash: written.key.as_ref().and_then(|key| key.hash_algorithm).and_then(hash),
        };
        let attestations = attestations(&written.attestations, &format!("{path}.attestations"))?;
        let cue = attestations.iter().find_map(|said| match &said.policy {
            Some(Program::Cue(advice)) => Some(advice.clone()),
            _ => None,
        });
        let kind = match (found, cue) {
            (Err(why), _) | (_, Some(why)) => {
                self.lints.push(Lint::new(path, "authority_cannot_be_checked", &why));
                Kind::Unsupported(why)
            }
            (Ok((who, trust)), None) => {
                let authority = Authority {
                    name: name.clone(),
                    who,
                    trust,
                    demands,
                    annotations: BTreeMap::new(),
                    repository,
                    forms,
                };
                Kind::Signed { authority: Box::new(authority), attestations }
            }
        };
        named(kind, pull_secrets)
    }

    fn key(&mut self, key: &KeyRef, path: &str) -> Result<WhoElse, ReadError> {
        let source = key_source(key, path, self.lints)?;
        if let KeySource::Pem(pem) = &source {
            one_key(pem).map_err(|e: String| ReadError::new(format!("{path}.data"), e))?;
        }
        if key.hash_algorithm == Some(Hash::Sha224) {
            let why = "signatures over sha224 are not verified here; sign over sha256, sha384 or sha512";
            return Ok(Err(why.into()));
        }
        Ok(Ok((Who::Key(source), TrustSpec::default())))
    }

    fn keyless(&mut self, keyless: &Keyless, path: &str) -> Result<WhoElse, ReadError> {
        let wrong = |field: &str, message: String| Err(ReadError::new(format!("{path}{field}"), message));
        if keyless.url.is_some() && keyless.ca_cert.is_some() {
            return wrong("", "expected url or ca-cert, found both".into());
        }
        if keyless.ca_cert.is_some() && !keyless.trust_root_ref.is_empty() {
            return wrong("", "expected ca-cert or trustRootRef, found both".into());
        }
        if keyless.identities.is_empty() {
            return wrong(
                ".identities",
                "expected at least one identity, found none: anybody could sign".into(),
            );
        }
        let mut rules = Vec::new();
        for (index, identity) in keyless.identities.iter().enumerate() {
            rules.push(self.identity(identity, &format!("{path}.identities[{index}]"))?);
        }
        let who = Who::Identities(rules);
        let base = match keyless.trust_root_ref.as_str() {
            "" => TrustBase::Installation,
            name => TrustBase::Named(name.to_owned()),
        };
        let mut trust = TrustSpec { base, ..TrustSpec::default() };
        if let Some(url) = &keyless.url {
            web_address(url, &format!("{path}.url"))?;
            let message = "the trust root says whose certificates count, and nobody is asked at this address; for an \
                           instance of your own name its trust root in trustRootRef";
            self.lints.push(Lint::new(format!("{path}.url"), "address_is_not_trust", message));
        }
        let Some(authority) = &keyless.ca_cert else { return Ok(Ok((who, trust))) };
        let path = format!("{path}.ca-cert");
        if authority.hash_algorithm.is_some() {
            return Err(ReadError::new(
                format!("{path}.hashAlgorithm"),
                "expected nothing: a certificate says it itself",
            ));
        }
        match key_source(authority, &path, self.lints)? {
            KeySource::Pem(pem) => {
                trust.roots = Some(pem);
                trust
                    .apply(&mut TrustedRoot::default())
                    .map_err(|e| ReadError::new(format!("{path}.data"), e))?;
                Ok(Ok((who, trust)))
            }
            KeySource::Reference(reference) if reference.starts_with("k8s://") => {
                trust.roots_at = Some(reference);
                Ok(Ok((who, trust)))
            }
            KeySource::Reference(reference) => Ok(Err(format!(
                "a key service has keys and no certificates, so that {reference} is no authority; put its certificate \
                 into ca-cert.data or a Secret that ca-cert.secretRef names"
            ))),
        }
    }

    fn identity(&mut self, identity: &Identity, path: &str) -> Result<IdentityRule, ReadError> {
        let mut part = |name: &str, exact: &str, regex: &str| -> Result<Option<Pattern>, ReadError> {
            let field = format!("{path}.{name}");
            match (exact, regex) {
                ("", "") => Ok(None),
                (exact, "") => Ok(Some(Pattern::Exact(exact.to_owned()))),
                ("", regex) => {
                    let pattern = Pattern::Regex(regex.to_owned());
                    pattern.compile().map_err(|e| ReadError::new(format!("{field}RegExp"), e.to_string()))?;
                    self.lints.push(Lint::new(
                        format!("{field}RegExp"),
                        "regex_matches_whole_text",
                        "the expression must match the whole text; policy-controller finds it anywhere in it",
                    ));
                    Ok(Some(pattern))
                }
                _ => Err(ReadError::new(field, format!("expected {name} or {name}RegExp, found both"))),
            }
        };
        let issuer = part("issuer", &identity.issuer, &identity.issuer_reg_exp)?;
        let subject = part("subject", &identity.subject, &identity.subject_reg_exp)?;
        let needed = |name: &str, found: Option<Pattern>| {
            let message =
                format!("expected {name} or {name}RegExp, found neither: an identity has both parts");
            found.ok_or_else(|| ReadError::new(format!("{path}.{name}"), message))
        };
        Ok(IdentityRule {
            issuer: vec![needed("issuer", issuer)?],
            subject: needed("subject", subject)?,
            extensions: BTreeMap::new(),
        })
    }

    /// Whether there must be an entry in a log; and in which, in what is trusted.
    fn ctlog(&mut self, ctlog: &Ctlog, found: &mut WhoElse, path: &str) -> Result<bool, ReadError> {
        if ctlog.url.is_none() && ctlog.trust_root_ref.is_empty() {
            let message = "no transparency log is asked for; name one by url or trustRootRef";
            self.lints.push(Lint::new(path, "no_log_is_asked_for", message));
            return Ok(false);
        }
        if let Some(url) = &ctlog.url {
            web_address(url, &format!("{path}.url"))?;
        }
        if let Ok((_, trust)) = found {
            trust.log_url.clone_from(&ctlog.url);
            trust.logs_of = Some(ctlog.trust_root_ref.clone()).filter(|name| !name.is_empty());
        }
        Ok(true)
    }
}

fn fixed_kind(fixed: &Static, written: &Written, path: &str) -> Result<Kind, ReadError> {
    for (field, found) in [
        ("attestations", !written.attestations.is_empty()),
        ("source", !written.source.is_empty()),
        ("ctlog", written.ctlog.is_some()),
        ("rfc3161timestamp", written.rfc3161timestamp.is_some()),
        ("signatureFormat", written.signature_format.is_some()),
    ] {
        if found {
            let message = "expected nothing beside static, which looks at no signature";
            return Err(ReadError::new(format!("{path}.{field}"), message));
        }
    }
    match (fixed.action, fixed.message.as_str()) {
        (StaticAction::Pass, "") => Ok(Kind::Pass),
        (StaticAction::Pass, _) => {
            Err(ReadError::new(format!("{path}.static.message"), "expected no message with the action pass"))
        }
        (StaticAction::Fail, message) => Ok(Kind::Fail(message.to_owned())),
    }
}

fn key_source(key: &KeyRef, path: &str, lints: &mut Vec<Lint>) -> Result<KeySource, ReadError> {
    let wrong = |field: &str, message: &str| Err(ReadError::new(format!("{path}{field}"), message));
    match (key.data.trim(), &key.secret_ref, key.kms.as_str()) {
        ("", None, "") => wrong("", "expected one of data, secretRef and kms, found none"),
        (_, None, "") => Ok(KeySource::Pem(key.data.clone())),
        ("", Some(secret), "") if secret.name.is_empty() => {
            wrong(".secretRef.name", "expected the name of a Secret, found nothing")
        }
        ("", Some(secret), "") => {
            let namespace = match secret.namespace.as_str() {
                "" => CONTROLLER_NAMESPACE,
                namespace => namespace,
            };
            if namespace != CONTROLLER_NAMESPACE {
                let message = format!(
                    "read from {namespace}; policy-controller reads {CONTROLLER_NAMESPACE} whatever is named"
                );
                lints.push(Lint::new(
                    format!("{path}.secretRef.namespace"),
                    "secret_of_another_namespace",
                    message,
                ));
            }
            Ok(KeySource::Reference(format!("k8s://{namespace}/{}", secret.name)))
        }
        ("", None, kms) => kms_source(kms).map_err(|e| ReadError::new(format!("{path}.kms"), e)),
        _ => wrong("", "expected one of data, secretRef and kms, and only one"),
    }
}

/// A key in a key service. For Amazon's, the key or alias by its ARN, with or without an endpoint before it.
fn kms_source(reference: &str) -> Result<KeySource, String> {
    let source = KeySource::in_service(reference)?;
    let Some(rest) = reference.strip_prefix("awskms://") else { return Ok(source) };
    let by_arn = || {
        let (endpoint, arn) = rest.split_once('/')?;
        let port = |(host, port): (&str, &str)| !host.is_empty() && port.parse::<u16>().is_ok();
        let mut parts = arn.splitn(6, ':');
        let (prefix, _, service, region, account) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let (kind, id) = parts.next()?.split_once('/')?;
        let named = prefix == "arn" && service == "kms" && !region.is_empty() && !account.is_empty();
        (named
            && matches!(kind, "key" | "alias")
            && !id.is_empty()
            && (endpoint.is_empty() || endpoint.rsplit_once(':').is_some_and(port)))
        .then_some(source)
    };
    by_arn().ok_or_else(|| {
        format!("expected awskms://[endpoint:port]/arn:aws:kms:REGION:ACCOUNT:key/ID (or :alias/NAME), found \"{reference}\"")
    })
}

/// The one public key in a PEM text.
fn one_key(pem: &str) -> Result<PublicKey, String> {
    match pem_decode(pem).map_err(|e| e.to_string())?.as_slice() {
        [block] if block.label == "PUBLIC KEY" => {
            PublicKey::from_spki_der(&block.der).map_err(|e| e.to_string())
        }
        [block] => Err(format!("expected a PEM block \"PUBLIC KEY\", found \"{}\"", block.label)),
        blocks => Err(format!("expected one PEM block \"PUBLIC KEY\", found {} blocks", blocks.len())),
    }
}

const fn hash(hash: Hash) -> Option<HashAlgorithm> {
    match hash {
        // Refused before.
        Hash::Sha224 => None,
        Hash::Sha256 => Some(HashAlgorithm::Sha256),
        Hash::Sha384 => Some(HashAlgorithm::Sha384),
        Hash::Sha512 => Some(HashAlgorithm::Sha512),
    }
}

fn web_address(text: &str, path: &str) -> Result<(), ReadError> {
    let fits = |url: &Url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some();
    match Url::parse(text).ok().filter(fits) {
        Some(_) => Ok(()),
        None => Err(ReadError::new(path, format!("expected an address such as https://…, found \"{text}\""))),
    }
}

/// Where evidence lies, and what to ask for it with.
fn source(written: &[Source], path: &str) -> Result<(Option<Repository>, Vec<String>), ReadError> {
    let source = match written {
        [] => return Ok((None, Vec::new())),
        [source] => source,
        several => {
            let message = format!("expected one source, as policy-controller does, found {}", several.len());
            return Err(ReadError::new(path, message));
        }
    };
    let wrong = |field: &str, message: String| ReadError::new(format!("{path}[0].{field}"), message);
    let repository = match source.oci.as_str() {
        "" => None,
        oci => Some(Repository::parse(oci).map_err(|e| wrong("oci", e.to_string()))?),
    };
    if repository.is_none() && source.signature_pull_secrets.is_empty() && source.tag_prefix.is_none() {
        return Err(wrong("oci", "expected a repository, found nothing".into()));
    }
    let secrets: Vec<String> =
        source.signature_pull_secrets.iter().map(|secret| secret.name.clone()).collect();
    if let Some(index) = secrets.iter().position(String::is_empty) {
        let message = "expected the name of a Secret, found nothing".into();
        return Err(wrong(&format!("signaturePullSecrets[{index}].name"), message));
    }
    Ok((repository, secrets))
}

/// What the older tags of the one source begin with.
fn tag_prefix(written: &[Source], path: &str) -> Result<String, ReadError> {
    let prefix = written.first().and_then(|source| source.tag_prefix.as_deref()).unwrap_or_default();
    Forms::prefix(prefix).map_err(|error| ReadError::new(format!("{path}[0].tagPrefix"), error))
}

fn attestations(written: &[Attestation], path: &str) -> Result<Vec<Said>, ReadError> {
    let mut found: Vec<Said> = Vec::new();
    for (index, attestation) in written.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let wrong = |field: &str, message: String| Err(ReadError::new(format!("{path}.{field}"), message));
        let name = &attestation.name;
        if name.is_empty() {
            return wrong("name", "expected a name, found nothing".into());
        }
        if found.iter().any(|other| other.name == *name) {
            return wrong(
                "name",
                format!("expected another name than the ones before, found \"{name}\" again"),
            );
        }
        let predicate_type = &attestation.predicate_type;
        let Some(uri) = predicate::type_of(predicate_type) else {
            let names = predicate::names();
            return wrong(
                "predicateType",
                format!("expected one of {names}, or a URI, found \"{predicate_type}\""),
            );
        };
        let policy = match &attestation.policy {
            None => None,
            Some(inner) => Some(Program::of_attestation(inner, &format!("{path}.policy"))?),
        };
        found.push(Said {
            name: name.clone(),
            predicate_type: predicate_type.clone(),
            uri: uri.to_owned(),
            policy,
        });
    }
    Ok(found)
}
