//! Certificates with any fault one likes: a writer of its own, because the crate's writes none of these.

use countersign_crypto::{KeyPair, KeyType, PublicKey, Signer};
use countersign_x509::{Certificate, Name};
use jiff::Timestamp;

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

pub(crate) fn key() -> KeyPair {
    KeyPair::generate(KeyType::EcdsaP256).unwrap()
}

pub(crate) fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut out = vec![tag];
    match content.len() {
        short @ 0..0x80 => out.push(u8::try_from(short).unwrap()),
        long => {
            out.push(0x82);
            out.extend_from_slice(&u16::try_from(long).unwrap().to_be_bytes());
            if long < 0x100 {
                out.truncate(1);
                out.extend_from_slice(&[0x81, u8::try_from(long).unwrap()]);
            }
        }
    }
    out.extend(content);
    out
}

fn time(t: Timestamp) -> Vec<u8> {
    tlv(0x18, &[t.strftime("%Y%m%d%H%M%SZ").to_string().as_bytes()])
}

pub(crate) const CODE_SIGNING: &[u8] = &[0x06, 8, 0x2b, 6, 1, 5, 5, 7, 3, 3];
pub(crate) const TIME_STAMPING: &[u8] = &[0x06, 8, 0x2b, 6, 1, 5, 5, 7, 3, 8];
pub(crate) const ANY_PURPOSE: &[u8] = &[0x06, 4, 0x55, 0x1d, 0x25, 0];

/// What to write. Start from [`Spec::ca`], [`Spec::leaf`] or [`Spec::tsa`] and spoil one thing.
#[derive(Clone)]
pub(crate) struct Spec {
    pub(crate) subject: String,
    pub(crate) serial: u8,
    pub(crate) valid: (i64, i64),
    /// Basic constraints: the CA flag and the path length.
    pub(crate) ca: Option<(bool, Option<u8>)>,
    /// Key usage, the first byte of the bits.
    pub(crate) usage: Option<u8>,
    /// Extended key usage: critical, and the purposes' DER.
    pub(crate) purposes: Option<(bool, Vec<&'static [u8]>)>,
    pub(crate) key_id: Option<Vec<u8>>,
    pub(crate) issuer_key_id: Option<Vec<u8>>,
    /// Further extensions: the OID's content, critical, value.
    pub(crate) more: Vec<(Vec<u8>, bool, Vec<u8>)>,
}

impl Spec {
    pub(crate) fn ca(subject: &str) -> Self {
        Self {
            subject: subject.into(),
            serial: 1,
            valid: (1_000, 1_000_000),
            ca: Some((true, None)),
            usage: Some(0x06),
            purposes: None,
            key_id: None,
            issuer_key_id: None,
            more: Vec::new(),
        }
    }

    pub(crate) fn leaf(subject: &str) -> Self {
        Self {
            serial: 7,
            ca: None,
            usage: Some(0x80),
            purposes: Some((false, vec![CODE_SIGNING])),
            valid: (10_000, 10_600),
            ..Self::ca(subject)
        }
    }

    pub(crate) fn tsa(subject: &str) -> Self {
        Self { purposes: Some((true, vec![TIME_STAMPING])), ..Self::leaf(subject) }
    }

    pub(crate) fn with(mut self, spoil: impl FnOnce(&mut Self)) -> Self {
        spoil(&mut self);
        self
    }

    pub(crate) fn der(&self, holder: &PublicKey, issuer: &str, signer: &KeyPair) -> Vec<u8> {
        let mut extensions = Vec::new();
        let mut add = |oid: &[u8], critical: bool, value: &[u8]| {
            let critical: &[u8] = if critical { &[1, 1, 0xff] } else { &[] };
            extensions.push(tlv(0x30, &[&tlv(0x06, &[oid]), critical, &tlv(0x04, &[value])]));
        };
        if let Some((ca, len)) = self.ca {
            let flag: &[u8] = if ca { &[1, 1, 0xff] } else { &[] };
            let len = len.map(|n| tlv(0x02, &[&[n]])).unwrap_or_default();
            add(&[0x55, 0x1d, 19], true, &tlv(0x30, &[flag, &len]));
        }
        if let Some(bits) = self.usage {
            add(
                &[0x55, 0x1d, 15],
                true,
                &tlv(0x03, &[&[u8::try_from(bits.trailing_zeros()).unwrap(), bits]]),
            );
        }
        if let Some((critical, purposes)) = &self.purposes {
            add(&[0x55, 0x1d, 37], *critical, &tlv(0x30, &purposes[..]));
        }
        if let Some(id) = &self.key_id {
            add(&[0x55, 0x1d, 14], false, &tlv(0x04, &[id]));
        }
        if let Some(id) = &self.issuer_key_id {
            add(&[0x55, 0x1d, 35], false, &tlv(0x30, &[&tlv(0x80, &[id])]));
        }
        for (oid, critical, value) in &self.more {
            add(oid, *critical, value);
        }
        let algorithm = signer.scheme().x509_algorithm().unwrap();
        let tbs = tlv(
            0x30,
            &[
                &tlv(0xa0, &[&[2, 1, 2]]),
                &tlv(0x02, &[&[self.serial]]),
                &algorithm,
                &Name::new(None, Some(issuer)).der,
                &tlv(0x30, &[&time(at(self.valid.0)), &time(at(self.valid.1))]),
                &Name::new(None, Some(&self.subject)).der,
                holder.spki_der(),
                &tlv(0xa3, &[&tlv(0x30, &[&extensions.concat()])]),
            ],
        );
        let signature = signer.sign(&tbs).unwrap();
        tlv(0x30, &[&tbs, &algorithm, &tlv(0x03, &[&[0], &signature])])
    }

    pub(crate) fn issue(&self, holder: &KeyPair, issuer: &str, signer: &KeyPair) -> Certificate {
        Certificate::from_der(&self.der(holder.public_key(), issuer, signer)).unwrap()
    }
}
