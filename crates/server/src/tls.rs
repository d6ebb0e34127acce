//! TLS of the listening socket, with certificates that may change while the server runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::ServerError;

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// An acceptor that asks for its certificate at each handshake: TLS 1.2 and 1.3, HTTP/1.1 and HTTP/2.
///
/// # Errors
/// The TLS library's, when it has none of the protocol's versions.
pub fn acceptor(certificates: Arc<dyn ResolvesServerCert>) -> Result<TlsAcceptor, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// A certificate chain, leaf first, with its key in PKCS#8, for [`acceptor`].
///
/// # Errors
/// The TLS library's: a key that it does not take, or one that is not the leaf's.
pub fn certified_key(chain: &[Vec<u8>], pkcs8: &[u8]) -> Result<CertifiedKey, rustls::Error> {
    let chain = chain.iter().cloned().map(CertificateDer::from).collect();
    let key = PrivateKeyDer::try_from(pkcs8.to_vec()).map_err(|e| rustls::Error::General(e.to_owned()))?;
    CertifiedKey::from_der(chain, key, &rustls::crypto::aws_lc_rs::default_provider())
}

/// What tells that a file was changed or replaced.
type State = Option<(SystemTime, u64)>;

fn state(path: &Path) -> State {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// A certificate chain and its key in PEM files, which an ACME client replaces now and then.
#[derive(Debug)]
pub(crate) struct CertificateFiles {
    certificate: PathBuf,
    key: PathBuf,
    serving: ArcSwap<CertifiedKey>,
}

impl CertificateFiles {
    /// Reads them.
    pub(crate) fn open(certificate: &Path, key: &Path) -> Result<Arc<Self>, ServerError> {
        let (certificate, key) = (certificate.to_owned(), key.to_owned());
        let serving = ArcSwap::from_pointee(Self::read(&certificate, &key)?);
        Ok(Arc::new(Self { certificate, key, serving }))
    }

    fn read(certificate: &Path, key: &Path) -> Result<CertifiedKey, ServerError> {
        let bad = |path: &Path, what: String| ServerError::Config {
            path: path.to_owned(),
            message: format!("{what}; expected PEM as written by openssl or an ACME client"),
        };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect)
            .map_err(|e| bad(certificate, format!("the TLS certificate cannot be read: {e}")))?;
        let key_der = PrivateKeyDer::from_pem_file(key)
            .map_err(|e| bad(key, format!("the TLS key cannot be read: {e}")))?;
        CertifiedKey::from_der(chain, key_der, &rustls::crypto::aws_lc_rs::default_provider())
            .map_err(|e| bad(certificate, format!("the TLS certificate and key do not work: {e}")))
    }

    fn states(&self) -> [State; 2] {
        [state(&self.certificate), state(&self.key)]
    }

    /// Reads them again whenever they have changed. Two that do not belong together, as between the writing of one and of the
    /// other, are told and not served.
    pub(crate) async fn follow(self: Arc<Self>) {
        let mut seen = self.states();
        loop {
            tokio::time::sleep(LOOK).await;
            let now = self.states();
            if now == seen {
                continue;
            }
            seen = now;
            match Self::read(&self.certificate, &self.key) {
                Ok(read) => {
                    self.serving.store(Arc::new(read));
                    tracing::info!(certificate = %self.certificate.display(), "serving a new TLS certificate");
                }
                Err(error) => tracing::error!(%error, "the TLS certificate of before is served further"),
            }
        }
    }
}

impl ResolvesServerCert for CertificateFiles {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.serving.load_full())
    }
}
