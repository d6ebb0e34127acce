//! Credentials for Google Cloud, from the places in which Google's own tools look, in their order: the file that
//! GOOGLE_APPLICATION_CREDENTIALS names, gcloud's file, the metadata service of the machine.

use std::path::PathBuf;

use countersign_clock::{Clock as _, SystemClock};
use countersign_crypto::encoding::base64url_encode;
use countersign_crypto::{KeyPair, KeyType, Signer as _, encoding};
use countersign_http::{Http, Request, is_loopback, parse_url};
use serde::Deserialize;
use serde_json::json;
use url::Url;
use zeroize::Zeroizing;

use crate::KeyError;
use crate::environment::{Context, is_link_local, read_optional, read_settings};
use crate::service::expect;
use crate::token::{self, Kept, Token};

/// Where they come from, for messages.
pub(crate) const PLACES: &str = "GOOGLE_APPLICATION_CREDENTIALS, `gcloud auth application-default login` or the machine's service account";

const SERVICE: &str = "Google's token service";
const METADATA: &str = "the machine's metadata";
const SCOPE: &str = "https://www.googleapis.com/auth/cloudkms";

/// A file with credentials, by its member `type`.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Document {
    ServiceAccount {
        client_email: String,
        private_key_id: Option<String>,
        private_key: Zeroizing<String>,
        token_uri: String,
    },
    AuthorizedUser {
        client_id: String,
        client_secret: Zeroizing<String>,
        refresh_token: Zeroizing<String>,
        #[serde(default = "default_token_uri")]
        token_uri: String,
    },
    ExternalAccount {
        audience: String,
        subject_token_type: String,
        token_url: String,
        credential_source: Source,
        service_account_impersonation_url: Option<String>,
    },
}

fn default_token_uri() -> String {
    "https://oauth2.googleapis.com/token".into()
}

/// Where a token of somebody else's comes from.
#[derive(Deserialize, Debug)]
struct Source {
    file: Option<PathBuf>,
    url: Option<String>,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    format: Option<Format>,
    /// What only sources have that are not known here: AWS, a program, a certificate.
    environment_id: Option<serde::de::IgnoredAny>,
    executable: Option<serde::de::IgnoredAny>,
    certificate: Option<serde::de::IgnoredAny>,
}

impl Source {
    fn is_known(&self) -> bool {
        self.environment_id.is_none() && self.executable.is_none() && self.certificate.is_none()
    }
}

#[derive(Deserialize, Debug)]
struct Format {
    #[serde(rename = "type")]
    kind: String,
    subject_token_field_name: Option<String>,
}

/// A place with credentials.
enum Place {
    Document(Box<Document>),
    Machine(Url),
}

/// The credentials of this process.
pub(crate) struct GcpLogin {
    place: Place,
    http: Http,
    metadata: Http,
    kept: Kept,
}

impl std::fmt::Debug for GcpLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match &self.place {
            Place::Document(_) => "GcpLogin(file)",
            Place::Machine(_) => "GcpLogin(machine)",
        })
    }
}

impl GcpLogin {
    /// Finds where the credentials come from. Asks nobody yet.
    pub(crate) fn find(context: &Context) -> Result<Self, KeyError> {
        let environment = &context.environment;
        let file = match environment.plain("GOOGLE_APPLICATION_CREDENTIALS") {
            // Named and not there is an error, never a reason to look elsewhere.
            Some(path) => Some(read_settings(&PathBuf::from(path))?),
            None => {
                const NAME: &str = "application_default_credentials.json";
                read_optional(match environment.plain("CLOUDSDK_CONFIG") {
                    Some(folder) => Some(PathBuf::from(folder).join(NAME)),
                    None => environment.below_home(&format!(".config/gcloud/{NAME}")),
                })?
            }
        };
        let place = match file {
            Some(text) => {
                let document: Document = serde_json::from_str(&text).map_err(|error| {
                    KeyError::Refused(format!(
                        "Google credentials: expected a service account, an authorized user or an external account \
                         in JSON (line {})",
                        error.line()
                    ))
                })?;
                Place::Document(Box::new(document))
            }
            None => {
                let host = environment.plain("GCE_METADATA_HOST");
                let host = host.as_deref().unwrap_or("metadata.google.internal");
                let base = parse_url(&format!("http://{host}/"))?;
                let own = ["metadata.google.internal", "169.254.169.254"];
                if !is_loopback(&base) && !own.contains(&host) {
                    return Err(KeyError::Refused(
                        "GCE_METADATA_HOST: expected the machine's metadata service".into(),
                    ));
                }
                Place::Machine(base)
            }
        };
        Ok(Self { place, http: context.http(), metadata: context.metadata_http(), kept: Kept::default() })
    }

