//! Where a database is and how it is reached: its address, its password, its TLS.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres_rustls::MakeRustlsConnect;
use zeroize::Zeroizing;

/// PostgreSQL's own port, where none is named.
const PORT: u16 = 5432;
const CONNECT: Duration = Duration::from_secs(3);
/// A host that is gone without a word is noticed within this time.
const SILENCE: Duration = Duration::from_secs(5);

/// The way to a database: an address of the kind `postgres://user@host1,host2/database?sslrootcert=ca.pem`.
///
/// Of several hosts, the one is used that takes writes. Hosts beyond this machine are spoken to through TLS with a
/// certificate that verifies, unless the address says `sslmode=disable`. A path as host (`?host=/run/postgresql`)
/// means a socket.
#[derive(Clone)]
pub struct PostgresAccess {
    config: Config,
    root: Option<PathBuf>,
}

impl fmt::Debug for PostgresAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresAccess")
            .field("hosts", &self.config.get_hosts())
            .field("database", &self.config.get_dbname())
            .finish_non_exhaustive()
    }
}

fn invalid(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message.into())
}

fn is_near(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    }
}

impl PostgresAccess {
    /// Reads an address. The password is no part of it: it is given here, or the database asks for none.
    ///
    /// # Errors
    /// `InvalidInput`, saying what was expected; never with the password in it.
    pub fn parse(address: &str, password: Option<&Zeroizing<String>>) -> io::Result<Self> {
        let rest = address
            .strip_prefix("postgres://")
            .or_else(|| address.strip_prefix("postgresql://"))
            .ok_or_else(|| invalid("expected the address of a database as postgres://user@host/database"))?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        if place.rsplit_once('@').is_some_and(|(user, _)| user.contains(':')) || query.contains("password=") {
            return Err(invalid(
                "expected no password in the address of the database: it comes from PGPASSWORD or from a file",
            ));
        }
        let (mut root, mut plain, mut options) = (None, false, Vec::new());
        for option in query.split('&').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("sslrootcert", path)) => root = Some(PathBuf::from(path)),
                Some(("sslmode", "disable")) => plain = true,
                Some(("sslmode", "require" | "verify-ca" | "verify-full")) => {}
                Some(("sslmode", other)) => {
                    return Err(invalid(format!(
                        "sslmode: expected verify-full or disable, found {other}: it would not say whether there is TLS"
                    )));
                }
                _ => options.push(option),
            }
        }
        let mut config =
            Config::from_str(&format!("postgres://{place}?{}", options.join("&"))).map_err(|_| {
                invalid("the address of the database cannot be read: expected postgres://user@host/database")
            })?;
        if config.get_hosts().is_empty() {
            return Err(invalid("the address of the database names no host"));
        }
        if config.get_dbname().is_none() {
            return Err(invalid("the address of the database names no database"));
        }
        let near = config.get_hosts().iter().all(is_near) && config.get_hostaddrs().is_empty();
        config
            .ssl_mode(if plain || near && root.is_none() { SslMode::Disable } else { SslMode::Require })
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .application_name("countersign")
            .connect_timeout(CONNECT)
            .tcp_user_timeout(SILENCE)
            .keepalives(true)
            .keepalives_idle(SILENCE);
        if let Some(password) = password {
            config.password(password.as_bytes());
        }
        Ok(Self { config, root })
    }

    pub(super) const fn config(&self) -> &Config {
        &self.config
    }

    /// Host and port, for people; of several, all.
    pub(super) fn place(&self) -> String {
        let ports = self.config.get_ports();
        let named = self.config.get_hosts().iter().enumerate().map(|(at, host)| {
            let port = ports.get(at).or(ports.first()).copied().unwrap_or(PORT);
            match host {
                Host::Tcp(name) => format!("{name}:{port}"),
                Host::Unix(path) => format!("{}/.s.PGSQL.{port}", path.display()),
            }
        });
        named.collect::<Vec<_>>().join(", ")
    }

    pub(super) fn tls(&self) -> io::Result<MakeRustlsConnect> {
        let bad = |error: rustls::Error| io::Error::other(format!("TLS to the database: {error}"));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(bad)?;
        let config = match &self.root {
            None => builder.with_platform_verifier().map_err(bad)?.with_no_client_auth(),
            Some(path) => {
                let unreadable = |error: &dyn fmt::Display| {
                    invalid(format!("sslrootcert: {} cannot be read: {error}", path.display()))
                };
                let mut roots = RootCertStore::empty();
                for certificate in CertificateDer::pem_file_iter(path).map_err(|e| unreadable(&e))? {
                    roots.add(certificate.map_err(|e| unreadable(&e))?).map_err(bad)?;
                }
                if roots.is_empty() {
                    return Err(unreadable(&"expected certificates in PEM, found none"));
                }
                builder.with_root_certificates(roots).with_no_client_auth()
            }
        };
        Ok(MakeRustlsConnect::new(config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(address: &str) -> io::Result<PostgresAccess> {
        PostgresAccess::parse(address, Some(&Zeroizing::new("hunter2".to_owned())))
    }

    #[test]
    fn addresses_say_what_is_wrong_with_them_and_never_the_password() {
        for (address, expected) in [
            ("mysql://host/db", "postgres://user@host/database"),
            ("postgres://me:hunter2@host/db", "PGPASSWORD"),
            ("postgres://host/db?password=hunter2", "PGPASSWORD"),
            ("postgres://host", "names no database"),
            ("postgres:///db", "names no host"),
            ("postgres://host/db?sslmode=prefer", "expected verify-full or disable"),
            ("postgres://host/db?colour=red", "cannot be read"),
        ] {
            let error = parse(address).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("hunter2"), "{address}: {error}");
        }
        assert!(!format!("{:?}", parse("postgres://host/db").unwrap()).contains("hunter2"));
    }

    #[test]
    fn hosts_beyond_this_machine_are_reached_through_tls() {
        let mode = |address: &str| parse(address).unwrap().config.get_ssl_mode();
        assert_eq!(mode("postgres://db.example/db"), SslMode::Require);
        assert_eq!(mode("postgres://127.0.0.1,db.example/db"), SslMode::Require);
        assert_eq!(mode("postgres://db.example/db?sslmode=disable"), SslMode::Disable);
        assert_eq!(mode("postgres://127.0.0.1:5433/db"), SslMode::Disable);
        assert_eq!(mode("postgres://me@localhost/db?sslrootcert=/ca.pem"), SslMode::Require);
        assert_eq!(mode("postgres:///db?host=/run/postgresql"), SslMode::Disable);
    }

    #[test]
    fn a_root_certificate_that_cannot_be_read_is_told() {
        let error = parse("postgres://db.example/db?sslrootcert=/none.pem").unwrap().tls().err().unwrap();
        assert!(error.to_string().contains("/none.pem cannot be read"), "{error}");
    }
}
