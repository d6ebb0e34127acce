//! What the controls are told: Kubescape's inputs of controls, and our own section beside them.

use countersign_attestation::predicate::vulnerabilities::Severity;
use countersign_http::text::printable;
use countersign_notary::Verified;
use countersign_notary::policy::TrustedIdentities;
use countersign_policy::{Demands, IdentityRule, KeySource, Who};
use countersign_slsa::roots::Root;
use jiff::SignedDuration;
use serde_json::{Map, Value};

use super::own_settings;
use super::registries::RepositoryPrefix;

/// The largest configuration, in bytes.
const MAX_LEN: usize = 4 << 20;
/// Where Kubescape's inputs stand.
const INPUTS: &str = "settings.postureControlInputs";
/// Where our own section stands.
pub(super) const OWN: &str = "settings.countersign";

/// What the controls are told. What is empty is not configured, and a control that needs it is skipped, not passed.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Keys that may have signed.
    pub keys: Vec<KeySource>,
    /// Identities that may have signed.
    pub identities: Vec<IdentityRule>,
    /// Whose signatures of the Notary Project count.
    pub notary: Option<NotaryTrust>,
    /// How much evidence there must be.
    pub demands: Demands,
    /// Registries that are allowed.
    pub allowed: Vec<RepositoryPrefix>,
    /// Registries that are forbidden.
    pub forbidden: Vec<RepositoryPrefix>,
    /// Repositories whose images need no digest.
    pub unpinned: Vec<RepositoryPrefix>,
    /// Whose scans count; those who may have signed, unless somebody is named here.
    pub scanners: Vec<Who>,
    /// How old a scan may be.
    pub scan_max_age: SignedDuration,
    /// The least severity that fails.
    pub least_severity: Severity,
    /// Whether a vulnerability counts of which nobody says how bad it is.
    pub unknown_severity: bool,
    /// Whose VEX is applied; those who may have signed, unless somebody is named here.
    pub vex: Vec<Who>,
    /// Who builds at which level.
    pub provenance: ProvenanceTable,
}

/// Whose signatures of the Notary Project count: of whoever has a certificate below these, and one of these names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotaryTrust {
    /// PEM.
    pub certificates: String,
    /// PEM of the timestamp authorities' roots; empty for none.
    pub timestamp_certificates: String,
    /// The names in the certificates.
    pub identities: TrustedIdentities,
}

/// Who builds at which level, and which level there must be.
#[derive(Debug, Clone, Default)]
pub struct ProvenanceTable {
    /// The least level that passes.
    pub level: u8,
    /// Pairs of signer and builder.
    pub roots: Vec<Root>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            identities: Vec::new(),
            notary: None,
            demands: Demands::default(),
            allowed: Vec::new(),
            forbidden: Vec::new(),
            unpinned: Vec::new(),
            scanners: Vec::new(),
            scan_max_age: SignedDuration::from_hours(24),
            least_severity: Severity::High,
            unknown_severity: true,
            vex: Vec::new(),
            provenance: ProvenanceTable::default(),
        }
    }
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

pub(super) fn wrong(path: impl Into<String>, message: impl Into<String>) -> SettingsError {
    SettingsError { path: path.into(), message: message.into() }
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
            own_settings::take(&mut read, own)?;
        }
        Ok(read)
    }

    /// Whether anybody is named who may have signed.
    #[must_use]
    pub fn names_signers(&self) -> bool {
        !self.keys.is_empty() || !self.identities.is_empty()
    }

    /// Those who may have signed; any of them is enough.
    pub(super) fn signers(&self) -> Vec<Who> {
        let mut who: Vec<Who> = self.keys.iter().cloned().map(Who::Key).collect();
        if !self.identities.is_empty() {
            who.push(Who::Identities(self.identities.clone()));
        }
        who
    }

    /// Those whose scans count.
    pub(super) fn scan_signers(&self) -> Vec<Who> {
        if self.scanners.is_empty() { self.signers() } else { self.scanners.clone() }
    }

    /// Those whose VEX is applied.
    pub(super) fn vex_signers(&self) -> Vec<Who> {
        if self.vex.is_empty() { self.signers() } else { self.vex.clone() }
    }

    /// Everybody of Sigstore's kind who is named, for whatever.
    fn everybody(&self) -> Vec<Who> {
        let roots = self.provenance.roots.iter().map(|root| Who::of_root(&root.signer));
        [self.signers(), self.scanners.clone(), self.vex.clone(), roots.collect()].concat()
    }

    /// Whether somebody is named whose signatures of Sigstore's kind are verified, for whatever.
    #[must_use]
    pub fn names_anybody(&self) -> bool {
        !self.everybody().is_empty()
    }

    /// Whether only keys are named, whose signatures are enough by themselves: no trust root is needed.
    #[must_use]
    pub fn needs_no_trust_root(&self) -> bool {
        let keys = self.everybody().iter().all(|who| matches!(who, Who::Key(_)));
        keys && !self.demands.log && !self.demands.timestamp
    }

    fn take_inputs(&mut self, inputs: &Map<String, Value>) -> Result<(), SettingsError> {
        self.keys = texts(inputs, "trustedCosignPublicKeys")?.into_iter().map(key_source).collect();
        self.allowed = prefixes(inputs, "imageRepositoryAllowList")?;
        self.forbidden = prefixes(inputs, "publicRegistries")?;
        self.forbidden.extend(prefixes(inputs, "untrustedRegistries")?);
        self.unpinned = prefixes(inputs, "imageDigestExemptRepositories")?;
        Ok(())
    }
}

/// What Kubescape's file has is PEM; a key elsewhere is ours.
pub(super) fn key_source(text: String) -> KeySource {
    if text.trim_start().starts_with("-----BEGIN") {
        KeySource::Pem(text)
    } else {
        KeySource::Reference(text)
    }
}

impl NotaryTrust {
    /// As somebody who must have signed.
    pub(super) fn who(&self) -> Who {
        Who::Notary {
            certificates: self.certificates.clone(),
            timestamp_certificates: self.timestamp_certificates.clone(),
        }
    }

    /// The signer of the first of these signatures whose name is one that counts.
    ///
    /// # Errors
    /// In words, why the last one's is not; nothing when there is no signature.
    pub(super) fn first_named(&self, accepted: &[Verified]) -> Result<String, Option<String>> {
        let mut why = None;
        for signer in accepted.iter().filter_map(Verified::signer) {
            match self.identities.check(signer) {
                Ok(()) => return Ok(printable(&signer.subject().to_string())),
                Err(refusal) => why = Some(printable(&refusal.to_string())),
            }
        }
        Err(why)
    }
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
