//! Bills of materials: whether one is bound to the artifact by the signature of somebody trusted, parses, and is not empty.

use std::collections::BTreeSet;

use countersign_attestation::predicate::registry::{any_version, kind_of};
use countersign_attestation::predicate::sbom::{Binding, Sbom};
use countersign_http::text::printable;
use jiff::SignedDuration;
use serde_json::Value;

use super::{Target, Verdict, deciding, note, predicate, signer};
use crate::ask::{Ask, Stop};
use crate::authority::Authority;
use crate::judge::Fact;

/// How many missing elements one message names.
const MAX_NAMED: usize = 7;

/// What a bill of materials must be.
#[derive(Debug, Clone)]
pub struct BillRule {
    /// Whose count.
    pub by: Vec<Authority>,
    /// The types of statements that are looked for.
    pub types: Vec<String>,
    /// Whether it must have the minimum elements of the NTIA.
    pub ntia: bool,
    /// How old one may be.
    pub max_age: Option<SignedDuration>,
}

impl BillRule {
    /// The types of statements of the two formats.
    #[must_use]
    pub fn types(spdx: bool, cyclonedx: bool) -> Vec<String> {
        let names = [("spdx", spdx), ("cyclonedx", cyclonedx)];
        let types = names.into_iter().filter(|(_, wanted)| *wanted).filter_map(|(name, _)| any_version(name));
        types.flatten().map(|kind| (*kind).to_owned()).collect()
    }

    /// Whether there is a bill of materials that holds: of one signer the newest of a format is enough.
    ///
    /// # Errors
    /// [`Stop`].
    pub fn judge(&self, target: &Target, ask: &Ask<'_>) -> Result<Verdict, Stop> {
        let (trusted, mut stopped) = ask.statements_there(target, &self.by, &self.types);
        if trusted.facts.is_empty() {
            if let Some(stop) = stopped {
                return Err(stop);
            }
            let text = format!("nobody who is trusted signed its bill of materials{}", trusted.why_none());
            return Ok(Verdict::fail("not_trusted", text, Vec::new()));
        }
        let format =
            |fact: &Fact| predicate(fact).ok().and_then(|(kind, _)| kind_of(kind)).map(|kind| kind.name);
        let current = match trusted.current("a bill of materials", self.max_age, ask.now(), format) {
            Ok(current) => current,
            Err(verdict) => return stopped.map_or(Ok(verdict), Err),
        };
        let mut failed: Option<Verdict> = None;
        for fact in current {
            match self.bill(fact, target, ask) {
                Ok(verdict) if verdict.holds => return Ok(verdict),
                Ok(verdict) => failed = failed.or(Some(verdict)),
                Err(stop) => note(&mut stopped, stop),
            }
        }
        // What could not be looked at might hold.
        if let Some(stop) = stopped {
            return Err(stop);
        }
        Ok(failed.unwrap_or_else(|| {
            Verdict::fail("no_statement", "there is no bill of materials about it".to_owned(), Vec::new())
        }))
    }
}

impl BillRule {
    fn bill(&self, fact: &Fact, target: &Target, ask: &Ask<'_>) -> Result<Verdict, Stop> {
        let no = |reason, text| Ok(Verdict::fail(reason, text, deciding([fact])));
        let read =
            predicate(fact).and_then(|(kind, text)| Sbom::from_json(kind, text).map_err(|e| e.to_string()));
        let by = signer(fact);
        let sbom = match read {
            Ok(sbom) => sbom,
            Err(why) => {
                let text =
                    format!("the bill of materials signed by {by} cannot be read: {}", printable(&why));
                return no("unreadable_sbom", text);
            }
        };
        let form = format!("{} {}", sbom.format.name(), printable(&sbom.version));
        if sbom.components == 0 {
            return no(
                "empty_sbom",
                format!("the bill of materials ({form}) signed by {by} names no component"),
            );
        }
        if sbom.binding(target.digest()) == Binding::Other {
            // Tools name the image of a platform, or its configuration, where the index was signed.
            let parts = match target {
                Target::Image(image, _) => parts(&ask.image(image)?.manifest),
                Target::File(_) => BTreeSet::new(),
            };
            if sbom.digests.is_disjoint(&parts) {
                let named = sbom.digests.iter().cloned().collect::<Vec<_>>().join(", ");
                let text =
                    format!("the bill of materials ({form}) signed by {by} says that it is about {named}");
                return no("sbom_of_other", text);
            }
        }
        let missing = if self.ntia { sbom.missing() } else { Vec::new() };
        if !missing.is_empty() {
            let named =
                missing.iter().take(MAX_NAMED).map(|one| one.element.name()).collect::<Vec<_>>().join(", ");
            let text =
                format!("the bill of materials ({form}) signed by {by} lacks minimum elements: {named}");
            return no("sbom_incomplete", text);
        }
        let text = format!("{form} with {} components, signed by {by}", sbom.components);
        Ok(Verdict::pass(text, deciding([fact])))
    }
}

/// The digests of what a manifest is made of.
fn parts(manifest: &Value) -> BTreeSet<String> {
    let entries = manifest.get("manifests").and_then(Value::as_array).into_iter().flatten();
    let all = entries.chain(manifest.get("config"));
    all.filter_map(|entry| Some(entry.get("digest")?.as_str()?.to_owned())).collect()
}
