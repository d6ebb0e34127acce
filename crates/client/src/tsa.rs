//! Timestamp authorities (RFC 3161 over HTTP): a digest goes in, a signed time comes out.

use countersign_crypto::HashAlgorithm;
use countersign_x509::timestamp::{Authority, Imprinted, MAX_TOKEN_LEN, TimestampRequest, TimestampToken};
use url::Url;

use crate::ClientError;
use countersign_http::{Http, Request};

const SERVICE: &str = "the timestamp authority";

/// Asks the authority at this address (the whole address, as the signing configuration has it) for a timestamp
/// over these bytes, and gives its answer (a DER `TimeStampResp`) once it is checked: it is of these bytes and of
/// this question, and one of these authorities signed it. With none given no answer will do.
///
/// # Errors
/// [`ClientError::Http`] with the authority's words, and for a token which is not what
/// was asked for or not of a trusted authority.
pub async fn timestamp(
    http: &Http,
    url: &Url,
    bytes: &[u8],
    authorities: &[Authority],
) -> Result<Vec<u8>, ClientError> {
    let mut nonce = [0; 8];
    countersign_crypto::random(&mut nonce)?;
    // The first byte between 0x40 and 0x7f: a positive INTEGER in its shortest form.
    nonce[0] = nonce[0] & 0x3f | 0x40;
    let request = TimestampRequest {
        imprint: HashAlgorithm::Sha256.digest(bytes),
        policy: None,
        nonce: Some(nonce.to_vec()),
        cert_req: true,
    };
    let body = request.encode().map_err(|e| ClientError::malformed("the timestamp request", e))?;
    let request = Request::post(SERVICE, url, "application/timestamp-query", body).limit(MAX_TOKEN_LEN);
    let response = http.send(request).await?.expect(&[200, 201])?;
    let token = TimestampToken::parse(&response.body).map_err(|e| response.wrong(e))?;
    let imprinted = Imprinted::Bytes(bytes);
    let mut why = "none is trusted".to_owned();
    let verified = authorities.iter().any(|authority| {
        token.verify(imprinted, Some(&nonce), authority).map_err(|e| why = e.to_string()).is_ok()
    });
    if verified {
        Ok(response.body)
    } else {
        Err(response.wrong(format!("no authority of the trust root made this timestamp: {why}")).into())
    }
}
