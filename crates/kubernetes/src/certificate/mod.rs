//! The webhook's own certificate authority, and the certificates it serves with.
//!
//! The authority is shared by all replicas and lives with a [`Keeper`]; each replica issues its own short-lived certificate
//! from it, in memory. A new authority is first only published in the bundle, and signs when it has been there for an hour:
//! by then every API server knows it.

mod keeper;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use countersign_clock::{Clock, Timestamp};
use countersign_crypto::encoding::{pem_decode, pem_encode};
use countersign_crypto::{KeyPair, KeyType, Signer as _, random};
use countersign_server::tls::certified_key;
use countersign_x509::issue::{AuthorityProfile, root_ca, server_leaf};
use countersign_x509::{Certificate, Name, San};
use jiff::SignedDuration;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

pub(crate) use keeper::FILE_NAME;
pub use keeper::{Directory, Keeper, KeeperError, Keeping, Kept, Memory};

/// How long an authority lives.
const AUTHORITY_LIFE: SignedDuration = SignedDuration::from_hours(2 * 365 * 24);
/// How long a certificate lives.
const CERTIFICATE_LIFE: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How long an authority is published before it signs.
const SETTLING: SignedDuration = SignedDuration::from_hours(1);
/// How far back a certificate begins, because clocks differ: nobody comes in through a webhook whose certificate begins
/// in the API server's future.
const BACK: SignedDuration = SignedDuration::from_hours(24);
/// The most authorities that are kept side by side: one that ends, and one that takes over.
const MAX_AUTHORITIES: usize = 4;
/// How often several replicas may get into each other's way before one gives up.
const MAX_TRIES: usize = 5;

/// What can go wrong with the webhook's certificates.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// What is kept cannot be used.
    #[error("the webhook's certificate authority: {0}; remove it, and a new one is made")]
    Unusable(String),
    /// Nothing can be made.
    #[error("no certificate was made for the webhook: {0}")]
    Unmade(String),
    /// Where it is kept cannot be reached.
    #[error("the webhook's certificate authority: {0}")]
    Keeper(#[from] KeeperError),
}

struct Authority {
    certificate: Certificate,
    key: KeyPair,
}

/// Authorities, the oldest first; never none.
struct Authorities(Vec<Authority>);

impl Authorities {
    fn new(now: Timestamp) -> Result<Self, CertificateError> {
        Ok(Self(vec![Authority::new(now)?]))
    }

    /// Reads certificates and keys, which belong together by the key.
    fn from_pem(text: &str) -> Result<Self, CertificateError> {
        let unusable = |what: String| CertificateError::Unusable(what);
        let blocks = pem_decode(text).map_err(|e| unusable(e.to_string()))?;
        if blocks.len() > 2 * MAX_AUTHORITIES {
            return Err(unusable(format!("expected at most {MAX_AUTHORITIES} authorities, found more")));
        }
        let (mut certificates, mut keys) = (Vec::new(), Vec::new());
        for block in blocks {
            match block.label.as_str() {
                "CERTIFICATE" => {
                    certificates.push(Certificate::from_der(&block.der).map_err(|e| unusable(e.to_string()))?)
                }
                "PRIVATE KEY" => {
                    keys.push(KeyPair::from_pkcs8(&block.der).map_err(|e| unusable(e.to_string()))?);
                }
                other => return Err(unusable(format!("expected certificates and keys, found \"{other}\""))),
            }
        }
        let mut all = Vec::new();
        for key in keys {
            let own = certificates.iter().position(|found| found.public_key() == key.public_key());
            let own = own.ok_or_else(|| unusable("a key has no certificate".into()))?;
            all.push(Authority { certificate: certificates.swap_remove(own), key });
        }
        if all.is_empty() || !certificates.is_empty() {
            return Err(unusable("expected a key for each certificate, found none".into()));
        }
        all.sort_by_key(|authority| authority.certificate.not_before());
        Ok(Self(all))
    }

    fn to_pem(&self) -> Result<Zeroizing<String>, CertificateError> {
        let mut text = Zeroizing::new(String::new());
        for Authority { certificate, key } in &self.0 {
            let der = key.to_pkcs8().map_err(|e| CertificateError::Unmade(e.to_string()))?;
            text.push_str(&certificate.to_pem());
            text.push_str(&Zeroizing::new(pem_encode("PRIVATE KEY", &der)));
        }
        Ok(text)
    }

    /// For the API server: all of them.
    fn bundle(&self) -> String {
        self.0.iter().map(|authority| authority.certificate.to_pem()).collect()
    }

    /// What is to be kept from now on, if that is something else.
    fn renewed(self, now: Timestamp) -> Result<(Self, bool), CertificateError> {
        let before = self.0.len();
        let mut all: Vec<Authority> =
            self.0.into_iter().filter(|authority| authority.certificate.not_after() > now).collect();
        let mut changed = all.len() != before;
        if all.last().is_none_or(|newest| is_old(&newest.certificate, now)) {
            all.push(Authority::new(now)?);
            changed = true;
        }
        Ok((Self(all), changed))
    }

