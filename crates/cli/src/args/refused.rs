//! Flags of cosign that are recognised and refused, each with its reason.

use std::ops::RangeInclusive;

use clap::Args;

use crate::failure::Failure;

/// How cosign reads a flag: so is it read here, that the word behind it stays what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// Nothing, or `=true` and `=false`.
    Switch,
    /// The word behind it.
    Value,
}

impl Takes {
    const fn values(self) -> RangeInclusive<usize> {
        match self {
            Self::Switch => 0..=1,
            Self::Value => 1..=1,
        }
    }

    const fn only_joined(self) -> bool {
        matches!(self, Self::Switch)
    }

    /// `--flag=false` asks for what is the case anyhow.
    fn asks(self, value: Option<&str>) -> bool {
        value.is_some_and(|value| self == Self::Value || value != "false")
    }
}

/// Declares flags which are taken and refused; those of one reason together.
macro_rules! refused {
    ($(#[$doc:meta])* $name:ident { $($($field:ident = $flag:literal $takes:ident),+: $why:literal;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Args)]
        pub(crate) struct $name {
            $($(
                #[arg(
                    long = $flag,
                    hide = true,
                    num_args = Takes::$takes.values(),
                    require_equals = Takes::$takes.only_joined(),
                    default_missing_value = "true",
                    value_name = "VALUE"
                )]
                $field: Option<String>,
            )+)*
        }

        impl $name {
            /// Refuses whichever of these flags was given. To be asked before anything else is looked at.
            pub(crate) fn check(&self) -> Result<(), Failure> {
                $($(
                    if Takes::$takes.asks(self.$field.as_deref()) {
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
        sk = "sk" Switch, slot = "slot" Value:
            "a PIV token is reached through its PKCS #11 module: --key 'pkcs11:…'";
        issue_certificate = "issue-certificate" Switch:
            "a certificate is issued for a key made for it and thrown away; a long-lived key signs without one";
        insecure_skip_verify = "insecure-skip-verify" Switch:
            "the certificate is always checked before it is used";
        client_cacert = "timestamp-client-cacert" Value:
            "name the authority in SSL_CERT_FILE, for all services";
        client_cert = "timestamp-client-cert" Value, client_key = "timestamp-client-key" Value:
            "TLS client certificates are not in this build";
        server_name = "timestamp-server-name" Value:
            "the server must present a certificate for the name in its address";
    }
}

refused! {
    /// Refused when verifying.
    VerifyRefused {
        sk = "sk" Switch, slot = "slot" Value:
            "a PIV token is reached through its PKCS #11 module: --key 'pkcs11:…'";
        sct = "sct" Value:
            "the SCT is read from the certificate; detached ones are not in this build";
        rekor_url = "rekor-url" Value:
            "verification asks nobody; the entry and its proof are in the bundle";
        allow_chain = "allow-certificate-chain" Switch:
            "bundles of version 0.3 carry the one certificate; the chain comes from the trust root";
        policy = "policy" Value:
            "policies in CUE or Rego are not in this build";
    }
}

refused! {
    /// Refused where registries are reached.
    RegistryRefused {
        registry_client_cert = "registry-client-cert" Value, registry_client_key = "registry-client-key" Value:
            "TLS client certificates are not in this build";
        registry_server_name = "registry-server-name" Value:
            "the registry must present a certificate for the name in its address";
        k8s_keychain = "k8s-keychain" Switch:
            "the clouds' own credentials come through Docker's credential helpers";
        prefix = "attachment-tag-prefix" Value:
            "verifiers look under one name only";
        docker_media_types = "docker-media-types" Switch:
            "evidence is written as OCI manifests, which every registry takes";
    }
}

refused! {
    /// Refused when verifying images.
    VerifyImageRefused {
        signature = "signature" Value:
            "the signatures of an image are in its registry; for a file: verify sha256:… --bundle FILE";
        payload = "payload" Value:
            "the payload is the one that was signed, and is read with its signature";
        attachment = "attachment" Value:
            "name what is attached by its own digest";
        oci11 = "experimental-oci11" Switch:
            "referrers are looked for anyhow, wherever the registry keeps them; leave it away";
        max_workers = "max-workers" Value:
            "the evidence of an image is judged in a thousandth of a second; there is nothing to share out";
    }
}

refused! {
    /// Refused when signing images.
    SignImageRefused {
        output_signature = "output-signature" Value:
            "write the bundle, which has all of it, with --bundle FILE";
        output_certificate = "output-certificate" Value:
            "write the bundle, which has all of it, with --bundle FILE";
        output_payload = "output-payload" Value:
            "see what is signed with --dry-run, or write the bundle with --bundle FILE";
        payload = "payload" Value:
            "what is signed names the image and is made from it; for a file of your own: sign-blob";
        attachment = "attachment" Value:
            "name what is attached by its own digest";
        creation = "record-creation-timestamp" Switch:
            "a time that the signer writes says nothing; timestamp authorities and logs say when";
    }
}

refused! {
    /// Refused when signing statements about images.
    AttestRefused {
        replace = "replace" Switch:
            "what others have said about the image stays; to take statements away: clean --type attestation";
        rekor_entry_type = "rekor-entry-type" Value:
            "the log says which entries it takes";
        creation = "record-creation-timestamp" Switch:
            "a time that the signer writes says nothing; timestamp authorities and logs say when";
    }
}

refused! {
    /// Refused when copying images.
    CopyRefused {
        only = "only" Value, sig_only = "sig-only" Switch, att_only = "att-only" Switch:
            "a copy has all the evidence, so that it verifies as the image does; --only-image leaves all of it away";
        platform = "platform" Value:
            "the signature is of the whole image, so all its platforms are copied; name one by its digest";
    }
}

refused! {
    /// Refused when showing what is attached.
    TreeRefused {
        mode = "registry-referrers-mode" Value:
            "every place is looked at, and it is shown which";
    }
}

refused! {
    /// Refused when printing public keys.
    PublicKeyRefused {
        sk = "sk" Switch, slot = "slot" Value:
            "a PIV token is reached through its PKCS #11 module: --key 'pkcs11:…'";
    }
}

refused! {
    /// Refused when making documents.
    DefaultsRefused {
        defaults = "with-default-services" Switch, rekor_v2 = "with-default-rekor-v2" Switch:
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
        for arguments in [
            &["--sk"][..],
            &["--sk=true"],
            &["--rekor-url", "http://x"],
            &["--slot=false"],
            &["--slot", "false"],
        ] {
            assert!(check(arguments).unwrap_err().contains("is not taken: "), "{arguments:?}");
        }
    }

    #[test]
    fn a_switch_leaves_the_word_behind_it_alone_and_a_flag_with_a_value_takes_it() {
        #[derive(Parser)]
        struct WithName {
            name: String,
            #[command(flatten)]
            verify: VerifyRefused,
        }
        for arguments in [["x", "--sk", "name", ""], ["x", "--rekor-url", "http://x", "name"]] {
            let words = arguments.iter().filter(|word| !word.is_empty());
            let parsed = WithName::try_parse_from(words).unwrap();
            assert_eq!(parsed.name, "name");
            assert!(parsed.verify.check().is_err());
        }
    }
}
