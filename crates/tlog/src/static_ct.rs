//! Entries of static CT logs (C2SP `static-ct-api`, RFC 6962 section 3.4): data tiles and Merkle leaves.

use crate::Hash;

/// The longest certificate, TBS certificate or extensions read, in bytes; the format allows more (2^24 - 1),
/// no certificate needs it.
pub const MAX_CERTIFICATE_BYTES: usize = 1 << 20;
/// The most issuers of an entry.
pub const MAX_CHAIN: usize = 32;
/// Indexes are written in 40 bits.
pub const MAX_LEAF_INDEX: u64 = (1 << 40) - 1;

/// Why an entry was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StaticCtError {
    /// Cut short, or with a length beyond the limits.
    #[error("malformed CT entry: {0}")]
    Malformed(&'static str),
    /// A part too long to be written.
    #[error("the {what} has {found} bytes, at most {limit} are written")]
    TooLong {
        /// Which part.
        what: &'static str,
        /// The limit.
        limit: usize,
        /// The length.
        found: usize,
    },
    /// A leaf index beyond 40 bits.
    #[error("a leaf index has at most 40 bits, found {0}")]
    LeafIndex(u64),
}

/// What was submitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CtEntry {
    /// A certificate.
    X509 {
        /// Its DER.
        certificate: Vec<u8>,
    },
    /// A precertificate.
    Precert {
        /// SHA-256 of the issuer's `SubjectPublicKeyInfo`.
        issuer_key_hash: Hash,
        /// The DER `TBSCertificate` without the poison, as the final certificate will have it less its SCTs.
        tbs_certificate: Vec<u8>,
        /// The DER precertificate as submitted.
        pre_certificate: Vec<u8>,
    },
}

/// An entry of a static CT log: `TileLeaf`.
///
/// ```
/// use countersign_tlog::static_ct::{CtEntry, TileLeaf, leaf_index_extension};
/// let leaf = TileLeaf {
///     timestamp_ms: 1_700_000_000_000,
///     entry: CtEntry::X509 { certificate: b"DER".to_vec() },
///     extensions: leaf_index_extension(7)?.to_vec(),
///     chain: vec![[1; 32]],
/// };
/// let bytes = leaf.encode()?;
/// let (again, rest) = TileLeaf::parse(&bytes)?;
/// assert_eq!((&again, rest.len(), again.leaf_index()), (&leaf, 0, Some(7)));
/// # Ok::<(), countersign_tlog::static_ct::StaticCtError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TileLeaf {
    /// When it was accepted, in milliseconds since 1970; the time in the SCT.
    pub timestamp_ms: u64,
    /// What was submitted.
    pub entry: CtEntry,
    /// `CtExtensions` of the SCT, byte for byte; see [`leaf_index_extension`].
    pub extensions: Vec<u8>,
    /// SHA-256 of the issuers' certificates, from the direct issuer upwards.
    pub chain: Vec<Hash>,
}

/// `CtExtensions` with one extension, `leaf_index`.
///
/// # Errors
/// [`StaticCtError::LeafIndex`].
pub fn leaf_index_extension(index: u64) -> Result<[u8; 8], StaticCtError> {
    if index > MAX_LEAF_INDEX {
        return Err(StaticCtError::LeafIndex(index));
    }
    let [_, _, _, a, b, c, d, e] = index.to_be_bytes();
    Ok([0, 0, 5, a, b, c, d, e])
}

/// The `leaf_index` in `CtExtensions`; `None` when there is none, or two, or they are malformed.
#[must_use]
pub fn parse_leaf_index(extensions: &[u8]) -> Option<u64> {
    let mut reader = Reader(extensions);
    let mut found = None;
    while !reader.0.is_empty() {
        let kind = reader.number(1).ok()?;
        let data = reader.vector(2, usize::from(u16::MAX)).ok()?;
        if kind == 0 {
            let [a, b, c, d, e] = *data.as_array::<5>()?;
            if found.replace(u64::from_be_bytes([0, 0, 0, a, b, c, d, e])).is_some() {
                return None;
            }
        }
    }
    found
}

/// Reads TLS's presentation language (RFC 8446 section 3).
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], StaticCtError> {
        let (head, tail) = self.0.split_at_checked(len).ok_or(StaticCtError::Malformed("it is cut short"))?;
        self.0 = tail;
        Ok(head)
    }
    fn number(&mut self, len: usize) -> Result<u64, StaticCtError> {
        Ok(self.take(len)?.iter().fold(0, |n, b| n << 8 | u64::from(*b)))
    }
    fn hash(&mut self) -> Result<Hash, StaticCtError> {
        let bytes = self.take(32)?;
        bytes.as_array().copied().ok_or(StaticCtError::Malformed("it is cut short"))
    }
    fn vector(&mut self, len_bytes: usize, limit: usize) -> Result<&'a [u8], StaticCtError> {
        let len = usize::try_from(self.number(len_bytes)?).unwrap_or(usize::MAX);
        if len > limit {
            return Err(StaticCtError::Malformed("a length is beyond the limit"));
        }
        self.take(len)
    }
}

