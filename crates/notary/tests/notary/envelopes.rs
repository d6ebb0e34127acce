//! Envelopes: every algorithm in both forms reads back and verifies, and nothing that could be read in two ways is read.

use countersign_crypto::encoding::{base64_encode, base64url_decode, base64url_encode, pem_decode};
use countersign_crypto::{KeyPair, KeyType, Signer as _};
use countersign_notary::{
    Algorithm, Envelope, Format, MAX_ENVELOPE_LEN, Reason, SignRequest, SigningScheme, annotations, sign,
};
use serde_json::{Value, json};

use crate::support::{BOTH, KEYS, NOW, Signing, Spec, at, chain, now, target, with_scheme};

fn reason(format: Format, bytes: &[u8]) -> Reason {
    match Envelope::parse(format, bytes) {
        Err(refusal) => refusal.reason,
        Ok(envelope) => envelope.verify_signature().expect_err("a spoilt envelope was accepted").reason,
    }
}

fn rsa(pem: &str) -> KeyPair {
    KeyPair::from_pkcs8(&pem_decode(pem).unwrap()[0].der).unwrap()
}

#[test]
fn every_algorithm_signs_and_verifies_in_both_forms() {
    let keys = [
        rsa(include_str!("../data/rsa2048.pem")),
        KeyPair::generate(KeyType::Rsa { bits: 3072 }).unwrap(),
        rsa(include_str!("../data/rsa4096.pem")),
        KeyPair::generate(KeyType::EcdsaP256).unwrap(),
        KeyPair::generate(KeyType::EcdsaP384).unwrap(),
        KeyPair::generate(KeyType::EcdsaP521).unwrap(),
    ];
    for (key, algorithm) in keys.into_iter().zip(Algorithm::ALL) {
        let key = with_scheme(key);
        let mut chain = chain();
        chain[0] = Spec::leaf().issue(&WithX509(&key), &Spec::middle(), &KEYS.middle);
        for format in BOTH {
            let request = SignRequest {
                format,
                scheme: SigningScheme::X509,
                target: &target(),
                signing_time: now(),
                expiry: Some(at(NOW + 60)),
                agent: Some("tests"),
                chain: &chain,
                signer: &key,
            };
            let (bytes, envelope) = sign(&request).unwrap().finish(None).unwrap();
            let read = Envelope::parse(format, &bytes).unwrap();
            read.verify_signature().unwrap();
            assert_eq!((read.algorithm(), &read), (algorithm, &envelope));
            assert_eq!(read.attributes().signing_time, now());
            assert_eq!(read.attributes().expiry, Some(at(NOW + 60)));
            assert_eq!(read.agent(), Some("tests"));
            assert_eq!(read.chain(), chain);
        }
    }
}

/// Only the public half is asked for when a certificate is about a key.
#[derive(Debug)]
struct WithX509<'a>(&'a KeyPair);

impl countersign_crypto::Signer for WithX509<'_> {
    fn public_key(&self) -> &countersign_crypto::PublicKey {
        self.0.public_key()
    }
    fn scheme(&self) -> countersign_crypto::Scheme {
        self.0.public_key().key_type().default_scheme()
    }
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, countersign_crypto::CryptoError> {
        self.0.sign(message)
    }
    fn sign_digest(
        &self,
        digest: &countersign_crypto::Digest,
    ) -> Result<Vec<u8>, countersign_crypto::CryptoError> {
        self.0.sign_digest(digest)
    }
}

#[test]
fn the_manifest_names_the_certificates_in_their_order() {
    let (_, envelope) = Signing::new(Format::Jws).draft().finish(None).unwrap();
    let annotations = annotations(&envelope);
    let prints: Vec<String> =
        serde_json::from_str(&annotations["io.cncf.notary.x509chain.thumbprint#S256"]).unwrap();
    let expected: Vec<String> = envelope
        .chain()
        .iter()
        .map(|c| countersign_crypto::encoding::hex_encode(&countersign_crypto::sha256(c.der())))
        .collect();
    assert_eq!(prints, expected);
    assert_eq!(annotations["org.opencontainers.image.created"], at(NOW - 10).to_string());
}

// --- JWS: the parts, to be put together with one fault each ---

struct Jws {
    protected: Value,
    header: Value,
    payload: Vec<u8>,
    /// `None` signs the protected header and payload as they are then.
    signature: Option<Vec<u8>>,
}

