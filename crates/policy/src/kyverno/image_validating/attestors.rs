//! Who must have signed: attestors, which become authorities.

use std::collections::BTreeMap;

use countersign_bundle::TrustedRoot;
use serde_json::{Value, json};

use super::expressions::{Place, Programs};
use super::schema::{Attestor, Certificate, Cosign, Identity, Key, Keyless, Notary};
use crate::access::ObjectName;
use crate::authority::{Authority, Forms, IdentityRule, Who};
use crate::judge;
use crate::kyverno::cluster::shared;
use crate::lint::Lint;
use crate::pattern::Pattern;
use crate::read::ReadError;
use crate::trust::TrustBase;

/// An attestor, as far as it is known before a request comes.
#[derive(Debug)]
pub(super) enum Known {
    /// It says who.
    Ready(Box<Authority>),
    /// Parts of it are expressions.
    Written(Box<Attestor>),
}

/// The attestors of a policy, by name.
#[derive(Debug)]
pub(super) struct Attestors {
    by_name: BTreeMap<String, (Known, String)>,
    namespace: String,
}

impl Attestors {
    /// Reads the attestors of a policy in this namespace.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(super) fn read(
        written: Vec<Attestor>,
        namespace: &str,
        programs: &mut Programs,
        lints: &mut Vec<Lint>,
    ) -> Result<Self, ReadError> {
        if written.is_empty() {
            return Err(ReadError::new("spec.attestors", "expected who may have signed, found nobody"));
        }
        let mut by_name = BTreeMap::new();
        for (index, mut attestor) in written.into_iter().enumerate() {
            let path = format!("spec.attestors[{index}]");
            let name = attestor.name.clone();
            let mut dynamic = false;
            for (field, value, expression) in texts(&mut attestor) {
                if expression.is_empty() {
                    continue;
                }
                let path = format!("{path}.{field}");
                if !value.is_empty() {
                    return Err(ReadError::new(path, "expected a text or an expression, found both"));
                }
                programs.add(expression, &path, Place::Anywhere)?;
                dynamic = true;
            }
            let known = if dynamic {
                Known::Written(Box::new(attestor))
            } else {
                let (authority, more) = authority(attestor, namespace, &path)?;
                lints.extend(more);
                Known::Ready(Box::new(authority))
            };
            if name.is_empty() || by_name.insert(name.clone(), (known, path.clone())).is_some() {
                let message = format!("expected a name of its own, found \"{name}\"");
                return Err(ReadError::new(format!("{path}.name"), message));
            }
        }
        Ok(Self { by_name, namespace: namespace.to_owned() })
    }

    /// Whether there is an attestor of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// The authority of this name; expressions are evaluated by `text`.
    ///
    /// # Errors
    /// Those of `text`; in words, why there is none or it cannot be used.
    pub(super) fn get<E: From<String>>(
        &self,
        name: &str,
        text: &dyn Fn(&str) -> Result<String, E>,
    ) -> Result<Authority, E> {
        let (known, path) =
            self.by_name.get(name).ok_or_else(|| E::from(format!("there is no attestor \"{name}\"")))?;
        let written = match known {
            Known::Ready(authority) => return Ok((**authority).clone()),
            Known::Written(written) => written,
        };
        let mut attestor = (**written).clone();
        for (_, value, expression) in texts(&mut attestor) {
            if !expression.is_empty() {
                *value = text(expression)?;
                expression.clear();
            }
        }
        let (authority, _) =
            authority(attestor, &self.namespace, path).map_err(|e| E::from(e.to_string()))?;
        Ok(authority)
    }
}

/// The Secrets that attestors name for the registries of their signatures.
///
/// # Errors
/// [`ReadError`].
pub(super) fn pull_secrets(written: &[Attestor], namespace: &str) -> Result<Vec<ObjectName>, ReadError> {
    let mut names = Vec::new();
    for (index, attestor) in written.iter().enumerate() {
        let secrets = attestor.cosign.iter().flat_map(|cosign| &cosign.source.pull_secrets);
        for (of, secret) in secrets.enumerate() {
            if secret.name.is_empty() {
                let path = format!("spec.attestors[{index}].cosign.source.PullSecrets[{of}].name");
                return Err(ReadError::new(path, "expected the name of a Secret, found nothing"));
            }
            names.push(ObjectName { namespace: namespace.to_owned(), name: secret.name.clone() });
        }
    }
    Ok(names)
}

