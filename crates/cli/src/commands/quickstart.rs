//! `countersign quickstart`: everything once, on this machine, with real files.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use countersign_bundle::{ClientTrustConfig, SigningConfig, TrustedRoot};
use countersign_client::ClientError;
use countersign_client::artifact::{bundle_path, read_limited, write_atomically};
use countersign_client::oidc::{Ambient, Flow, Login, LoginOptions, Nobody, TokenFrom};
use countersign_client::services::Services;
use countersign_client::sign::{Identity, Session};
use countersign_client::trust::Trust;
use countersign_client::verify::{Artifact, Expectations, Who, material, read_bundle, verify_artifact};
use countersign_clock::{Clock as _, SystemClock};
use countersign_crypto::KeyType;
use countersign_http::{Http, HttpOptions, Request, parse_url};
use countersign_server::instance::{InitOptions, init};
use countersign_server::serve::{ServeOptions, start};
use countersign_verify::Report;
use serde::Deserialize;
use url::Url;

use crate::commands::init::{free_port, server_failure};
use crate::commands::serve::{run_until_told, server_runtime, told_to_end};
use crate::commands::sign::quoted;
use crate::failure::{Failure, Outcome};
use crate::out::{Terminal, within};
use crate::view::checklist;

/// Who signs: a name of the development identity provider, which believes everyone.
const EMAIL: &str = "you@example.com";

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign quickstart README.md
  countersign quickstart --keep README.md       and leave the instance running, to try other clients",
    after_help = "Everything is made in a temporary directory and listens on loopback only. Your files are read, never \
                  changed."
)]
pub(crate) struct Quickstart {
    /// The files to sign
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Leave the instance running until it is told to end, and print lines to try
    #[arg(long)]
    keep: bool,
}

/// The temporary directory; removed at the end.
struct Workplace(PathBuf);

