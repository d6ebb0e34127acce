//! One open token, in the child: everything that calls into the module.
//!
//! The child has one thread and one session, so that none of the module's locking is relied on.

use std::collections::HashMap;

use countersign_crypto::encoding;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism as Ck, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::AuthPin;

use super::frame::{FailureKind, KeyDescription, Mechanism, NewKey, Pin, TokenDescription};
use super::public::{ecdsa_der, ed25519_spki, elliptic_spki, rsa_spki};
use super::uri::{KeyMatch, TokenAttribute, TokenMatch};

/// Keys listed at most.
const MAX_LISTED: usize = 10_000;

/// Why something could not be done.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: FailureKind,
    pub(super) message: String,
}

impl Failure {
    pub(super) fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

/// A refusal of the module's own. What it says about sessions, handles and the device may pass with a new session.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Pkcs11(
                RvError::PinIncorrect
                | RvError::PinInvalid
                | RvError::PinLenRange
                | RvError::PinExpired
                | RvError::PinLocked
                | RvError::UserPinNotInitialized,
                _,
            ) => FailureKind::PinRefused,
            Error::Pkcs11(
                RvError::MechanismInvalid
                | RvError::MechanismParamInvalid
                | RvError::KeyTypeInconsistent
                | RvError::KeyFunctionNotPermitted
                | RvError::KeySizeRange
                | RvError::CurveNotSupported
                | RvError::DataInvalid
                | RvError::DataLenRange
                | RvError::FunctionNotSupported
                | RvError::AttributeTypeInvalid
                | RvError::AttributeValueInvalid
                | RvError::TemplateIncomplete
                | RvError::TemplateInconsistent
                | RvError::TokenWriteProtected
                | RvError::SessionReadOnly
                | RvError::ActionProhibited
                | RvError::DomainParamsInvalid,
                _,
            )
            | Error::NotSupported
            | Error::NullFunctionPointer => FailureKind::Refused,
            Error::LibraryLoading(_) | Error::MissingSymbol(_) => FailureKind::Module,
            _ => FailureKind::Away,
        };
        let message = match &error {
            Error::Pkcs11(code, function) => format!("{function} answers {code:?}"),
            other => other.to_string(),
        };
        Self { kind, message }
    }
}

/// Loads the first of these libraries that there is and initialises it, once in the life of this process.
pub(super) fn load(modules: &[String]) -> Result<Pkcs11, Failure> {
    let mut problems = Vec::new();
    for module in modules {
        match Pkcs11::new(module) {
            Ok(context) => {
                context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).map_err(|e| {
                    Failure::new(FailureKind::Module, format!("{module}: {}", Failure::from(e).message))
                })?;
                return Ok(context);
            }
            Err(e) => problems.push(format!("{module}: {}", Failure::from(e).message)),
        }
    }
    Err(Failure::new(
        FailureKind::Module,
        format!("the PKCS #11 module cannot be loaded: {}", problems.join("; ")),
    ))
}

/// Lists the tokens of a module.
pub(super) fn tokens(context: &Pkcs11) -> Result<Vec<TokenDescription>, Failure> {
    let slots = context.get_slots_with_token()?;
    Ok(slots
        .into_iter()
        .filter_map(|slot| Some(describe(slot, &context.get_token_info(slot).ok()?)))
        .collect())
}

fn describe(slot: Slot, info: &TokenInfo) -> TokenDescription {
    TokenDescription {
        slot: slot.id(),
        label: info.label().to_owned(),
        manufacturer: info.manufacturer_id().to_owned(),
        model: info.model().to_owned(),
        serial: info.serial_number().to_owned(),
    }
}

