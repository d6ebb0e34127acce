//! The Notary Project's signatures, where they lie: trust policy and trust store on disk, signatures beside images in a
//! registry or a layout, and beside files. Verification opens no socket but the registry's.

mod sign;
mod trust;
mod verify;

use countersign_notary::Format;

pub use sign::{Signing, TimestampSource, sign_blob, sign_image};
pub use trust::{NotaryTrust, read_certificates, read_revocation_lists};
pub use verify::{Asked, ImageVerification, Piece, verify_blob, verify_image};

use crate::ClientError;

/// The endings of the files which hold the signature of another, and what they hold.
const ENDINGS: [(&str, Format); 4] =
    [(".jws.sig", Format::Jws), (".cose.sig", Format::Cose), (".jws", Format::Jws), (".cose", Format::Cose)];

/// The form of an envelope, by the name of its file.
///
/// # Errors
/// [`ClientError::Usage`] naming the endings that are known.
pub fn format_of_file(path: &std::path::Path) -> Result<Format, ClientError> {
    let name = path.to_string_lossy();
    ENDINGS.iter().find(|(ending, _)| name.ends_with(ending)).map(|(_, format)| *format).ok_or_else(|| {
        let known = ENDINGS.map(|(ending, _)| ending).join(", ");
        ClientError::Usage(format!("{}: expected a name that ends with one of {known}", path.display()))
    })
}

/// Where the signature of a file lies: `FILE.jws.sig` or `FILE.cose.sig`.
#[must_use]
pub fn signature_path(artifact: &std::path::Path, format: Format) -> std::path::PathBuf {
    let mut name = artifact.as_os_str().to_owned();
    name.push(format!(".{}.sig", format.name()));
    name.into()
}

/// Finds the signature beside a file.
///
/// # Errors
/// [`ClientError::NoSignature`] naming what was looked for; [`ClientError::Usage`] when there are two.
pub fn find_signature(artifact: &std::path::Path) -> Result<std::path::PathBuf, ClientError> {
    let [jws, cose] = [Format::Jws, Format::Cose].map(|format| signature_path(artifact, format));
    match (jws.is_file(), cose.is_file()) {
        (true, false) => Ok(jws),
        (false, true) => Ok(cose),
        (true, true) => Err(ClientError::Usage(format!(
            "there are {} and {}; name one with --signature",
            jws.display(),
            cose.display()
        ))),
        (false, false) => Err(ClientError::NoSignature(format!(
            "expected {} or {}; name another file with --signature",
            jws.display(),
            cose.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn forms_are_told_by_the_ending_and_signatures_found_beside_their_file() {
        assert_eq!(format_of_file(Path::new("a.tar.jws.sig")).unwrap(), Format::Jws);
        assert_eq!(format_of_file(Path::new("a.cose")).unwrap(), Format::Cose);
        assert!(format_of_file(Path::new("a.sig")).is_err());
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.tar");
        assert_eq!(find_signature(&file).unwrap_err().exit_code(), 3);
        std::fs::write(signature_path(&file, Format::Cose), "x").unwrap();
        assert_eq!(find_signature(&file).unwrap(), dir.path().join("a.tar.cose.sig"));
        std::fs::write(signature_path(&file, Format::Jws), "x").unwrap();
        assert_eq!(find_signature(&file).unwrap_err().exit_code(), 1, "one of the two must be chosen");
    }
}