    /// The service did not take the token.
    pub(crate) fn forget(&self) {
        self.kept.forget();
    }

    /// A token that is good for a while.
    pub(crate) async fn token(&self) -> Result<Zeroizing<String>, KeyError> {
        if let Some(token) = self.kept.get() {
            return Ok(token);
        }
        let fresh = match &self.place {
            Place::Document(document) => self.exchange(document).await?,
            Place::Machine(base) => self.ask_machine(base).await?,
        };
        Ok(self.kept.keep(fresh))
    }

    async fn ask_machine(&self, base: &Url) -> Result<Token, KeyError> {
        let url = countersign_http::join(base, "/computeMetadata/v1/instance/service-accounts/default/token");
        let request = Request::get(METADATA, &url).header("metadata-flavor", "Google")?.limit(1 << 16);
        let answer = self.metadata.send(request).await?;
        // Whoever answers without this is not the metadata service.
        if answer.header("metadata-flavor") != Some("Google") {
            return Err(answer.wrong("expected the header Metadata-Flavor: Google").into());
        }
        token::read(answer, PLACES)
    }

    async fn exchange(&self, document: &Document) -> Result<Token, KeyError> {
        match document {
            Document::ServiceAccount { client_email, private_key_id, private_key, token_uri } => {
                let assertion = assertion(client_email, private_key_id.as_deref(), private_key, token_uri)?;
                let fields = [
                    ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
                    ("assertion", assertion.as_str()),
                ];
                token::grant(&self.http, SERVICE, &parse_url(token_uri)?, &fields, PLACES).await
            }
            Document::AuthorizedUser { client_id, client_secret, refresh_token, token_uri } => {
                let fields = [
                    ("grant_type", "refresh_token"),
                    ("client_id", client_id.as_str()),
                    ("client_secret", client_secret.as_str()),
                    ("refresh_token", refresh_token.as_str()),
                ];
                token::grant(&self.http, SERVICE, &parse_url(token_uri)?, &fields, PLACES).await
            }
            Document::ExternalAccount {
                audience,
                subject_token_type,
                token_url,
                credential_source,
                service_account_impersonation_url: impersonate,
            } => {
                // Such files are handed from team to team: the address in one is believed only if it is Google's.
                let url = google(token_url)?;
                let impersonate = impersonate.as_deref().map(google).transpose()?;
                let subject = self.subject(credential_source).await?;
                let scope = if impersonate.is_some() { "https://www.googleapis.com/auth/iam" } else { SCOPE };
                let fields = [
                    ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
                    ("audience", audience.as_str()),
                    ("scope", scope),
                    ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
                    ("subject_token_type", subject_token_type.as_str()),
                    ("subject_token", subject.as_str()),
                ];
                let federated = token::grant(&self.http, SERVICE, &url, &fields, PLACES).await?;
                match impersonate {
                    None => Ok(federated),
                    Some(url) => self.impersonate(&url, &federated).await,
                }
            }
        }
    }

