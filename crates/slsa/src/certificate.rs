//! What the certificate says of the build beside its identity, held against itself and against the provenance: the platform
//! vouches for the certificate, and whoever ran the build may have written the provenance.

use countersign_attestation::predicate::provenance::Provenance;
use countersign_verify::Reason;
use countersign_x509::{Certificate, FulcioExtensions};

use crate::Facts;
use crate::git::{Source, same_repository};
use crate::report::{CheckName, Recorder};
use crate::roots::GITHUB;

/// What the certificate says of the source. Older certificates have only the deprecated extensions.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Vouched {
    /// The repository, in one spelling.
    pub(crate) repository: Option<String>,
    pub(crate) reference: Option<String>,
    pub(crate) runner: Option<String>,
}

impl Vouched {
    pub(crate) fn of(certificate: &Certificate) -> Self {
        let said = certificate.fulcio();
        let older = said.github_workflow_repository.as_ref().map(|name| format!("https://github.com/{name}"));
        let repository = said.source_repository_uri.clone().or(older);
        Self {
            repository: repository.and_then(|uri| Some(Source::parse(&uri)?.repository)),
            reference: said.source_repository_ref.clone().or_else(|| said.github_workflow_ref.clone()),
            runner: said.runner_environment.clone(),
        }
    }
}

/// Whether the certificate of who signed agrees with itself, and with the provenance in all that both say of the build.
///
/// # Errors
/// In words, what was expected and what was found.
pub fn agrees(certificate: &Certificate, provenance: &Provenance, facts: &Facts) -> Result<(), String> {
    let wrong = |Contradicted { expected, found, .. }| format!("expected {expected}, found {found}");
    compare(certificate, Some(provenance), facts).map(drop).map_err(wrong)
}

/// Where they do not agree.
struct Contradicted {
    reason: Reason,
    expected: String,
    found: String,
}

/// Holds certificate and provenance against each other.
pub(crate) fn check(
    certificate: &Certificate,
    provenance: Option<&Provenance>,
    facts: &Facts,
    out: &mut Recorder,
) {
    match compare(certificate, provenance, facts) {
        Err(Contradicted { reason, expected, found }) => {
            out.fail(CheckName::Agreement, reason, expected, found);
        }
        Ok(compared) if compared.is_empty() => {
            out.skip(CheckName::Agreement, "the certificate says nothing that the provenance says too");
        }
        Ok(compared) => {
            out.pass(CheckName::Agreement, "certificate and provenance to say the same", compared.join(", "));
        }
    }
}

/// What both say, where they say the same.
fn compare(
    certificate: &Certificate,
    provenance: Option<&Provenance>,
    facts: &Facts,
) -> Result<Vec<&'static str>, Contradicted> {
    let said = certificate.fulcio();
    let wrong = |reason, expected, found| Err(Contradicted { reason, expected, found });
    if let Some((what, one, other)) = generations(said).or_else(|| identity(certificate)) {
        let expected = format!("one {what} in the certificate");
        return wrong(Reason::Contradiction, expected, format!("{one} and {other}"));
    }
    // GitHub vouches for the repository in each of its certificates. Without it the provenance would be vouched for by
    // nobody but whoever ran the build.
    if said.issuer() == Some(GITHUB) && Vouched::of(certificate).repository.is_none() {
        let expected = "a certificate that names the repository".to_owned();
        return wrong(Reason::ExtensionMismatch, expected, "one that names none".to_owned());
    }
    let compared = compared(said, provenance, facts);
    match compared.iter().find(|(what, vouched, written)| !agree(what, vouched, written)) {
        Some((what, vouched, written)) => {
            let expected = format!("{what} {vouched}, as the certificate says");
            wrong(Reason::Contradiction, expected, format!("{written} in the provenance"))
        }
        None => Ok(compared.iter().map(|(what, ..)| *what).collect()),
    }
}

/// What both generations of extensions say, where they differ. The older ones hold the bare text, the newer ones DER.
fn generations(said: &FulcioExtensions) -> Option<(&'static str, String, String)> {
    let older_repository =
        said.github_workflow_repository.as_ref().map(|name| format!("https://github.com/{name}"));
    let pairs = [
        ("issuer", &said.issuer_v1, &said.issuer_v2),
        ("trigger", &said.github_workflow_trigger, &said.build_trigger),
        ("commit", &said.github_workflow_sha, &said.source_repository_digest),
        ("repository", &older_repository, &said.source_repository_uri),
        ("ref", &said.github_workflow_ref, &said.source_repository_ref),
        // A workflow of another commit than its source was started in a way that lets strangers choose one of them.
        ("commit of workflow and source", &said.build_config_digest, &said.source_repository_digest),
    ];
    pairs.into_iter().find_map(|(what, older, newer)| match (older, newer) {
        (Some(older), Some(newer)) if older != newer => Some((what, older.clone(), newer.clone())),
        _ => None,
    })
}

/// The name of who signed, and the extension that repeats it.
fn identity(certificate: &Certificate) -> Option<(&'static str, String, String)> {
    let signer = certificate.fulcio().build_signer_uri.as_ref()?;
    let named = certificate.sans().iter().find_map(|san| san.as_text())?;
    (named != signer).then(|| ("signing workflow", named.to_owned(), signer.clone()))
}

type Compared = (&'static str, String, String);

/// What both say: the name of it, what the certificate and what the provenance say.
fn compared(said: &FulcioExtensions, provenance: Option<&Provenance>, facts: &Facts) -> Vec<Compared> {
    let Some(provenance) = provenance else { return Vec::new() };
    let older_repository =
        said.github_workflow_repository.as_ref().map(|name| format!("https://github.com/{name}"));
    let run = Some(&provenance.invocation).filter(|run| run.starts_with("https://")).cloned();
    let pairs = [
        ("repository", said.source_repository_uri.clone().or(older_repository), facts.repository.clone()),
        (
            "ref",
            said.source_repository_ref.clone().or_else(|| said.github_workflow_ref.clone()),
            facts.reference.clone(),
        ),
        (
            "commit",
            said.source_repository_digest.clone().or_else(|| said.github_workflow_sha.clone()),
            commit(facts),
        ),
        (
            "trigger",
            said.build_trigger.clone().or_else(|| said.github_workflow_trigger.clone()),
            facts.trigger.clone(),
        ),
        ("run", said.run_invocation_uri.clone(), run),
        ("number of the repository", said.source_repository_identifier.clone(), facts.repository_id.clone()),
        ("number of the owner", said.source_repository_owner_identifier.clone(), facts.owner_id.clone()),
        ("runner", said.runner_environment.clone(), facts.runner.clone()),
    ];
    pairs.into_iter().filter_map(|(what, vouched, written)| Some((what, vouched?, written?))).collect()
}

/// The commit, unless the build says itself that it is of another than the one which started it: it then names no ref.
fn commit(facts: &Facts) -> Option<String> {
    facts.commit.clone().filter(|_| !facts.is_of_another_commit)
}

fn agree(what: &str, vouched: &str, written: &str) -> bool {
    match what {
        "repository" => same_repository(vouched, written),
        _ => vouched == written,
    }
}
