//! `countersign inspect` and `bundle inspect`: a bundle, a certificate or a trusted root in plain words. Verifies
//! nothing, and says so.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use countersign_attestation::Statement;
use countersign_bundle::{
    Bundle, CertificateAuthority, Content, KeyMaterial, TransparencyLog, TrustedRoot, ValidFor,
};
use countersign_client::artifact::read_limited;
use countersign_crypto::encoding;
use countersign_http::text::printable;
use countersign_x509::Certificate;
use countersign_x509::timestamp::TimestampToken;

use crate::failure::{Failure, Outcome};
use crate::out::Terminal;

const MAX_FILE: usize = 32 << 20;

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign inspect app.tar.sigstore.json
  countersign inspect certificate.pem
  countersign inspect trusted_root.json")]
pub(crate) struct Inspect {
    /// The file; - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  countersign bundle inspect app.tar.sigstore.json")]
pub(crate) struct BundleCommand {
    #[command(subcommand)]
    action: BundleAction,
}

#[derive(Debug, Subcommand)]
enum BundleAction {
    /// Show a bundle, a certificate or a trusted root in plain words
    Inspect(Inspect),
}

impl BundleCommand {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let BundleAction::Inspect(inspect) = &self.action;
        inspect.run(terminal)
    }
}

impl Inspect {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let bytes = read_limited(&self.file, MAX_FILE)?;
        let text = String::from_utf8_lossy(&bytes);
        let shown = if text.contains("-----BEGIN CERTIFICATE-----") {
            let chain = Certificate::chain_from_pem(&text).map_err(|e| unreadable(&e))?;
            chain.iter().map(certificate).collect::<Vec<_>>().join("\n")
        } else if let Ok(found) = Certificate::from_der(&bytes) {
            certificate(&found)
        } else {
            match (Bundle::from_json(&bytes), TrustedRoot::from_json(&bytes)) {
                (Ok(found), _) => bundle(&found)?,
                (_, Ok(found)) => trusted_root(&found),
                (Err(e), Err(_)) if text.contains("bundle") => return Err(unreadable(&e)),
                (_, Err(e)) => return Err(unreadable(&e)),
            }
        };
        terminal.data(&shown)?;
        terminal
            .talk("Nothing was verified. To verify: countersign verify FILE --identity NAME --issuer URL");
        Ok(0)
    }
}

fn unreadable(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        crate::failure::REJECTED,
        format!("expected a bundle, a certificate or a trusted root: {}", printable(&error.to_string())),
    )
}

fn field(out: &mut String, name: &str, value: &str) {
    // Writing to a String does not fail.
    let _ = writeln!(out, "  {name:<26} {}", printable(value));
}

fn certificate(certificate: &Certificate) -> String {
    let mut out = String::from("certificate\n");
    for san in certificate.sans() {
        field(&mut out, "name", san.as_text().unwrap_or("(of a form that has no text)"));
    }
    if let Some(name) = &certificate.subject().common_name {
        field(&mut out, "subject", name);
    }
    field(&mut out, "issued by", &certificate.issuer().common_name.clone().unwrap_or_default());
    field(&mut out, "valid from", &certificate.not_before().to_string());
    field(&mut out, "valid until", &certificate.not_after().to_string());
    field(&mut out, "key", &certificate.public_key().key_type().to_string());
    for extension in certificate.fulcio().iter() {
        field(&mut out, extension.name, extension.value);
    }
    match certificate.scts() {
        Ok(scts) => field(&mut out, "SCTs", &scts.len().to_string()),
        Err(e) => field(&mut out, "SCTs", &format!("unreadable: {e}")),
    }
    field(&mut out, "SHA-256", &encoding::hex_encode(&countersign_crypto::sha256(certificate.der())));
    out
}

fn bundle(bundle: &Bundle) -> Result<String, Failure> {
    let mut out = String::from("bundle\n");
    field(&mut out, "format", bundle.version.media_type());
    match &bundle.content {
        Content::MessageSignature { digest, .. } => {
            field(&mut out, "signs", "an artifact");
            if let Some(digest) = digest {
                field(&mut out, "digest", &digest.to_string());
            }
        }
        Content::SimpleSigning { .. } => field(&mut out, "signs", "an image, in cosign's older form"),
        Content::Dsse(envelope) | Content::StoredDsse { envelope, .. } => {
            field(&mut out, "signs", &format!("a statement ({})", envelope.payload_type));
            match Statement::from_json(&envelope.payload) {
                Err(e) => field(&mut out, "statement", &format!("unreadable: {e}")),
                Ok(statement) => {
                    field(&mut out, "says", &statement.predicate_type);
                    for subject in &statement.subjects {
                        field(&mut out, "about", &subject.name);
                        for (algorithm, value) in &subject.digest {
                            field(&mut out, "", &format!("{algorithm}:{value}"));
                        }
                    }
                }
            }
        }
    }
    let evidence = &bundle.verification_material;
    for (number, entry) in evidence.tlog_entries.iter().enumerate() {
        field(&mut out, &format!("log entry {}", number + 1), &format!("{} {}", entry.kind, entry.version));
        field(&mut out, "  index", &entry.log_index.to_string());
        if let Some(line) = entry.inclusion_proof.as_ref().and_then(|p| p.checkpoint.lines().next()) {
            field(&mut out, "  log", line);
        }
        if let Some(time) = entry.integrated_time.and_then(|t| jiff::Timestamp::from_second(t).ok()) {
            field(&mut out, "  time", &time.to_string());
        }
    }
    for token in &evidence.rfc3161_timestamps {
        match TimestampToken::parse(token) {
            Ok(token) => field(&mut out, "timestamp", &token.unverified_info().gen_time.to_string()),
            Err(e) => field(&mut out, "timestamp", &format!("unreadable: {e}")),
        }
    }
    match &evidence.content {
        KeyMaterial::PublicKeyHint(hint) => field(&mut out, "key hint", hint),
        other => {
            let leaf = Certificate::from_der(other.leaf().unwrap_or_default()).map_err(|e| unreadable(&e))?;
            out.push_str(&certificate(&leaf));
        }
    }
    Ok(out)
}

fn window(valid: &ValidFor) -> String {
    valid.end.map_or_else(|| format!("since {}", valid.start), |end| format!("{} to {end}", valid.start))
}

fn trusted_root(root: &TrustedRoot) -> String {
    let mut out = String::from("trusted root\n");
    let mut authorities = |title: &str, list: &[CertificateAuthority]| {
        for authority in list {
            let name = format!("{} {}", authority.organization, authority.common_name);
            field(
                &mut out,
                title,
                &format!("{} ({}) {}", authority.uri, name.trim(), window(&authority.valid_for)),
            );
        }
    };
    authorities("certificate authority", &root.certificate_authorities);
    authorities("timestamp authority", &root.timestamp_authorities);
    let mut logs = |title: &str, list: &[TransparencyLog]| {
        for log in list {
            let key = &log.public_key;
            field(
                &mut out,
                title,
                &format!("{} ({}) {}", log.base_url, key.key_details, window(&key.valid_for)),
            );
        }
    };
    logs("transparency log", &root.tlogs);
    logs("CT log", &root.ctlogs);
    out
}
