//! What the controls are told: Kubescape's inputs of controls, and our own section beside them.

use countersign_policy::{Demands, IdentityRule, KeySource, Pattern};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::registries::RepositoryPrefix;

/// The largest configuration, in bytes.
const MAX_LEN: usize = 4 << 20;
/// Where Kubescape's inputs stand.
const INPUTS: &str = "settings.postureControlInputs";
/// Where our own section stands.
const OWN: &str = "settings.countersign";

/// What the controls are told. What is empty is not configured, and a control that needs it is skipped, not passed.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Keys that may have signed.
    pub keys: Vec<KeySource>,
    /// Identities that may have signed.
    pub identities: Vec<IdentityRule>,
    /// How much evidence there must be.
    pub demands: Demands,
    /// Registries that are allowed.
    pub allowed: Vec<RepositoryPrefix>,
    /// Registries that are forbidden.
    pub forbidden: Vec<RepositoryPrefix>,
    /// Repositories whose images need no digest.
    pub unpinned: Vec<RepositoryPrefix>,
}

/// Why a configuration of controls cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct SettingsError {
    /// The field.
    pub path: String,
    /// What was expected, what was found.
    pub message: String,
}

fn wrong(path: impl Into<String>, message: impl Into<String>) -> SettingsError {
    SettingsError { path: path.into(), message: message.into() }
}

/// Our own section.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Own {
    #[serde(default)]
    trusted_identities: Vec<OwnIdentity>,
    #[serde(default = "yes")]
    transparency_log: bool,
    #[serde(default = "yes")]
    certificate_log: bool,
    #[serde(default)]
    timestamp: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct OwnIdentity {
    subject: Option<String>,
    subject_reg_exp: Option<String>,
    issuer: Option<String>,
    issuer_reg_exp: Option<String>,
}

const fn yes() -> bool {
    true
}

impl Settings {
    /// Reads YAML or JSON: `settings.postureControlInputs` and `settings.countersign`, or the bare map of inputs that
    /// `kubescape download controls-inputs` writes. Inputs of controls that are not here are passed over.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn read(text: &str) -> Result<Self, SettingsError> {
        if text.len() > MAX_LEN {
            return Err(wrong("document", format!("expected at most {MAX_LEN} bytes, found {}", text.len())));
        }
        let value: Value = serde_saphyr::from_str(text)
            .map_err(|e| wrong("document", format!("expected YAML or JSON: {e}")))?;
        let Value::Object(root) = &value else {
            return Err(wrong("document", "expected an object with \"settings\""));
        };
        let (inputs, own) = match root.get("settings") {
            Some(Value::Object(settings)) => {
                if let Some(other) = settings
                    .keys()
                    .find(|key| !["postureControlInputs", "countersign"].contains(&key.as_str()))
                {
                    let expected = "expected postureControlInputs and countersign only";
                    return Err(wrong(format!("settings.{other}"), expected));
                }
                (settings.get("postureControlInputs"), settings.get("countersign"))
            }
            Some(_) => return Err(wrong("settings", "expected an object")),
            None => (Some(&value), None),
        };
        let mut read = Self::default();
        match inputs {
            None | Some(Value::Null) => {}
            Some(Value::Object(inputs)) => read.take_inputs(inputs)?,
            Some(_) => return Err(wrong(INPUTS, "expected an object of lists")),
        }
        if let Some(own) = own.filter(|own| !own.is_null()) {
            read.take_own(own)?;
        }
        Ok(read)
    }

    /// Whether anybody is named who may have signed.
    #[must_use]
    pub fn names_signers(&self) -> bool {
        !self.keys.is_empty() || !self.identities.is_empty()
    }

    fn take_inputs(&mut self, inputs: &Map<String, Value>) -> Result<(), SettingsError> {
        self.keys = texts(inputs, "trustedCosignPublicKeys")?
            .into_iter()
            .map(|text| {
                // What Kubescape's file has is PEM; a key elsewhere is ours.
                if text.trim_start().starts_with("-----BEGIN") {
                    KeySource::Pem(text)
                } else {
                    KeySource::Reference(text)
                }
            })
            .collect();
        self.allowed = prefixes(inputs, "imageRepositoryAllowList")?;
        self.forbidden = prefixes(inputs, "publicRegistries")?;
        self.forbidden.extend(prefixes(inputs, "untrustedRegistries")?);
        self.unpinned = prefixes(inputs, "imageDigestExemptRepositories")?;
        Ok(())
    }

    fn take_own(&mut self, own: &Value) -> Result<(), SettingsError> {
        let own = Own::deserialize(own).map_err(|e| wrong(OWN, e.to_string()))?;
        for (index, identity) in own.trusted_identities.into_iter().enumerate() {
            let path = |field: &str| format!("{OWN}.trustedIdentities[{index}].{field}");
            let subject = one_of("subject", identity.subject, identity.subject_reg_exp, path)?;
            let issuer = one_of("issuer", identity.issuer, identity.issuer_reg_exp, path)?;
            self.identities.push(IdentityRule {
                subject,
                issuer: vec![issuer],
                extensions: Default::default(),
            });
        }
        self.demands =
            Demands { log: own.transparency_log, sct: own.certificate_log, timestamp: own.timestamp };
        Ok(())
    }
}

