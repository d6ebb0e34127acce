//! `sign-bundle`: a file, or a whole statement, signed with the identity of a token.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use countersign_attestation::Statement;
use countersign_attestation::dsse::IN_TOTO_PAYLOAD_TYPE;
use countersign_client::ClientError;
use countersign_client::artifact::{read_limited, write_atomically};
use countersign_client::oidc::{Ambient, Flow, IdToken, Login, LoginOptions, Nobody, TokenFrom};
use countersign_client::services::Services;
use countersign_client::sign::{Identity, Session};
use countersign_clock::{Clock as _, SystemClock};
use countersign_crypto::KeyType;
use countersign_http::{Http, HttpOptions};

use crate::trust::TrustArgs;

/// The largest statement, in bytes.
const MAX_STATEMENT: usize = 16 << 20;

/// Sign a file, or with --in-toto a statement, and write the bundle
#[derive(Debug, Args)]
pub(crate) struct SignBundle {
    /// The file is a whole in-toto statement, which is signed byte for byte
    #[arg(long)]
    in_toto: bool,
    /// The identity token itself
    #[arg(long, value_name = "JWT")]
    identity_token: String,
    /// Where to write the bundle
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,
    #[command(flatten)]
    trust: TrustArgs,
    /// A file with the signing configuration
    #[arg(long, value_name = "FILE")]
    signing_config: Option<PathBuf>,
    /// What to sign
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl SignBundle {
    pub(crate) fn run(&self) -> Result<(), ClientError> {
        // A token that is none is not taken for the name of a file.
        IdToken::parse(&self.identity_token)?;
        let trust = self.trust.load(self.signing_config.clone())?;
        let config = trust.signing.as_ref().ok_or_else(|| {
            ClientError::Trust(format!(
                "no signing configuration: {} has only what verification needs; give --signing-config",
                trust.from
            ))
        })?;
        let services = Services::choose(config, SystemClock.now())?;
        let login = LoginOptions {
            token: Some(TokenFrom::parse(&self.identity_token)),
            flow: Flow::TokenOnly,
            ..LoginOptions::default()
        };
        let identity = Identity::Keyless {
            login: Box::new(Login::new(login, Ambient::of_process(), Arc::new(Nobody))),
            key_type: KeyType::EcdsaP256,
        };
        let statement = self.in_toto.then(|| self.statement()).transpose()?;
        let http = Http::new(HttpOptions::default());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| ClientError::Usage(format!("cannot start: {e}")))?;
        let signed = runtime.block_on(async {
            let session = Session::new(&http, &trust, services, identity, Arc::new(SystemClock))?;
            match statement {
                Some(statement) => session.sign_payload(IN_TOTO_PAYLOAD_TYPE, statement).await,
                None => session.sign_file(&self.file).await,
            }
        })?;
        write_atomically(&self.bundle, &signed.json)
    }

    /// The bytes of the statement, known to be one before anything is logged.
    fn statement(&self) -> Result<Vec<u8>, ClientError> {
        let bytes = read_limited(&self.file, MAX_STATEMENT)?;
        Statement::from_json(&bytes)
            .map_err(|e| ClientError::Usage(format!("{}: {e}", self.file.display())))?;
        Ok(bytes)
    }
}