/// The fields that may be expressions: where, the text, the expression.
fn texts(attestor: &mut Attestor) -> Vec<(String, &mut String, &mut String)> {
    let mut found = Vec::new();
    if let Some(cosign) = &mut attestor.cosign {
        if let Some(key) = &mut cosign.key {
            found.push(("cosign.key".to_owned(), &mut key.data, &mut key.expression));
        }
        if let Some(keyless) = &mut cosign.keyless {
            for (index, identity) in keyless.identities.iter_mut().enumerate() {
                let path = format!("cosign.keyless.identities[{index}]");
                found.push((path, &mut identity.subject, &mut identity.subject_expression));
            }
        }
        if let Some(Certificate { cert, cert_chain }) = &mut cosign.certificate {
            found.push(("cosign.certificate.cert".to_owned(), &mut cert.value, &mut cert.expression));
            let path = "cosign.certificate.certChain".to_owned();
            found.push((path, &mut cert_chain.value, &mut cert_chain.expression));
        }
        if let Some(root) = &mut cosign.trusted_root {
            found.push(("cosign.trustedRoot".to_owned(), &mut root.value, &mut root.expression));
        }
    }
    if let Some(Notary { certs, tsa_certs }) = &mut attestor.notary {
        found.push(("notary.certs".to_owned(), &mut certs.value, &mut certs.expression));
        found.push(("notary.tsaCerts".to_owned(), &mut tsa_certs.value, &mut tsa_certs.expression));
    }
    found
}

/// The authority that an attestor comes to.
fn authority(attestor: Attestor, namespace: &str, path: &str) -> Result<(Authority, Vec<Lint>), ReadError> {
    let (mut authority, lints) = match (attestor.cosign, attestor.notary) {
        (Some(cosign), None) => of_cosign(&cosign, namespace, &format!("{path}.cosign"))?,
        (None, Some(Notary { certs, tsa_certs })) => {
            let path = format!("{path}.notary");
            if certs.value.trim().is_empty() {
                let message = "expected the certificates of the signer's authority, found none";
                return Err(ReadError::new(format!("{path}.certs"), message));
            }
            let ctlog = json!({"tsaCertChain": tsa_certs.value});
            let entry = json!({"certificates": {"certChain": certs.value, "ctlog": ctlog}});
            shared::authority(&entry, true, namespace, &path)?
        }
        _ => return Err(ReadError::new(path, "expected one of cosign and notary, and only one")),
    };
    authority.name = attestor.name;
    Ok((authority, lints))
}

fn of_cosign(cosign: &Cosign, namespace: &str, path: &str) -> Result<(Authority, Vec<Lint>), ReadError> {
    if cosign.tuf.is_some() {
        let message = "expected no TUF repository: policies fetch nothing. Put its trusted_root.json under \
                       trustedRoot.value, or let the installation trust it (countersign trust) and leave the field out";
        return Err(ReadError::new(format!("{path}.tuf"), message));
    }
    let ctlog = &cosign.ctlog;
    let logs = json!({
        "rekor": {"url": ctlog.url, "pubkey": ctlog.rekor_pub_key, "ignoreTlog": ctlog.insecure_ignore_tlog},
        "ctlog": {"pubkey": ctlog.ct_log_pub_key, "tsaCertChain": ctlog.tsa_cert_chain,
            "ignoreSCT": ctlog.insecure_ignore_sct},
    });
    let entry = |kind: &str, own: Value| {
        let mut entry = logs.clone();
        if let (Value::Object(entry), Value::Object(own)) = (&mut entry, own) {
            entry.extend(own);
        }
        json!({kind: entry, "annotations": cosign.annotations, "repository": cosign.source.repository})
    };
    let (mut authority, lints) = match (&cosign.key, &cosign.keyless, &cosign.certificate) {
        (Some(key), None, None) => {
            let path = format!("{path}.key");
            shared::authority(&entry("keys", key_entry(key, &path)?), false, namespace, &path)?
        }
        (None, Some(keyless), None) => {
            let path = format!("{path}.keyless");
            // What is trusted is read as it is there; who, here.
            let anybody = json!({"subject": "*", "issuer": "*", "roots": keyless.roots});
            let (mut authority, mut lints) =
                shared::authority(&entry("keyless", anybody), false, namespace, &path)?;
            authority.who = Who::Identities(identities(keyless, &path, &mut lints)?);
            (authority, lints)
        }
        (None, None, Some(Certificate { cert, cert_chain })) => {
            let own = json!({"cert": cert.value, "certChain": cert_chain.value});
            shared::authority(&entry("certificates", own), false, namespace, &format!("{path}.certificate"))?
        }
        _ => return Err(ReadError::new(path, "expected one of key, keyless and certificate, and only one")),
    };
    authority.forms.tag_prefix = Forms::prefix(&cosign.source.tag_prefix)
        .map_err(|error| ReadError::new(format!("{path}.source.tagPrefix"), error))?;
    if let Some(root) = &cosign.trusted_root {
        TrustedRoot::from_json(root.value.as_bytes()).map_err(|e| {
            ReadError::new(format!("{path}.trustedRoot"), format!("expected a trusted_root.json: {e}"))
        })?;
        authority.trust.base = TrustBase::Document(root.value.clone());
    }
    Ok((authority, lints))
}

