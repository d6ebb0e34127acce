//! `trusted-root create` and `signing-config create`: the two documents, put together under cosign's names.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use countersign_bundle::{
    CertificateAuthority, LogKey, Selector, Service, ServiceConfiguration, SigningConfig, TransparencyLog,
    TrustedRoot, ValidFor,
};
use countersign_client::artifact::{read_limited, write_atomically};
use countersign_crypto::{HashAlgorithm, PublicKey};
use countersign_http::parse_url;
use countersign_tlog::NoteVerifier;
use countersign_x509::Certificate;
use jiff::Timestamp;

use crate::args::refused::DefaultsRefused;
use crate::failure::{Failure, Outcome};
use crate::out::Terminal;

const MAX_FILE: usize = 1 << 20;

#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  countersign trusted-root create --help")]
pub(crate) struct TrustedRootCommand {
    #[command(subcommand)]
    action: RootAction,
}

#[derive(Debug, Subcommand)]
enum RootAction {
    Create(CreateRoot),
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  countersign signing-config create --help")]
pub(crate) struct SigningConfigCommand {
    #[command(subcommand)]
    action: ConfigAction,
}

#[derive(Debug, Subcommand)]
enum ConfigAction {
    Create(CreateConfig),
}

impl TrustedRootCommand {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let RootAction::Create(command) = &self.action;
        command.run(terminal)
    }
}

impl SigningConfigCommand {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let ConfigAction::Create(command) = &self.action;
        command.run(terminal)
    }
}

/// Put a trusted root together from certificates and keys
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign trusted-root create --out trusted_root.json \\
  --fulcio url=https://s.example,certificate-chain=ca.pem \\
  --ctfe url=https://s.example,public-key=ct.pub,start-time=2026-01-01T00:00:00Z \\
  --rekor url=https://s.example,origin=s.example,public-key=l.pub,start-time=2026-01-01T00:00:00Z \\
  --tsa url=https://s.example/api/v1/timestamp,certificate-chain=tsa.pem")]
struct CreateRoot {
    /// A certificate authority: url=,certificate-chain=[,start-time=][,end-time=]
    #[arg(long, value_name = "KEY=VALUE,…")]
    fulcio: Vec<String>,
    /// A transparency log: url=,public-key=,start-time=[,end-time=][,origin=]; origin is for Rekor v2
    #[arg(long, value_name = "KEY=VALUE,…")]
    rekor: Vec<String>,
    /// A CT log: url=,public-key=,start-time=[,end-time=]
    #[arg(long, value_name = "KEY=VALUE,…")]
    ctfe: Vec<String>,
    /// A timestamp authority: url=,certificate-chain=[,start-time=][,end-time=]
    #[arg(long, value_name = "KEY=VALUE,…")]
    tsa: Vec<String>,
    /// Write to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    refused: DefaultsRefused,
}

/// Put a signing configuration together from addresses
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign signing-config create --out signing_config.json \\
  --fulcio url=https://s.example,api-version=1,operator=me,start-time=2026-01-01T00:00:00Z \\
  --rekor url=https://s.example,api-version=2,operator=me,start-time=2026-01-01T00:00:00Z \\
  --tsa url=https://t.example/timestamp,api-version=1,operator=me,start-time=2026-01-01T00:00:00Z \\
  --rekor-config ANY --tsa-config ANY")]
struct CreateConfig {
    /// A certificate authority: url=,api-version=,start-time=[,end-time=],operator=
    #[arg(long, value_name = "KEY=VALUE,…")]
    fulcio: Vec<String>,
    /// A transparency log: url=,api-version=,start-time=[,end-time=],operator=
    #[arg(long, value_name = "KEY=VALUE,…")]
    rekor: Vec<String>,
    /// An identity provider: url=,api-version=,start-time=[,end-time=],operator=
    #[arg(long, value_name = "KEY=VALUE,…")]
    oidc_provider: Vec<String>,
    /// A timestamp authority: url= (the whole address),api-version=,start-time=[,end-time=],operator=
    #[arg(long, value_name = "KEY=VALUE,…")]
    tsa: Vec<String>,
    /// How many logs: ANY, ALL or EXACT:<count>; else what --base-config says, else ANY
    #[arg(long, value_name = "SELECTOR")]
    rekor_config: Option<String>,
    /// How many timestamp authorities: the same
    #[arg(long, value_name = "SELECTOR")]
    tsa_config: Option<String>,
    /// A signing configuration to add to
    #[arg(long, value_name = "FILE")]
    base_config: Option<PathBuf>,
    /// Write to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    refused: DefaultsRefused,
}

