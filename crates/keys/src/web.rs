//! Public keys on web servers.

use countersign_crypto::PublicKey;
use countersign_http::Request;
use url::Url;

use crate::KeyError;
use crate::encrypted::MAX_FILE;
use crate::environment::Context;
use crate::service::{expect, wait};

/// Fetches a public key. The connection is what vouches for it: https, and no redirect to another host.
pub(crate) fn public_key(context: &Context, url: &Url) -> Result<PublicKey, KeyError> {
    let (http, url) = (context.http(), url.clone());
    let whom = countersign_http::shown(&url);
    let text = wait(&whom, context.patience, async move {
        let request = Request::get("the key's web server", &url).limit(MAX_FILE);
        Ok(expect(http.send(request).await?, &[200], "nowhere: the key must be there for everyone")?.body)
    })?;
    let text = String::from_utf8(text)
        .map_err(|_| KeyError::Malformed("the answer is not text (expected PEM)".into()))?;
    Ok(PublicKey::from_pem(&text)?)
}
