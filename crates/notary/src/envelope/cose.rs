//! The COSE form (`signature-envelope-cose.md`): one COSE_Sign1 with its tag, times as epoch seconds.

use countersign_x509::Certificate;
use jiff::Timestamp;

use super::{MAX_CHAIN, Parts, Protected, Unsigned, malformed, names};
use crate::cbor::{self, Label, Map, Value};
use crate::payload::MEDIA_TYPE;
use crate::{Algorithm, Reason, Refusal};

/// The tag of COSE_Sign1 (RFC 9052 section 2).
const SIGN1: u64 = 18;
/// The tag of a time in seconds (RFC 8949 section 3.4.2).
const EPOCH: u64 = 1;
const ALGORITHM: Label<'static> = Label::Integer(1);
const CRITICAL: Label<'static> = Label::Integer(2);
const CONTENT_TYPE: Label<'static> = Label::Integer(3);
/// `x5chain` (RFC 9360 section 2).
const CHAIN: Label<'static> = Label::Integer(33);

pub(super) fn read(bytes: &[u8]) -> Result<Parts, Refusal> {
    let bad = |e: cbor::CborError| malformed("a COSE_Sign1 in the shortest CBOR", e.to_string());
    let shape = || malformed("a COSE_Sign1 with its tag, and its payload in it", "another structure");
    let Value::Tagged(SIGN1, message) = cbor::read(bytes).map_err(bad)? else { return Err(shape()) };
    let Value::List(fields) = *message else { return Err(shape()) };
    let [Value::Bytes(protected), Value::Map(unprotected), Value::Bytes(payload), Value::Bytes(signature)] =
        fields.as_slice()
    else {
        return Err(shape());
    };
    let Value::Map(header) = cbor::read(protected).map_err(bad)? else { return Err(shape()) };
    refuse_in_both_places(&header, unprotected)?;
    let chain = match (unprotected.get(CHAIN), header.get(CHAIN)) {
        // The specification lets it stand in either place.
        (Some(chain), None) | (None, Some(chain)) => self::chain(chain)?,
        _ => return Err(malformed("a certificate chain in one place", "none")),
    };
    let timestamp = match unprotected.get(Label::Text(names::TIMESTAMP)) {
        None => None,
        Some(Value::Bytes(token)) => Some(token.to_vec()),
        Some(_) => return Err(malformed("a timestamp as bytes", "another type")),
    };
    let agent = match unprotected.get(Label::Text(names::AGENT)) {
        None => None,
        Some(Value::Text(agent)) => Some((*agent).to_owned()),
        Some(_) => return Err(malformed("a signing agent as text", "another type")),
    };
    Ok(Parts {
        protected: protected_header(&header)?,
        signed: sig_structure(protected, payload),
        payload: payload.to_vec(),
        chain,
        timestamp,
        agent,
        signature: signature.to_vec(),
    })
}

/// As in JWS: no attribute in both places, and none beside the signature that must be under it (RFC 9052 section 3).
fn refuse_in_both_places(protected: &Map<'_>, unprotected: &Map<'_>) -> Result<(), Refusal> {
    for label in unprotected.labels() {
        let must_be_signed = match label {
            Label::Text(name) => names::SIGNED.contains(&name),
            other => [ALGORITHM, CRITICAL, CONTENT_TYPE].contains(&other),
        };
        if must_be_signed || protected.get(label).is_some() {
            return Err(malformed(
                "each header attribute in its one place",
                format!("{label} outside of the signature"),
            ));
        }
    }
    for name in [names::TIMESTAMP, names::AGENT] {
        if protected.get(Label::Text(name)).is_some() {
            return Err(malformed(
                "each header attribute in its one place",
                format!("{name:?} under the signature"),
            ));
        }
    }
    Ok(())
}

fn chain(value: &Value<'_>) -> Result<Vec<Vec<u8>>, Refusal> {
    let Value::List(items) = value else { return Err(malformed("a list of certificates", "another type")) };
    let read = |item: &Value<'_>| match item {
        Value::Bytes(der) => Ok(der.to_vec()),
        _ => Err(malformed("certificates as bytes", "another type")),
    };
    items.iter().take(MAX_CHAIN + 1).map(read).collect()
}