impl Jws {
    fn new() -> Self {
        let json: Value = serde_json::from_slice(&Signing::new(Format::Jws).envelope()).unwrap();
        let part = |name: &str| base64url_decode(json[name].as_str().unwrap()).unwrap();
        Self {
            protected: serde_json::from_slice(&part("protected")).unwrap(),
            header: json["header"].clone(),
            payload: part("payload"),
            signature: None,
        }
    }

    fn encode(&self) -> Vec<u8> {
        self.encode_raw(&self.protected.to_string())
    }

    fn encode_raw(&self, protected: &str) -> Vec<u8> {
        let (protected, payload) = (base64url_encode(protected.as_bytes()), base64url_encode(&self.payload));
        let signature = self.signature.clone().unwrap_or_else(|| {
            let der = KEYS.leaf.sign(format!("{protected}.{payload}").as_bytes()).unwrap();
            countersign_crypto::ecdsa::fixed_from_der(KeyType::EcdsaP256, &der).unwrap()
        });
        json!({ "payload": payload, "protected": protected, "header": self.header,
            "signature": base64url_encode(&signature) })
        .to_string()
        .into_bytes()
    }

    fn spoil(change: impl FnOnce(&mut Self)) -> Reason {
        let mut jws = Self::new();
        change(&mut jws);
        reason(Format::Jws, &jws.encode())
    }
}

#[test]
fn the_parts_put_together_again_verify() {
    let envelope = Envelope::parse(Format::Jws, &Jws::new().encode()).unwrap();
    envelope.verify_signature().unwrap();
}

#[test]
fn an_algorithm_is_the_keys_and_no_other() {
    for name in ["none", "None", "HS256", "HS512", "RS256", "es256", "EdDSA", ""] {
        assert_eq!(Jws::spoil(|j| j.protected["alg"] = name.into()), Reason::AlgorithmUnsupported, "{name}");
    }
    for name in ["ES384", "ES512", "PS256", "PS384", "PS512"] {
        assert_eq!(Jws::spoil(|j| j.protected["alg"] = name.into()), Reason::AlgorithmMismatch, "{name}");
    }
    assert_eq!(Jws::spoil(|j| j.protected["alg"] = 7.into()), Reason::EnvelopeMalformed);
    assert_eq!(
        Jws::spoil(|j| drop(j.protected.as_object_mut().unwrap().remove("alg"))),
        Reason::EnvelopeMalformed
    );
}

#[test]
fn critical_attributes_are_known_complete_and_there() {
    let critical = |list: Value| Jws::spoil(|j| j.protected["crit"] = list);
    const SCHEME: &str = "io.cncf.notary.signingScheme";
    assert_eq!(critical(json!([])), Reason::EnvelopeMalformed);
    assert_eq!(critical(json!(null)), Reason::EnvelopeMalformed);
    assert_eq!(critical(json!(SCHEME)), Reason::EnvelopeMalformed, "a text");
    assert_eq!(critical(json!([SCHEME, 1])), Reason::EnvelopeMalformed);
    assert_eq!(critical(json!([SCHEME, SCHEME])), Reason::EnvelopeMalformed, "twice");
    assert_eq!(critical(json!([SCHEME, "io.cncf.notary.expiry"])), Reason::UnknownCritical, "not there");
    assert_eq!(critical(json!([SCHEME, "alg"])), Reason::UnknownCritical, "a registered name");
    assert_eq!(critical(json!([SCHEME, "com.example.new"])), Reason::UnknownCritical);
    let unknown = Jws::spoil(|j| {
        j.protected["com.example.new"] = true.into();
        j.protected["crit"] = json!([SCHEME, "com.example.new"]);
    });
    assert_eq!(unknown, Reason::UnknownCritical);
    let expiry = Jws::spoil(|j| j.protected["io.cncf.notary.expiry"] = "2099-01-01T00:00:00Z".into());
    assert_eq!(expiry, Reason::EnvelopeMalformed, "an expiry that is not critical");
    // One that is not critical and not known is no reason.
    let mut jws = Jws::new();
    jws.protected["com.example.new"] = true.into();
    Envelope::parse(Format::Jws, &jws.encode()).unwrap().verify_signature().unwrap();
}

#[test]
fn a_signature_that_asks_for_a_plugin_is_refused_by_that_name() {
    for name in ["io.cncf.notary.verificationPlugin", "io.cncf.notary.verificationPluginMinVersion"] {
        for critical in [true, false] {
            let found = Jws::spoil(|j| {
                j.protected[name] = "com.example.plugin".into();
                if critical {
                    j.protected["crit"].as_array_mut().unwrap().push(name.into());
                }
            });
            assert_eq!(found, Reason::PluginRequired, "{name} {critical}");
        }
    }
}