impl Workplace {
    fn make() -> Result<Self, Failure> {
        let mut name = [0; 8];
        countersign_crypto::random(&mut name)?;
        let name = format!("countersign-quickstart-{}", countersign_crypto::encoding::hex_encode(&name));
        let path = std::env::temp_dir().join(name);
        countersign_keys::file::create_private_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        // A directory of ours with a random name; what cannot be removed lies in the system's place for such things.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Quickstart {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        for file in &self.files {
            std::fs::File::open(file).map_err(ClientError::file("open", file))?;
        }
        // Removed with the runtime gone, so that nothing is written into it any more.
        let place = Workplace::make()?;
        server_runtime()?.block_on(within(terminal, self.everything(terminal, &place.0)))?;
        Ok(0)
    }

    async fn everything(&self, terminal: &Terminal, place: &Path) -> Result<(), Failure> {
        // Before anything is made, so that an order to end at any moment leaves nothing behind.
        let told = told_to_end()?;
        tokio::pin!(told);
        let port = free_port()?;
        let url = parse_url(&format!("http://localhost:{port}"))?;
        terminal.line(&terminal.strong("1. A private instance, for this machine only"))?;
        let options = InitOptions {
            organization: "Countersign quickstart".into(),
            listen: SocketAddr::from(([127, 0, 0, 1], port)),
            url: url.clone(),
            ..InitOptions::default()
        };
        let directory = place.join("instance");
        let report = init(&directory, &options).map_err(|e| server_failure(&e))?;
        terminal.line(&format!("   made in {}", directory.display()))?;
        terminal.line(&format!("   root of trust sha256:{}", report.root_fingerprint))?;
        let serve = ServeOptions { development: true, ..ServeOptions::default() };
        let running = start(&directory, serve).await.map_err(|e| server_failure(&e))?;
        terminal.line(&format!(
            "   serving {url}: certificate authority, CT log, transparency log, timestamps, trust root\n"
        ))?;
        let result = tokio::select! {
            () = &mut told => Err(Failure::usage("told to end before everything was shown")),
            result = self.signed_and_verified(terminal, place, &url) => result,
        };
        if result.is_ok() && self.keep {
            self.say_what_to_try(terminal, place, &url)?;
            return run_until_told(running, told).await;
        }
        running.shutdown();
        let ended = running.wait().await.map_err(|e| server_failure(&e));
        result.and(ended)?;
        next(terminal)
    }

    async fn signed_and_verified(&self, terminal: &Terminal, place: &Path, url: &Url) -> Result<(), Failure> {
        let http = Http::new(HttpOptions::default());
        let trust = fetch_trust(&http, place, url).await?;
        let issuer = format!("{url}development-identity-provider");

        terminal.line(&terminal.strong("2. Sign, with an identity and no long-lived key"))?;
        let token = mint(&http, url).await?;
        let login = LoginOptions {
            token: Some(TokenFrom::parse(&token)),
            flow: Flow::TokenOnly,
            ..LoginOptions::default()
        };
        let identity = Identity::Keyless {
            login: Box::new(Login::new(login, Ambient::of_process(), Arc::new(Nobody))),
            key_type: KeyType::EcdsaP256,
        };
        let config =
            trust.signing.as_ref().ok_or_else(|| Failure::internal("no signing configuration was served"))?;
        let services = Services::choose(config, SystemClock.now())?;
        let session = Session::new(&http, &trust, services, identity, Arc::new(SystemClock))?;
        let mut signed = Vec::new();
        for (number, file) in self.files.iter().enumerate() {
            // In a directory of its own each, so that two files of one name do not meet.
            let folder = place.join("signed").join(number.to_string());
            std::fs::create_dir_all(&folder).map_err(ClientError::file("make", &folder))?;
            let name = file
                .file_name()
                .ok_or_else(|| Failure::usage(format!("{} is not a file", file.display())))?;
            let target = bundle_path(&folder.join(name));
            write_atomically(&target, &session.sign_file(file).await?.json)?;
            terminal.line(&format!("   {} {} signed by {EMAIL}", terminal.yes(), file.display()))?;
            signed.push((file, target));
        }
        terminal.line("")?;

        terminal.line(&terminal.strong("3. Verify, offline: nobody is asked"))?;
        let matcher = countersign_verify::Identity::exact(EMAIL, &issuer)
            .map_err(|e| Failure::internal(e.to_string()))?;
        let requirements = Expectations::of(Who::Identities(vec![matcher])).requirements()?;
        let judge = material(&trust)?;
        let verify = |file: &Path, bundle: &Path| -> Result<Report, Failure> {
            let bundle = read_bundle(bundle)?.map_err(|e| Failure::internal(e.to_string()))?;
            Ok(verify_artifact(
                &Artifact::File(file.to_owned()),
                &bundle,
                &judge,
                &requirements,
                SystemClock.now(),
            )?)
        };
        for (file, bundle) in &signed {
            let report = verify(file, bundle)?;
            terminal.data(&checklist(terminal, &file.display().to_string(), &report, false))?;
            if report.verified().is_err() {
                return Err(Failure::new(report.exit_code(), format!("{} does not verify", file.display())));
            }
        }
        terminal.line("")?;

        terminal.line(&terminal.strong("4. A tampered copy is refused"))?;
        for (file, bundle) in &signed {
            let forged = bundle.with_file_name("tampered");
            std::fs::copy(file, &forged).map_err(ClientError::file("copy", *file))?;
            append(&forged, b"\ntampered\n")?;
            let report = verify(&forged, bundle)?;
            terminal.data(&checklist(
                terminal,
                &format!("{}, with a line added", file.display()),
                &report,
                false,
            ))?;
            if report.verified().is_ok() {
                return Err(Failure::internal("a tampered copy was accepted"));
            }
        }
        terminal.line("")
    }

    fn say_what_to_try(&self, terminal: &Terminal, place: &Path, url: &Url) -> Result<(), Failure> {
        let base = url.as_str().trim_end_matches('/');
        let file = self.files.first().map(|f| quoted(&f.display().to_string())).unwrap_or_default();
        let root = quoted(&place.join("trusted_root.json").display().to_string());
        let signing = quoted(&place.join("signing_config.v0.2.json").display().to_string());
        let config = quoted(&place.join("trust_config.json").display().to_string());
        let issuer = format!("{base}/development-identity-provider");
        terminal
            .line(&terminal.strong("The instance is running. To try other clients, in another terminal:"))?;
        terminal.line(&format!(
            "  TOKEN=$(curl -s {issuer}/mint -H 'Content-Type: application/json' \\\n    \
               -d '{{\"sub\":\"you\",\"email\":\"{EMAIL}\",\"email_verified\":true}}' | sed 's/.*\"id_token\":\"\\([^\"]*\\)\".*/\\1/')\n\n\
             cosign\n  \
               cosign sign-blob -y --identity-token \"$TOKEN\" --trusted-root {root} \\\n    \
                 --signing-config {signing} --bundle out.sigstore.json {file}\n  \
               cosign verify-blob --trusted-root {root} --bundle out.sigstore.json \\\n    \
                 --certificate-identity {EMAIL} --certificate-oidc-issuer {issuer} {file}\n\n\
             sigstore-python\n  \
               sigstore --trust-config {config} sign --identity-token \"$TOKEN\" --bundle out.sigstore.json --overwrite {file}\n  \
               sigstore --trust-config {config} verify identity --bundle out.sigstore.json \\\n    \
                 --cert-identity {EMAIL} --cert-oidc-issuer {issuer} {file}\n\n\
             gh (statements only)\n  \
               echo '{{}}' > predicate.json\n  \
               countersign attest-blob --identity-token \"$TOKEN\" --trusted-root {root} --signing-config {signing} \\\n    \
                 --type https://example.com/predicate --predicate predicate.json --bundle out.att.json {file}\n  \
               gh attestation verify {file} --bundle out.att.json --custom-trusted-root {root} \\\n    \
                 --predicate-type https://example.com/predicate --cert-identity {EMAIL} --cert-oidc-issuer {issuer} --owner you\n"
        ))?;
        terminal.talk("It ends, and is removed, with Ctrl-C.");
        Ok(())
    }
}

