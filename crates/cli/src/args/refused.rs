//! Flags of cosign that are recognised and refused, each with its reason.

use clap::Args;

use crate::failure::Failure;

/// Declares flags which are taken with or without a value, and refused; those of one reason together.
macro_rules! refused {
    ($(#[$doc:meta])* $name:ident { $($($field:ident = $flag:literal),+: $why:literal;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Args)]
        pub(crate) struct $name {
            $($(
                #[arg(long = $flag, hide = true, num_args = 0..=1, default_missing_value = "", value_name = "VALUE")]
                $field: Option<String>,
            )+)*
        }

        impl $name {
            /// Refuses whichever of these flags was given.
            pub(crate) fn check(&self) -> Result<(), Failure> {
                $($(
                    // `--flag=false` asks for what is the case anyhow.
                    if self.$field.as_deref().is_some_and(|value| value != "false") {
                        return Err(Failure::usage(concat!("--", $flag, " is not taken: ", $why)));
                    }
                )+)*
                Ok(())
            }
        }
    };
}

refused! {
    /// Refused when signing.
    SignRefused {
        sk = "sk", slot = "slot":
            "keys on security tokens are not in this build; use a key file or sign with an identity";
        issue_certificate = "issue-certificate":
            "a certificate is issued for a key made for it and thrown away; a long-lived key signs without one";
        insecure_skip_verify = "insecure-skip-verify":
            "the certificate is always checked before it is used";
        client_cacert = "timestamp-client-cacert":
            "name the authority in SSL_CERT_FILE, for all services";
        client_cert = "timestamp-client-cert", client_key = "timestamp-client-key":
            "TLS client certificates are not in this build";
        server_name = "timestamp-server-name":
            "the server must present a certificate for the name in its address";
    }
}

refused! {
    /// Refused when verifying.
    VerifyRefused {
        sk = "sk", slot = "slot":
            "keys on security tokens are not in this build; give the public key with --key";
        sct = "sct":
            "the SCT is read from the certificate; detached ones are not in this build";
        rekor_url = "rekor-url":
            "verification asks nobody; the entry and its proof are in the bundle";
        allow_chain = "allow-certificate-chain":
            "bundles of version 0.3 carry the one certificate; the chain comes from the trust root";
        policy = "policy":
            "policies in CUE or Rego are not in this build";
    }
}

refused! {
    /// Refused where registries are reached.
    RegistryRefused {
        registry_client_cert = "registry-client-cert", registry_client_key = "registry-client-key":
            "TLS client certificates are not in this build";
        registry_server_name = "registry-server-name":
            "the registry must present a certificate for the name in its address";
        k8s_keychain = "k8s-keychain":
            "the clouds' own credentials come through Docker's credential helpers";
        prefix = "attachment-tag-prefix":
            "verifiers look under one name only";
        docker_media_types = "docker-media-types":
            "evidence is written as OCI manifests, which every registry takes";
    }
}

refused! {
    /// Refused when verifying images.
    VerifyImageRefused {
        signature = "signature":
            "the signatures of an image are in its registry; for a file: verify sha256:… --bundle FILE";
        payload = "payload":
            "the payload is the one that was signed, and is read with its signature";
        attachment = "attachment":
            "name what is attached by its own digest";
        max_workers = "max-workers":
            "the evidence of an image is judged in a thousandth of a second; there is nothing to share out";
    }
}

refused! {
    /// Refused when signing images.
    SignImageRefused {
        output_signature = "output-signature":
            "write the bundle, which has all of it, with --bundle FILE";
        output_certificate = "output-certificate":
            "write the bundle, which has all of it, with --bundle FILE";
        output_payload = "output-payload":
            "see what is signed with --dry-run, or write the bundle with --bundle FILE";
        payload = "payload":
            "what is signed names the image and is made from it; for a file of your own: sign-blob";
        attachment = "attachment":
            "name what is attached by its own digest";
        creation = "record-creation-timestamp":
            "a time that the signer writes says nothing; timestamp authorities and logs say when";
    }
}

refused! {
    /// Refused when making documents.
    DefaultsRefused {
        defaults = "with-default-services", rekor_v2 = "with-default-rekor-v2":
            "no public instance is built in; start from its own document with --base-config, or trust it by name";
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Both {
        #[command(flatten)]
        verify: VerifyRefused,
    }

    fn check(arguments: &[&str]) -> Result<(), String> {
        let parsed = Both::try_parse_from(std::iter::once(&"x").chain(arguments)).unwrap();
        parsed.verify.check().map_err(|f| f.message)
    }

    #[test]
    fn a_refused_flag_says_why_and_its_absence_is_free() {
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&["--sk=false"]), Ok(()));
        for arguments in [&["--sk"][..], &["--sk=true"], &["--rekor-url", "http://x"]] {
            assert!(check(arguments).unwrap_err().contains("is not taken: "), "{arguments:?}");
        }
    }
}
