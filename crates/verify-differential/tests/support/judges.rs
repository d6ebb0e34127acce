//! The two verifiers side by side, each with its trust root made ready once.

use std::fs;

use countersign_bundle::{Bundle, TrustedRoot};
use countersign_crypto::PublicKey;
use countersign_verify::{Identity, Reason, Requirements, Subject, TrustMaterial, verify};
use jiff::Timestamp;

use super::vectors::Case;

/// What this workspace says: nothing, or the reason's code and what was found.
pub(crate) struct Own {
    material: Result<TrustMaterial, String>,
    requirements: Result<Requirements, String>,
    now: Timestamp,
}

impl Own {
    pub(crate) fn of(case: &Case) -> Self {
        let material = TrustedRoot::from_json(&fs::read(&case.trusted_root).unwrap())
            .map_err(|e| e.to_string())
            .and_then(|root| TrustMaterial::from_trusted_root(&root).map_err(|e| e.to_string()));
        let builder = Requirements::builder();
        let requirements = match &case.key {
            Some(key) => {
                let pem = fs::read_to_string(key).unwrap();
                PublicKey::from_pem(&pem).map(|key| builder.key(key).build()).map_err(|e| e.to_string())
            }
            None => Ok(builder.identity(Identity::exact(&case.identity, &case.issuer).unwrap()).build()),
        };
        Self { material, requirements, now: "2026-11-01T00:00:00Z".parse().unwrap() }
    }

    pub(crate) fn verdict(
        &self,
        bundle: &[u8],
        artifact: &[u8],
        by_digest: bool,
    ) -> Result<(), (String, String)> {
        let refused = |reason: Reason, found: String| Err((reason.code().to_owned(), found));
        let material = match &self.material {
            Ok(material) => material,
            Err(error) => return refused(Reason::TrustRootMalformed, error.clone()),
        };
        let requirements = match &self.requirements {
            Ok(requirements) => requirements,
            Err(error) => return Err(("key_malformed".into(), error.clone())),
        };
        let bundle = match Bundle::from_json(bundle) {
            Ok(bundle) => bundle,
            Err(error) => return refused(Reason::BundleMalformed, error.to_string()),
        };
        let subject = if by_digest {
            Subject::from_digest(countersign_crypto::HashAlgorithm::Sha256.digest(artifact))
        } else {
            Subject::from_bytes(artifact)
        };
        let report = verify(&subject, &bundle, material, requirements, self.now);
        match report.verified() {
            Ok(_) => Ok(()),
            Err(rejection) => refused(rejection.reason, rejection.to_string()),
        }
    }
}

/// What the `sigstore-verify` crate says.
pub(crate) struct Other {
    verifier: Result<sigstore_verify::Verifier, String>,
    policy: Result<Box<dyn sigstore_verify::Policy + Send + Sync>, String>,
}

impl Other {
    pub(crate) fn of(case: &Case) -> Self {
        let verifier = fs::read_to_string(&case.trusted_root)
            .map_err(|e| e.to_string())
            .and_then(|json| {
                sigstore_verify::trust_root::TrustedRoot::from_json(&json).map_err(|e| e.to_string())
            })
            .and_then(|root| sigstore_verify::Verifier::new(&root).map_err(|e| e.to_string()));
        let policy = match &case.key {
            Some(key) => {
                let pem = fs::read_to_string(key).unwrap();
                sigstore_verify::types::DerPublicKey::from_pem(&pem).map_err(|e| e.to_string()).map(|key| {
                    Box::new(sigstore_verify::PublicKeyVerificationPolicy::new(key))
                        as Box<dyn sigstore_verify::Policy + Send + Sync>
                })
            }
            None => Ok(Box::new(sigstore_verify::VerificationPolicy::new(
                case.identity.as_str(),
                case.issuer.as_str(),
            )) as Box<dyn sigstore_verify::Policy + Send + Sync>),
        };
        Self { verifier, policy }
    }

    pub(crate) fn verdict(&self, bundle: &[u8], artifact: &[u8], by_digest: bool) -> Result<(), String> {
        let verifier = self.verifier.as_ref().map_err(Clone::clone)?;
        let policy = self.policy.as_ref().map_err(Clone::clone)?;
        let json = std::str::from_utf8(bundle).map_err(|e| e.to_string())?;
        let bundle = sigstore_verify::types::Bundle::from_json(json).map_err(|e| e.to_string())?;
        let result = if by_digest {
            let digest: [u8; 32] = countersign_crypto::sha256(artifact);
            let digest = sigstore_verify::types::Sha256Hash::new(digest);
            verifier.verify(digest, &bundle, policy.as_ref())
        } else {
            verifier.verify(artifact, &bundle, policy.as_ref())
        };
        result.map(drop).map_err(|e| e.to_string())
    }
}