#[test]
fn times_belong_to_their_scheme() {
    const SCHEME: &str = "io.cncf.notary.signingScheme";
    const TIME: &str = "io.cncf.notary.signingTime";
    const AUTHENTIC: &str = "io.cncf.notary.authenticSigningTime";
    let remove = |j: &mut Jws, name: &str| drop(j.protected.as_object_mut().unwrap().remove(name));
    assert_eq!(Jws::spoil(|j| j.protected[SCHEME] = "notary.x509.other".into()), Reason::SigningScheme);
    assert_eq!(Jws::spoil(|j| remove(j, SCHEME)), Reason::EnvelopeMalformed);
    assert_eq!(Jws::spoil(|j| remove(j, TIME)), Reason::EnvelopeMalformed, "no time");
    assert_eq!(Jws::spoil(|j| j.protected[TIME] = "yesterday".into()), Reason::EnvelopeMalformed);
    let both = Jws::spoil(|j| j.protected[AUTHENTIC] = j.protected[TIME].clone());
    assert_eq!(both, Reason::EnvelopeMalformed, "both times");
    let other = Jws::spoil(|j| j.protected[SCHEME] = "notary.x509.signingAuthority".into());
    assert_eq!(other, Reason::EnvelopeMalformed, "the time of the other scheme");
    let uncritical = Jws::spoil(|j| {
        j.protected[SCHEME] = "notary.x509.signingAuthority".into();
        j.protected[AUTHENTIC] = j.protected[TIME].clone();
        remove(j, TIME);
    });
    assert_eq!(uncritical, Reason::EnvelopeMalformed, "an authentic time that is not critical");
    let backwards = Jws::spoil(|j| {
        j.protected["io.cncf.notary.expiry"] = j.protected[TIME].clone();
        j.protected["crit"].as_array_mut().unwrap().push("io.cncf.notary.expiry".into());
    });
    assert_eq!(backwards, Reason::EnvelopeMalformed, "an expiry not after the signing time");
}

#[test]
fn payload_and_content_type_are_the_specifications() {
    assert_eq!(Jws::spoil(|j| j.protected["cty"] = "application/json".into()), Reason::PayloadType);
    assert_eq!(Jws::spoil(|j| j.payload.clear()), Reason::EnvelopeMalformed);
}

#[test]
fn header_attributes_stand_in_their_one_place() {
    for name in ["alg", "cty", "crit", "b64", "io.cncf.notary.expiry", "io.cncf.notary.signingTime"] {
        assert_eq!(Jws::spoil(|j| j.header[name] = json!("x")), Reason::EnvelopeMalformed, "{name} outside");
    }
    for name in ["x5c", "b64", "io.cncf.notary.timestampSignature", "io.cncf.notary.signingAgent"] {
        assert_eq!(Jws::spoil(|j| j.protected[name] = json!([])), Reason::EnvelopeMalformed, "{name} inside");
    }
    let both = Jws::spoil(|j| {
        j.protected["com.example.x"] = 1.into();
        j.header["com.example.x"] = 2.into();
    });
    assert_eq!(both, Reason::EnvelopeMalformed, "the same name in both places");
    for name in ["Alg", "CRIT", "io.cncf.notary.EXPIRY", "X5C"] {
        let alias = Jws::spoil(|j| j.protected[name] = json!("2020-01-01T00:00:00Z"));
        assert_eq!(alias, Reason::EnvelopeMalformed, "{name}, which some readers take for the known one");
    }
}

