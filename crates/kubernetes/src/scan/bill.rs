//! Bills of materials: whether one is bound to the image by the signature of somebody trusted, parses, and is not empty.

use std::collections::BTreeSet;

use countersign_attestation::predicate::sbom::{Sbom, is_type};
use countersign_http::text::printable;
use countersign_policy::{Ask, Fact, Stop};
use countersign_registry::evidence::Form;
use serde_json::Value;

use super::look::{Look, Outcome, There};
use super::present::Present;
use super::statements::{predicate, signer};

impl Look {
    /// Whether there is a bill of materials that holds.
    ///
    /// # Errors
    /// [`Stop`].
    pub(super) fn bill(&self, there: &There, ask: &Ask<'_>) -> Result<Outcome, Stop> {
        let types: BTreeSet<&str> =
            there.statements().map(|(kind, _)| kind).filter(|kind| is_type(kind)).collect();
        if types.is_empty() {
            let bare = |form: Form, present: &Present| match present {
                Present::Unsigned(kind) => is_type(kind) || form == Form::CosignSbom,
                _ => false,
            };
            return Ok(there.without("bill of materials", bare));
        }
        let types: Vec<String> = types.into_iter().map(str::to_owned).collect();
        let trusted = self.statements(&self.settings.signers(), &types, ask)?;
        let mut failed = None;
        for fact in &trusted.facts {
            let outcome = self.bill_of(fact, ask)?;
            if outcome.status == countersign_policy::Status::Pass {
                return Ok(outcome);
            }
            failed = failed.or(Some(outcome));
        }
        Ok(failed.unwrap_or_else(|| {
            Outcome::fail(
                "not_trusted",
                format!("nobody who is trusted signed its bill of materials{}", trusted.why_none()),
            )
        }))
    }

    fn bill_of(&self, fact: &Fact, ask: &Ask<'_>) -> Result<Outcome, Stop> {
        let read =
            predicate(fact).and_then(|(kind, text)| Sbom::from_json(kind, text).map_err(|e| e.to_string()));
        let by = signer(fact);
        let sbom = match read {
            Ok(sbom) => sbom,
            Err(why) => {
                let text =
                    format!("the bill of materials signed by {by} cannot be read: {}", printable(&why));
                return Ok(Outcome::fail("unreadable_sbom", text));
            }
        };
        let form = format!("{} {}", sbom.format.name(), printable(&sbom.version));
        if sbom.components == 0 {
            let text = format!("the bill of materials ({form}) signed by {by} names no component");
            return Ok(Outcome::fail("empty_sbom", text));
        }
        if !sbom.digests.is_empty() && !sbom.digests.contains(&self.digest.to_string()) {
            // Tools name the image of a platform, or its configuration, where the index was signed.
            let parts = parts(&ask.image(&self.image)?.manifest);
            if sbom.digests.is_disjoint(&parts) {
                let named = sbom.digests.iter().cloned().collect::<Vec<_>>().join(", ");
                let text =
                    format!("the bill of materials ({form}) signed by {by} says that it is about {named}");
                return Ok(Outcome::fail("sbom_of_other", text));
            }
        }
        Ok(Outcome::pass(format!("{form} with {} components, signed by {by}", sbom.components)))
    }
}

/// The digests of what a manifest is made of.
fn parts(manifest: &Value) -> BTreeSet<String> {
    let entries = manifest.get("manifests").and_then(Value::as_array).into_iter().flatten();
    let all = entries.chain(manifest.get("config"));
    all.filter_map(|entry| Some(entry.get("digest")?.as_str()?.to_owned())).collect()
}
