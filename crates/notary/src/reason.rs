//! Why something is refused: a stable name, an exit code, and what was expected and found.

use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $exit:literal;)*) => {
        /// Why a check failed. The codes are stable: programs may compare them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])* $variant,)*
        }

        impl Reason {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The stable name, in snake case.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// The exit code of a command which ends for this reason, as in the rest of the program: 2 verification
            /// failed, 3 no signature found, 4 another identity or policy, 5 what is trusted does not serve, 7 a fault.
            #[must_use]
            pub const fn exit_code(self) -> u8 {
                match self { $(Self::$variant => $exit,)* }
            }
        }
    };
}

reasons! {
    /// There is no signature at all. Not said by the engine, which always has one: for its callers.
    NoSignature = "no_signature", 3;
    /// The envelope does not parse, or has not the parts it must have.
    EnvelopeMalformed = "envelope_malformed", 2;
    /// The envelope is of a kind that is not known.
    EnvelopeType = "envelope_type", 2;
    /// An attribute must be understood and is not known here.
    UnknownCritical = "unknown_critical_attribute", 2;
    /// The signature asks for a verification plugin, and there are none here.
    PluginRequired = "verification_plugin_required", 2;
    /// Another signing scheme than the two of the specification.
    SigningScheme = "signing_scheme", 2;
    /// An algorithm which the specification does not allow.
    AlgorithmUnsupported = "algorithm_unsupported", 2;
    /// The envelope says another algorithm than the one that goes with the key.
    AlgorithmMismatch = "algorithm_mismatch", 2;
    /// A certificate does not parse.
    CertificateMalformed = "certificate_malformed", 2;
    /// The certificates are not one whole chain in order, ending in a root.
    CertificateChain = "certificate_chain", 2;
    /// A certificate is not made for this use.
    CertificateUsage = "certificate_usage", 2;
    /// The signature does not verify.
    SignatureInvalid = "signature_invalid", 2;
    /// The payload is of another type than the specification's.
    PayloadType = "payload_type", 2;
    /// The payload does not parse.
    PayloadMalformed = "payload_malformed", 2;
    /// The signature is of another artifact.
    ArtifactMismatch = "artifact_mismatch", 2;
    /// A digest of the artifact by another algorithm is needed.
    DigestUnavailable = "digest_unavailable", 2;
    /// The signature lacks metadata that is asked for.
    MetadataMismatch = "metadata_mismatch", 4;
    /// The chain has no certificate of the trust stores which the policy names.
    CertificateUntrusted = "certificate_untrusted", 2;
    /// Another identity signed than those of the policy.
    IdentityMismatch = "identity_mismatch", 4;
    /// The signature's own "best before" has passed.
    SignatureExpired = "signature_expired", 2;
    /// A certificate was not valid at the time that counts.
    CertificateNotValid = "certificate_not_valid_at_time", 2;
    /// A timestamp is needed and there is none.
    TimestampMissing = "timestamp_missing", 2;
    /// The timestamp does not parse.
    TimestampMalformed = "timestamp_malformed", 2;
    /// The timestamp is of something else than this signature.
    TimestampMismatch = "timestamp_mismatch", 2;
    /// The timestamp was made by no trusted authority.
    TimestampUntrusted = "timestamp_untrusted", 2;
    /// The timestamp's signature does not verify.
    TimestampInvalid = "timestamp_invalid", 2;
    /// A time lies in the future.
    TimeInFuture = "time_in_future", 2;
    /// A certificate has been revoked.
    CertificateRevoked = "certificate_revoked", 2;
    /// Whether a certificate has been revoked was not checked: there is no list for it.
    RevocationNotChecked = "revocation_not_checked", 2;
    /// No statement of the trust policy is for this artifact.
    NoApplicablePolicy = "no_applicable_trust_policy", 4;
    /// The trust policy does not parse, or contradicts its own rules.
    TrustPolicyMalformed = "trust_policy_malformed", 5;
    /// A trust store which the policy names is not there.
    TrustStoreMissing = "trust_store_missing", 5;
    /// A trust store holds something that must not be in it.
    TrustStoreMalformed = "trust_store_malformed", 5;
    /// A check that must have run did not.
    Internal = "internal", 7;
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// Something that was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found {found}")]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// What would have been accepted.
    pub expected: String,
    /// What is there.
    pub found: String,
}

impl Refusal {
    pub(crate) fn new(reason: Reason, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { reason, expected: expected.into(), found: found.into() }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_distinct_and_no_reason_exits_with_success() {
        let codes: HashSet<_> = Reason::ALL.iter().map(|r| r.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        assert!(Reason::ALL.iter().all(|r| (2..=7).contains(&r.exit_code())));
    }

    #[test]
    fn unsigned_someone_else_untrusted_and_expired_are_told_apart() {
        let told = [
            Reason::NoSignature,
            Reason::IdentityMismatch,
            Reason::CertificateUntrusted,
            Reason::SignatureExpired,
            Reason::CertificateNotValid,
        ];
        let codes: HashSet<_> = told.iter().map(|r| r.code()).collect();
        assert_eq!(codes.len(), told.len());
        assert_eq!(Reason::NoSignature.exit_code(), 3);
        assert_eq!(Reason::IdentityMismatch.exit_code(), 4);
    }
}
