//! The key under which an index has identities as hashes, so that nobody reads addresses out of it.
//!
//! `email:alice@example.com` becomes `email:hmac-sha256:<hex>`. The kind goes into the hash, so that one name of two kinds
//! is two hashes. Whoever knows an address can have it hashed, by who holds the key; whoever has only hashes cannot go back.

use std::borrow::Cow;
use std::fmt;

use countersign_crypto::encoding::{hex_decode, hex_encode};
use countersign_crypto::{CryptoError, hmac_sha256, random};
use zeroize::Zeroizing;

/// The kinds of terms that say who somebody is, or where they work.
pub const IDENTITIES: [&str; 5] = ["email", "uri", "subject", "repository", "workflow"];

/// What stands before the digits of a hash.
const SCHEME: &str = "hmac-sha256:";

/// A search key: 32 random bytes, in a file as hexadecimal digits on one line.
pub struct SearchKey(Zeroizing<[u8; 32]>);

impl fmt::Debug for SearchKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SearchKey").field("id", &hex_encode(&self.id())).finish_non_exhaustive()
    }
}

impl SearchKey {
    /// A new one.
    ///
    /// # Errors
    /// [`CryptoError::Signing`] without randomness.
    pub fn generate() -> Result<Self, CryptoError> {
        let mut bytes = Zeroizing::new([0; 32]);
        random(bytes.as_mut())?;
        Ok(Self(bytes))
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// What was expected. Nothing of the text is repeated.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bytes = hex_decode(text.trim_end()).map(Zeroizing::new).ok();
        let key = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok());
        let key = key.ok_or(
            "expected a search key of 64 hexadecimal digits, as keys/search.key of an instance has it",
        )?;
        Ok(Self(Zeroizing::new(key)))
    }

    /// The text of its file.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{}\n", hex_encode(self.0.as_ref())))
    }

    /// What the key is known by. It is public, and says nothing of the key.
    #[must_use]
    pub fn id(&self) -> [u8; 32] {
        // No term's message: these have a zero after their kind.
        hmac_sha256(self.0.as_ref(), b"countersign search key")
    }

    /// A term as an index under this key has it.
    #[must_use]
    pub fn hide<'a>(&self, term: &'a str) -> Cow<'a, str> {
        let Some((kind, value)) = identity(term) else { return Cow::Borrowed(term) };
        let message = [kind.as_bytes(), &[0], value.to_lowercase().as_bytes()].concat();
        Cow::Owned(format!("{kind}:{SCHEME}{}", hex_encode(&hmac_sha256(self.0.as_ref(), &message))))
    }
}

/// Kind and value of a term that an index under a key has as a hash.
fn identity(term: &str) -> Option<(&str, &str)> {
    term.split_once(':').filter(|(kind, _)| IDENTITIES.contains(kind))
}

/// Whether an index under a key has this term as a hash.
#[must_use]
pub fn is_identity(term: &str) -> bool {
    identity(term).is_some()
}

/// Whether this has the form of a term's hash, which is all that can be seen without the key.
#[must_use]
pub fn may_hide(hashed: &str, term: &str) -> bool {
    let (Some((kind, hash)), Some((own, _))) = (identity(hashed), identity(term)) else { return false };
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    kind == own
        && hash.strip_prefix(SCHEME).is_some_and(|digits| digits.len() == 64 && digits.bytes().all(is_digit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terms::KINDS;

    const TEXT: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n";

    #[test]
    fn a_hash_is_hmac_sha256_over_kind_zero_and_the_value_in_lower_case() {
        let key = SearchKey::parse(TEXT).unwrap();
        // printf 'email\0alice@example.com' | openssl dgst -sha256 -mac HMAC -macopt hexkey:00…1f
        for (term, expected) in [
            (
                "email:alice@example.com",
                "email:hmac-sha256:c89de65dbbe2070217a4f4e9ffec5f85cfa15653f1bfd31285e9ce87175633b4",
            ),
            (
                "uri:alice@example.com",
                "uri:hmac-sha256:71afd180001ce94feba9d7f85d57fbbafaac83bf4e0841338845bcace9731e8b",
            ),
            (
                "subject:alice@example.com",
                "subject:hmac-sha256:71282cfa47eb5cde836e631e7a2f46d50c45aa37da704ba9037064eb470b2c0b",
            ),
            (
                "repository:https://git.example/a/b",
                "repository:hmac-sha256:415967787bf4f2f413b9c871fcb806313dc5d211fe7e7bb3bd68f31b547a6539",
            ),
            (
                "workflow:https://git.example/a/b/.github/workflows/r.yml@refs/heads/main",
                "workflow:hmac-sha256:d15c62681a0611f97987e020aeecc9bd8c8a61b197ae7bd3d9a3bf354a2d8bf7",
            ),
        ] {
            assert_eq!(key.hide(term), expected);
        }
        assert_eq!(key.hide("email:Alice@Example.COM"), key.hide("email:alice@example.com"));
        assert_eq!(hex_encode(&key.id()), "4f7b38ae26dc14870d897561373a58e476716622872d78f993eebcd71bfa35b3");
    }

    #[test]
    fn identities_are_hidden_and_nothing_else() {
        let key = SearchKey::generate().unwrap();
        for kind in KINDS {
            let term = format!("{kind}:https://example.com");
            let hidden = key.hide(&term);
            assert_eq!(is_identity(&term), IDENTITIES.contains(&kind));
            assert_eq!(hidden == term, !is_identity(&term), "{kind}");
            assert_eq!(may_hide(&hidden, &term), is_identity(&term), "{kind}");
            assert!(!may_hide(&term, &term), "{kind}");
            if is_identity(&term) {
                assert!(!hidden.contains("example"), "{hidden}");
                assert_ne!(SearchKey::generate().unwrap().hide(&term), hidden);
                assert!(!may_hide(&hidden, "issuer:x") && !may_hide(&hidden.to_uppercase(), &term));
                assert!(
                    !may_hide(&hidden[..hidden.len() - 1], &term) && !may_hide(&format!("{hidden}0"), &term)
                );
            }
        }
        assert!(!may_hide(&key.hide("email:a"), "uri:a"), "it is of another kind");
        // What looks like a hash already is a name like any other.
        let twice = key.hide("uri:a").into_owned();
        assert_ne!(key.hide(&twice), twice);
        assert_eq!(key.hide("nokind"), "nokind");
    }

    #[test]
    fn a_key_is_64_digits_and_is_never_shown() {
        let key = SearchKey::generate().unwrap();
        let text = key.to_text();
        assert_eq!(SearchKey::parse(&text).unwrap().id(), key.id());
        assert_ne!(SearchKey::generate().unwrap().id(), key.id());
        assert!(!format!("{key:?}").contains(text.trim()));
        for bad in ["", &text[1..], &text[2..], &format!("00{}", *text), &text.replace(&text[..1], "g")] {
            let error = SearchKey::parse(bad).unwrap_err();
            assert!(error.contains("64 hexadecimal digits") && (bad.len() < 9 || !error.contains(&bad[..9])));
        }
    }
}