fn matches(context: &Pkcs11, slot: Slot, info: &TokenInfo, wanted: &TokenMatch) -> Result<bool, Failure> {
    if wanted.slot.is_some_and(|id| id != slot.id()) {
        return Ok(false);
    }
    for (attribute, value) in &wanted.attributes {
        let found = match attribute {
            TokenAttribute::Token => info.label().to_owned(),
            TokenAttribute::Manufacturer => info.manufacturer_id().to_owned(),
            TokenAttribute::Model => info.model().to_owned(),
            TokenAttribute::Serial => info.serial_number().to_owned(),
            TokenAttribute::SlotDescription => context.get_slot_info(slot)?.slot_description().to_owned(),
            TokenAttribute::SlotManufacturer => context.get_slot_info(slot)?.manufacturer_id().to_owned(),
            TokenAttribute::LibraryDescription => {
                context.get_library_info()?.library_description().to_owned()
            }
            TokenAttribute::LibraryManufacturer => context.get_library_info()?.manufacturer_id().to_owned(),
            TokenAttribute::LibraryVersion => {
                let version = context.get_library_info()?.library_version();
                format!("{}.{}", version.major(), version.minor())
            }
        };
        // The module's fields are padded with blanks; a URI's values need not be.
        if found.trim_end() != value.trim_end() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A token one is logged in to.
pub(super) struct Token {
    context: Pkcs11,
    slot: Slot,
    session: Session,
    serial: String,
    private_keys: HashMap<KeyMatch, ObjectHandle>,
}

impl Token {
    /// Finds the one token that is as wanted and logs in.
    pub(super) fn open(
        context: Pkcs11,
        wanted: &TokenMatch,
        pin: Option<&Pin>,
    ) -> Result<(Self, TokenDescription), Failure> {
        let (slot, info) = Self::only(&context, wanted)?;
        let session = context.open_rw_session(slot).or_else(|_| context.open_ro_session(slot))?;
        if info.login_required() {
            login(&session, &info, pin)?;
        }
        let description = describe(slot, &info);
        let serial = description.serial.clone();
        Ok((Self { context, slot, session, serial, private_keys: HashMap::new() }, description))
    }

    /// The one token that is as wanted.
    fn only(context: &Pkcs11, wanted: &TokenMatch) -> Result<(Slot, TokenInfo), Failure> {
        let mut found = Vec::new();
        for slot in context.get_slots_with_token()? {
            // A token that cannot be asked is not the one.
            if let Ok(info) = context.get_token_info(slot)
                && info.token_initialized()
                && matches(context, slot, &info, wanted)?
            {
                found.push((slot, info));
            }
        }
        let several = found.len();
        match (found.pop(), several) {
            (Some(one), 1) => Ok(one),
            (None, _) => Err(Failure::new(FailureKind::Away, "the token is not there")),
            _ => Err(Failure::new(
                FailureKind::Away,
                format!("{several} tokens are as the URI says; name serial= or slot-id= too"),
            )),
        }
    }

    /// The module may go on from memory when the device is gone, so the device is asked first.
    fn present(&self) -> Result<(), Failure> {
        let info = self.context.get_token_info(self.slot)?;
        if info.serial_number() == self.serial {
            Ok(())
        } else {
            Err(Failure::new(FailureKind::Away, "another token is in the slot"))
        }
    }

    fn find(&self, class: ObjectClass, key: &KeyMatch) -> Result<Vec<ObjectHandle>, Failure> {
        let mut template = vec![Attribute::Class(class), Attribute::Token(true)];
        template.extend(key.label.iter().map(|label| Attribute::Label(label.as_bytes().to_vec())));
        template.extend(key.id.iter().map(|id| Attribute::Id(id.clone())));
        Ok(self.session.find_objects(&template)?)
    }

    /// The private key, of which there must be one.
    fn private(&mut self, key: &KeyMatch) -> Result<ObjectHandle, Failure> {
        if let Some(handle) = self.private_keys.get(key) {
            return Ok(*handle);
        }
        let handle = match self.find(ObjectClass::PRIVATE_KEY, key)?.as_slice() {
            [handle] => *handle,
            [] => {
                return Err(Failure::new(
                    FailureKind::NoKey,
                    "the token holds no private key of this label and id; \
                     `countersign pkcs11-tool list-keys-uris` lists those it has",
                ));
            }
            several => {
                return Err(Failure::new(
                    FailureKind::Key,
                    format!(
                        "the token holds {} private keys as the URI says; name both object= and id=",
                        several.len()
                    ),
                ));
            }
        };
        self.private_keys.insert(key.clone(), handle);
        Ok(handle)
    }

    /// The public half of a key as a DER `SubjectPublicKeyInfo`: from its public object, else from what the private
    /// one says about itself.
    pub(super) fn public_key(&mut self, key: &KeyMatch) -> Result<Vec<u8>, Failure> {
        self.present()?;
        self.public_half(key)
    }

    fn public_half(&mut self, key: &KeyMatch) -> Result<Vec<u8>, Failure> {
        let private = self.private(key)?;
        // The pair has one id; labels of the halves may differ.
        let id = match self.bytes(private, AttributeType::Id)? {
            Some(id) if !id.is_empty() => Some(id),
            _ => None,
        };
        let half = match id {
            Some(id) => KeyMatch { label: None, id: Some(id) },
            None => key.clone(),
        };
        let mut objects = self.find(ObjectClass::PUBLIC_KEY, &half)?;
        if objects.len() > 1 {
            return Err(Failure::new(
                FailureKind::Key,
                format!(
                    "the token holds {} public keys for this private one; give the pair an id of its own",
                    objects.len()
                ),
            ));
        }
        objects.push(private);
        for object in objects {
            if let Some(spki) = self.spki(object)? {
                return Ok(spki);
            }
        }
        Err(Failure::new(
            FailureKind::Key,
            "the token does not tell the public key: expected a public key object with the same id",
        ))
    }

    fn spki(&self, object: ObjectHandle) -> Result<Option<Vec<u8>>, Failure> {
        let kind = self.kind(object)?;
        Ok(if kind == Some(KeyType::RSA) {
            let modulus = self.bytes(object, AttributeType::Modulus)?;
            let exponent = self.bytes(object, AttributeType::PublicExponent)?;
            modulus.zip(exponent).and_then(|(modulus, exponent)| rsa_spki(&modulus, &exponent))
        } else if kind == Some(KeyType::EC) {
            let parameters = self.bytes(object, AttributeType::EcParams)?;
            let point = self.bytes(object, AttributeType::EcPoint)?;
            parameters.zip(point).and_then(|(parameters, point)| elliptic_spki(&parameters, &point))
        } else if kind == Some(KeyType::EC_EDWARDS) {
            self.bytes(object, AttributeType::EcPoint)?.and_then(|point| ed25519_spki(&point))
        } else {
            None
        })
    }

    fn kind(&self, object: ObjectHandle) -> Result<Option<KeyType>, Failure> {
        let found = self.session.get_attributes(object, &[AttributeType::KeyType])?;
        Ok(found.into_iter().find_map(|attribute| match attribute {
            Attribute::KeyType(kind) => Some(kind),
            _ => None,
        }))
    }

    /// An attribute of an object; `None` when it has none of this kind or does not show it.
    fn bytes(&self, object: ObjectHandle, wanted: AttributeType) -> Result<Option<Vec<u8>>, Failure> {
        let found = match self.session.get_attributes(object, &[wanted]) {
            Err(Error::Pkcs11(RvError::AttributeTypeInvalid | RvError::AttributeSensitive, _)) => {
                return Ok(None);
            }
            other => other?,
        };
        Ok(found.into_iter().find_map(|attribute| match attribute {
            Attribute::Id(bytes)
            | Attribute::Label(bytes)
            | Attribute::Modulus(bytes)
            | Attribute::PublicExponent(bytes)
            | Attribute::EcParams(bytes)
            | Attribute::EcPoint(bytes) => Some(bytes),
            _ => None,
        }))
    }

    /// Signs.
    pub(super) fn sign(
        &mut self,
        key: &KeyMatch,
        mechanism: Mechanism,
        input: &[u8],
    ) -> Result<Vec<u8>, Failure> {
        self.present()?;
        let handle = self.private(key)?;
        let pss = |hash_alg, mgf, length: u8| {
            Ck::RsaPkcsPss(PkcsPssParams { hash_alg, mgf, s_len: u64::from(length).into() })
        };
        let how = match mechanism {
            Mechanism::Ecdsa => Ck::Ecdsa,
            Mechanism::Eddsa => Ck::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519)),
            Mechanism::RsaPkcs1 => Ck::RsaPkcs,
            Mechanism::RsaPssSha256 => pss(MechanismType::SHA256, PkcsMgfType::MGF1_SHA256, 32),
            Mechanism::RsaPssSha384 => pss(MechanismType::SHA384, PkcsMgfType::MGF1_SHA384, 48),
            Mechanism::RsaPssSha512 => pss(MechanismType::SHA512, PkcsMgfType::MGF1_SHA512, 64),
        };
        let signature = self.session.sign(&how, handle, input)?;
        match mechanism {
            Mechanism::Ecdsa => ecdsa_der(&signature)
                .ok_or_else(|| Failure::new(FailureKind::Refused, "the token gave no ECDSA signature")),
            _ => Ok(signature),
        }
    }

    /// Lists the private keys.
    pub(super) fn keys(&mut self) -> Result<Vec<KeyDescription>, Failure> {
        self.present()?;
        let mut listed = Vec::new();
        for object in self.find(ObjectClass::PRIVATE_KEY, &KeyMatch::default())?.into_iter().take(MAX_LISTED)
        {
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).ok().filter(|text| !text.is_empty());
            let label = self.bytes(object, AttributeType::Label)?.and_then(text);
            let id = self.bytes(object, AttributeType::Id)?.filter(|id| !id.is_empty());
            let kind = match self.kind(object)? {
                Some(KeyType::RSA) => "RSA",
                Some(KeyType::EC) => "ECDSA",
                Some(KeyType::EC_EDWARDS) => "Ed25519",
                _ => "other",
            };
            listed.push(KeyDescription { key: KeyMatch { label, id }, kind: kind.to_owned() });
        }
        Ok(listed)
    }

    /// Makes a key pair which the token does not give away, and gives its public half. A token that is away is so before
    /// anything was begun; what fails later may have left a key.
    pub(super) fn generate(&mut self, key: &KeyMatch, kind: NewKey) -> Result<Vec<u8>, Failure> {
        self.present()?;
        let label = key
            .label
            .as_ref()
            .ok_or_else(|| Failure::new(FailureKind::Key, "a new key needs a label: object="))?;
        let by_label = KeyMatch { label: Some(label.clone()), id: None };
        let by_id = key.id.as_ref().map(|id| KeyMatch { label: None, id: Some(id.clone()) });
        for wanted in std::iter::once(by_label).chain(by_id) {
            for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
                if !self.find(class, &wanted)?.is_empty() {
                    return Err(Failure::new(
                        FailureKind::Key,
                        "the token holds a key of this label or id already, and it is not replaced; choose another",
                    ));
                }
            }
        }
        let id = match &key.id {
            Some(id) => id.clone(),
            None => {
                let mut id = vec![0; 16];
                countersign_crypto::random(&mut id)
                    .map_err(|e| Failure::new(FailureKind::Refused, e.to_string()))?;
                id
            }
        };
        let common =
            [Attribute::Token(true), Attribute::Label(label.as_bytes().to_vec()), Attribute::Id(id.clone())];
        let public = [Attribute::Verify(true), Attribute::Private(false)];
        let private = [
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
        ];
        let mut failed = None;
        for (mechanism, own) in parameters(kind)? {
            let public: Vec<_> = common.iter().chain(&public).cloned().chain(own).collect();
            let private: Vec<_> = common.iter().chain(&private).cloned().collect();
            match self.session.generate_key_pair(&mechanism, &public, &private) {
                Ok(_) => {
                    let made = KeyMatch { label: Some(label.clone()), id: Some(id) };
                    return self.public_half(&made).map_err(begun);
                }
                Err(e) => failed = Some(e),
            }
        }
        Err(failed.map_or_else(
            || Failure::new(FailureKind::Refused, "no way to make the key"),
            |error| begun(error.into()),
        ))
    }
}

