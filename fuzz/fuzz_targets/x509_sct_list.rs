//! SCT lists: reading, and that what was read is written back byte for byte.
#![no_main]

use countersign_x509::sct::{self, Sct};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(scts) = Sct::parse_list(data) {
        assert!(!scts.is_empty());
        assert_eq!(Sct::encode_list(&scts).expect("it was read"), data);
        for sct in &scts {
            let _ = countersign_tlog::static_ct::parse_leaf_index(&sct.extensions);
        }
    }
    if let Ok((scheme, signature)) = sct::parse_digitally_signed(data) {
        assert_eq!(sct::digitally_signed(scheme, &signature).expect("it was read"), data);
    }
});