/// A name that is given exactly or as a regular expression: one of the two.
fn one_of(
    field: &str,
    exact: Option<String>,
    pattern: Option<String>,
    path: impl Fn(&str) -> String,
) -> Result<Pattern, SettingsError> {
    let found = match (exact, pattern) {
        (Some(text), None) => Pattern::Exact(text),
        (None, Some(text)) => Pattern::Regex(text),
        (None, None) => {
            return Err(wrong(
                path(field),
                format!("expected {field} or {field}RegExp, found neither; a name without it says nothing"),
            ));
        }
        (Some(_), Some(_)) => {
            return Err(wrong(path(field), format!("expected {field} or {field}RegExp, found both")));
        }
    };
    found.compile().map_err(|e| wrong(path(field), e.to_string()))?;
    Ok(found)
}

fn texts(inputs: &Map<String, Value>, name: &str) -> Result<Vec<String>, SettingsError> {
    let path = || format!("{INPUTS}.{name}");
    let list = match inputs.get(name) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(list)) => list,
        Some(_) => return Err(wrong(path(), "expected a list of texts")),
    };
    let text = |(index, value): (usize, &Value)| match value.as_str().map(str::trim) {
        Some(text) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err(wrong(format!("{}[{index}]", path()), format!("expected a text, found {value}"))),
    };
    list.iter().enumerate().map(text).collect()
}

fn prefixes(inputs: &Map<String, Value>, name: &str) -> Result<Vec<RepositoryPrefix>, SettingsError> {
    let parse = |(index, text): (usize, String)| {
        RepositoryPrefix::parse(&text).map_err(|e| wrong(format!("{INPUTS}.{name}[{index}]"), e))
    };
    texts(inputs, name)?.into_iter().enumerate().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubescapes_inputs_are_read_with_and_without_what_stands_around_them() {
        let bare = "{imageRepositoryAllowList: [ghcr.io/acme], untrustedRegistries: [evil.example], publicRegistries: [docker.io], \
                    insecureCapabilities: [SETPCAP], imageDigestExemptRepositories: [ghcr.io/acme/dev], \
                    trustedCosignPublicKeys: [awskms:///alias/x, \"-----BEGIN PUBLIC KEY-----\"]}";
        for text in [bare.to_owned(), format!("settings: {{postureControlInputs: {bare}}}")] {
            let read = Settings::read(&text).unwrap();
            assert_eq!((read.allowed.len(), read.forbidden.len(), read.unpinned.len()), (1, 2, 1));
            assert!(matches!(read.keys.as_slice(), [KeySource::Reference(_), KeySource::Pem(_)]));
        }
    }

    #[test]
    fn our_own_section_names_identities_and_how_much_evidence() {
        let own = "settings: {countersign: {trustedIdentities: [{subject: a@b.c, issuerRegExp: 'https://.*'}], timestamp: true, \
                   transparencyLog: false, certificateLog: false}}";
        let read = Settings::read(own).unwrap();
        assert!(read.names_signers());
        assert_eq!(read.demands, Demands { log: false, sct: false, timestamp: true });
        assert_eq!(Settings::read("settings: {}").unwrap().demands, Demands::default());
    }

    #[test]
    fn what_cannot_be_used_is_an_error_with_its_path() {
        for (text, path) in [
            ("[]", "document"),
            ("settings: 1", "settings"),
            ("settings: {other: 1}", "settings.other"),
            ("settings: {postureControlInputs: []}", "settings.postureControlInputs"),
            ("imageRepositoryAllowList: ghcr.io", "settings.postureControlInputs.imageRepositoryAllowList"),
            ("publicRegistries: ['']", "settings.postureControlInputs.publicRegistries[0]"),
            ("untrustedRegistries: [a.b/*]", "settings.postureControlInputs.untrustedRegistries[0]"),
            ("trustedCosignPublicKeys: [1]", "settings.postureControlInputs.trustedCosignPublicKeys[0]"),
            ("settings: {countersign: {trust: 1}}", "settings.countersign"),
            (
                "settings: {countersign: {trustedIdentities: [{subject: a}]}}",
                "settings.countersign.trustedIdentities[0].issuer",
            ),
            (
                "settings: {countersign: {trustedIdentities: [{issuer: a}]}}",
                "settings.countersign.trustedIdentities[0].subject",
            ),
            (
                "settings: {countersign: {trustedIdentities: [{subject: '', issuer: b}]}}",
                "settings.countersign.trustedIdentities[0].subject",
            ),
            (
                "settings: {countersign: {trustedIdentities: [{subject: a, issuer: b, issuerRegExp: c}]}}",
                "settings.countersign.trustedIdentities[0].issuer",
            ),
            (
                "settings: {countersign: {trustedIdentities: [{subjectRegExp: '(', issuer: b}]}}",
                "settings.countersign.trustedIdentities[0].subject",
            ),
        ] {
            assert_eq!(Settings::read(text).unwrap_err().path, path, "{text}");
        }
    }
}
