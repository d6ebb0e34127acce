//! Package URLs: `pkg:type/namespace/name@version?qualifiers#subpath`, by which scans, bills of materials and VEX name
//! packages.

use std::collections::BTreeMap;
use std::fmt;

/// The longest package URL read, in bytes.
pub const MAX_PURL_LEN: usize = 4096;
/// The most qualifiers of one package URL.
pub const MAX_QUALIFIERS: usize = 32;

/// A package URL, taken apart and decoded.
///
/// ```
/// use countersign_attestation::purl::Purl;
/// let purl = Purl::parse("pkg:deb/debian/openssl@3.0.1?arch=amd64").expect("a package URL");
/// assert_eq!((purl.name.as_str(), purl.version.as_deref()), ("openssl", Some("3.0.1")));
/// assert!(Purl::parse("pkg:deb/debian/openssl").expect("a package URL").covers(&purl));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purl {
    /// The kind of package, in small letters: `deb`, `npm`, `oci`.
    pub kind: String,
    /// What stands before the name; empty for none.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The version, if one is named.
    pub version: Option<String>,
    /// What tells packages of one name apart.
    pub qualifiers: BTreeMap<String, String>,
    /// What in the package is meant; empty for all of it.
    pub subpath: String,
}

impl Purl {
    /// Reads a package URL. `None` for what is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_PURL_LEN {
            return None;
        }
        let (scheme, rest) = text.split_once(':')?;
        if !scheme.eq_ignore_ascii_case("pkg") {
            return None;
        }
        let (rest, subpath) = rest.split_once('#').unwrap_or((rest, ""));
        let (rest, qualifiers) = rest.split_once('?').unwrap_or((rest, ""));
        let (kind, path) = rest.trim_matches('/').split_once('/')?;
        let kind = kind.to_ascii_lowercase();
        let first = kind.bytes().next()?;
        if !first.is_ascii_alphabetic()
            || !kind.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        {
            return None;
        }
        // An `@` before the last slash is part of a namespace, as in npm's scopes.
        let name_at = path.rfind('/').map_or(0, |slash| slash + 1);
        let (path, version) = match path.rfind('@').filter(|at| *at > name_at) {
            Some(at) => (path.get(..at)?, Some(decoded(path.get(at + 1..)?)?)),
            None => (path, None),
        };
        let (namespace, name) = path.trim_matches('/').rsplit_once('/').unwrap_or(("", path));
        let name = decoded(name.trim_matches('/'))?;
        if name.is_empty() {
            return None;
        }
        let mut found = Self {
            namespace: segments(namespace)?,
            name,
            version: version.filter(|version| !version.is_empty()),
            qualifiers: read_qualifiers(qualifiers)?,
            subpath: segments(subpath)?,
            kind,
        };
        found.normalise();
        Some(found)
    }

    /// Whether this names the other package too: the same kind, namespace and name, and whatever else stands here is the
    /// same there. What does not stand here is any.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.namespace == other.namespace
            && self.name == other.name
            && self.version.as_ref().is_none_or(|version| other.version.as_ref() == Some(version))
            && self.qualifiers.iter().all(|(name, value)| other.qualifiers.get(name) == Some(value))
            && (self.subpath.is_empty() || self.subpath == other.subpath)
    }

    /// Kinds whose names are the same in either case.
    fn normalise(&mut self) {
        if matches!(self.kind.as_str(), "bitbucket" | "deb" | "github" | "oci" | "pypi") {
            self.namespace = self.namespace.to_ascii_lowercase();
            self.name = self.name.to_ascii_lowercase();
        }
        if self.kind == "pypi" {
            self.name = self.name.replace('_', "-");
        }
    }
}

impl fmt::Display for Purl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = |text: &str| text.split('/').map(encoded).collect::<Vec<_>>().join("/");
        write!(f, "pkg:{}/", self.kind)?;
        if !self.namespace.is_empty() {
            write!(f, "{}/", path(&self.namespace))?;
        }
        f.write_str(&encoded(&self.name))?;
        if let Some(version) = &self.version {
            write!(f, "@{}", encoded(version))?;
        }
        for (index, (name, value)) in self.qualifiers.iter().enumerate() {
            write!(f, "{}{name}={}", if index == 0 { '?' } else { '&' }, encoded(value))?;
        }
        if !self.subpath.is_empty() {
            write!(f, "#{}", path(&self.subpath))?;
        }
        Ok(())
    }
}

