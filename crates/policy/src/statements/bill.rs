//! Bills of materials: whether one is bound to the artifact by the signature of somebody trusted, parses, and is not empty.

use std::collections::BTreeSet;

use countersign_attestation::predicate::sbom::Sbom;
use countersign_http::text::printable;
use jiff::SignedDuration;
use serde_json::Value;

use super::{Target, Verdict, deciding, note, predicate, signer};
use crate::ask::{Ask, Stop};
use crate::authority::Authority;
use crate::judge::Fact;

/// The types of statements with bills of materials in SPDX that are in use.
const SPDX: [&str; 5] = [
    "https://spdx.dev/Document",
    "https://spdx.dev/Document/v2.2",
    "https://spdx.dev/Document/v2.3",
    "https://spdx.dev/Document/v3.0",
    "https://spdx.dev/Document/v3.0.1",
];
/// The same in CycloneDX.
const CYCLONEDX: [&str; 5] = [
    "https://cyclonedx.org/bom",
    "https://cyclonedx.org/bom/v1.4",
    "https://cyclonedx.org/bom/v1.5",
    "https://cyclonedx.org/bom/v1.6",
    "https://cyclonedx.org/bom/v1.7",
];

/// What a bill of materials must be.
#[derive(Debug, Clone)]
pub struct BillRule {
    /// Whose count.
    pub by: Vec<Authority>,
    /// The types of statements that are looked for.
    pub types: Vec<String>,
    /// How old one may be.
    pub max_age: Option<SignedDuration>,
}

impl BillRule {
    /// The types of statements of the two formats.
    #[must_use]
    pub fn types(spdx: bool, cyclonedx: bool) -> Vec<String> {
        let of = |wanted: bool, types: [&'static str; 5]| types.into_iter().filter(move |_| wanted);
        of(spdx, SPDX).chain(of(cyclonedx, CYCLONEDX)).map(str::to_owned).collect()
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
        let format = |fact: &Fact| predicate(fact).is_ok_and(|(kind, _)| kind.starts_with(SPDX[0]));
        let current = match trusted.current("a bill of materials", self.max_age, ask.now(), format) {
            Ok(current) => current,
            Err(verdict) => return stopped.map_or(Ok(verdict), Err),
        };
        let mut failed: Option<Verdict> = None;
        for fact in current {
            match bill(fact, target, ask) {
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

fn bill(fact: &Fact, target: &Target, ask: &Ask<'_>) -> Result<Verdict, Stop> {
    let no = |reason, text| Ok(Verdict::fail(reason, text, deciding([fact])));
    let read =
        predicate(fact).and_then(|(kind, text)| Sbom::from_json(kind, text).map_err(|e| e.to_string()));
    let by = signer(fact);
    let sbom = match read {
        Ok(sbom) => sbom,
        Err(why) => {
            let text = format!("the bill of materials signed by {by} cannot be read: {}", printable(&why));
            return no("unreadable_sbom", text);
        }
    };
    let form = format!("{} {}", sbom.format.name(), printable(&sbom.version));
    if sbom.components == 0 {
        return no("empty_sbom", format!("the bill of materials ({form}) signed by {by} names no component"));
    }
    if !sbom.digests.is_empty() && !sbom.digests.contains(&target.digest().to_string()) {
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
    let text = format!("{form} with {} components, signed by {by}", sbom.components);
    Ok(Verdict::pass(text, deciding([fact])))
}

/// The digests of what a manifest is made of.
fn parts(manifest: &Value) -> BTreeSet<String> {
    let entries = manifest.get("manifests").and_then(Value::as_array).into_iter().flatten();
    let all = entries.chain(manifest.get("config"));
    all.filter_map(|entry| Some(entry.get("digest")?.as_str()?.to_owned())).collect()
}