fn push_vector(
    out: &mut Vec<u8>,
    what: &'static str,
    len_bytes: usize,
    limit: usize,
    bytes: &[u8],
) -> Result<(), StaticCtError> {
    if bytes.len() > limit {
        return Err(StaticCtError::TooLong { what, limit, found: bytes.len() });
    }
    let len = (bytes.len() as u64).to_be_bytes();
    out.extend_from_slice(len.get(8 - len_bytes..).unwrap_or_default());
    out.extend_from_slice(bytes);
    Ok(())
}

impl TileLeaf {
    /// The index that the entry says it has.
    #[must_use]
    pub fn leaf_index(&self) -> Option<u64> {
        parse_leaf_index(&self.extensions)
    }

    /// `TimestampedEntry` of RFC 6962 section 3.4.
    fn timestamped_entry(&self, out: &mut Vec<u8>) -> Result<(), StaticCtError> {
        out.extend_from_slice(&self.timestamp_ms.to_be_bytes());
        match &self.entry {
            CtEntry::X509 { certificate } => {
                out.extend_from_slice(&[0, 0]);
                push_vector(out, "certificate", 3, MAX_CERTIFICATE_BYTES, certificate)?;
            }
            CtEntry::Precert { issuer_key_hash, tbs_certificate, .. } => {
                out.extend_from_slice(&[0, 1]);
                out.extend_from_slice(issuer_key_hash);
                push_vector(out, "TBS certificate", 3, MAX_CERTIFICATE_BYTES, tbs_certificate)?;
            }
        }
        push_vector(out, "extensions", 2, usize::from(u16::MAX), &self.extensions)
    }

    /// `MerkleTreeLeaf` of RFC 6962 section 3.4: the bytes whose leaf hash is in the tree.
    ///
    /// # Errors
    /// [`StaticCtError::TooLong`].
    pub fn merkle_leaf(&self) -> Result<Vec<u8>, StaticCtError> {
        let mut out = vec![0, 0];
        self.timestamped_entry(&mut out)?;
        Ok(out)
    }

    /// The entry as it stands in a data tile.
    ///
    /// # Errors
    /// [`StaticCtError::TooLong`].
    pub fn encode(&self) -> Result<Vec<u8>, StaticCtError> {
        let mut out = Vec::new();
        self.timestamped_entry(&mut out)?;
        if let CtEntry::Precert { pre_certificate, .. } = &self.entry {
            push_vector(&mut out, "precertificate", 3, MAX_CERTIFICATE_BYTES, pre_certificate)?;
        }
        push_vector(&mut out, "list of issuers", 2, MAX_CHAIN * 32, self.chain.as_flattened())?;
        Ok(out)
    }

