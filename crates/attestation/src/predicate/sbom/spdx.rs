//! SPDX 2 as it is written, JSON and lines of tags.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{Component, Format, MAX_COMPONENTS, MAX_REFERENCES, Sbom, digest_in, said};
use crate::json::{Bounded, JsonError, null_is_default};
use crate::predicate::time;
use crate::purl::Purl;

/// What the document itself is called in it.
const DOCUMENT: &str = "SPDXRef-DOCUMENT";

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    spdx_version: String,
    #[serde(default, deserialize_with = "null_is_default")]
    creation_info: Creation,
    #[serde(default, deserialize_with = "null_is_default")]
    packages: Bounded<Package, MAX_COMPONENTS>,
    #[serde(default, deserialize_with = "null_is_default")]
    files: Bounded<File, MAX_COMPONENTS>,
    #[serde(default, deserialize_with = "null_is_default")]
    document_describes: Bounded<String, MAX_COMPONENTS>,
    #[serde(default, deserialize_with = "null_is_default")]
    relationships: Bounded<Relationship, MAX_COMPONENTS>,
}

#[derive(Default, Deserialize)]
struct Creation {
    created: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    creators: Bounded<String, MAX_REFERENCES>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Package {
    #[serde(rename = "SPDXID", default, deserialize_with = "null_is_default")]
    id: String,
    #[serde(default, deserialize_with = "null_is_default")]
    name: String,
    #[serde(default, deserialize_with = "null_is_default")]
    version_info: String,
    #[serde(default, deserialize_with = "null_is_default")]
    supplier: String,
    #[serde(default, deserialize_with = "null_is_default")]
    originator: String,
    #[serde(default, deserialize_with = "null_is_default")]
    checksums: Bounded<Checksum, MAX_REFERENCES>,
    #[serde(default, deserialize_with = "null_is_default")]
    external_refs: Bounded<ExternalRef, MAX_REFERENCES>,
    #[serde(default, deserialize_with = "null_is_default")]
    primary_package_purpose: String,
}

#[derive(Default, Deserialize)]
struct File {
    #[serde(rename = "SPDXID", default, deserialize_with = "null_is_default")]
    id: String,
    #[serde(default, deserialize_with = "null_is_default")]
    checksums: Bounded<Checksum, MAX_REFERENCES>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Checksum {
    algorithm: String,
    checksum_value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExternalRef {
    #[serde(default, deserialize_with = "null_is_default")]
    reference_type: String,
    #[serde(default, deserialize_with = "null_is_default")]
    reference_locator: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Relationship {
    #[serde(default, deserialize_with = "null_is_default")]
    spdx_element_id: String,
    #[serde(default, deserialize_with = "null_is_default")]
    relationship_type: String,
    #[serde(default, deserialize_with = "null_is_default")]
    related_spdx_element: String,
}

impl Relationship {
    /// Whether it says how two things hang together, and not what the document is about.
    fn is_of_parts(&self) -> bool {
        let known = |id: &str| !id.is_empty() && id != "NONE" && id != "NOASSERTION";
        !matches!(self.relationship_type.as_str(), "" | "DESCRIBES" | "DESCRIBED_BY" | "OTHER")
            && known(&self.spdx_element_id)
            && known(&self.related_spdx_element)
    }
}

fn digests(sums: &[Checksum]) -> BTreeSet<String> {
    let sums = sums.iter().filter(|sum| sum.algorithm == "SHA256");
    sums.filter_map(|sum| digest_in(&format!("sha256:{}", sum.checksum_value))).collect()
}

impl Document {
    pub(super) fn summary(self) -> Result<Sbom, JsonError> {
        self.summary_as(Format::Spdx)
    }

    fn summary_as(self, format: Format) -> Result<Sbom, JsonError> {
        if !self.spdx_version.starts_with("SPDX-2.") {
            let text = format!("spdxVersion: expected \"SPDX-2.…\", found \"{}\"", self.spdx_version);
            return Err(JsonError::Shape(text));
        }
        let describes = self
            .relationships
            .0
            .iter()
            .filter(|r| r.relationship_type == "DESCRIBES" && r.spdx_element_id == DOCUMENT)
            .map(|r| &r.related_spdx_element);
        let roots: BTreeSet<&String> = self.document_describes.0.iter().chain(describes).collect();
        let is_root = |id: &String| !id.is_empty() && roots.contains(id);
        let mut all = BTreeSet::new();
        for package in self.packages.0.iter().filter(|package| is_root(&package.id)) {
            let named = package.external_refs.0.iter().map(|r| &r.reference_locator);
            all.extend(digests(&package.checksums.0));
            all.extend(named.chain([&package.version_info]).filter_map(|text| digest_in(text)));
        }
        for file in self.files.0.iter().filter(|file| is_root(&file.id)) {
            all.extend(digests(&file.checksums.0));
        }
        // The image itself is a package of its document, and no component of the image.
        let is_image =
            |package: &&Package| is_root(&package.id) && package.primary_package_purpose == "CONTAINER";
        let images = self.packages.0.iter().filter(is_image).count();
        let created = match &self.creation_info.created {
            Some(text) => time("creationInfo.created", text)?,
            None => None,
        };
        let (described, others): (Vec<&Package>, Vec<&Package>) =
            self.packages.0.iter().partition(|package| is_root(&package.id));
        Ok(Sbom {
            format,
            version: self.spdx_version.clone(),
            components: self.packages.0.len() - images + self.files.0.len(),
            digests: all,
            root: described.first().map(|package| package.component()),
            parts: others.into_iter().map(Package::component).collect(),
            authors: self
                .creation_info
                .creators
                .0
                .iter()
                .map(|creator| said(creator))
                .filter(|one| !one.is_empty())
                .collect(),
            created,
            has_relationships: self.relationships.0.iter().any(Relationship::is_of_parts),
        })
    }
}

impl Package {
    fn component(&self) -> Component {
        let supplier = [&self.supplier, &self.originator].map(|text| said(text));
        let purls = self.external_refs.0.iter().filter(|r| r.reference_type == "purl");
        let purl = purls.filter_map(|r| Purl::parse(&r.reference_locator)).next();
        let other = |r: &ExternalRef| {
            matches!(r.reference_type.as_str(), "cpe22Type" | "cpe23Type" | "swid" | "gitoid" | "swh")
                && !said(&r.reference_locator).is_empty()
        };
        Component {
            name: said(&self.name),
            version: said(&self.version_info),
            supplier: supplier.into_iter().find(|text| !text.is_empty()).unwrap_or_default(),
            purl,
            otherwise_identified: self.external_refs.0.iter().any(other),
            digests: digests(&self.checksums.0),
        }
    }
}

/// SPDX 2 as lines: `PackageName: openssl`. Values of several lines stand between `<text>` and `</text>`, where nothing is a
/// tag.
pub(super) fn tags(text: &str) -> Result<Sbom, JsonError> {
    let mut document = Document::default();
    let (mut in_text, mut in_file) = (false, false);
    for line in text.lines() {
        let skipped = in_text;
        in_text = (in_text || line.contains("<text>")) && !line.contains("</text>");
        let Some((tag, value)) = line.split_once(':').filter(|_| !skipped) else { continue };
        let (tag, value) = (tag.trim(), value.trim());
        document.take(tag, value)?;
        // What follows a name is of what it names.
        match tag {
            "PackageName" | "FileName" => in_file = tag == "FileName",
            "SPDXID" if in_file => {
                document.files.0.last_mut().into_iter().for_each(|file| value.clone_into(&mut file.id))
            }
            "FileChecksum" if in_file => {
                document.files.0.last_mut().into_iter().for_each(|file| checksum(&mut file.checksums, value))
            }
            _ if in_file => {}
            _ => document.packages.0.last_mut().into_iter().for_each(|package| package.take(tag, value)),
        }
    }
    if document.spdx_version.is_empty() {
        return Err(JsonError::Shape("SPDXVersion: expected a line with it, found none".into()));
    }
    document.summary_as(Format::SpdxTags)
}

impl Document {
    fn take(&mut self, tag: &str, value: &str) -> Result<(), JsonError> {
        let own = || value.to_owned();
        let full = |list: usize| {
            if list >= MAX_COMPONENTS {
                return Err(JsonError::Shape(format!("more than {MAX_COMPONENTS} lines of {tag}")));
            }
            Ok(())
        };
        match tag {
            "SPDXVersion" if self.spdx_version.is_empty() => self.spdx_version = own(),
            "Created" => self.creation_info.created = Some(own()),
            "Creator" if self.creation_info.creators.0.len() < MAX_REFERENCES => {
                self.creation_info.creators.0.push(own());
            }
            "PackageName" if !value.is_empty() => {
                full(self.packages.0.len())?;
                self.packages.0.push(Package { name: own(), ..Package::default() });
            }
            "FileName" if !value.is_empty() => {
                full(self.files.0.len())?;
                self.files.0.push(File::default());
            }
            "Relationship" => {
                full(self.relationships.0.len())?;
                let mut words = value.split_whitespace().map(str::to_owned);
                if let (Some(from), Some(kind), Some(to)) = (words.next(), words.next(), words.next()) {
                    self.relationships.0.push(Relationship {
                        spdx_element_id: from,
                        relationship_type: kind,
                        related_spdx_element: to,
                    });
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Package {
    fn take(&mut self, tag: &str, value: &str) {
        match tag {
            "SPDXID" => value.clone_into(&mut self.id),
            "PackageVersion" => value.clone_into(&mut self.version_info),
            "PackageSupplier" => value.clone_into(&mut self.supplier),
            "PackageOriginator" => value.clone_into(&mut self.originator),
            "PrimaryPackagePurpose" => value.clone_into(&mut self.primary_package_purpose),
            "PackageChecksum" => checksum(&mut self.checksums, value),
            "ExternalRef" if self.external_refs.0.len() < MAX_REFERENCES => {
                let mut words = value.split_whitespace().skip(1).map(str::to_owned);
                if let (Some(reference_type), Some(reference_locator)) = (words.next(), words.next()) {
                    self.external_refs.0.push(ExternalRef { reference_type, reference_locator });
                }
            }
            _ => {}
        }
    }
}

/// Adds a sum such as `SHA256: 00…`, as far as there is room.
fn checksum(sums: &mut Bounded<Checksum, MAX_REFERENCES>, value: &str) {
    if let Some((algorithm, sum)) = value.split_once(':').filter(|_| sums.0.len() < MAX_REFERENCES) {
        sums.0
            .push(Checksum { algorithm: algorithm.trim().to_owned(), checksum_value: sum.trim().to_owned() });
    }
}
