//! What a build is asked for: a source, and nothing else. `git+https://host/path@ref`, `git+file:///path@ref`, or an archive by digest,
//! `tar+https://host/file.tar.gz@sha256:…`.

use std::fmt;

use countersign_crypto::Digest;
use countersign_http::is_loopback;
use url::Url;

use crate::BuildError;

/// A source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceRef {
    /// A branch, a tag or a commit of a repository.
    Git {
        /// The repository.
        url: Url,
        /// What of it.
        reference: String,
    },
    /// A tar archive, compressed with gzip or not.
    Tar {
        /// The file.
        url: Url,
        /// What it must be.
        digest: Digest,
    },
}

impl fmt::Display for SourceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Git { url, reference } => write!(f, "git+{url}@{reference}"),
            Self::Tar { url, digest } => write!(f, "tar+{url}@{digest}"),
        }
    }
}

impl SourceRef {
    /// Reads a reference.
    ///
    /// ```
    /// use countersign_builder::control::SourceRef;
    /// let source = SourceRef::parse("git+https://git.example/acme/shop@refs/tags/v1")?;
    /// assert_eq!(source.to_string(), "git+https://git.example/acme/shop@refs/tags/v1");
    /// # Ok::<(), countersign_builder::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// [`BuildError::Source`], saying what was expected.
    pub fn parse(text: &str) -> Result<Self, BuildError> {
        let expected = |what: &str| {
            Err(BuildError::Source(format!(
                "expected git+https://HOST/PATH@REF, git+file:///PATH@REF or tar+URL@sha256:HEX; {what}"
            )))
        };
        let (kind, rest) = match (text.strip_prefix("git+"), text.strip_prefix("tar+")) {
            (Some(rest), _) => ("git", rest),
            (_, Some(rest)) => ("tar", rest),
            _ => return expected("found another beginning"),
        };
        let Some((place, wanted)) = rest.split_once('@') else { return expected("found no @") };
        let Ok(url) = Url::parse(place) else { return expected("found no address") };
        let reachable = match url.scheme() {
            "https" => url.host().is_some(),
            "http" => is_loopback(&url),
            "file" => url.host().is_none(),
            _ => false,
        };
        if !reachable || url.query().is_some() || url.fragment().is_some() {
            return expected(
                "the address must be https (http on this machine only) or file, without ? and #",
            );
        }
        if kind == "tar" {
            return match Digest::parse(wanted) {
                Ok(digest) => Ok(Self::Tar { url, digest }),
                Err(_) => expected("found no digest behind the @"),
            };
        }
        // What git itself would read as an option, a range or a pattern is no name.
        let plain = |c: char| c.is_ascii_alphanumeric() || "._/+-".contains(c);
        let named = !wanted.is_empty() && wanted.len() <= 256 && wanted.chars().all(plain);
        if !named || wanted.starts_with(['-', '/', '+', '.']) || wanted.contains("..") {
            return expected("found no name of a branch, a tag or a commit behind the @");
        }
        Ok(Self::Git { url, reference: wanted.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_fetched_and_named_is_a_source() {
        for good in
            ["git+file:///srv/a.git@main", "git+https://a.example/b@v1.0+x", "git+http://localhost:1/a@0f"]
        {
            assert_eq!(SourceRef::parse(good).unwrap().to_string(), good);
        }
        let tar = format!("tar+file:///a.tar@sha256:{}", "0".repeat(64));
        assert!(matches!(SourceRef::parse(&tar), Ok(SourceRef::Tar { .. })));
        for bad in [
            "https://a.example/b@main",
            "git+https://a.example/b",
            "git+https://user:secret@a.example/b@main",
            "git+http://a.example/b@main",
            "git+ssh://a.example/b@main",
            "git+ext::sh -c id@main",
            "git+https://a.example/b@--upload-pack=id",
            "git+https://a.example/b@a..b",
            "git+https://a.example/b@a:b",
            "git+https://a.example/b@",
            "git+https://a.example/b?x=1@main",
            "git+file://host/a@main",
            "tar+file:///a.tar@main",
            "",
        ] {
            assert!(SourceRef::parse(bad).is_err(), "{bad}");
        }
    }
}
