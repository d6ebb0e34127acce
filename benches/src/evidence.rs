//! The bundles that are verified: two signed by the instance of this run, one of the public services.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use countersign_crypto::HashAlgorithm;
use serde_json::json;

use crate::instance::Instance;
use crate::load::{Connection, Request};
use crate::process::{at_home, run};
use crate::workflow;

/// The type of the predicate that is attested.
pub(crate) const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";

/// A bundle with all that verifying it needs.
#[derive(Debug)]
pub(crate) struct Evidence {
    pub(crate) name: &'static str,
    /// Whether it is a statement about the artifact.
    pub(crate) statement: bool,
    pub(crate) artifact: PathBuf,
    pub(crate) bundle: PathBuf,
    pub(crate) root: PathBuf,
    pub(crate) identity: String,
    pub(crate) issuer: String,
}

/// Writes the instance's trust documents into a folder.
pub(crate) async fn documents(instance: &Instance, folder: &Path) -> Result<()> {
    for name in ["trusted_root.json", "signing_config.v0.2.json"] {
        let mut connection = Connection::open(instance.address).await?;
        let (status, body) = connection.send(&Request::get(instance.address, &format!("/{name}"))).await?;
        ensure!(status == 200, "{name}: status {status}");
        std::fs::write(folder.join(name), body)?;
    }
    Ok(())
}

/// Signs an artifact and a statement about it with the program that is measured.
pub(crate) async fn signed(instance: &Instance, binary: &Path, folder: &Path) -> Result<[Evidence; 2]> {
    let artifact = folder.join("artifact");
    std::fs::write(&artifact, b"benchmark artifact")?;
    let digest = HashAlgorithm::Sha256.digest(b"benchmark artifact").to_hex();
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "artifact", "digest": {"sha256": digest}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {"buildType": "https://example.com/build/v1", "externalParameters": {}},
            "runDetails": {"builder": {"id": workflow::IDENTITY}},
        },
    });
    std::fs::write(folder.join("statement.json"), statement.to_string())?;
    let email = "bench@example.com";
    std::fs::write(folder.join("email.token"), instance.token(email).await?)?;
    std::fs::write(folder.join("workflow.token"), instance.workflows.token()?)?;
    let root = folder.join("trusted_root.json");
    let sign = |verb: &str, what: &[&str], token: &str, bundle: &Path| {
        let mut command = at_home(binary, folder);
        command.arg(verb).args(what).arg("--yes").arg("--identity-token").arg(folder.join(token));
        command.arg("--trusted-root").arg(&root);
        command.arg("--signing-config").arg(folder.join("signing_config.v0.2.json"));
        command.arg("--bundle").arg(bundle).current_dir(folder);
        run(&mut command)
    };
    let (blob, attestation) = (folder.join("blob.sigstore.json"), folder.join("attestation.sigstore.json"));
    sign("sign-blob", &["artifact"], "email.token", &blob)?;
    sign("attest-blob", &["--statement", "statement.json"], "workflow.token", &attestation)?;
    let of = |name, statement, bundle, identity: &str, issuer: &str| Evidence {
        name,
        statement,
        artifact: artifact.clone(),
        bundle,
        root: root.clone(),
        identity: identity.to_owned(),
        issuer: issuer.to_owned(),
    };
    Ok([
        of("blob, Rekor v2", false, blob, email, &instance.development_issuer()),
        of("attestation, Rekor v2", true, attestation, workflow::IDENTITY, workflow::ISSUER),
    ])
}

/// A bundle of the public services from the conformance suite's data, when that lies beside the clone.
pub(crate) fn public_good() -> Option<Evidence> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/testdata/sigstore-conformance");
    let bundle = data.join("bundle-verify/happy-path-v0.3/bundle.sigstore.json");
    bundle.is_file().then(|| Evidence {
        name: "blob, public good, Rekor v1",
        statement: false,
        artifact: data.join("bundle-verify/a.txt"),
        bundle,
        root: data.join("production_trusted_root.json"),
        identity: "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/\
                   workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main"
            .into(),
        issuer: workflow::ISSUER.into(),
    })
}