/// A list `key=value,key=value`, each key known and given once.
struct Fields<'a> {
    flag: &'static str,
    pairs: Vec<(&'a str, &'a str)>,
}

impl<'a> Fields<'a> {
    fn parse(flag: &'static str, text: &'a str, known: &[&str]) -> Result<Self, Failure> {
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        for part in text.split(',') {
            let (key, value) = part
                .split_once('=')
                .ok_or_else(|| Failure::usage(format!("{flag}: expected key=value, found \"{part}\"")))?;
            if !known.contains(&key) {
                return Err(Failure::usage(format!(
                    "{flag}: expected one of {}, found \"{key}\"",
                    known.join(", ")
                )));
            }
            if pairs.iter().any(|(k, _)| *k == key) {
                return Err(Failure::usage(format!("{flag}: \"{key}\" is given twice")));
            }
            pairs.push((key, value));
        }
        Ok(Self { flag, pairs })
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        self.pairs.iter().find(|(k, _)| *k == key).map(|(_, v)| *v)
    }

    fn need(&self, key: &str) -> Result<&'a str, Failure> {
        self.get(key).ok_or_else(|| Failure::usage(format!("{}: \"{key}=\" is missing", self.flag)))
    }

    fn time(&self, key: &str) -> Result<Option<Timestamp>, Failure> {
        self.get(key)
            .map(|text| {
                text.parse().map_err(|_| {
                    Failure::usage(format!(
                        "{}: {key}: expected a time such as 2026-01-01T00:00:00Z",
                        self.flag
                    ))
                })
            })
            .transpose()
    }

    /// The window; `start` is what counts when none is given.
    fn window(&self, start: Option<Timestamp>) -> Result<ValidFor, Failure> {
        let start = self.time("start-time")?.or(start);
        let start =
            start.ok_or_else(|| Failure::usage(format!("{}: \"start-time=\" is missing", self.flag)))?;
        Ok(ValidFor { start, end: self.time("end-time")? })
    }

    fn url(&self) -> Result<String, Failure> {
        let text = self.need("url")?;
        parse_url(text)?;
        Ok(text.to_owned())
    }

    fn authority(&self) -> Result<CertificateAuthority, Failure> {
        let path = self.need("certificate-chain")?;
        let pem = read_limited(Path::new(path), MAX_FILE)?;
        let chain = Certificate::chain_from_pem(&String::from_utf8_lossy(&pem))
            .map_err(|e| Failure::usage(format!("{path}: {e}")))?;
        let anchor = chain.last().ok_or_else(|| Failure::usage(format!("{path}: expected certificates")))?;
        let first = chain.first().map(Certificate::not_before);
        Ok(CertificateAuthority {
            organization: anchor.subject().organization.clone().unwrap_or_default(),
            common_name: anchor.subject().common_name.clone().unwrap_or_default(),
            uri: self.url()?,
            certificates: chain.iter().map(|c| c.der().to_vec()).collect(),
            valid_for: self.window(first)?,
            operator: None,
        })
    }

    fn log(&self) -> Result<TransparencyLog, Failure> {
        let path = self.need("public-key")?;
        let pem = read_limited(Path::new(path), MAX_FILE)?;
        let key = PublicKey::from_pem(&String::from_utf8_lossy(&pem))?;
        let details = key
            .key_details()
            .name()
            .ok_or_else(|| Failure::usage(format!("{path}: no log has such a key")))?;
        let log_id = match self.get("origin") {
            None => key.fingerprint().to_vec(),
            Some(origin) => {
                let verifier = NoteVerifier::rekor_v2(origin, key.clone())
                    .map_err(|e| Failure::usage(format!("{}: origin: {e}", self.flag)))?;
                verifier.key_id.to_vec()
            }
        };
        Ok(TransparencyLog {
            base_url: self.url()?,
            hash_algorithm: HashAlgorithm::Sha256,
            public_key: LogKey {
                raw_bytes: key.spki_der().to_vec(),
                key_details: details.to_owned(),
                valid_for: self.window(None)?,
            },
            log_id,
            checkpoint_key_id: None,
            operator: None,
        })
    }

    fn service(&self) -> Result<Service, Failure> {
        let version = self.need("api-version")?;
        Ok(Service {
            url: self.url()?,
            major_api_version: version.parse().map_err(|_| {
                Failure::usage(format!("{}: api-version: expected a number, found \"{version}\"", self.flag))
            })?,
            valid_for: self.window(None)?,
            operator: self.need("operator")?.to_owned(),
        })
    }
}

