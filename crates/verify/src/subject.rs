//! The artifact to verify: its bytes, or only digests of it.

use std::fmt;
use std::sync::OnceLock;

use countersign_crypto::{Digest, HashAlgorithm};

/// What is asked about: an artifact at hand, or one of which only digests are known.
///
/// With bytes every algorithm works. With one digest only, signatures over another hash of the artifact cannot be
/// checked, nor pure Ed25519 ones, which are over the whole artifact; such a check fails with
/// [`crate::Reason::DigestUnavailable`].
///
/// ```
/// use countersign_crypto::HashAlgorithm;
/// use countersign_verify::Subject;
/// let subject = Subject::from_bytes(b"hello");
/// assert_eq!(subject.digest(HashAlgorithm::Sha384), Some(HashAlgorithm::Sha384.digest(b"hello")));
/// let subject = Subject::from_digest(HashAlgorithm::Sha256.digest(b"hello"));
/// assert_eq!(subject.digest(HashAlgorithm::Sha384), None);
/// ```
pub struct Subject<'a> {
    source: Source<'a>,
    /// Digests already made, in the order of [`HashAlgorithm::ALL`]: a large artifact is hashed once.
    made: [OnceLock<Option<Digest>>; HashAlgorithm::ALL.len()],
}

enum Source<'a> {
    Bytes(&'a [u8]),
    Digests(Vec<Digest>),
    Function(&'a (dyn Fn(HashAlgorithm) -> Option<Digest> + Sync)),
}

impl<'a> Subject<'a> {
    fn new(source: Source<'a>) -> Self {
        Self { source, made: Default::default() }
    }

    /// An artifact known by one digest.
    #[must_use]
    pub fn from_digest(digest: Digest) -> Self {
        Self::new(Source::Digests(vec![digest]))
    }

    /// An artifact known by several digests, one for each algorithm. Of two by the same algorithm that differ,
    /// neither counts: there is no such artifact.
    #[must_use]
    pub fn from_digests(digests: impl IntoIterator<Item = Digest>) -> Self {
        let all: Vec<Digest> = digests.into_iter().collect();
        let contradicted =
            |d: &Digest| all.iter().any(|other| other.algorithm() == d.algorithm() && other != d);
        let own = all.iter().filter(|d| !contradicted(d)).copied().collect();
        Self::new(Source::Digests(own))
    }

    /// An artifact in memory.
    #[must_use]
    pub fn from_bytes(bytes: &'a [u8]) -> Self {
        Self::new(Source::Bytes(bytes))
    }

    /// An artifact that a function hashes, such as a large file. The function is called at most once for each
    /// algorithm, and answers `None` for those it cannot give.
    #[must_use]
    pub fn from_fn(digest: &'a (dyn Fn(HashAlgorithm) -> Option<Digest> + Sync)) -> Self {
        Self::new(Source::Function(digest))
    }

    /// The digest by an algorithm, if it can be had.
    #[must_use]
    pub fn digest(&self, algorithm: HashAlgorithm) -> Option<Digest> {
        let make = || match &self.source {
            Source::Bytes(bytes) => Some(algorithm.digest(bytes)),
            Source::Digests(digests) => digests.iter().find(|d| d.algorithm() == algorithm).copied(),
            Source::Function(function) => function(algorithm).filter(|d| d.algorithm() == algorithm),
        };
        let slot = HashAlgorithm::ALL.iter().position(|a| *a == algorithm);
        match slot.and_then(|i| self.made.get(i)) {
            Some(made) => *made.get_or_init(make),
            None => make(),
        }
    }

    /// The artifact itself, if it is in memory.
    #[must_use]
    pub fn bytes(&self) -> Option<&'a [u8]> {
        match self.source {
            Source::Bytes(bytes) => Some(bytes),
            Source::Digests(_) | Source::Function(_) => None,
        }
    }
}

impl fmt::Debug for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.source {
            Source::Bytes(_) => "Subject(bytes)",
            Source::Digests(_) => "Subject(digests)",
            Source::Function(_) => "Subject(function)",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn a_function_is_asked_once_for_each_algorithm() {
        let calls = AtomicU32::new(0);
        let hash = |algorithm: HashAlgorithm| {
            calls.fetch_add(1, Ordering::Relaxed);
            Some(algorithm.digest(b"x"))
        };
        let subject = Subject::from_fn(&hash);
        for _ in 0..3 {
            assert_eq!(subject.digest(HashAlgorithm::Sha256), Some(HashAlgorithm::Sha256.digest(b"x")));
        }
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_function_that_answers_with_another_algorithm_is_not_believed() {
        let hash = |_| Some(HashAlgorithm::Sha512.digest(b"x"));
        assert_eq!(Subject::from_fn(&hash).digest(HashAlgorithm::Sha256), None);
    }

    #[test]
    fn digests_that_contradict_each_other_do_not_count() {
        let (a, b) = (HashAlgorithm::Sha256.digest(b"a"), HashAlgorithm::Sha256.digest(b"b"));
        assert_eq!(Subject::from_digests([a, b]).digest(HashAlgorithm::Sha256), None);
        assert_eq!(Subject::from_digests([a, a]).digest(HashAlgorithm::Sha256), Some(a));
    }
}
