//! A stand-in for the identity provider of GitHub Actions, because gh verifies signatures by its workflows only: a key
//! made here, whose public half the instance is given in a file.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use countersign_crypto::encoding::base64url_encode;
use countersign_crypto::{KeyPair, KeyType, Signer as _};
use serde_json::{Value, json};

/// The issuer's name.
pub(crate) const ISSUER: &str = "https://token.actions.githubusercontent.com";
/// Who owns the repository.
pub(crate) const OWNER: &str = "acme";
/// The workflow in a certificate.
pub(crate) const IDENTITY: &str = "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main";

/// The issuer with its key.
#[derive(Debug)]
pub(crate) struct Workflows(KeyPair);

impl Workflows {
    /// Makes the key, and writes its public half and the part of the instance's configuration that names it.
    pub(crate) fn configure(instance: &Path) -> Result<Self> {
        let key = KeyPair::generate(KeyType::Ed25519)?;
        let x = base64url_encode(key.public_key().raw());
        let keys = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "1", "x": x}]});
        let file = instance.join("workflow-keys.json");
        std::fs::write(&file, keys.to_string())?;
        let path = instance.join("countersign.toml");
        let mut config = std::fs::read_to_string(&path)?;
        config.push_str(&format!(
            "\n[[ca.issuers]]\nurl = \"{ISSUER}\"\ntype = \"github-workflow\"\njwks_file = \"{}\"\n",
            file.display()
        ));
        std::fs::write(path, config)?;
        Ok(Self(key))
    }

    /// A token with the claims of a release workflow.
    pub(crate) fn token(&self) -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let (workflow, sha) = (
            "acme/app/.github/workflows/release.yml@refs/heads/main",
            "0123456789abcdef0123456789abcdef01234567",
        );
        let claims = json!({
            "iss": ISSUER, "aud": "sigstore", "iat": now, "nbf": now - 5, "exp": now + 3600,
            "sub": "repo:acme/app:ref:refs/heads/main", "actor": "alice", "actor_id": "7", "event_name": "push",
            "sha": sha, "repository": "acme/app", "repository_id": "1", "repository_visibility": "public",
            "repository_owner": OWNER, "repository_owner_id": "2", "ref": "refs/heads/main", "ref_type": "branch",
            "workflow": "release", "workflow_ref": workflow, "workflow_sha": sha, "job_workflow_ref": workflow,
            "job_workflow_sha": sha, "runner_environment": "github-hosted", "run_id": "42", "run_attempt": "1",
            "run_number": "1", "server_url": "https://github.com",
        });
        let part = |value: &Value| base64url_encode(value.to_string().as_bytes());
        let signed =
            format!("{}.{}", part(&json!({"alg": "EdDSA", "kid": "1", "typ": "JWT"})), part(&claims));
        let signature = base64url_encode(&self.0.sign(signed.as_bytes())?);
        Ok(format!("{signed}.{signature}"))
    }
}