    /// The newest that every API server knows by now; else the oldest.
    fn issuing(&self, now: Timestamp) -> Option<&Authority> {
        let settled = |authority: &&Authority| {
            now.duration_since(authority.certificate.not_before()) >= SETTLING.saturating_add(BACK)
        };
        self.0.iter().rev().find(settled).or_else(|| self.0.first())
    }
}

impl Authority {
    fn new(now: Timestamp) -> Result<Self, CertificateError> {
        let key = new_key()?;
        let profile = profile("countersign admission authority", now, AUTHORITY_LIFE)?;
        let der = root_ca(&profile, Some(0), &key).map_err(|e| CertificateError::Unmade(e.to_string()))?;
        Ok(Self { certificate: parse(&der)?, key })
    }

    fn issue(&self, names: &[San], now: Timestamp) -> Result<Serving, CertificateError> {
        let unmade = |what: String| CertificateError::Unmade(what);
        let key = new_key()?;
        let mut profile = profile("countersign admission", now, CERTIFICATE_LIFE)?;
        profile.not_before = profile.not_before.max(self.certificate.not_before());
        profile.not_after = profile.not_after.min(self.certificate.not_after());
        let der = server_leaf(&profile, names, key.public_key(), &self.certificate, &self.key)
            .map_err(|e| unmade(e.to_string()))?;
        let pkcs8 = key.to_pkcs8().map_err(|e| unmade(e.to_string()))?;
        let certificate = parse(&der)?;
        let served =
            Arc::new(certified_key(&[der], &pkcs8).map_err(|e| CertificateError::Unmade(e.to_string()))?);
        Ok(Serving { certificate, issuer: self.certificate.clone(), served, bundle: String::new() })
    }
}

fn new_key() -> Result<KeyPair, CertificateError> {
    KeyPair::generate(KeyType::EcdsaP256).map_err(|e| CertificateError::Unmade(e.to_string()))
}

fn parse(der: &[u8]) -> Result<Certificate, CertificateError> {
    Certificate::from_der(der).map_err(|e| CertificateError::Unmade(e.to_string()))
}

fn profile(name: &str, now: Timestamp, life: SignedDuration) -> Result<AuthorityProfile, CertificateError> {
    let unmade = |e: &dyn std::fmt::Display| CertificateError::Unmade(e.to_string());
    let mut serial = [0; 20];
    random(&mut serial).map_err(|e| unmade(&e))?;
    let not_before = now.checked_sub(BACK).map_err(|e| unmade(&e))?;
    let not_after = now.checked_add(life).map_err(|e| unmade(&e))?;
    Ok(AuthorityProfile {
        subject: Name::new(Some("countersign"), Some(name)),
        not_before,
        not_after,
        serial,
    })
}

/// Whether less than a third of a certificate's life is left.
fn is_old(certificate: &Certificate, now: Timestamp) -> bool {
    let life = certificate.not_after().duration_since(certificate.not_before());
    certificate.not_after().duration_since(now) < life / 3
}

/// What is served with now.
#[derive(Debug, Clone)]
struct Serving {
    certificate: Certificate,
    issuer: Certificate,
    served: Arc<CertifiedKey>,
    bundle: String,
}

/// The certificate that is served with, and what it is checked with.
#[derive(Debug)]
pub struct Certificates {
    keeper: Arc<dyn Keeper>,
    names: Vec<San>,
    clock: Arc<dyn Clock>,
    serving: ArcSwapOption<Serving>,
}

impl Certificates {
    /// Takes the authority that is kept, or makes one; and a certificate under these names.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub async fn open(
        keeper: Arc<dyn Keeper>,
        names: Vec<San>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, CertificateError> {
        let own = Self { keeper, names, clock, serving: ArcSwapOption::empty() };
        own.refresh().await?;
        Ok(own)
    }

