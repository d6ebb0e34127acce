//! Baselines: an earlier report, whose failures are no news.

use std::collections::BTreeSet;

use countersign_registry::Reference;
use serde::Deserialize;

use super::control::Control;
use super::report::{ImageResult, Report, SCHEMA_VERSION, Status};
use super::resource::ResourceName;

/// The largest baseline, in bytes.
const MAX_LEN: usize = 256 << 20;

/// Why a baseline cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BaselineError(String);

/// The failures of an earlier report.
#[derive(Debug, Default)]
pub struct Baseline {
    known: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    schema: String,
    schema_version: u32,
    results: Vec<WrittenResource>,
}

#[derive(Deserialize)]
struct WrittenResource {
    resource: WrittenName,
    controls: Vec<WrittenControl>,
}

#[derive(Deserialize)]
struct WrittenName {
    kind: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize)]
struct WrittenControl {
    control: String,
    images: Vec<WrittenImage>,
}

#[derive(Deserialize)]
struct WrittenImage {
    list: String,
    container: String,
    image: String,
    /// For a policy; a report of before there were any has none.
    policy: Option<String>,
    status: String,
}

/// What makes a finding the same one: control, policy, object, container and repository. A new tag of an image that was
/// unsigned before is no news; another image is, and so is another policy that refuses it.
pub(super) fn fingerprint(resource: &ResourceName, control: Control, image: &ImageResult) -> String {
    key(
        [control.id(), &resource.kind, &resource.namespace, &resource.name, &image.list, &image.container],
        image.policy.as_deref(),
        &image.image,
    )
}

fn key(parts: [&str; 6], policy: Option<&str>, image: &str) -> String {
    let repository =
        Reference::parse(image).map_or_else(|_| image.to_owned(), |r| r.repository().to_string());
    // No name holds the separator, since it is escaped by the quotes.
    match policy {
        None => format!("{parts:?} {repository:?}"),
        Some(policy) => format!("{parts:?} {policy:?} {repository:?}"),
    }
}

impl Baseline {
    /// Reads a report in JSON of an earlier scan.
    ///
    /// # Errors
    /// [`BaselineError`].
    pub fn read(bytes: &[u8]) -> Result<Self, BaselineError> {
        let expected = "expected a report as `--format json` writes it";
        if bytes.len() > MAX_LEN {
            return Err(BaselineError(format!("expected at most {MAX_LEN} bytes, found {}", bytes.len())));
        }
        let written: Written =
            serde_json::from_slice(bytes).map_err(|e| BaselineError(format!("{expected}: {e}")))?;
        if written.schema != "countersign.scan" || written.schema_version != SCHEMA_VERSION {
            let found = format!("{} version {}", written.schema, written.schema_version);
            return Err(BaselineError(format!("{expected}, version {SCHEMA_VERSION}; found {found}")));
        }
        let mut known = BTreeSet::new();
        for result in &written.results {
            let WrittenName { kind, namespace, name } = &result.resource;
            for control in &result.controls {
                for image in control.images.iter().filter(|image| image.status == Status::Failed.code()) {
                    known.insert(key(
                        [&control.control, kind, namespace, name, &image.list, &image.container],
                        image.policy.as_deref(),
                        &image.image,
                    ));
                }
            }
        }
        Ok(Self { known })
    }

    /// Marks the failures that are known already.
    #[must_use]
    pub fn apply(&self, report: Report) -> Report {
        report.changed(|resource, control, image| {
            image.known =
                image.status == Status::Failed && self.known.contains(&fingerprint(resource, control, image));
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::tests::{changed_sample, sample};
    use crate::scan::{Thresholds, Verdict};

    fn verdict(report: Report) -> Verdict {
        let mut report = Baseline::read(&serde_json::to_vec(&sample()).unwrap()).unwrap().apply(report);
        report.results.retain(|result| result.status() != Status::Unchecked);
        report.verdict(&Thresholds::default())
    }

    #[test]
    fn only_new_failures_count_and_what_nobody_could_look_at_is_never_known() {
        assert_eq!(verdict(sample()), Verdict::Good);
        assert_eq!(
            verdict(changed_sample(|_, image| image.image = image.image.replace(":2", ":3"))),
            Verdict::Good
        );
        let report = Baseline::read(&serde_json::to_vec(&sample()).unwrap()).unwrap().apply(sample());
        assert_eq!(report.verdict(&Thresholds::default()), Verdict::Unknown);
    }

    #[test]
    fn each_part_of_a_finding_alone_makes_it_new() {
        for change in [
            (|resource, _| resource.kind.push('x')) as fn(&mut ResourceName, &mut ImageResult),
            |resource, _| resource.namespace.push('x'),
            |resource, _| resource.name.push('x'),
            |_, image| image.container.push('x'),
            |_, image| image.list.push('x'),
            |_, image| image.policy = Some("ImagePolicy other".into()),
            |_, image| image.image = format!("x.{}", image.image),
        ] {
            assert_eq!(verdict(changed_sample(change)), Verdict::Bad);
        }
    }

    #[test]
    fn what_is_no_report_of_this_version_is_refused() {
        let text = serde_json::to_string(&sample()).unwrap();
        for bad in [
            "{}".to_owned(),
            text.replace("countersign.scan", "other"),
            text.replace("\"schemaVersion\":1", "\"schemaVersion\":2"),
        ] {
            assert!(Baseline::read(bad.as_bytes()).is_err());
        }
    }
}
