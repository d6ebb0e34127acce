//! What a SPIFFE agent answers: a message of gRPC, the token in it, and what the token says.
#![no_main]

use countersign_client::oidc::{IdToken, first_svid};
use countersign_http::grpc::one_message;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(message) = one_message(data)
        && let Some(svid) = first_svid(message)
        && let Ok(token) = IdToken::parse(svid)
    {
        let _ = token.subject();
        assert!(token.secret().len() <= svid.len());
    }
});
