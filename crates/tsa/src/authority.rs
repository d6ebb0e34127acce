//! The authority itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use countersign_clock::{Clock, Timestamp};
use countersign_crypto::{Signer, random};
use countersign_x509::Certificate;
use countersign_x509::chain::{self, Purpose};
use countersign_x509::timestamp::{Responder, TimestampRequest, respond};
use der::asn1::ObjectIdentifier;

use crate::error::{SetupError, TsaError};
use crate::json;

/// How far the clock may go back and still be believed, in seconds: the accuracy that timestamps state.
const ACCURACY_SECONDS: i64 = 1;

/// A timestamp authority. It may be shared by any number of threads.
#[derive(Debug)]
pub struct Tsa {
    chain: Vec<Certificate>,
    responder: Responder,
    signer: Arc<dyn Signer>,
    clock: Arc<dyn Clock>,
    /// The span in which every certificate of the chain is valid.
    valid: (Timestamp, Timestamp),
    /// The latest second stamped, since the Unix epoch.
    latest: AtomicI64,
}

impl Tsa {
    /// An authority of this chain (its own certificate first, the root last), key, clock and policy.
    ///
    /// # Errors
    /// [`SetupError`] when the chain is shorter than two, is not in order, does not hold for time stamping at the
    /// clock's time, or when the key is not that of the first certificate.
    pub fn new(
        chain: Vec<Certificate>,
        signer: Arc<dyn Signer>,
        clock: Arc<dyn Clock>,
        policy: ObjectIdentifier,
    ) -> Result<Self, SetupError> {
        let too_short = SetupError::ChainTooShort { found: chain.len() };
        let (leaf, above) = chain.split_first().ok_or(too_short.clone())?;
        let (anchor, intermediates) = above.split_last().ok_or(too_short)?;
        let now = clock.now();
        let anchors = std::slice::from_ref(anchor);
        let path = chain::verify(leaf, intermediates, anchors, Purpose::TimeStamping, now)?;
        if !path.certificates().eq(&chain) {
            return Err(SetupError::Order);
        }
        let responder = Responder::new(leaf.clone(), policy, &signer)?;
        let from = chain.iter().map(Certificate::not_before).max().unwrap_or(Timestamp::MAX);
        let until = chain.iter().map(Certificate::not_after).min().unwrap_or(Timestamp::MIN);
        let latest = AtomicI64::new(i64::MIN);
        Ok(Self { chain, responder, signer, clock, valid: (from, until), latest })
    }

    /// The chain, the authority's own certificate first.
    #[must_use]
    pub fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    /// The chain in PEM, as `GET /api/v1/timestamp/certchain` gives it.
    #[must_use]
    pub fn chain_pem(&self) -> String {
        self.chain.iter().map(Certificate::to_pem).collect()
    }

    /// The policy under which is stamped.
    #[must_use]
    pub fn policy(&self) -> &ObjectIdentifier {
        self.responder.policy()
    }

    /// Answers a DER `TimeStampReq` with a DER `TimeStampResp`.
    ///
    /// # Errors
    /// [`TsaError`].
    pub fn respond(&self, request_der: &[u8]) -> Result<Vec<u8>, TsaError> {
        if request_der.is_empty() {
            return Err(TsaError::EmptyBody);
        }
        self.answer(&TimestampRequest::parse(request_der)?)
    }

    /// Answers a request in JSON with a DER `TimeStampResp`.
    ///
    /// # Errors
    /// [`TsaError`].
    pub fn respond_json(&self, request_json: &[u8]) -> Result<Vec<u8>, TsaError> {
        self.answer(&json::parse(request_json)?)
    }

    fn answer(&self, request: &TimestampRequest) -> Result<Vec<u8>, TsaError> {
        if let Some(policy) = &request.policy
            && policy != self.policy()
        {
            let (expected, found) = (self.policy().to_string(), policy.to_string());
            return Err(TsaError::UnacceptedPolicy { expected, found });
        }
        let gen_time = self.time()?;
        let mut serial = [0; 20];
        random(&mut serial)?;
        respond(&self.responder, request, gen_time, &serial, &self.signer).map_err(TsaError::from)
    }

    /// The second to stamp: the clock's, but never one before the latest stamped.
    fn time(&self) -> Result<Timestamp, TsaError> {
        let now = self.clock.now();
        let (from, until) = self.valid;
        if now < from || now.as_second() > until.as_second() {
            return Err(TsaError::OutsideValidity { from, until, now });
        }
        let second = now.as_second();
        let latest = self.latest.fetch_max(second, Ordering::SeqCst).max(second);
        let stamped = Timestamp::from_second(latest).unwrap_or(Timestamp::MAX);
        if latest.saturating_sub(second) > ACCURACY_SECONDS {
            return Err(TsaError::ClockWentBack { last: stamped, now });
        }
        Ok(stamped)
    }
}
