//! Certificates: reading, that the bytes are kept, and that everything derived from them can be asked for. A path
//! over the certificate itself must end.
#![no_main]

use countersign_x509::chain::{self, Purpose};
use countersign_x509::{Certificate, San, crl};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = Certificate::chain_from_pem(text);
    }
    let Ok(certificate) = Certificate::from_der(data) else { return };
    assert_eq!(certificate.der(), data);
    assert!(data.windows(certificate.tbs_der().len()).any(|w| w == certificate.tbs_der()));
    let tbs = certificate.tbs_for_sct().expect("the certificate was read");
    assert!(tbs.len() <= certificate.tbs_der().len());
    let _ = (certificate.scts(), certificate.describe(), format!("{certificate:?}"));
    assert_eq!(certificate.subject().attributes().map(drop), Ok(()), "it was read before");
    let _ = (crl::distribution_points(&certificate), crl::names_ocsp(&certificate));
    for san in certificate.sans() {
        if !matches!(san, San::OtherName { .. } | San::Other { .. }) {
            assert!(san.as_text().is_some());
        }
        assert!(!san.to_string().chars().any(char::is_control));
    }
    for extension in certificate.fulcio().iter() {
        assert_eq!(certificate.fulcio().get_by_name(&extension.oid()), Some(extension.value));
    }
    let all = [certificate.clone(), certificate.clone()];
    for purpose in [Purpose::CodeSigning, Purpose::TimeStamping] {
        let _ = chain::verify(&certificate, &all, &all, purpose, certificate.not_before());
    }
});