/// A failure after a key was asked for: whoever asks again might make a second one.
fn begun(failure: Failure) -> Failure {
    match failure.kind {
        FailureKind::Away => Failure {
            kind: FailureKind::Refused,
            message: format!(
                "{}; the key may have been made all the same: `countersign pkcs11-tool list-keys-uris` lists those there are",
                failure.message
            ),
        },
        _ => failure,
    }
}

fn login(session: &Session, info: &TokenInfo, pin: Option<&Pin>) -> Result<(), Failure> {
    let refused = |what: &str| Err(Failure::new(FailureKind::PinRefused, what));
    if info.user_pin_locked() {
        return refused("the token is locked after wrong PINs; its security officer must unlock it");
    }
    let protected = info.protected_authentication_path();
    if info.user_pin_final_try() && !protected {
        return refused(
            "one more wrong PIN locks the token, so none is tried here; log in once by hand with the right one",
        );
    }
    let pin = pin.map(|pin| AuthPin::new(pin.reveal().into()));
    if pin.is_none() && !protected {
        return Err(Failure::new(FailureKind::PinNeeded, "the token asks for a PIN"));
    }
    match session.login(UserType::User, pin.as_ref().filter(|_| !protected)) {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        Err(Error::Pkcs11(RvError::PinLocked, _)) => {
            refused("the token is locked after wrong PINs; its security officer must unlock it")
        }
        Err(Error::Pkcs11(RvError::PinIncorrect, _)) => refused("the token refuses the PIN"),
        Err(e) => Err(e.into()),
    }
}

