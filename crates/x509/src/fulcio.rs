//! The extensions with which Fulcio says who signed and where it was built: OIDs 1.3.6.1.4.1.57264.1.1 to .24
//! (<https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md>).
//!
//! .1 to .6 are deprecated and hold the bare bytes of the text; .8 to .24 hold a DER UTF8String; .7 is not an
//! extension but the type of an otherName (see [`crate::San::username`]).

use der::asn1::ObjectIdentifier;

use crate::asn1::Cursor;
use crate::{X509Error, write};

/// The arc before the last number.
const PREFIX: &str = "1.3.6.1.4.1.57264.1";
/// The same in DER, without the header.
const PREFIX_DER: [u8; 9] = [0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0xbf, 0x30, 0x01];

/// How long one value may be, in bytes.
const MAX_VALUE_LEN: usize = 8 * 1024;

macro_rules! extensions {
    ($($(#[$doc:meta])* $field:ident = $arc:literal, $name:literal;)*) => {
        /// What a Fulcio certificate says beside its subject alternative name. A field is `None` when the
        /// certificate does not have the extension.
        ///
        /// ```
        /// use countersign_x509::FulcioExtensions;
        /// let extensions = FulcioExtensions {
        ///     issuer_v2: Some("https://issuer.example".into()),
        ///     source_repository_uri: Some("https://git.example/a/b".into()),
        ///     ..FulcioExtensions::default()
        /// };
        /// assert_eq!(extensions.issuer(), Some("https://issuer.example"));
        /// assert_eq!(extensions.get_by_name("sourceRepositoryURI"), Some("https://git.example/a/b"));
        /// assert_eq!(extensions.get_by_name("source-repository-uri"), Some("https://git.example/a/b"));
        /// assert_eq!(extensions.get_by_name("1.3.6.1.4.1.57264.1.12"), Some("https://git.example/a/b"));
        /// ```
        #[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
        pub struct FulcioExtensions {
            $($(#[$doc])* pub $field: Option<String>,)*
        }

        /// Last number of the OID and the name, ascending.
        const TABLE: &[(u8, &str)] = &[$(($arc, $name)),*];

        impl FulcioExtensions {
            fn slot(&mut self, arc: u8) -> Option<&mut Option<String>> {
                match arc {
                    $($arc => Some(&mut self.$field),)*
                    _ => None,
                }
            }

            /// The value of 1.3.6.1.4.1.57264.1.`arc`.
            #[must_use]
            pub fn get(&self, arc: u8) -> Option<&str> {
                match arc {
                    $($arc => self.$field.as_deref(),)*
                    _ => None,
                }
            }
        }
    };
}

extensions! {
    /// .1: the issuer of the identity token (deprecated).
    issuer_v1 = 1, "issuerV1";
    /// .2: the event that started the GitHub workflow (deprecated).
    github_workflow_trigger = 2, "githubWorkflowTrigger";
    /// .3: the commit of the GitHub workflow (deprecated).
    github_workflow_sha = 3, "githubWorkflowSHA";
    /// .4: the name of the GitHub workflow (deprecated).
    github_workflow_name = 4, "githubWorkflowName";
    /// .5: the repository of the GitHub workflow (deprecated).
    github_workflow_repository = 5, "githubWorkflowRepository";
    /// .6: the ref of the GitHub workflow (deprecated).
    github_workflow_ref = 6, "githubWorkflowRef";
    /// .8: the issuer of the identity token.
    issuer_v2 = 8, "issuerV2";
    /// .9: the build instructions that signed, as a URI.
    build_signer_uri = 9, "buildSignerURI";
    /// .10: the digest of the version of these instructions.
    build_signer_digest = 10, "buildSignerDigest";
    /// .11: hosted by the platform, or self-hosted.
    runner_environment = 11, "runnerEnvironment";
    /// .12: the source repository.
    source_repository_uri = 12, "sourceRepositoryURI";
    /// .13: the commit the build was of.
    source_repository_digest = 13, "sourceRepositoryDigest";
    /// .14: the ref the build was of.
    source_repository_ref = 14, "sourceRepositoryRef";
    /// .15: the number of the repository, which survives renaming.
    source_repository_identifier = 15, "sourceRepositoryIdentifier";
    /// .16: the owner of the repository.
    source_repository_owner_uri = 16, "sourceRepositoryOwnerURI";
    /// .17: the number of the owner.
    source_repository_owner_identifier = 17, "sourceRepositoryOwnerIdentifier";
    /// .18: the top-level build instructions.
    build_config_uri = 18, "buildConfigURI";
    /// .19: the digest of their version.
    build_config_digest = 19, "buildConfigDigest";
    /// .20: the event that started the build.
    build_trigger = 20, "buildTrigger";
    /// .21: the run of the build.
    run_invocation_uri = 21, "runInvocationURI";
    /// .22: whether the repository was public when the signature was made.
    source_repository_visibility_at_signing = 22, "sourceRepositoryVisibilityAtSigning";
    /// .23: the deployment environment.
    deployment_environment = 23, "deploymentEnvironment";
    /// .24: the subject of the identity token.
    token_subject = 24, "tokenSubject";
}

/// One extension of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FulcioExtension<'a> {
    /// The name, as in [`FulcioExtensions::get_by_name`].
    pub name: &'static str,
    /// The last number of the OID.
    pub arc: u8,
    /// The value.
    pub value: &'a str,
}

impl FulcioExtension<'_> {
    /// The whole OID.
    #[must_use]
    pub fn oid(&self) -> String {
        format!("{PREFIX}.{}", self.arc)
    }
}

impl FulcioExtensions {
    /// The issuer of the identity token: .8, or the deprecated .1 where there is no .8.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.issuer_v2.as_deref().or(self.issuer_v1.as_deref())
    }

    /// The last number of the OID for a name. Case, `-` and `_` do not matter, and the OID itself is a name too.
    /// `None` for an unknown name. `issuer` is not a name here: it may be either of two extensions.
    #[must_use]
    pub fn arc_of(name: &str) -> Option<u8> {
        if let Some(arc) = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('.')) {
            return TABLE.iter().map(|(n, _)| *n).find(|n| n.to_string() == arc);
        }
        let simple = |s: &str| -> String {
            s.chars().filter(|c| !matches!(c, '-' | '_')).map(|c| c.to_ascii_lowercase()).collect()
        };
        let wanted = simple(name);
        TABLE.iter().find(|(_, known)| simple(known) == wanted).map(|(n, _)| *n)
    }

    /// A value by the name of its extension: `sourceRepositoryURI`, `source-repository-uri`,
    /// `source_repository_uri` or the OID; `issuer` gives [`FulcioExtensions::issuer`].
    #[must_use]
    pub fn get_by_name(&self, name: &str) -> Option<&str> {
        if name.eq_ignore_ascii_case("issuer") {
            return self.issuer();
        }
        self.get(Self::arc_of(name)?)
    }

    /// All that are there, in ascending order of their OIDs.
    pub fn iter(&self) -> impl Iterator<Item = FulcioExtension<'_>> {
        TABLE
            .iter()
            .filter_map(|&(arc, name)| self.get(arc).map(|value| FulcioExtension { name, arc, value }))
    }

    /// Sets a value by the last number of its OID; an empty text is no value. Returns whether the number is
    /// known.
    pub fn set(&mut self, arc: u8, value: &str) -> bool {
        match self.slot(arc) {
            Some(slot) => {
                *slot = (!value.is_empty()).then(|| value.to_owned());
                true
            }
            None => false,
        }
    }

    /// Takes in an extension of a certificate; returns whether it is one of these.
    pub(crate) fn read(&mut self, oid: &ObjectIdentifier, value: &[u8]) -> Result<bool, X509Error> {
        const WHAT: &str = "Fulcio extension";
        let Some(&[arc @ 1..0x80]) = oid.as_bytes().strip_prefix(&PREFIX_DER) else { return Ok(false) };
        let Some(slot) = self.slot(arc) else { return Ok(false) };
        if value.len() > MAX_VALUE_LEN {
            return Err(X509Error::TooLarge { what: WHAT, limit: MAX_VALUE_LEN, found: value.len() });
        }
        let bytes = if arc < 7 {
            value
        } else {
            let mut cursor = Cursor::new(WHAT, value)?;
            let text = cursor.expect(der::Tag::Utf8String)?;
            cursor.finish()?;
            text.value
        };
        let text = std::str::from_utf8(bytes)
            .map_err(|_| X509Error::malformed(WHAT, format!("{PREFIX}.{arc} is not UTF-8")))?;
        *slot = Some(text.to_owned());
        Ok(true)
    }

    /// The extensions as they stand in a certificate: OID in DER and the content of the OCTET STRING.
    pub(crate) fn to_der(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        self.iter().map(|extension| {
            let oid = write::tlv(0x06, &[&PREFIX_DER, &[extension.arc]]);
            let value = if extension.arc < 7 {
                extension.value.as_bytes().to_vec()
            } else {
                write::utf8_string(extension.value)
            };
            (oid, value)
        })
    }
}