fn key_entry(key: &Key, path: &str) -> Result<Value, ReadError> {
    let hash = match key.hash_algorithm.as_str() {
        "" => "sha256",
        hash @ ("sha256" | "sha384" | "sha512") => hash,
        other => {
            let message = format!("expected sha256, sha384 or sha512, found {other}");
            return Err(ReadError::new(format!("{path}.hashAlgorithm"), message));
        }
    };
    match (key.data.trim(), key.kms.as_str()) {
        ("", kms) if kms.starts_with("k8s://") => Ok(json!({"publicKeys": kms, "signatureAlgorithm": hash})),
        ("", kms) if !kms.is_empty() => Ok(json!({"kms": kms, "signatureAlgorithm": hash})),
        (data, "") if data.starts_with("-----BEGIN") => {
            Ok(json!({"publicKeys": data, "signatureAlgorithm": hash}))
        }
        _ => Err(ReadError::new(
            path,
            "expected one of data (PEM of a public key), kms (a reference such as awskms:///…) and expression, and only \
             one",
        )),
    }
}

fn identities(keyless: &Keyless, path: &str, lints: &mut Vec<Lint>) -> Result<Vec<IdentityRule>, ReadError> {
    if keyless.identities.is_empty() {
        let message =
            "expected at least one identity with subject and issuer, found none: anybody could sign";
        return Err(ReadError::new(format!("{path}.identities"), message));
    }
    let extensions: BTreeMap<String, Pattern> = keyless
        .additional_extensions
        .iter()
        .map(|(name, value)| (name.clone(), Pattern::Exact(value.clone())))
        .collect();
    let mut rules = Vec::new();
    for (index, identity) in keyless.identities.iter().enumerate() {
        let path = format!("{path}.identities[{index}]");
        let rule = rule(identity, extensions.clone(), &path)?;
        judge::identity(&rule).map_err(|e| ReadError::new(&path, e.to_string()))?;
        for (field, regex) in
            [("issuerRegExp", &identity.issuer_reg_exp), ("subjectRegExp", &identity.subject_reg_exp)]
        {
            let whole = regex.starts_with('^') && regex.ends_with('$');
            if !(regex.is_empty() || whole) {
                lints.push(Lint::new(
                    format!("{path}.{field}"),
                    "regex_matches_the_whole",
                    "the whole text must match; Kyverno is content with a part of it. Write .* where anything may stand",
                ));
            }
        }
        rules.push(rule);
    }
    Ok(rules)
}

fn rule(
    identity: &Identity,
    extensions: BTreeMap<String, Pattern>,
    path: &str,
) -> Result<IdentityRule, ReadError> {
    let patterns = |exact: &str, regex: &str| {
        let exact = (!exact.is_empty()).then(|| Pattern::Exact(exact.to_owned()));
        let regex = (!regex.is_empty()).then(|| Pattern::Regex(regex.to_owned()));
        (exact, regex)
    };
    let subject = match patterns(&identity.subject, &identity.subject_reg_exp) {
        (Some(only), None) | (None, Some(only)) => only,
        // Both must hold, and one text is a simple case of both.
        (Some(exact), Some(regex)) => {
            let matcher = regex.compile().map_err(|e| ReadError::new(path, e.to_string()))?;
            if !matcher.matches(&identity.subject) {
                let message = "expected subject and subjectRegExp that can both hold, found that the one does not match \
                               the other";
                return Err(ReadError::new(path, message));
            }
            exact
        }
        (None, None) => {
            let message = "expected subject, subjectRegExp or subjectExpression, found none: anybody could sign. Write \
                           subjectRegExp: \".*\" if that is meant";
            return Err(ReadError::new(path, message));
        }
    };
    let issuer: Vec<Pattern> = match patterns(&identity.issuer, &identity.issuer_reg_exp) {
        (None, None) => {
            let message = "expected issuer or issuerRegExp, found neither: anybody can vouch for a name. Write \
                           issuerRegExp: \".*\" if that is meant";
            return Err(ReadError::new(path, message));
        }
        (exact, regex) => exact.into_iter().chain(regex).collect(),
    };
    Ok(IdentityRule { subject, issuer, extensions })
}
