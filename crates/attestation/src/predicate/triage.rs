//! Which VEX statement holds for a finding of a scan: that of the same product and vulnerability which was made last.

use std::collections::{BTreeSet, HashMap, HashSet};

use countersign_crypto::Digest;

use super::openvex::{OpenVex, Product, Statement};
use super::vulnerabilities::Finding;
use crate::purl::Purl;

/// The image that was scanned.
#[derive(Debug, Clone, Copy)]
pub struct Image<'a> {
    /// Its digest.
    pub digest: &'a Digest,
    /// Its repository: `registry.example/team/shop`.
    pub repository: &'a str,
}

impl Image<'_> {
    /// Whether a product is this image: by digest; or by a package URL of kind `oci`, whose version is this digest, or which
    /// has none and names the repository by its last part, and if at all then by its address.
    ///
    /// ```
    /// use countersign_attestation::predicate::triage::Image;
    /// use countersign_attestation::predicate::openvex::Product;
    /// use countersign_attestation::purl::Purl;
    /// let digest = countersign_crypto::HashAlgorithm::Sha256.digest(b"a manifest");
    /// let image = Image { digest: &digest, repository: "registry.example/team/shop" };
    /// let product = Product { purl: Purl::parse("pkg:oci/shop"), ..Product::default() };
    /// assert!(image.is(&product));
    /// ```
    #[must_use]
    pub fn is(&self, product: &Product) -> bool {
        let hash = product.hashes.get(self.digest.algorithm().name());
        hash == Some(&self.digest.to_hex())
            || product.purl.as_ref().is_some_and(|purl| self.is_named(purl))
            || product.id == format!("{}@{}", self.repository, self.digest)
    }

    fn is_named(&self, purl: &Purl) -> bool {
        if purl.kind != "oci" || !purl.namespace.is_empty() || !purl.subpath.is_empty() {
            return false;
        }
        if let Some(version) = &purl.version {
            // The bytes are what is meant, wherever they lie.
            return *version == self.digest.to_string();
        }
        let last = self.repository.rsplit('/').next().unwrap_or_default();
        let here = |(name, value): (&String, &String)| {
            name == "repository_url"
                && (value == self.repository || self.repository == format!("{value}/{last}"))
        };
        // What else a name could say, such as a platform, is not known here.
        purl.name == last && purl.qualifiers.iter().all(here)
    }
}

impl Statement {
    /// Whether this is about the package of a finding in an artifact.
    fn is_where(&self, is_artifact: &dyn Fn(&Product) -> bool, finding: &Finding) -> bool {
        let product = |product: &Product| {
            let part = |part: &Product| is_package(part, finding);
            if is_artifact(product) {
                product.parts.is_empty() || product.parts.iter().any(part)
            } else {
                product.parts.is_empty() && is_package(product, finding)
            }
        };
        self.products.is_empty() || self.products.iter().any(product)
    }
}

/// Whether a product is the package of a finding. Without a package URL on either side nobody can tell, which is no.
fn is_package(product: &Product, finding: &Finding) -> bool {
    match (&product.purl, &finding.package.purl) {
        (Some(general), Some(package)) => general.covers(package),
        _ => false,
    }
}

/// The statement that holds, of those about one finding: the last one. Of several of one time, the one that clears least.
fn latest<'a, T>(statements: impl IntoIterator<Item = (&'a Statement, T)>) -> Option<(&'a Statement, T)> {
    statements.into_iter().max_by_key(|(statement, _)| (statement.time, statement.status))
}

/// VEX documents over one artifact: its statements by the vulnerabilities they name, as a document may have very many.
#[derive(Debug)]
pub struct Triage<'a> {
    image: Image<'a>,
    names: &'a [Purl],
    documents: &'a [OpenVex],
    /// Document and statement by name, in capital letters.
    by_name: HashMap<String, Vec<Place>>,
}

/// Which statement of which document.
type Place = (usize, usize);

/// What holds for a finding.
#[derive(Debug, Clone, Copy)]
pub struct Held<'a> {
    /// The statement that does.
    pub statement: &'a Statement,
    /// The number of its document.
    pub document: usize,
}