fn each<T>(
    flag: &'static str,
    texts: &[String],
    known: &[&str],
    make: impl Fn(&Fields<'_>) -> Result<T, Failure>,
) -> Result<Vec<T>, Failure> {
    texts.iter().map(|text| make(&Fields::parse(flag, text, known)?)).collect()
}

fn put(terminal: &Terminal, out: Option<&PathBuf>, bytes: &[u8]) -> Outcome {
    match out {
        Some(path) => write_atomically(path, bytes)?,
        None => terminal.line(&String::from_utf8_lossy(bytes))?,
    }
    Ok(0)
}

impl CreateRoot {
    fn run(&self, terminal: &Terminal) -> Outcome {
        self.refused.check()?;
        const CHAIN: &[&str] = &["url", "certificate-chain", "start-time", "end-time"];
        const KEY: &[&str] = &["url", "public-key", "start-time", "end-time", "origin"];
        let root = TrustedRoot {
            certificate_authorities: each("--fulcio", &self.fulcio, CHAIN, |f| f.authority())?,
            tlogs: each("--rekor", &self.rekor, KEY, |f| f.log())?,
            ctlogs: each("--ctfe", &self.ctfe, &["url", "public-key", "start-time", "end-time"], |f| {
                f.log()
            })?,
            timestamp_authorities: each("--tsa", &self.tsa, CHAIN, |f| f.authority())?,
        };
        if root == TrustedRoot::default() {
            return Err(Failure::usage(
                "nothing to trust was given: expected --fulcio, --rekor, --ctfe or --tsa",
            ));
        }
        let bytes = root.to_json().map_err(|e| Failure::usage(e.to_string()))?;
        put(terminal, self.out.as_ref(), &bytes)
    }
}

fn selector(flag: &str, text: &str) -> Result<ServiceConfiguration, Failure> {
    let selector = match text.split_once(':') {
        None if text == "ANY" => Some(Selector::Any),
        None if text == "ALL" => Some(Selector::All),
        Some(("EXACT", count)) => count.parse().ok().filter(|c| *c > 0).map(Selector::Exact),
        _ => None,
    };
    selector.map(|selector| ServiceConfiguration { selector }).ok_or_else(|| {
        Failure::usage(format!("{flag}: expected ANY, ALL or EXACT:<count>, found \"{text}\""))
    })
}

impl CreateConfig {
    fn run(&self, terminal: &Terminal) -> Outcome {
        self.refused.check()?;
        const SERVICE: &[&str] = &["url", "api-version", "start-time", "end-time", "operator"];
        let base = match &self.base_config {
            None => None,
            Some(path) => Some(
                SigningConfig::from_json(&read_limited(path, MAX_FILE)?)
                    .map_err(|e| Failure::usage(format!("{}: {e}", path.display())))?,
            ),
        };
        let any = ServiceConfiguration { selector: Selector::Any };
        let chosen = |flag: &str, given: &Option<String>, base: Option<ServiceConfiguration>| match given {
            Some(text) => selector(flag, text),
            None => Ok(base.unwrap_or(any)),
        };
        let mut config = SigningConfig {
            ca_urls: each("--fulcio", &self.fulcio, SERVICE, |f| f.service())?,
            oidc_urls: each("--oidc-provider", &self.oidc_provider, SERVICE, |f| f.service())?,
            rekor_tlog_urls: each("--rekor", &self.rekor, SERVICE, |f| f.service())?,
            rekor_tlog_config: chosen(
                "--rekor-config",
                &self.rekor_config,
                base.as_ref().map(|b| b.rekor_tlog_config),
            )?,
            tsa_urls: each("--tsa", &self.tsa, SERVICE, |f| f.service())?,
            tsa_config: chosen("--tsa-config", &self.tsa_config, base.as_ref().map(|b| b.tsa_config))?,
        };
        if let Some(base) = base {
            config.ca_urls.extend(base.ca_urls);
            config.oidc_urls.extend(base.oidc_urls);
            config.rekor_tlog_urls.extend(base.rekor_tlog_urls);
            config.tsa_urls.extend(base.tsa_urls);
        }
        let bytes = config.to_json().map_err(|e| Failure::usage(e.to_string()))?;
        put(terminal, self.out.as_ref(), &bytes)
    }
}