/// Whether a runner environment, as extension .11 or a provenance names it, is a machine that the platform's owner keeps. Whoever
/// keeps another may have written what is said of its builds.
#[must_use]
pub fn is_hosted_runner(environment: &str) -> bool {
    matches!(environment, "github-hosted" | "gitlab-hosted")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_platforms_own_runners_are_hosted() {
        assert!(is_hosted_runner("github-hosted") && is_hosted_runner("gitlab-hosted"));
        for other in ["self-hosted", "", "github-hosted ", "GitHub-Hosted", "https://x.example/github-hosted"]
        {
            assert!(!is_hosted_runner(other), "{other}");
        }
    }

    #[test]
    fn every_extension_has_its_own_oid_and_name() {
        let mut all = FulcioExtensions::default();
        for &(arc, name) in TABLE {
            assert!(all.set(arc, &format!("value {arc}")));
            assert_eq!(all.get_by_name(name), Some(format!("value {arc}").as_str()));
            assert_eq!(all.get_by_name(&format!("{PREFIX}.{arc}")), all.get(arc));
        }
        assert_eq!(all.iter().count(), 23);
        assert_eq!(all.iter().last().unwrap().oid(), "1.3.6.1.4.1.57264.1.24");
        for unknown in [0, 7, 25, 200] {
            assert!(!all.set(unknown, "x"));
        }
        assert_eq!(all.get_by_name("1.3.6.1.4.1.57264.1.012"), None);
        assert_eq!(all.get_by_name("nothing"), None);
    }

    #[test]
    fn the_new_issuer_wins_over_the_old() {
        let mut e = FulcioExtensions { issuer_v1: Some("old".into()), ..Default::default() };
        assert_eq!(e.get_by_name("issuer"), Some("old"));
        e.issuer_v2 = Some("new".into());
        assert_eq!(e.issuer(), Some("new"));
    }

    #[test]
    fn an_empty_value_is_no_value() {
        let mut e = FulcioExtensions::default();
        assert!(e.set(8, ""));
        assert_eq!(e, FulcioExtensions::default());
    }

    #[test]
    fn raw_and_der_values_are_told_apart() {
        let oid = |arc: u8| ObjectIdentifier::new(&format!("{PREFIX}.{arc}")).unwrap();
        let mut e = FulcioExtensions::default();
        assert!(e.read(&oid(1), b"https://i").unwrap());
        assert!(e.read(&oid(8), b"https://i").is_err(), "the new form without DER");
        assert!(e.read(&oid(8), &[0x0c, 2, b'a', b'b', 0]).is_err(), "bytes behind the end");
        assert!(e.read(&oid(8), &[0x0c, 1, 0xff]).is_err(), "not UTF-8");
        assert!(!e.read(&oid(7), b"x").unwrap());
        assert!(!e.read(&oid(99), b"x").unwrap());
        assert!(e.read(&oid(1), &[b'a'; MAX_VALUE_LEN + 1]).is_err());
    }

    proptest! {
        #[test]
        fn values_read_back(values in proptest::collection::vec(proptest::option::of("\\PC{1,30}"), 25)) {
            let mut written = FulcioExtensions::default();
            for (arc, value) in (0_u8..).zip(&values) {
                if let Some(value) = value {
                    written.set(arc, value);
                }
            }
            let mut read = FulcioExtensions::default();
            for (oid, value) in written.to_der() {
                let oid = crate::asn1::decode_all("t", &oid).unwrap();
                prop_assert!(read.read(&oid, &value).unwrap());
            }
            prop_assert_eq!(read, written);
        }
    }
}
