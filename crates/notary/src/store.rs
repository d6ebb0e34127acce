//! Trust stores: named sets of certificates, each for one use (`trust-store-trust-policy.md`, "Trust Store").
//!
//! This is the part without files. Reading a directory, and refusing links in it, is for the caller; what is put in here
//! is checked for what may be in such a store.

use std::collections::BTreeMap;
use std::fmt;

use countersign_x509::Certificate;

use crate::{Reason, Refusal};

/// How many certificates a store may hold.
const MAX_CERTIFICATES: usize = 256;

/// What the certificates of a store are trusted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StoreType {
    /// Issuing certificates to signers.
    Ca,
    /// Signing for others, and saying when.
    SigningAuthority,
    /// Timestamps.
    Tsa,
}

impl StoreType {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ca, Self::SigningAuthority, Self::Tsa];

    /// The name in policies and of the directory.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ca => "ca",
            Self::SigningAuthority => "signingAuthority",
            Self::Tsa => "tsa",
        }
    }
}

/// A store by its name, as policies have it: `ca:acme-rockets`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreName {
    /// What it is for.
    pub kind: StoreType,
    name: String,
}

impl StoreName {
    /// Reads `type:name`.
    ///
    /// # Errors
    /// [`Reason::TrustPolicyMalformed`] for another type, and for a name that is not made of letters, digits, `_`, `.`
    /// and `-`: it becomes the name of a directory.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let bad = || {
            let expected = "a trust store such as \"ca:NAME\", \"signingAuthority:NAME\" or \"tsa:NAME\"";
            Refusal::new(Reason::TrustPolicyMalformed, expected, format!("{text:?}"))
        };
        let (kind, name) = text.split_once(':').ok_or_else(bad)?;
        let kind = StoreType::ALL.into_iter().find(|known| known.name() == kind).ok_or_else(bad)?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
        // Both dots and nothing else would lead out of the directory of stores.
        if name.is_empty() || !name.bytes().all(plain) || name == "." || name == ".." {
            return Err(bad());
        }
        Ok(Self { kind, name: name.to_owned() })
    }

    /// The name without the type.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for StoreName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.name(), self.name)
    }
}

/// All stores that are at hand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrustStore(BTreeMap<StoreName, Vec<Certificate>>);

impl TrustStore {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a store in, with all its certificates.
    ///
    /// # Errors
    /// [`Reason::TrustStoreMalformed`] for no certificate, for one that is neither an authority's nor signed by itself,
    /// and, in a store for timestamps, for one that is no root.
    pub fn add(&mut self, name: StoreName, certificates: Vec<Certificate>) -> Result<(), Refusal> {
        let bad = |expected: &str, found: String| {
            Err(Refusal::new(Reason::TrustStoreMalformed, format!("{expected} in {name}"), found))
        };
        if certificates.is_empty() || certificates.len() > MAX_CERTIFICATES {
            return bad(&format!("one to {MAX_CERTIFICATES} certificates"), certificates.len().to_string());
        }
        for certificate in &certificates {
            let fits = match name.kind {
                StoreType::Tsa => certificate.is_ca() && certificate.is_self_signed(),
                _ => certificate.is_ca() || certificate.is_self_signed(),
            };
            if !fits {
                let expected = match name.kind {
                    StoreType::Tsa => "roots of authorities",
                    _ => "certificates of authorities, or ones that sign themselves",
                };
                return bad(expected, certificate.describe());
            }
        }
        self.0.insert(name, certificates);
        Ok(())
    }

    pub(crate) fn get(&self, name: &StoreName) -> Result<&[Certificate], Refusal> {
        self.0.get(name).map(Vec::as_slice).ok_or_else(|| {
            let expected = format!("the trust store {name}, which the trust policy names");
            Refusal::new(Reason::TrustStoreMissing, expected, "none")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_stores_cannot_lead_elsewhere() {
        for good in ["ca:a", "signingAuthority:a.b-c_d", "tsa:1"] {
            assert_eq!(StoreName::parse(good).unwrap().to_string(), good);
        }
        for bad in [
            "", "a", "ca:", "ca:..", "ca:.", "ca:a/b", "ca:a\\b", "CA:a", "x509:a", "ca:a:b", "ca:é",
            "ca:a b",
        ] {
            assert_eq!(StoreName::parse(bad).unwrap_err().reason, Reason::TrustPolicyMalformed, "{bad:?}");
        }
    }
}
