//! Credentials for Azure, from the places in which Azure's own libraries look, in their order: the variables of a
//! service principal, workload identity, managed identity.

use countersign_http::{Http, Request, is_loopback, join, parse_url};
use url::Url;
use zeroize::Zeroizing;

use crate::KeyError;
use crate::environment::{Context, is_link_local, read_settings};
use crate::token::{self, Kept, Token};

/// Where they come from, for messages.
pub(crate) const PLACES: &str = "AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, \
                                 AZURE_FEDERATED_TOKEN_FILE or the machine's managed identity";

const LOGIN: &str = "Microsoft Entra";
const METADATA: &str = "the machine's managed identity";

/// A place with credentials.
#[derive(Debug)]
enum Place {
    Secret {
        url: Url,
        client: String,
        secret: Hidden,
    },
    Federated {
        url: Url,
        client: String,
        file: std::path::PathBuf,
    },
    /// App Service, Functions and their like.
    Service {
        url: Url,
        header: Hidden,
        client: Option<String>,
    },
    Machine {
        base: Url,
        client: Option<String>,
    },
}

/// A secret that `Debug` does not show.
struct Hidden(Zeroizing<String>);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

/// The credentials of this process, for one kind of vault.
#[derive(Debug)]
pub(crate) struct AzureLogin {
    place: Place,
    /// The audience of the tokens: `https://vault.azure.net` and its like.
    resource: String,
    http: Http,
    metadata: Http,
    kept: Kept,
}

impl AzureLogin {
    /// Finds where the credentials come from. Asks nobody yet.
    pub(crate) fn find(context: &Context, vault: &str) -> Result<Self, KeyError> {
        // Everything after the vault's own name; a stand-in on this machine plays the public cloud.
        let domain = vault.split_once('.').map(|(_, domain)| domain);
        let known = domain.filter(|domain| domain.starts_with("vault.") || domain.starts_with("managedhsm."));
        Ok(Self {
            place: find_place(context, known.unwrap_or_default())?,
            resource: format!("https://{}", known.unwrap_or("vault.azure.net")),
            http: context.http(),
            metadata: context.metadata_http(),
            kept: Kept::default(),
        })
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
        let fresh = self.fetch().await?;
        Ok(self.kept.keep(fresh))
    }

    async fn fetch(&self) -> Result<Token, KeyError> {
        let scope = format!("{}/.default", self.resource);
        match &self.place {
            Place::Secret { url, client, secret } => {
                let fields = [
                    ("grant_type", "client_credentials"),
                    ("client_id", client.as_str()),
                    ("client_secret", secret.0.as_str()),
                    ("scope", scope.as_str()),
                ];
                token::grant(&self.http, LOGIN, url, &fields, PLACES).await
            }
            Place::Federated { url, client, file } => {
                let assertion = read_settings(file)?;
                let fields = [
                    ("grant_type", "client_credentials"),
                    ("client_id", client.as_str()),
                    ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
                    ("client_assertion", assertion.as_str()),
                    ("scope", scope.as_str()),
                ];
                token::grant(&self.http, LOGIN, url, &fields, PLACES).await
            }
            Place::Service { url, header, client } => {
                let url = self.question(url, "2019-08-01", client.as_deref());
                let request = Request::get(METADATA, &url).secret_header("x-identity-header", &header.0)?;
                token::read(self.metadata.send(request.limit(1 << 16)).await?, PLACES)
            }
            Place::Machine { base, client } => {
                let url = join(base, "/metadata/identity/oauth2/token");
                let url = self.question(&url, "2018-02-01", client.as_deref());
                let request = Request::get(METADATA, &url).header("metadata", "true")?;
                token::read(self.metadata.send(request.limit(1 << 16)).await?, PLACES)
            }
        }
    }

    fn question(&self, url: &Url, version: &str, client: Option<&str>) -> Url {
        let mut url = url.clone();
        url.query_pairs_mut()
            .append_pair("api-version", version)
            .append_pair("resource", &self.resource)
            .extend_pairs(client.map(|id| ("client_id", id)));
        url
    }
}

fn find_place(context: &Context, domain: &str) -> Result<Place, KeyError> {
    let environment = &context.environment;
    let client = environment.plain("AZURE_CLIENT_ID");
    if let (Some(tenant), Some(client)) = (environment.plain("AZURE_TENANT_ID"), client.clone()) {
        let secret = environment.get("AZURE_CLIENT_SECRET");
        let file = environment.plain("AZURE_FEDERATED_TOKEN_FILE");
        if secret.is_some() || file.is_some() {
            let url = token_url(context, &tenant, domain)?;
            return Ok(match (secret, file) {
                (Some(secret), _) => Place::Secret { url, client, secret: Hidden(secret) },
                (None, file) => Place::Federated { url, client, file: file.unwrap_or_default().into() },
            });
        }
    }
    if let (Some(url), Some(header)) =
        (environment.plain("IDENTITY_ENDPOINT"), environment.get("IDENTITY_HEADER"))
    {
        let url = own(&url, "IDENTITY_ENDPOINT")?;
        return Ok(Place::Service { url, header: Hidden(header), client });
    }
    let given = environment.plain("AZURE_POD_IDENTITY_AUTHORITY_HOST");
    let base = given.as_deref().unwrap_or("http://169.254.169.254");
    Ok(Place::Machine { base: own(base, "AZURE_POD_IDENTITY_AUTHORITY_HOST")?, client })
}

/// An address which does not leave the machine, or is encrypted.
fn own(text: &str, variable: &str) -> Result<Url, KeyError> {
    let url = parse_url(text)?;
    if url.scheme() == "https" || is_loopback(&url) || is_link_local(&url) {
        Ok(url)
    } else {
        Err(KeyError::Refused(format!("{variable}: expected https, or an address of this machine")))
    }
}

fn token_url(context: &Context, tenant: &str, domain: &str) -> Result<Url, KeyError> {
    if !tenant.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b)) {
        return Err(KeyError::Refused("AZURE_TENANT_ID: expected a tenant's id or domain".into()));
    }
    let default = match domain.rsplit('.').next() {
        Some("cn") => "https://login.chinacloudapi.cn/",
        _ if domain.ends_with("usgovcloudapi.net") => "https://login.microsoftonline.us/",
        _ => "https://login.microsoftonline.com/",
    };
    let host = context.environment.plain("AZURE_AUTHORITY_HOST");
    let base = parse_url(host.as_deref().unwrap_or(default))?;
    Ok(join(&base, &format!("/{tenant}/oauth2/v2.0/token")))
}