fn protected_header(header: &Map<'_>) -> Result<Protected, Refusal> {
    let text = |label: Label<'_>| match header.get(label) {
        Some(Value::Text(text)) => Ok((*text).to_owned()),
        _ => Err(malformed(format!("the attribute {label} as text"), "none")),
    };
    let time = |name: &str| header.get(Label::Text(name)).map(|value| read_time(name, value)).transpose();
    let algorithm = match header.get(ALGORITHM) {
        Some(Value::Integer(number)) => Algorithm::from_cose_number(*number).ok_or_else(|| {
            let expected = Algorithm::ALL.map(|a| a.cose_number().to_string()).join(", ");
            Refusal::new(Reason::AlgorithmUnsupported, format!("one of {expected}"), number.to_string())
        })?,
        _ => return Err(malformed("an algorithm's number", "none")),
    };
    let critical = match header.get(CRITICAL) {
        Some(Value::List(items)) if !items.is_empty() => items
            .iter()
            .map(|item| match item {
                Value::Text(name) => Ok((*name).to_owned()),
                // No number has to be understood here, so one that must be is not known.
                Value::Integer(number) => Ok(number.to_string()),
                _ => Err(malformed("critical attributes by label", "another type")),
            })
            .collect::<Result<_, _>>()?,
        _ => return Err(malformed("a list of critical attributes that is not empty", "none")),
    };
    Ok(Protected {
        algorithm,
        content_type: text(CONTENT_TYPE)?,
        critical,
        scheme: text(Label::Text(names::SCHEME))?,
        signing_time: time(names::SIGNING_TIME)?,
        authentic_time: time(names::AUTHENTIC_TIME)?,
        expiry: time(names::EXPIRY)?,
        names: header
            .labels()
            .filter_map(|label| if let Label::Text(name) = label { Some(name.to_owned()) } else { None })
            .collect(),
    })
}

fn read_time(name: &str, value: &Value<'_>) -> Result<Timestamp, Refusal> {
    let bad = || malformed(format!("{name} as whole seconds with their tag"), "another value");
    match value {
        Value::Tagged(EPOCH, seconds) => match **seconds {
            Value::Integer(seconds) => Timestamp::from_second(seconds).map_err(|_| bad()),
            _ => Err(bad()),
        },
        _ => Err(bad()),
    }
}

/// The bytes which the signature is over (RFC 9052 section 4.4).
fn sig_structure(protected: &[u8], payload: &[u8]) -> Vec<u8> {
    cbor::list(&[cbor::text("Signature1"), cbor::bytes(protected), cbor::bytes(&[]), cbor::bytes(payload)])
}

pub(super) fn to_be_signed(unsigned: &Unsigned<'_>) -> (Vec<u8>, Vec<u8>) {
    let attributes = &unsigned.attributes;
    let time = |time: Timestamp| cbor::tagged(EPOCH, &cbor::integer(time.as_second()));
    let critical: Vec<Vec<u8>> = unsigned.critical().iter().map(|name| cbor::text(name)).collect();
    let mut header = vec![
        (cbor::integer(1), cbor::integer(unsigned.algorithm.cose_number())),
        (cbor::integer(2), cbor::list(&critical)),
        (cbor::integer(3), cbor::text(MEDIA_TYPE)),
        (cbor::text(names::SCHEME), cbor::text(attributes.scheme.name())),
        (cbor::text(attributes.scheme.time_attribute()), time(attributes.signing_time)),
    ];
    if let Some(expiry) = attributes.expiry {
        header.push((cbor::text(names::EXPIRY), time(expiry)));
    }
    let protected = cbor::map(header);
    let signed = sig_structure(&protected, unsigned.payload);
    (protected, signed)
}

pub(super) fn encode(
    unsigned: &Unsigned<'_>,
    protected: &[u8],
    signature: &[u8],
    timestamp: Option<&[u8]>,
) -> Vec<u8> {
    let certificate = |certificate: &Certificate| cbor::bytes(certificate.der());
    let chain: Vec<Vec<u8>> = unsigned.chain.iter().map(certificate).collect();
    let mut unprotected = vec![(cbor::integer(33), cbor::list(&chain))];
    if let Some(token) = timestamp {
        unprotected.push((cbor::text(names::TIMESTAMP), cbor::bytes(token)));
    }
    if let Some(agent) = unsigned.agent {
        unprotected.push((cbor::text(names::AGENT), cbor::text(agent)));
    }
    let message = [
        cbor::bytes(protected),
        cbor::map(unprotected),
        cbor::bytes(unsigned.payload),
        cbor::bytes(signature),
    ];
    cbor::tagged(SIGN1, &cbor::list(&message))
}
