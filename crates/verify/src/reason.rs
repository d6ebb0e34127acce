//! Why a check failed, as a value with a stable name and an exit code. One list for the whole program: the engine of the
//! Notary Project's signatures says reasons of it too, so that one name means one thing and ends in one exit code.

use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $exit:literal;)*) => {
        /// Why a check failed. The codes are stable: programs may compare them.
        ///
        /// ```
        /// use countersign_verify::Reason;
        /// assert_eq!(Reason::IdentityMismatch.code(), "identity_mismatch");
        /// assert_eq!(Reason::IdentityMismatch.exit_code(), 4);
        /// ```
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

            /// The exit code of a command which ends for this reason: 2 verification failed, 3 no signature
            /// found, 4 another identity or policy than required, 5 the trust root does not serve, 6 could not
            /// reach what holds the evidence, 7 a fault in this program.
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
    /// The evidence could not be fetched, so nothing is known. For callers likewise.
    Unreachable = "unreachable", 6;
    /// The bundle does not parse, or has not the parts which its version demands.
    BundleMalformed = "bundle_malformed", 2;
    /// The signer's certificate does not parse.
    CertificateMalformed = "certificate_malformed", 2;
    /// The bundle brings a certificate authority's root, which only the trust root may bring.
    RootCertificateIncluded = "root_certificate_included", 2;

    /// A certificate with an identity is required, and a bare key signed.
    CertificateExpected = "certificate_expected", 4;
    /// A key is required, and a certificate signed.
    KeyExpected = "key_expected", 4;
    /// Another key than the required ones signed.
    WrongKey = "wrong_key", 4;
    /// No required key verifies the signature, and nothing says by which key it is: another one signed, or what was
    /// signed has been changed.
    NoKeyVerifies = "no_key_verifies", 2;
    /// The required key was not valid at the time of signing.
    KeyNotValid = "key_not_valid_at_time", 2;

    /// The artifact is not the one the bundle says was signed.
    DigestMismatch = "digest_mismatch", 2;
    /// A digest of the artifact by another algorithm, or the artifact itself, is needed.
    DigestUnavailable = "digest_unavailable", 2;

    /// A timestamp does not parse, or the authority refused to give one.
    TimestampMalformed = "timestamp_malformed", 2;
    /// A timestamp is of something else than this signature.
    TimestampMismatch = "timestamp_mismatch", 2;
    /// A timestamp was made by no authority of the trust root.
    TimestampUntrusted = "timestamp_untrusted", 2;
    /// A timestamp is of a known authority, and its signature does not verify.
    TimestampInvalid = "timestamp_invalid", 2;
    /// A timestamp was made outside the time in which its authority is trusted.
    TimestampOutsideValidity = "timestamp_outside_validity", 2;
    /// A time lies in the future.
    TimeInFuture = "time_in_future", 2;
    /// Nobody says when the signature was made.
    NoTime = "no_verified_time", 2;
    /// Fewer timestamp authorities than required.
    TooFewTimestamps = "too_few_timestamps", 2;

    /// The certificate does not lead to an authority of the trust root.
    CertificateUntrusted = "certificate_untrusted", 2;
    /// A certificate of the path was not valid when the signature was made.
    CertificateNotValid = "certificate_not_valid_at_time", 2;
    /// The trust root's window for this authority does not hold the time of signing.
    AuthorityNotValid = "authority_not_valid_at_time", 2;
    /// A certificate of the path is not made for this use.
    CertificateUsage = "certificate_usage", 2;

    /// The certificate has no signed certificate timestamp.
    SctMissing = "sct_missing", 2;
    /// The signed certificate timestamps do not parse.
    SctMalformed = "sct_malformed", 2;
    /// A signed certificate timestamp does not verify.
    SctInvalid = "sct_invalid", 2;
    /// A signed certificate timestamp is of no log of the trust root.
    SctUntrusted = "sct_untrusted", 2;
    /// A signed certificate timestamp was made outside the time in which its log is trusted.
    SctOutsideValidity = "sct_outside_validity", 2;
    /// Fewer CT logs than required.
    TooFewScts = "too_few_scts", 2;

    /// There is no entry of a transparency log.
    NoLogEntry = "no_log_entry", 2;
    /// An entry is of no log of the trust root.
    LogUntrusted = "log_untrusted", 2;
    /// An entry is of a kind that is not supported, or its body does not parse.
    LogEntryMalformed = "log_entry_malformed", 2;
    /// The signature was made outside the time in which the log's key is trusted.
    LogKeyNotValid = "log_key_not_valid_at_time", 2;
    /// The log's promise (signed entry timestamp) does not verify.
    PromiseInvalid = "promise_invalid", 2;
    /// The entry has neither a promise nor a proof that counts.
    InclusionProofMissing = "inclusion_proof_missing", 2;
    /// The inclusion proof does not lead to its root.
    InclusionProofInvalid = "inclusion_proof_invalid", 2;
    /// The checkpoint does not parse.
    CheckpointMalformed = "checkpoint_malformed", 2;
    /// No signature on the checkpoint has the log's name and key hint.
    CheckpointUntrusted = "checkpoint_untrusted", 2;
    /// The log's signature on the checkpoint does not verify.
    CheckpointInvalid = "checkpoint_invalid", 2;
    /// The checkpoint is of another tree than the inclusion proof.
    CheckpointMismatch = "checkpoint_mismatch", 2;
    /// The checkpoint is of another log than the one that signed it.
    CheckpointOrigin = "checkpoint_origin", 2;
    /// Fewer logs than required.
    TooFewLogs = "too_few_logs", 2;
    /// A cosignature of a trusted witness does not verify.
    WitnessInvalid = "witness_invalid", 2;
    /// Fewer witnesses than required.
    TooFewWitnesses = "too_few_witnesses", 2;
    /// The log entry is of another artifact or statement.
    EntryDigestMismatch = "entry_digest_mismatch", 2;
    /// The log entry is of another signature.
    EntrySignatureMismatch = "entry_signature_mismatch", 2;
    /// The log entry is of another key or certificate.
    EntryKeyMismatch = "entry_key_mismatch", 2;

    /// The signature does not verify.
    SignatureInvalid = "signature_invalid", 2;
    /// The signed payload is not an in-toto statement.
    PayloadType = "payload_type", 2;
    /// The statement does not parse.
    StatementMalformed = "statement_malformed", 2;
    /// The statement is not about this artifact.
    SubjectMismatch = "subject_mismatch", 2;

    /// The statement says nothing of the required type.
    PredicateTypeMismatch = "predicate_type_mismatch", 4;
    /// The statement's subject lacks a required annotation.
    AnnotationMismatch = "annotation_mismatch", 4;
    /// Another identity signed.
    IdentityMismatch = "identity_mismatch", 4;
    /// The identity was vouched for by another issuer.
    IssuerMismatch = "issuer_mismatch", 4;
    /// The certificate says something else about the build than required.
    ExtensionMismatch = "extension_mismatch", 4;

    /// What made the signature, or the artifact itself, was revoked by somebody who may.
    Revoked = "revoked", 2;
    /// The revocation list has expired, so nobody knows what is revoked.
    RevocationListExpired = "revocation_list_expired", 5;

    /// The trust root does not parse.
    TrustRootMalformed = "trust_root_malformed", 5;
    /// The trust root has no certificate authority.
    NoTrustedAuthority = "no_trusted_authority", 5;
    /// The trust root has no transparency log.
    NoTrustedLog = "no_trusted_log", 5;
    /// The trust root has no CT log.
    NoTrustedCtLog = "no_trusted_ct_log", 5;
    /// The trust root has no timestamp authority.
    NoTrustedTimestampAuthority = "no_trusted_timestamp_authority", 5;

    /// The envelope does not parse, or has not the parts it must have. This one and those below are said of signatures of
    /// the Notary Project only.
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
    /// The certificates are not one whole chain in order, ending in a root.
    CertificateChain = "certificate_chain", 2;
    /// The payload does not parse.
    PayloadMalformed = "payload_malformed", 2;
    /// The signature is of another artifact.
    ArtifactMismatch = "artifact_mismatch", 2;
    /// The signature lacks metadata that is asked for.
    MetadataMismatch = "metadata_mismatch", 4;
    /// The signature's own "best before" has passed.
    SignatureExpired = "signature_expired", 2;
    /// A timestamp is needed and there is none.
    TimestampMissing = "timestamp_missing", 2;
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

    /// The provenance does not parse. This one and those below are said where levels of SLSA are asked for.
    ProvenanceMalformed = "provenance_malformed", 2;
    /// Two places of the provenance, or of the certificate, or the two of them, say different things.
    Contradiction = "contradiction", 2;
    /// Nobody of the roots of trust signed for this builder.
    BuilderUntrusted = "builder_untrusted", 4;
    /// Another builder than the expected one.
    BuilderMismatch = "builder_mismatch", 4;
    /// A lower level than required.
    LevelTooLow = "level_too_low", 4;
    /// It was built on a machine that the platform does not keep.
    SelfHosted = "self_hosted_runner", 4;
    /// It was built from another source, or nobody says from which.
    SourceMismatch = "source_mismatch", 4;
    /// It was built from another tag or branch, or nobody says from which.
    RefMismatch = "ref_mismatch", 4;
    /// It was built in another way than expected.
    BuildTypeMismatch = "build_type_mismatch", 4;
    /// The build was started with another input than expected.
    InputMismatch = "input_mismatch", 4;
    /// Whoever asked for the build chose a parameter of which nobody here knows what it does.
    ParameterUnknown = "parameter_unknown", 4;
    /// It is about another package or another version of it.
    PackageMismatch = "package_mismatch", 4;
    /// A verification summary does not parse.
    SummaryMalformed = "summary_malformed", 2;
    /// Another verifier made the summary.
    VerifierMismatch = "verifier_mismatch", 4;
    /// The summary is about another resource.
    ResourceMismatch = "resource_mismatch", 4;
    /// The summary says that verification failed.
    SummaryFailed = "summary_failed", 2;

    /// A check that must have run did not.
    Internal = "internal", 7;
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
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
    fn unsigned_untrusted_unreachable_and_wrong_identity_are_told_apart() {
        let exits = [
            Reason::NoSignature,
            Reason::SignatureInvalid,
            Reason::IdentityMismatch,
            Reason::NoTrustedAuthority,
            Reason::Unreachable,
        ]
        .map(Reason::exit_code);
        assert_eq!(exits, [3, 2, 4, 5, 6]);
    }
}