#[test]
fn members_given_twice_or_too_many_are_refused() {
    let jws = Jws::new();
    let text = jws.protected.to_string();
    let twice = text.replacen('{', r#"{"alg":"none","#, 1);
    assert_eq!(reason(Format::Jws, &jws.encode_raw(&twice)), Reason::EnvelopeMalformed);
    let good = String::from_utf8(jws.encode()).unwrap();
    for (name, bad) in [
        ("a payload twice", good.replacen('{', r#"{"payload":"AAAA","#, 1)),
        ("a header twice", good.replacen('{', r#"{"header":{},"#, 1)),
        ("the general form beside it", good.replacen('{', r#"{"signatures":[],"#, 1)),
        ("bytes behind the end", format!("{good}{{}}")),
        ("padding", good.replace("\"payload\":\"", "\"payload\":\"=")),
        ("no signature", good.replace("\"signature\"", "\"signatur\"")),
        ("an x5c twice", good.replace("\"x5c\"", "\"x5c\":[],\"x5c\"")),
        ("not JSON", "eyJhbGciOiJFUzI1NiJ9.e30.AAAA".into()),
    ] {
        assert_eq!(reason(Format::Jws, bad.as_bytes()), Reason::EnvelopeMalformed, "{name}");
    }
}

#[test]
fn chains_are_whole_certificates_in_plain_base64() {
    let x5c = |value: Value| Jws::spoil(|j| j.header["x5c"] = value);
    let leaf = base64_encode(chain()[0].der());
    assert_eq!(x5c(json!([])), Reason::EnvelopeMalformed);
    assert_eq!(x5c(json!(leaf)), Reason::EnvelopeMalformed);
    assert_eq!(x5c(json!([1])), Reason::EnvelopeMalformed);
    assert_eq!(x5c(json!(["AAAA"])), Reason::CertificateMalformed);
    assert_eq!(x5c(json!([format!("{leaf}\n")])), Reason::EnvelopeMalformed);
    let long = [chain()[0].der(), b"x"].concat();
    assert_eq!(
        x5c(json!([base64_encode(&long)])),
        Reason::CertificateMalformed,
        "bytes behind a certificate"
    );
    assert_eq!(x5c(json!(vec![leaf.clone(); 17])), Reason::EnvelopeMalformed, "seventeen");
    let other = Spec::leaf().issue(&KEYS.other, &Spec::middle(), &KEYS.middle);
    assert_eq!(x5c(json!([base64_encode(other.der())])), Reason::SignatureInvalid, "of another key");
}

#[test]
fn a_signature_is_two_numbers_of_the_curves_length() {
    let der = {
        let jws = Jws::new();
        let protected = base64url_encode(jws.protected.to_string().as_bytes());
        KEYS.leaf.sign(format!("{protected}.{}", base64url_encode(&jws.payload)).as_bytes()).unwrap()
    };
    let fixed = countersign_crypto::ecdsa::fixed_from_der(KeyType::EcdsaP256, &der).unwrap();
    for (name, signature) in [
        ("DER", der),
        ("a byte more", [fixed.as_slice(), &[0]].concat()),
        ("a byte less", fixed[..63].to_vec()),
        ("zeros", vec![0; 64]),
        ("another bit", [&[fixed[0] ^ 1], &fixed[1..]].concat()),
    ] {
        assert_eq!(Jws::spoil(|j| j.signature = Some(signature)), Reason::SignatureInvalid, "{name}");
    }
    assert_eq!(Jws::spoil(|j| j.signature = Some(Vec::new())), Reason::EnvelopeMalformed);
}

#[test]
fn what_is_signed_cannot_be_changed() {
    let good = Jws::new();
    let signed = good.encode();
    let json: Value = serde_json::from_slice(&signed).unwrap();
    let signature = base64url_decode(json["signature"].as_str().unwrap()).unwrap();
    let changed = Jws::spoil(|j| {
        j.signature = Some(signature.clone());
        j.payload = String::from_utf8(j.payload.clone()).unwrap().replace("528", "529").into_bytes();
    });
    assert_eq!(changed, Reason::SignatureInvalid, "the payload");
    let changed = Jws::spoil(|j| {
        j.signature = Some(signature.clone());
        j.protected["io.cncf.notary.signingTime"] = "2020-01-01T00:00:00Z".into();
    });
    assert_eq!(changed, Reason::SignatureInvalid, "an attribute");
}

// --- COSE: written by hand here, so that nothing hides behind the crate's own writer ---

fn head(major: u8, number: usize) -> Vec<u8> {
    match number {
        0..24 => vec![major << 5 | u8::try_from(number).unwrap()],
        24..256 => vec![major << 5 | 24, u8::try_from(number).unwrap()],
        _ => [&[major << 5 | 25][..], &u16::try_from(number).unwrap().to_be_bytes()].concat(),
    }
}

fn bytes(content: &[u8]) -> Vec<u8> {
    [&head(2, content.len())[..], content].concat()
}

fn text(content: &str) -> Vec<u8> {
    [&head(3, content.len())[..], content.as_bytes()].concat()
}

fn list(items: &[Vec<u8>]) -> Vec<u8> {
    [head(4, items.len()), items.concat()].concat()
}

fn map(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let content: Vec<u8> = pairs.iter().flat_map(|(k, v)| [k.clone(), v.clone()].concat()).collect();
    [head(5, pairs.len()), content].concat()
}

fn epoch(second: i64) -> Vec<u8> {
    [&[0xc1, 0x1a][..], &u32::try_from(second).unwrap().to_be_bytes()].concat()
}

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

struct Cose {
    protected: Pairs,
    unprotected: Pairs,
    tag: Vec<u8>,
    tail: Vec<u8>,
}

impl Cose {
    fn new() -> Self {
        let certificates: Vec<Vec<u8>> = chain().iter().map(|c| bytes(c.der())).collect();
        Self {
            protected: vec![
                (vec![1], vec![0x26]),
                (vec![2], list(&[text("io.cncf.notary.signingScheme")])),
                (vec![3], text("application/vnd.cncf.notary.payload.v1+json")),
                (text("io.cncf.notary.signingScheme"), text("notary.x509")),
                (text("io.cncf.notary.signingTime"), epoch(NOW)),
            ],
            unprotected: vec![(vec![0x18, 33], list(&certificates))],
            tag: vec![0xd2],
            tail: Vec::new(),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let payload = br#"{"targetArtifact":{"mediaType":"a/b","digest":"sha256:1","size":1}}"#;
        let protected = bytes(&map(&self.protected));
        let signed = list(&[text("Signature1"), protected.clone(), bytes(&[]), bytes(payload)]);
        let signature =
            countersign_crypto::ecdsa::fixed_from_der(KeyType::EcdsaP256, &KEYS.leaf.sign(&signed).unwrap())
                .unwrap();
        let message = list(&[protected, map(&self.unprotected), bytes(payload), bytes(&signature)]);
        [self.tag.clone(), message, self.tail.clone()].concat()
    }

    fn spoil(change: impl FnOnce(&mut Self)) -> Reason {
        let mut cose = Self::new();
        change(&mut cose);
        reason(Format::Cose, &cose.encode())
    }

    fn set(&mut self, label: Vec<u8>, value: Vec<u8>) {
        self.protected.retain(|(own, _)| *own != label);
        self.protected.push((label, value));
    }
}

#[test]
fn a_cose_envelope_of_another_writer_verifies() {
    let envelope = Envelope::parse(Format::Cose, &Cose::new().encode()).unwrap();
    envelope.verify_signature().unwrap();
    // The chain may stand under the signature too, if it stands nowhere else.
    let mut cose = Cose::new();
    let chain = cose.unprotected.pop().unwrap();
    cose.protected.push(chain);
    Envelope::parse(Format::Cose, &cose.encode()).unwrap().verify_signature().unwrap();
}

#[test]
fn cose_envelopes_with_one_fault_are_refused() {
    let scheme = "io.cncf.notary.signingScheme";
    assert_eq!(Cose::spoil(|c| c.tag = Vec::new()), Reason::EnvelopeMalformed, "no tag");
    assert_eq!(Cose::spoil(|c| c.tag = vec![0xd1]), Reason::EnvelopeMalformed, "COSE_Mac0's tag");
    assert_eq!(Cose::spoil(|c| c.tail = vec![0]), Reason::EnvelopeMalformed, "bytes behind the end");
    for (name, number) in [("HMAC", vec![0x05]), ("EdDSA", vec![0x27]), ("ES256K", vec![0x38, 46])] {
        assert_eq!(Cose::spoil(|c| c.set(vec![1], number)), Reason::AlgorithmUnsupported, "{name}");
    }
    assert_eq!(Cose::spoil(|c| c.set(vec![1], vec![0x38, 34])), Reason::AlgorithmMismatch, "ES384");
    assert_eq!(Cose::spoil(|c| c.set(vec![1], text("ES256"))), Reason::EnvelopeMalformed, "by name");
    assert_eq!(Cose::spoil(|c| c.set(vec![2], list(&[]))), Reason::EnvelopeMalformed);
    let critical = |items: &[Vec<u8>]| Cose::spoil(|c| c.set(vec![2], list(items)));
    assert_eq!(critical(&[text(scheme), text("x")]), Reason::UnknownCritical);
    assert_eq!(critical(&[text(scheme), vec![0x18, 33]]), Reason::UnknownCritical, "a number");
    assert_eq!(critical(&[text(scheme), bytes(b"x")]), Reason::EnvelopeMalformed);
    assert_eq!(critical(&[text("io.cncf.notary.signingTime")]), Reason::UnknownCritical);
    assert_eq!(Cose::spoil(|c| c.set(vec![3], text("text/plain"))), Reason::PayloadType);
    assert_eq!(Cose::spoil(|c| c.set(vec![3], vec![0])), Reason::EnvelopeMalformed);
    assert_eq!(Cose::spoil(|c| c.set(text(scheme), text("notary.x510"))), Reason::SigningScheme);
    let time = text("io.cncf.notary.signingTime");
    assert_eq!(
        Cose::spoil(|c| c.set(time.clone(), epoch(NOW)[1..].to_vec())),
        Reason::EnvelopeMalformed,
        "no tag"
    );
    assert_eq!(Cose::spoil(|c| c.set(time.clone(), text("now"))), Reason::EnvelopeMalformed);
    assert_eq!(
        Cose::spoil(|c| c.set(time.clone(), vec![0xc1, 0xf9, 0, 0])),
        Reason::EnvelopeMalformed,
        "a float"
    );
    assert_eq!(
        Cose::spoil(|c| c.protected.push((vec![1], vec![0x26]))),
        Reason::EnvelopeMalformed,
        "a key twice"
    );
    assert_eq!(
        Cose::spoil(|c| c.protected.push((text("io.cncf.notary.verificationPlugin"), text("p")))),
        Reason::PluginRequired
    );
    assert_eq!(Cose::spoil(|c| c.unprotected.clear()), Reason::EnvelopeMalformed, "no chain");
    assert_eq!(
        Cose::spoil(|c| c.protected.push(c.unprotected[0].clone())),
        Reason::EnvelopeMalformed,
        "the chain in both places"
    );
    assert_eq!(Cose::spoil(|c| c.unprotected[0].1 = bytes(chain()[0].der())), Reason::EnvelopeMalformed);
    for label in [vec![1], vec![2], vec![3], time.clone(), text("io.cncf.notary.expiry")] {
        assert_eq!(
            Cose::spoil(|c| c.unprotected.push((label, vec![0]))),
            Reason::EnvelopeMalformed,
            "outside"
        );
    }
    for name in ["io.cncf.notary.timestampSignature", "io.cncf.notary.signingAgent"] {
        assert_eq!(Cose::spoil(|c| c.unprotected.push((text(name), vec![0]))), Reason::EnvelopeMalformed);
        assert_eq!(Cose::spoil(|c| c.protected.push((text(name), text("x")))), Reason::EnvelopeMalformed);
    }
}

#[test]
fn a_detached_payload_and_another_number_of_fields_are_no_envelope() {
    let good = Cose::new();
    let protected = bytes(&map(&good.protected));
    let unprotected = map(&good.unprotected);
    for message in [
        list(&[protected.clone(), unprotected.clone(), vec![0xf6], bytes(&[1; 64])]),
        list(&[protected.clone(), unprotected.clone(), bytes(b"{}")]),
        list(&[protected, unprotected, bytes(b"{}"), bytes(&[1; 64]), vec![0]]),
    ] {
        assert_eq!(reason(Format::Cose, &[vec![0xd2], message].concat()), Reason::EnvelopeMalformed);
    }
}

#[test]
fn one_form_is_never_read_as_the_other() {
    let (jws, cose) = (Signing::new(Format::Jws).envelope(), Signing::new(Format::Cose).envelope());
    assert_eq!(reason(Format::Cose, &jws), Reason::EnvelopeMalformed);
    assert_eq!(reason(Format::Jws, &cose), Reason::EnvelopeMalformed);
    assert_eq!(Format::from_media_type("application/jose").unwrap_err().reason, Reason::EnvelopeType);
    for format in BOTH {
        assert_eq!(Format::from_media_type(format.media_type()), Ok(format));
    }
}

#[test]
fn v55_an_envelope_that_is_too_large_is_not_read() {
    for format in BOTH {
        let refusal = Envelope::parse(format, &vec![b' '; MAX_ENVELOPE_LEN + 1]).unwrap_err();
        assert!(refusal.expected.contains("at most"), "{refusal}");
    }
}

#[test]
fn v26_deep_nesting_is_refused_in_both_forms() {
    let deep = format!("{{\"payload\":{}", "[".repeat(100_000));
    assert_eq!(reason(Format::Jws, deep.as_bytes()), Reason::EnvelopeMalformed);
    assert_eq!(reason(Format::Cose, &[vec![0xd2], vec![0x81; 100_000]].concat()), Reason::EnvelopeMalformed);
    let inside = Cose::spoil(|c| c.protected.push((text("x"), [vec![0x81; 50_000], vec![0]].concat())));
    assert_eq!(inside, Reason::EnvelopeMalformed);
}