/// A statement that holds for nothing that was found.
#[derive(Debug, Clone, Copy)]
pub struct Unmatched<'a> {
    /// The statement.
    pub statement: &'a Statement,
    /// The number of its document.
    pub document: usize,
    /// Whether it is about the artifact at all; if so, nothing like it was found there.
    pub is_about: bool,
}

impl<'a> Triage<'a> {
    /// The statements of documents over an artifact, which is an image by digest and repository, or known by these package
    /// URLs too.
    ///
    /// Documents that nobody trusted signed do not belong here.
    #[must_use]
    pub fn of(image: Image<'a>, names: &'a [Purl], documents: &'a [OpenVex]) -> Self {
        let mut by_name: HashMap<String, Vec<Place>> = HashMap::new();
        for (document, own) in documents.iter().enumerate() {
            for (index, statement) in own.statements.iter().enumerate() {
                for name in &statement.vulnerability {
                    by_name.entry(name.to_ascii_uppercase()).or_default().push((document, index));
                }
            }
        }
        Self { image, names, documents, by_name }
    }

    /// The statement that holds for a finding: the last one, of those about it. One that is about it only by what another
    /// statement says the vulnerability is called too can keep it, and cannot clear it.
    #[must_use]
    pub fn held(&self, finding: &Finding) -> Option<Held<'a>> {
        let own = std::iter::once(&finding.id).chain(&finding.aliases);
        let direct = self.places(own.map(String::as_str), finding);
        let aliases = direct.iter().filter_map(|place| self.at(*place)).flat_map(|one| &one.vulnerability);
        let beside = self.places(aliases.map(String::as_str), finding);
        let keeps = |place: &Place| self.at(*place).is_some_and(|one| !one.status.clears());
        let all: BTreeSet<Place> = beside.into_iter().filter(keeps).chain(direct).collect();
        let statements = all.into_iter().filter_map(|place| Some((self.at(place)?, place.0)));
        latest(statements).map(|(statement, document)| Held { statement, document })
    }

    /// The statements that hold for none of these findings, whether or not another one came later.
    #[must_use]
    pub fn unmatched(&self, findings: &[Finding]) -> Vec<Unmatched<'a>> {
        let about = |finding: &Finding| {
            let own = std::iter::once(&finding.id).chain(&finding.aliases);
            self.places(own.map(String::as_str), finding)
        };
        let matched: HashSet<Place> = findings.iter().flat_map(about).collect();
        let all = self.documents.iter().enumerate().flat_map(|(document, own)| {
            own.statements.iter().enumerate().map(move |(index, statement)| ((document, index), statement))
        });
        all.filter(|(place, _)| !matched.contains(place))
            .map(|((document, _), statement)| {
                let is_about = statement.products.is_empty()
                    || statement.products.iter().any(|product| self.is(product));
                Unmatched { statement, document, is_about }
            })
            .collect()
    }

    fn is(&self, product: &Product) -> bool {
        let named = |general: &Purl| self.names.iter().any(|own| general.covers(own));
        self.image.is(product) || product.purl.as_ref().is_some_and(named)
    }

    fn at(&self, (document, index): Place) -> Option<&'a Statement> {
        self.documents.get(document)?.statements.get(index)
    }

    fn places<'n>(&self, names: impl Iterator<Item = &'n str>, finding: &Finding) -> BTreeSet<Place> {
        let named = names.filter_map(|name| self.by_name.get(&name.to_ascii_uppercase())).flatten().copied();
        let holds = |place: &Place| {
            self.at(*place).is_some_and(|one| one.is_where(&|product| self.is(product), finding))
        };
        named.filter(holds).collect()
    }
}

#[cfg(test)]
mod tests {
    use countersign_crypto::HashAlgorithm;
    use jiff::{SignedDuration, Timestamp};
    use proptest::prelude::*;

    use super::*;
    use crate::predicate::openvex::Status;
    use crate::predicate::vulnerabilities::Package;