/// The parts of a path, decoded, without those that are empty. A part that would be several is refused.
fn segments(text: &str) -> Option<String> {
    let mut parts = Vec::new();
    for part in text.split('/').filter(|part| !part.is_empty()) {
        parts.push(decoded(part).filter(|part| !part.contains('/') && !part.is_empty())?);
    }
    Some(parts.join("/"))
}

fn read_qualifiers(text: &str) -> Option<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=')?;
        let name = name.to_ascii_lowercase();
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b)) {
            return None;
        }
        let value = decoded(value)?;
        // One name with two values could be read in two ways; a value of nothing is none.
        if found.len() == MAX_QUALIFIERS || found.contains_key(&name) {
            return None;
        }
        if !value.is_empty() {
            found.insert(name, value);
        }
    }
    Some(found)
}

/// Text without its percent signs. `None` for one that stands before something else than two digits, and for bytes that
/// are no text.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16));
        out.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
    }
    String::from_utf8(out).ok()
}

fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".-_~:".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Purl {
        Purl::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn the_parts_are_told_apart() {
        let image = parse("pkg:oci/Shop@sha256%3Aab?repository_url=r.example/Team/shop&arch=amd64");
        assert_eq!((image.name.as_str(), image.version.as_deref()), ("shop", Some("sha256:ab")));
        assert_eq!(image.qualifiers["repository_url"], "r.example/Team/shop");
        let npm = parse("pkg:npm/%40angular/animation@12.3.1#src/main");
        assert_eq!((npm.namespace.as_str(), npm.subpath.as_str()), ("@angular", "src/main"));
        assert_eq!(parse("pkg:npm/@angular/animation").version, None, "a scope is no version");
        assert_eq!(parse("pkg:golang/google.golang.org/genproto@v1").namespace, "google.golang.org");
        assert_eq!(parse("pkg:PyPI/Some_Name@1").name, "some-name");
        assert_eq!(parse("pkg:generic/a@b@1").version.as_deref(), Some("1"));
    }

    #[test]
    fn what_is_no_package_url_is_none() {
        let long = format!("pkg:deb/{}", "a".repeat(MAX_PURL_LEN));
        for bad in [
            "",
            "pkg",
            "pkg:",
            "pkg:deb",
            "pkg:deb/",
            "pkg:/a",
            "deb/a",
            "npm:a/b",
            "pkg:1/a",
            "pkg:d%65b/a",
            "pkg:deb/%zz",
            "pkg:deb/%f",
            "pkg:deb/%ff",
            "pkg:deb/a?b",
            "pkg:deb/a?b=1&b=2",
            "pkg:deb/a?=1",
            "pkg:deb/a%2fb/c",
            &long,
        ] {
            assert_eq!(Purl::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_general_one_covers_the_particular_one_and_each_part_alone_can_differ() {
        let own = parse("pkg:deb/debian/openssl@3.0?arch=amd64&distro=12#lib");
        for general in
            ["pkg:deb/debian/openssl", "pkg:deb/debian/openssl@3.0", "pkg:deb/debian/openssl?arch=amd64"]
        {
            assert!(parse(general).covers(&own), "{general}");
            assert!(!own.covers(&parse(general)), "{general}");
        }
        for other in [
            "pkg:rpm/debian/openssl",
            "pkg:deb/ubuntu/openssl",
            "pkg:deb/debian/open",
            "pkg:deb/debian/openssl@3",
            "pkg:deb/debian/openssl?arch=arm64",
            "pkg:deb/debian/openssl?os=linux",
            "pkg:deb/debian/openssl#bin",
        ] {
            assert!(!parse(other).covers(&own), "{other}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            kind in "[a-z][a-z0-9.+-]{0,5}", namespace in prop::collection::vec("[^/]{1,8}", 0..3), name in "[^/]{1,8}",
            version in prop::option::of(".{1,8}"), qualifiers in prop::collection::btree_map("[a-z_]{1,4}", ".{1,6}", 0..4),
        ) {
            let mut own = Purl { kind, namespace: namespace.join("/"), name, version, qualifiers, subpath: String::new() };
            own.normalise();
            prop_assert_eq!(Purl::parse(&own.to_string()), Some(own));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".*", tail in "pkg:[a-z]{1,3}/.*") {
            let _ = Purl::parse(&text);
            if let Some(purl) = Purl::parse(&tail) {
                prop_assert!(purl.covers(&purl));
                prop_assert_eq!(Purl::parse(&purl.to_string()), Some(purl));
            }
        }
    }
}
