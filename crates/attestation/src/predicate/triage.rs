//! Which VEX statement holds for a finding of a scan: that of the same product and vulnerability which was made last.

use countersign_crypto::Digest;

use super::openvex::{Product, Statement};
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
    /// Whether this is about the image: a product is, or none is named, and then it is about what it is attached to.
    #[must_use]
    pub fn is_about(&self, image: &Image<'_>) -> bool {
        self.products.is_empty() || self.products.iter().any(|product| image.is(product))
    }

    /// Whether this is about a finding in the image: one of its names is the vulnerability's, and the image is a product of
    /// which the package is a part, or the package is a product itself.
    #[must_use]
    pub fn is_of(&self, image: &Image<'_>, finding: &Finding) -> bool {
        let product = |product: &Product| {
            let part = |part: &Product| is_package(part, finding);
            if image.is(product) {
                product.parts.is_empty() || product.parts.iter().any(part)
            } else {
                product.parts.is_empty() && is_package(product, finding)
            }
        };
        self.names(finding) && (self.products.is_empty() || self.products.iter().any(product))
    }

    fn names(&self, finding: &Finding) -> bool {
        let mut names = std::iter::once(&finding.id).chain(&finding.aliases);
        names.any(|name| self.vulnerability.iter().any(|own| own.eq_ignore_ascii_case(name)))
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
#[must_use]
pub fn latest<'a, T>(statements: impl IntoIterator<Item = (&'a Statement, T)>) -> Option<(&'a Statement, T)> {
    statements.into_iter().max_by_key(|(statement, _)| (statement.time, statement.status))
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
            let statement = statement(product, part);
            assert_eq!(statement.is_of(&image, &openssl), holds, "{product:?} {part:?}");
        }
        let hashed = Product { hashes: [("sha256".into(), digest.to_hex())].into(), ..Product::default() };
        assert!(image.is(&hashed));
        let unnamed = finding(None);
        assert!(statement(Some("pkg:oci/shop"), None).is_of(&image, &unnamed));
        assert!(!statement(Some("pkg:oci/shop"), Some("pkg:deb/a/b")).is_of(&image, &unnamed));
        let other = Finding { id: "CVE-9".into(), aliases: Vec::new(), ..finding(None) };
        assert!(!statement(None, None).is_of(&image, &other), "another vulnerability");
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
