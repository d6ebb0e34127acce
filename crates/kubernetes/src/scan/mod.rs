//! The scanner: what is in files, or runs already, judged by controls.
//!
//! - [`read_resources`] makes workloads of YAML and JSON; whoever asks a cluster gives its objects to [`Resource::of`].
//! - [`Scanner`] looks at each image once and gives a [`Report`].
//! - [`Exceptions`] and a [`Baseline`] mark what is known; [`Thresholds`] say what makes a scan fail.
//! - [`Format`] writes the report.
//!
//! "Nobody could look" ([`Status::Unchecked`]) is a status of its own: never "unsigned", never a pass.

mod audit;
mod baseline;
mod control;
mod exceptions;
mod format;
mod input;
mod lines;
mod look;
mod needs;
mod own_settings;
mod present;
mod registries;
mod report;
mod resource;
mod running;
mod scanner;
mod settings;

pub use audit::{Audit, Usage};
pub use baseline::{Baseline, BaselineError};
pub use control::{Control, Severity};
pub use countersign_policy::statements::{Vex, Vulnerability};
pub use exceptions::{Exceptions, ExceptionsError};
pub use format::Format;
pub(crate) use format::vulnerabilities;
pub use input::{InputError, MAX_OBJECTS, MAX_TEXT, read_resources, read_values};
pub use lines::locate;
pub use registries::RepositoryPrefix;
pub use report::{
    ControlResult, ControlSummary, Counts, ImageResult, Report, ResourceResult, SCHEMA_VERSION, Status,
    Thresholds, Verdict,
};
pub(crate) use resource::Controller;
pub use resource::{NotRead, Placed, Resource, ResourceName};
pub use running::Running;
pub(crate) use scanner::NO_POLICY;
pub use scanner::{ScanOptions, Scanner};
pub use settings::{NotaryTrust, ProvenanceTable, Settings, SettingsError};

#[cfg(test)]
pub(crate) mod tests {
    //! A report that tests of reports share.

    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;

    const HEX: &str = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    fn result(
        (kind, namespace, name): (&str, &str, &str),
        image: &str,
        outcomes: &[(Control, Status, &str, &str)],
    ) -> ResourceResult {
        let controls = outcomes.iter().map(|(control, status, reason, message)| {
            let found = ImageResult {
                path: "spec.template.spec.containers[0].image".into(),
                list: "containers".into(),
                container: "main".into(),
                image: image.into(),
                digest: (*status != Status::Unchecked).then(|| format!("sha256:{HEX}")),
                policy: None,
                status: *status,
                reason: (*reason).into(),
                message: (*message).into(),
                next: match status {
                    Status::Failed if *control == Control::SignatureExists => {
                        format!("countersign sign {image}")
                    }
                    Status::Unchecked => format!("countersign tree {image}"),
                    _ => String::new(),
                },
                known: false,
                line: None,
                vulnerabilities: Arc::default(),
            };
            ControlResult::new(*control, vec![found])
        });
        ResourceResult {
            resource: ResourceName {
                api_version: "apps/v1".into(),
                kind: kind.into(),
                namespace: namespace.into(),
                name: name.into(),
                source: "shop.yaml".into(),
            },
            controls: controls.collect(),
        }
    }

    /// Four workloads: one unsigned, one at which nobody could look, two in order.
    pub(crate) fn sample() -> Report {
        use Control::{PinnedToDigest, SignatureExists};
        let pinned = (PinnedToDigest, Status::Passed, "passed", "a digest is named");
        let signed = (SignatureExists, Status::Passed, "passed", "Sigstore bundle");
        let results = vec![
            result(
                ("Deployment", "prod", "shop"),
                "registry.example/shop:2",
                &[
                    (
                        SignatureExists,
                        Status::Failed,
                        "no_signature",
                        "it is not signed; \"a\" <there> | =1+1",
                    ),
                    (PinnedToDigest, Status::Failed, "no_digest", "it is named by its tag"),
                ],
            ),
            result(("StatefulSet", "prod", "api"), "registry.example/api:1", &[signed, pinned]),
            result(
                ("DaemonSet", "", "agent"),
                "away.example/agent:1",
                &[(SignatureExists, Status::Unchecked, "unreachable", "away.example: no answer"), pinned],
            ),
            result(("Deployment", "prod", "web"), "registry.example/web:1", &[signed, pinned]),
        ];
        let time = "2026-06-01T12:00:00Z".to_owned();
        Report::new(time, &[SignatureExists, PinnedToDigest], &BTreeMap::new(), results)
    }

    /// The same with each resource and image changed.
    pub(crate) fn changed_sample(change: impl Fn(&mut ResourceName, &mut ImageResult)) -> Report {
        let mut report = sample();
        for result in &mut report.results {
            for image in result.controls.iter_mut().flat_map(|control| &mut control.images) {
                change(&mut result.resource, image);
            }
        }
        report
    }

    /// Compares with what was written once.
    pub(crate) fn golden(name: &str, found: &str) {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, found).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(found, kept, "{name}; run with UPDATE_GOLDEN=1 if the change is meant");
    }
}