    /// Renews what is due. To be called now and then; what is served with stays when this fails.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub async fn refresh(&self) -> Result<(), CertificateError> {
        let now = self.clock.now();
        let authorities = self.authorities(now).await?;
        let issuer = authorities
            .issuing(now)
            .ok_or_else(|| CertificateError::Unusable("there is no authority".into()))?;
        let mut serving = match self.serving.load_full() {
            Some(serving) if serving.issuer == issuer.certificate && !is_old(&serving.certificate, now) => {
                (*serving).clone()
            }
            _ => issuer.issue(&self.names, now)?,
        };
        serving.bundle = authorities.bundle();
        self.serving.store(Some(Arc::new(serving)));
        Ok(())
    }

    /// The authorities that are kept, renewed where that is due. Another replica may be faster: then its are taken.
    async fn authorities(&self, now: Timestamp) -> Result<Authorities, CertificateError> {
        for _ in 0..MAX_TRIES {
            let kept = self.keeper.read().await?;
            let (authorities, changed) = match &kept {
                None => (Authorities::new(now)?, true),
                Some(kept) => Authorities::from_pem(&kept.text)?.renewed(now)?,
            };
            if !changed || self.keeper.replace(kept.as_ref(), &authorities.to_pem()?).await? {
                return Ok(authorities);
            }
        }
        Err(CertificateError::Unusable("others changed it all the time".into()))
    }

    /// What the certificate is checked with, in PEM: the `caBundle` of a webhook configuration.
    #[must_use]
    pub fn bundle(&self) -> String {
        self.serving.load().as_ref().map(|serving| serving.bundle.clone()).unwrap_or_default()
    }

    /// When the certificate ends.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.serving.load().as_ref().map_or(Timestamp::UNIX_EPOCH, |serving| serving.certificate.not_after())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.serving.load().as_ref().map(|serving| Arc::clone(&serving.served))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_clock::ManualClock;

    const DAY: i64 = 24 * 3600;

    fn clock() -> Arc<ManualClock> {
        Arc::new(ManualClock::new(Timestamp::from_second(2_000_000_000).unwrap()))
    }

    async fn open(keeper: &Arc<dyn Keeper>, clock: &Arc<ManualClock>) -> Certificates {
        let names = vec![San::Dns("countersign-admission.countersign.svc".into())];
        Certificates::open(Arc::clone(keeper), names, Arc::clone(clock) as _).await.unwrap()
    }

    fn count(bundle: &str) -> usize {
        Certificate::chain_from_pem(bundle).unwrap().len()
    }

    #[tokio::test]
    async fn replicas_share_one_authority_and_have_certificates_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        for keeper in
            [Arc::new(Memory::default()) as Arc<dyn Keeper>, Arc::new(Directory::new(folder.path()))]
        {
            let clock = clock();
            let (one, other) = (open(&keeper, &clock).await, open(&keeper, &clock).await);
            assert_eq!((one.bundle(), count(&one.bundle())), (other.bundle(), 1));
            let leaf = |of: &Certificates| of.serving.load_full().unwrap().certificate.clone();
            assert_ne!(leaf(&one), leaf(&other));
            assert!(!leaf(&one).is_ca());
            let hours_ago = clock.now().checked_sub(SignedDuration::from_hours(12)).unwrap();
            assert!(leaf(&one).not_before() < hours_ago, "clocks differ");
        }
    }

    #[tokio::test]
    async fn a_certificate_is_renewed_before_it_ends() {
        let (keeper, clock) = (Arc::new(Memory::default()) as Arc<dyn Keeper>, clock());
        let own = open(&keeper, &clock).await;
        let first = own.not_after();
        clock.advance_seconds(19 * DAY);
        own.refresh().await.unwrap();
        assert_eq!(own.not_after(), first, "a third is left");
        clock.advance_seconds(2 * DAY);
        own.refresh().await.unwrap();
        assert!(own.not_after() > first);
        assert_eq!(count(&own.bundle()), 1, "of the same authority");
    }

    #[tokio::test]
    async fn an_authority_is_published_before_it_signs_and_kept_until_it_ends() {
        let (keeper, clock) = (Arc::new(Memory::default()) as Arc<dyn Keeper>, clock());
        let own = open(&keeper, &clock).await;
        let issuer = |own: &Certificates| own.serving.load_full().unwrap().issuer.clone();
        let first = issuer(&own);
        clock.advance_seconds(500 * DAY);
        own.refresh().await.unwrap();
        assert_eq!((count(&own.bundle()), issuer(&own)), (2, first.clone()), "published only");
        clock.advance_seconds(3600);
        own.refresh().await.unwrap();
        assert_ne!(issuer(&own), first, "now it signs");
        assert_eq!(count(&own.bundle()), 2);
        clock.advance_seconds(231 * DAY);
        own.refresh().await.unwrap();
        assert_eq!(count(&own.bundle()), 1, "the first has ended");
    }

    #[tokio::test]
    async fn what_is_kept_and_cannot_be_used_is_an_error_and_never_replaced() {
        let clock = clock();
        let good = Authorities::new(clock.now()).unwrap().to_pem().unwrap();
        let certificate = good.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap().to_owned();
        let key = good.strip_prefix(&certificate).unwrap().to_owned();
        for text in ["", "x", &certificate, &key, &format!("{}{certificate}", *good)] {
            let keeper = Arc::new(Memory::default());
            assert!(keeper.replace(None, text).await.unwrap());
            let opened = Certificates::open(
                Arc::clone(&keeper) as _,
                vec![San::Dns("a".into())],
                Arc::clone(&clock) as _,
            )
            .await;
            assert!(matches!(opened, Err(CertificateError::Unusable(_))), "{text}");
            assert_eq!(*keeper.read().await.unwrap().unwrap().text, text);
        }
    }
}