fn next(terminal: &Terminal) -> Result<(), Failure> {
    terminal.line(&terminal.strong("What next"))?;
    terminal.line(
        "   countersign quickstart --keep FILE       the same, left running for cosign, gh and sigstore-python\n   \
            countersign init && countersign serve    an instance that stays\n   \
            countersign trust add URL                use one\n   \
            countersign sign FILE                    sign with it",
    )
}

/// The documents of the instance, into the directory and into memory.
async fn fetch_trust(http: &Http, place: &Path, url: &Url) -> Result<Trust, Failure> {
    let mut documents = Vec::new();
    for name in ["trusted_root.json", "signing_config.v0.2.json"] {
        let address = parse_url(&format!("{url}{name}"))?;
        let bytes = http.send(Request::get("the instance", &address)).await?.expect(&[200])?.body;
        write_atomically(&place.join(name), &bytes)?;
        documents.push(bytes);
    }
    let bad = |e: countersign_bundle::BundleError| Failure::internal(e.to_string());
    let empty = Vec::new();
    let root = TrustedRoot::from_json(documents.first().unwrap_or(&empty)).map_err(bad)?;
    let signing = SigningConfig::from_json(documents.get(1).unwrap_or(&empty)).map_err(bad)?;
    let both = ClientTrustConfig { trusted_root: root.clone(), signing_config: signing.clone() };
    write_atomically(&place.join("trust_config.json"), &both.to_json().map_err(bad)?)?;
    Ok(Trust {
        root,
        signing: Some(signing),
        revocations: Vec::new(),
        from: url.to_string(),
        arguments: String::new(),
    })
}

/// A token of the development identity provider.
async fn mint(http: &Http, url: &Url) -> Result<String, Failure> {
    #[derive(Deserialize)]
    struct Minted {
        id_token: String,
    }
    let address = parse_url(&format!("{url}development-identity-provider/mint"))?;
    let claims = serde_json::json!({ "sub": EMAIL, "email": EMAIL, "email_verified": true });
    let request =
        Request::post("the identity provider", &address, "application/json", claims.to_string().into_bytes())
            .timeout(Duration::from_secs(10));
    let minted: Minted = http.send(request).await?.expect(&[200, 201])?.json()?;
    Ok(minted.id_token)
}

fn append(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    use std::io::Write as _;
    // The copy has the permissions of the original, which may be read-only; it is written anew.
    let mut content = read_limited(path, 1 << 30)?;
    content.extend_from_slice(bytes);
    std::fs::remove_file(path).map_err(ClientError::file("replace", path))?;
    let mut file = std::fs::File::create(path).map_err(ClientError::file("write", path))?;
    Ok(file.write_all(&content).map_err(ClientError::file("write", path))?)
}
