//! Whom to trust and which services to sign with, as arguments.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use countersign_client::rekor::{Rekor, RekorVersion};
use countersign_client::services::Services;
use countersign_client::trust::{RevocationsOf, Trust, TrustFrom, refresh_revocations, revocations_of};
use countersign_clock::{Clock as _, SystemClock};
use countersign_http::{Http, HttpOptions, parse_url};
use countersign_trust::revocations::{FOLLOWED_FOR, FRESH_FOR};
use url::Url;

use crate::failure::Failure;
use crate::out::{Terminal, block_on, say};

/// Arguments about whom to trust.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Trust")]
pub(crate) struct TrustArgs {
    /// A trusted instance by name (see `countersign trust list`); else COUNTERSIGN_INSTANCE, else the default one
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: Option<String>,
    /// A file with the trusted root
    #[arg(long, value_name = "FILE")]
    pub(crate) trusted_root: Option<PathBuf>,
    /// A file with trusted root and signing configuration
    #[arg(long, value_name = "FILE")]
    pub(crate) trust_config: Option<PathBuf>,
}

impl TrustArgs {
    /// Whether it is left to the machine whom to trust.
    pub(crate) const fn names_none(&self) -> bool {
        self.instance.is_none() && self.trusted_root.is_none() && self.trust_config.is_none()
    }

    fn from(&self, signing_config: Option<PathBuf>) -> TrustFrom {
        TrustFrom {
            trusted_root: self.trusted_root.clone(),
            trust_config: self.trust_config.clone(),
            instance: self.instance.clone(),
            signing_config,
        }
    }

    pub(crate) fn load(&self, signing_config: Option<PathBuf>) -> Result<Trust, Failure> {
        Ok(Trust::load(&self.from(signing_config))?)
    }

    /// Where the revocation list of the instance that is meant comes from.
    pub(crate) fn revocations_of(&self) -> Result<Option<RevocationsOf>, Failure> {
        Ok(revocations_of(&self.from(None))?)
    }

    /// Fetches what the instance that is meant has revoked, when the kept list is older than a minute. Nobody is asked for
    /// a trust root in a file, nor for an instance that revokes nothing.
    pub(crate) fn refresh_revocations(&self, terminal: &Terminal) -> Result<(), Failure> {
        let refresh =
            async { Ok(refresh_revocations(&self.from(None), FRESH_FOR, SystemClock.now()).await?) };
        if let Some(told) = block_on(terminal, refresh)? {
            say(&told);
        }
        Ok(())
    }

    /// The same for who goes on, again and again; gives what is to be told while nobody answers.
    pub(crate) async fn follow_revocations(&self) -> Result<Option<String>, Failure> {
        Ok(refresh_revocations(&self.from(None), FOLLOWED_FOR, SystemClock.now()).await?)
    }
}

/// Arguments about how to reach services.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Network")]
pub(crate) struct HttpArgs {
    /// Allow plain http to other machines; for a network that is trusted as a whole
    #[arg(long)]
    pub(crate) allow_plain_http: bool,
}

impl HttpArgs {
    pub(crate) fn http(&self) -> Http {
        Http::new(HttpOptions {
            allow_plain_http: self.allow_plain_http,
            timeout: Duration::from_secs(30),
            ..HttpOptions::default()
        })
    }
}

/// Arguments about the services to sign with.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Services")]
pub(crate) struct ServiceArgs {
    /// A file with the signing configuration, instead of the instance's
    #[arg(long, value_name = "FILE")]
    pub(crate) signing_config: Option<PathBuf>,
    /// Whether services come from the signing configuration; with false they are given by the addresses below
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true, value_name = "BOOL")]
    use_signing_config: Option<bool>,
    /// The certificate authority, instead of the signing configuration's
    #[arg(long, value_name = "URL")]
    fulcio_url: Option<String>,
    /// The transparency log, instead of the signing configuration's; /v1 or /v2 behind it tells its interface
    #[arg(long, value_name = "URL")]
    rekor_url: Option<String>,
    /// The whole address of the timestamp authority, instead of the signing configuration's
    #[arg(long, value_name = "URL")]
    timestamp_server_url: Option<String>,
    /// Whether the signature is logged; false is for signing with --key only
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true, value_name = "BOOL")]
    tlog_upload: Option<bool>,
    /// Sign without a transparency log; with --key only, and then no instance is needed at all
    #[arg(long, conflicts_with = "tlog_upload")]
    no_tlog: bool,
    /// Sign without a timestamp; for signing with --key only
    #[arg(long)]
    no_timestamp: bool,
}

impl ServiceArgs {
    /// Whether the signature is to be in no log.
    pub(crate) fn unlogged(&self) -> bool {
        self.no_tlog || self.tlog_upload == Some(false)
    }

    /// The services to sign with. `held` is whether a key that is held signs, which needs no time.
    pub(crate) fn services(&self, trust: &Trust, held: bool) -> Result<Services, Failure> {
        let by_hand = self.use_signing_config == Some(false);
        let mut services = match &trust.signing {
            Some(config) if !by_hand => Services::choose(config, SystemClock.now())?,
            _ => Services::default(),
        };
        if let Some(url) = &self.fulcio_url {
            services.ca = Some(parse_url(url)?);
        }
        if let Some(url) = &self.rekor_url {
            services.logs = vec![log_at(parse_url(url)?)];
        }
        if let Some(url) = &self.timestamp_server_url {
            services.timestamps = vec![parse_url(url)?];
        }
        let unlogged = self.unlogged();
        let none_named = services.logs.is_empty();
        if !held && (unlogged || self.no_timestamp) {
            return Err(Failure::usage(
                "--no-tlog, --tlog-upload=false and --no-timestamp go with --key only: a signature by identity is worth what \
                 the log and the timestamp say about its certificate of ten minutes",
            ));
        }
        if unlogged {
            services.logs.clear();
        }
        if self.no_timestamp {
            services.timestamps.clear();
        }
        if !held && trust.signing.is_none() && services.ca.is_none() {
            return Err(Failure::new(
                crate::failure::TRUST,
                format!("no signing configuration: {} has only what verification needs", trust.from),
            )
            .next(
                "give one with --signing-config, or trust the instance itself: countersign trust add URL",
            ));
        }
        if none_named && !unlogged {
            let next = if held {
                "name one with --rekor-url, or say --no-tlog"
            } else {
                "name one with --rekor-url"
            };
            return Err(Failure::new(
                crate::failure::TRUST,
                "no transparency log is named to sign with, and a signature that no log has seen is refused by default",
            )
            .next(next));
        }
        Ok(services)
    }
}

/// A log by its address. Version 2 unless the path ends with /v1: our own instances and new public shards have it.
fn log_at(mut base: Url) -> Rekor {
    let path = base.path().trim_end_matches('/').to_owned();
    let (path, version) = match (path.strip_suffix("/v1"), path.strip_suffix("/v2")) {
        (Some(rest), _) => (rest.to_owned(), RekorVersion::V1),
        (None, Some(rest)) => (rest.to_owned(), RekorVersion::V2),
        (None, None) => (path, RekorVersion::V2),
    };
    base.set_path(&path);
    Rekor { base, version }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logs_interface_is_read_from_its_address() {
        for (text, base, version) in [
            ("https://rekor.example", "https://rekor.example/", RekorVersion::V2),
            ("https://rekor.example/v1", "https://rekor.example/", RekorVersion::V1),
            ("https://example.com/log/v2/", "https://example.com/log", RekorVersion::V2),
        ] {
            let log = log_at(text.parse().unwrap());
            assert_eq!((log.base.as_str(), log.version), (base, version));
        }
    }
}
