//! RFC 3161 responses: reading. Only what the authority has signed once verifies, whatever is put around it.
#![no_main]

use std::sync::OnceLock;

use countersign_x509::Certificate;
use countersign_x509::timestamp::{Authority, Imprinted, TimestampToken, TstInfo};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    static KNOWN: OnceLock<(Authority, TstInfo)> = OnceLock::new();
    let (authority, signed) = KNOWN.get_or_init(|| {
        let chain = include_str!("../../crates/x509/tests/data/tsa_chain.pem");
        let chain = Certificate::chain_from_pem(chain).expect("a chain");
        let token = include_bytes!("../../crates/x509/tests/data/openssl.tsr");
        let token = TimestampToken::parse(token).expect("a token");
        // Without the leaf, so that the certificates in the token are read too.
        let authority = Authority::from_chain(&chain[1..]).expect("an authority");
        (authority, token.unverified_info().clone())
    });
    if let Ok(token) = TimestampToken::parse_token(data) {
        let imprint = token.unverified_info().imprint;
        if let Ok(verified) = token.verify(Imprinted::Digest(&imprint), None, authority) {
            assert_eq!(verified.info(), signed);
        }
    }
    if let Ok(token) = TimestampToken::parse(data) {
        let bare = TimestampToken::token_of(data).expect("it was read");
        assert_eq!(TimestampToken::parse_token(&bare).as_ref(), Ok(&token));
        let imprint = token.unverified_info().imprint;
        if let Ok(verified) = token.verify(Imprinted::Digest(&imprint), None, authority) {
            assert_eq!(verified.info(), signed);
        }
    }
});