    async fn subject(&self, source: &Source) -> Result<Zeroizing<String>, KeyError> {
        let text = match (&source.file, &source.url) {
            (Some(file), _) if source.is_known() => read_settings(file)?,
            (None, Some(url)) if source.is_known() => {
                let url = parse_url(url)?;
                // Azure's is the machine's own metadata service, in plain http on its link.
                let http = if is_link_local(&url) { &self.metadata } else { &self.http };
                let mut request = Request::get("the external token's source", &url).limit(1 << 16);
                for (name, value) in &source.headers {
                    // GitHub, GitLab and Azure ask for one of these and nothing else.
                    request = match name.to_ascii_lowercase().as_str() {
                        "authorization" => request.secret_header("authorization", value)?,
                        "metadata" => request.header("metadata", value)?,
                        _ => {
                            return Err(KeyError::Refused(format!(
                                "Google credentials: the external account asks for the header {name}, which is not known"
                            )));
                        }
                    };
                }
                let answer = expect(http.send(request).await?, &[200], PLACES)?;
                Zeroizing::new(String::from_utf8_lossy(&answer.body).trim().to_owned())
            }
            _ => {
                return Err(KeyError::Refused(
                    "Google credentials: the external account takes its token from neither a file nor an address; \
                     other sources (AWS, programs, certificates) are not supported"
                        .into(),
                ));
            }
        };
        match &source.format {
            Some(format) if format.kind == "json" => {
                let name = format.subject_token_field_name.as_deref().unwrap_or("access_token");
                let document: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
                let found = document.get(name).and_then(serde_json::Value::as_str);
                found.map(|token| Zeroizing::new(token.to_owned())).ok_or_else(|| {
                    KeyError::Refused(format!("Google credentials: no {name} in the external token's JSON"))
                })
            }
            _ => Ok(text),
        }
    }

    async fn impersonate(&self, url: &Url, federated: &Token) -> Result<Token, KeyError> {
        let body = json!({ "scope": [SCOPE] }).to_string().into_bytes();
        let request = Request::post(SERVICE, url, "application/json", body)
            .authorization("Bearer", &federated.access_token)?
            .limit(1 << 16);
        // The end is a date here; the token is used at once and not kept.
        let answer = token::read(self.http.send(request).await?, PLACES)?;
        Ok(Token::once(answer.access_token))
    }
}

/// An address of Google's, or of this machine.
fn google(text: &str) -> Result<Url, KeyError> {
    let url = parse_url(text)?;
    let host = url.host_str().unwrap_or_default();
    if is_loopback(&url) || (url.scheme() == "https" && host.ends_with(".googleapis.com")) {
        Ok(url)
    } else {
        Err(KeyError::Refused(format!(
            "Google credentials: expected an address of googleapis.com for tokens, found {}",
            countersign_http::shown(&url)
        )))
    }
}

/// A token of our own making (RFC 7523), by which a service account shows that it has its key.
fn assertion(
    email: &str,
    key_id: Option<&str>,
    private_key: &str,
    audience: &str,
) -> Result<Zeroizing<String>, KeyError> {
    let block = encoding::pem_decode(private_key)?.into_iter().next();
    let der = Zeroizing::new(block.map(|block| block.der).unwrap_or_default());
    let key = KeyPair::from_pkcs8(&der)?;
    if !matches!(key.public_key().key_type(), KeyType::Rsa { .. }) {
        return Err(KeyError::Refused("Google credentials: expected an RSA key of a service account".into()));
    }
    let now = SystemClock.now().as_second();
    let header = json!({ "alg": "RS256", "typ": "JWT", "kid": key_id });
    let claims = json!({ "iss": email, "scope": SCOPE, "aud": audience, "iat": now, "exp": now + 3600 });
    let input = [header, claims].map(|part| base64url_encode(part.to_string().as_bytes())).join(".");
    let signature = base64url_encode(&key.sign(input.as_bytes())?);
    Ok(Zeroizing::new(format!("{input}.{signature}")))
}