    /// Reads one entry off the front of a data tile; gives it and the bytes after it.
    ///
    /// # Errors
    /// [`StaticCtError::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), StaticCtError> {
        let mut reader = Reader(bytes);
        let timestamp_ms = reader.number(8)?;
        let entry_type = reader.number(2)?;
        let mut entry = match entry_type {
            0 => CtEntry::X509 { certificate: reader.vector(3, MAX_CERTIFICATE_BYTES)?.to_vec() },
            1 => CtEntry::Precert {
                issuer_key_hash: reader.hash()?,
                tbs_certificate: reader.vector(3, MAX_CERTIFICATE_BYTES)?.to_vec(),
                pre_certificate: Vec::new(),
            },
            _ => {
                return Err(StaticCtError::Malformed(
                    "the entry is neither a certificate nor a precertificate",
                ));
            }
        };
        let extensions = reader.vector(2, usize::from(u16::MAX))?.to_vec();
        if let CtEntry::Precert { pre_certificate, .. } = &mut entry {
            *pre_certificate = reader.vector(3, MAX_CERTIFICATE_BYTES)?.to_vec();
        }
        let (chain, rest) = reader.vector(2, MAX_CHAIN * 32)?.as_chunks::<32>();
        if !rest.is_empty() {
            return Err(StaticCtError::Malformed("the list of issuers is not a list of 32-byte hashes"));
        }
        Ok((Self { timestamp_ms, entry, extensions, chain: chain.to_vec() }, reader.0))
    }

    /// Reads a data tile, whose entries must be as many as its width.
    ///
    /// # Errors
    /// [`StaticCtError::Malformed`].
    pub fn parse_tile(bytes: &[u8], width: u16) -> Result<Vec<Self>, StaticCtError> {
        let mut leaves = Vec::new();
        let mut rest = bytes;
        for _ in 0..width {
            let (leaf, tail) = Self::parse(rest)?;
            leaves.push(leaf);
            rest = tail;
        }
        if rest.is_empty() {
            Ok(leaves)
        } else {
            Err(StaticCtError::Malformed("the tile has more entries than its width"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn precert() -> TileLeaf {
        TileLeaf {
            timestamp_ms: 0x0102_0304_0506_0708,
            entry: CtEntry::Precert {
                issuer_key_hash: [9; 32],
                tbs_certificate: b"tbs".to_vec(),
                pre_certificate: b"precert".to_vec(),
            },
            extensions: leaf_index_extension(0x01_0203_0405).unwrap().to_vec(),
            chain: vec![[1; 32], [2; 32]],
        }
    }

    fn x509() -> TileLeaf {
        TileLeaf { entry: CtEntry::X509 { certificate: b"cert".to_vec() }, ..precert() }
    }

    #[test]
    fn the_bytes_are_those_of_rfc_6962() {
        let time = [1, 2, 3, 4, 5, 6, 7, 8];
        let extensions = [0, 8, 0, 0, 5, 1, 2, 3, 4, 5];
        let expected = [&[0, 0][..], &time, &[0, 1], &[9; 32], &[0, 0, 3], b"tbs", &extensions].concat();
        assert_eq!(precert().merkle_leaf().unwrap(), expected);
        let expected = [&expected[2..], &[0, 0, 7], b"precert", &[0, 64], &[1; 32], &[2; 32]].concat();
        assert_eq!(precert().encode().unwrap(), expected);
        let expected = [&[0, 0][..], &time, &[0, 0], &[0, 0, 4], b"cert", &extensions].concat();
        assert_eq!(x509().merkle_leaf().unwrap(), expected);
    }

    #[test]
    fn tiles_split_into_exactly_their_entries() {
        let tile = [precert().encode().unwrap(), x509().encode().unwrap()].concat();
        assert_eq!(TileLeaf::parse_tile(&tile, 2).unwrap(), [precert(), x509()]);
        assert!(TileLeaf::parse_tile(&tile, 1).is_err());
        assert!(TileLeaf::parse_tile(&tile, 3).is_err());
        for len in 0..tile.len() {
            assert!(TileLeaf::parse_tile(&tile[..len], 2).is_err(), "cut to {len}");
        }
    }

    #[test]
    fn leaf_indexes_are_single_and_of_40_bits() {
        assert_eq!(parse_leaf_index(&leaf_index_extension(MAX_LEAF_INDEX).unwrap()), Some(MAX_LEAF_INDEX));
        assert_eq!(
            leaf_index_extension(MAX_LEAF_INDEX + 1),
            Err(StaticCtError::LeafIndex(MAX_LEAF_INDEX + 1))
        );
        let index = [0, 0, 5, 0, 0, 0, 0, 3];
        let other = [7, 0, 1, 0xff];
        assert_eq!(parse_leaf_index(&[&other[..], &index].concat()), Some(3));
        assert_eq!(parse_leaf_index(&[index, index].concat()), None);
        assert_eq!(parse_leaf_index(&other), None);
        assert_eq!(parse_leaf_index(&[]), None);
        assert_eq!(parse_leaf_index(&[0, 0, 4, 0, 0, 0, 3]), None);
        assert_eq!(parse_leaf_index(&index[..7]), None);
    }

    #[test]
    fn lengths_beyond_the_limits_are_refused_both_ways() {
        let long = vec![0; MAX_CERTIFICATE_BYTES + 1];
        let leaf = TileLeaf { entry: CtEntry::X509 { certificate: long }, ..x509() };
        assert!(matches!(leaf.encode(), Err(StaticCtError::TooLong { .. })));
        assert!(matches!(leaf.merkle_leaf(), Err(StaticCtError::TooLong { .. })));
        let leaf = TileLeaf { chain: vec![[0; 32]; MAX_CHAIN + 1], ..x509() };
        assert!(leaf.encode().is_err());
        let announced = [&[0; 10][..], &[0xff, 0xff, 0xff], &[0; 100]].concat();
        assert!(TileLeaf::parse(&announced).is_err());
        let unknown = [&[0; 8][..], &[0, 2], &[0; 100]].concat();
        assert!(TileLeaf::parse(&unknown).is_err());
    }

    proptest::proptest! {
        #[test]
        fn entries_round_trip(
            timestamp_ms in proptest::num::u64::ANY, key in proptest::array::uniform32(0_u8..),
            a in proptest::collection::vec(proptest::num::u8::ANY, 0..50),
            b in proptest::collection::vec(proptest::num::u8::ANY, 0..50),
            extensions in proptest::collection::vec(proptest::num::u8::ANY, 0..20),
            chain in proptest::collection::vec(proptest::array::uniform32(0_u8..), 0..4), pre in proptest::bool::ANY
        ) {
            let entry = if pre {
                CtEntry::Precert { issuer_key_hash: key, tbs_certificate: a, pre_certificate: b }
            } else {
                CtEntry::X509 { certificate: a }
            };
            let leaf = TileLeaf { timestamp_ms, entry, extensions, chain };
            let bytes = leaf.encode().unwrap();
            proptest::prop_assert_eq!(TileLeaf::parse(&bytes).unwrap(), (leaf, &[][..]));
        }
        #[test]
        fn what_is_read_is_written_back(at in 0_usize..200, byte in proptest::num::u8::ANY) {
            let mut bytes = precert().encode().unwrap();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok((leaf, rest)) = TileLeaf::parse(&bytes) {
                let used = bytes.len() - rest.len();
                proptest::prop_assert_eq!(leaf.encode().unwrap(), &bytes[..used]);
            }
        }
    }
}