    fn finding(purl: Option<&str>) -> Finding {
        let package = Package { purl: purl.map(|text| Purl::parse(text).unwrap()), ..Package::default() };
        Finding {
            id: "CVE-1".into(),
            aliases: vec!["GHSA-1".into()],
            package,
            severity: None,
            fixed: Vec::new(),
        }
    }

    fn statement(product: Option<&str>, part: Option<&str>) -> Statement {
        let named = |text: &str| Product { id: text.into(), purl: Purl::parse(text), ..Product::default() };
        let products =
            product.map(|product| Product { parts: part.map(named).into_iter().collect(), ..named(product) });
        Statement {
            vulnerability: vec!["GHSA-0".into(), "ghsa-1".into()],
            products: products.into_iter().collect(),
            status: Status::NotAffected,
            justification: Some("component_not_present".into()),
            words: String::new(),
            time: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_statement_is_about_an_image_by_digest_or_name_and_about_its_parts_or_all_of_it() {
        let digest = HashAlgorithm::Sha256.digest(b"manifest");
        let image = Image { digest: &digest, repository: "r.example/team/shop" };
        let by_digest =
            format!("pkg:oci/other@sha256%3A{}?repository_url=away.example/x&arch=arm64", digest.to_hex());
        let is_of = |statement: Statement, finding: &Finding| {
            Triage::of(image, &[], &[document(vec![statement])]).held(finding).is_some()
        };
        let openssl = finding(Some("pkg:deb/debian/openssl@3?arch=amd64"));
        for (product, part, holds) in [
            (None, None, true),
            (Some(by_digest.as_str()), None, true),
            (Some("pkg:oci/shop"), None, true),
            (Some("pkg:oci/shop?repository_url=r.example/team/shop"), None, true),
            (Some("pkg:oci/shop?repository_url=r.example/team"), None, true),
            (Some("pkg:oci/shop?repository_url=evil.example/team/shop"), None, false),
            (Some("pkg:oci/shop?arch=arm64"), None, false),
            (Some("pkg:oci/shop@sha256%3A00"), None, false),
            (Some("pkg:oci/api"), None, false),
            (Some("pkg:docker/shop"), None, false),
            (Some("https://example.com/shop"), None, false),
            (Some("pkg:oci/shop"), Some("pkg:deb/debian/openssl"), true),
            (Some("pkg:oci/shop"), Some("pkg:deb/debian/openssl@3?arch=amd64"), true),
            (Some("pkg:oci/shop"), Some("pkg:deb/debian/openssl@2"), false),
            (Some("pkg:oci/shop"), Some("pkg:deb/debian/openssl?os_name=debian"), false),
            (Some("pkg:oci/api"), Some("pkg:deb/debian/openssl"), false),
            (Some("pkg:deb/debian/openssl@3"), None, true),
            (Some("pkg:deb/debian/openssl@2"), None, false),
            (Some("pkg:deb/debian/openssl@3"), Some("pkg:deb/debian/libc"), false),
        ] {
            assert_eq!(is_of(statement(product, part), &openssl), holds, "{product:?} {part:?}");
        }
        let hashed = Product { hashes: [("sha256".into(), digest.to_hex())].into(), ..Product::default() };
        assert!(image.is(&hashed));
        let unnamed = finding(None);
        assert!(is_of(statement(Some("pkg:oci/shop"), None), &unnamed));
        assert!(!is_of(statement(Some("pkg:oci/shop"), Some("pkg:deb/a/b")), &unnamed));
        let other = Finding { id: "CVE-9".into(), aliases: Vec::new(), ..finding(None) };
        assert!(!is_of(statement(None, None), &other), "another vulnerability");
    }

    fn document(statements: Vec<Statement>) -> OpenVex {
        let time = Timestamp::UNIX_EPOCH;
        OpenVex { id: "https://example.com/1".into(), author: "A".into(), time, version: 1, statements }
    }

    fn said(name: &str, status: Status, second: i64) -> Statement {
        let time = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second);
        Statement { vulnerability: vec![name.into()], status, time, ..statement(None, None) }
    }

    fn triaged(documents: &[OpenVex], names: &[Purl], finding: &Finding) -> Option<Status> {
        let digest = HashAlgorithm::Sha256.digest(b"manifest");
        let image = Image { digest: &digest, repository: "r.example/team/shop" };
        Triage::of(image, names, documents).held(finding).map(|held| held.statement.status)
    }

    #[test]
    fn vex_not_affected_and_then_affected_keeps_the_finding_in_whatever_document_it_stands() {
        let (clear, keep) = (said("CVE-1", Status::NotAffected, 0), said("GHSA-1", Status::Affected, 1));
        let own = finding(None);
        for documents in [
            vec![document(vec![clear.clone(), keep.clone()])],
            vec![document(vec![keep.clone(), clear.clone()])],
            vec![document(vec![keep.clone()]), document(vec![clear.clone()])],
        ] {
            assert_eq!(triaged(&documents, &[], &own), Some(Status::Affected));
        }
        let later = said("CVE-1", Status::Fixed, 2);
        assert_eq!(triaged(&[document(vec![later, keep, clear])], &[], &own), Some(Status::Fixed));
    }

    #[test]
    fn vex_another_name_that_only_a_statement_gives_can_keep_a_finding_and_cannot_clear_it() {
        let own = Finding { aliases: Vec::new(), ..finding(None) };
        let both = |status, second| Statement {
            vulnerability: vec!["CVE-1".into(), "GHSA-1".into()],
            ..said("", status, second)
        };
        let kept = [document(vec![both(Status::NotAffected, 0), said("GHSA-1", Status::Affected, 1)])];
        assert_eq!(triaged(&kept, &[], &own), Some(Status::Affected));
        let cleared = [document(vec![both(Status::Affected, 0), said("GHSA-1", Status::NotAffected, 1)])];
        assert_eq!(triaged(&cleared, &[], &own), Some(Status::Affected));
    }

    #[test]
    fn vex_for_another_product_holds_for_nothing_and_is_told() {
        let (own, digest) =
            (finding(Some("pkg:deb/debian/openssl@3")), HashAlgorithm::Sha256.digest(b"manifest"));
        let image = Image { digest: &digest, repository: "r.example/team/shop" };
        let documents = [document(vec![
            statement(Some("pkg:oci/api"), None),
            statement(Some("pkg:generic/app@2"), None),
            Statement { vulnerability: vec!["CVE-9".into()], ..statement(Some("pkg:oci/shop"), None) },
        ])];
        let triage = Triage::of(image, &[], &documents);
        assert!(triage.held(&own).is_none());
        let unmatched: Vec<bool> =
            triage.unmatched(std::slice::from_ref(&own)).iter().map(|one| one.is_about).collect();
        assert_eq!(unmatched, [false, false, true]);
        let names = [Purl::parse("pkg:generic/app@2?arch=amd64").unwrap()];
        assert_eq!(
            triaged(&documents, &names, &own),
            Some(Status::NotAffected),
            "the artifact goes by this name too"
        );
        let others = [Purl::parse("pkg:generic/app@1").unwrap()];
        assert_eq!(triaged(&documents, &others, &own), None);
    }

    proptest! {
        #[test]
        fn the_last_word_holds_whatever_the_order(times in prop::collection::vec((0_i64..4, 0_usize..4), 1..8)) {
            let made = |(after, status): &(i64, usize)| Statement {
                time: Timestamp::UNIX_EPOCH + SignedDuration::from_secs(*after),
                status: Status::ALL[*status],
                ..statement(None, None)
            };
            let all: Vec<Statement> = times.iter().map(made).collect();
            let (held, ()) = latest(all.iter().map(|one| (one, ()))).unwrap();
            prop_assert!(all.iter().all(|one| one.time <= held.time));
            // What is said of the same time and clears less would hold in its place.
            prop_assert!(all.iter().all(|one| one.time < held.time || one.status <= held.status));
            let (again, ()) = latest(all.iter().rev().map(|one| (one, ()))).unwrap();
            prop_assert_eq!((again.time, again.status), (held.time, held.status));
        }
    }
}