/// The ways to make a key of this kind: modules differ in how they name Ed25519's curve.
fn parameters(kind: NewKey) -> Result<Vec<(Ck<'static>, Vec<Attribute>)>, Failure> {
    let curve = |hex: &str| {
        encoding::hex_decode(hex)
            .map(|bytes| vec![Attribute::EcParams(bytes)])
            .map_err(|e| Failure::new(FailureKind::Refused, e.to_string()))
    };
    let rsa = |bits: u64| vec![Attribute::ModulusBits(bits.into()), Attribute::PublicExponent(vec![1, 0, 1])];
    Ok(match kind {
        NewKey::P256 => vec![(Ck::EccKeyPairGen, curve("06082a8648ce3d030107")?)],
        NewKey::P384 => vec![(Ck::EccKeyPairGen, curve("06052b81040022")?)],
        NewKey::P521 => vec![(Ck::EccKeyPairGen, curve("06052b81040023")?)],
        // The OID of RFC 8410, and the name "edwards25519" of earlier drafts.
        NewKey::Ed25519 => vec![
            (Ck::EccEdwardsKeyPairGen, curve("06032b6570")?),
            (Ck::EccEdwardsKeyPairGen, curve("130c656477617264733235353139")?),
        ],
        NewKey::Rsa3072 => vec![(Ck::RsaPkcsKeyPairGen, rsa(3072))],
        NewKey::Rsa4096 => vec![(Ck::RsaPkcsKeyPairGen, rsa(4096))],
    })
}
