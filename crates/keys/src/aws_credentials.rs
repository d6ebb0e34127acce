//! Credentials for AWS, from the places in which AWS's own tools look, in their order: variables, web identity,
//! the shared files, the container. The machine's metadata service is asked only when a variable or a profile
//! names it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Mutex;

use countersign_clock::{Clock as _, SystemClock, Timestamp};
use countersign_http::{Http, Method, Request, is_loopback, parse_url};
use serde::Deserialize;
use url::Url;
use zeroize::Zeroizing;

use crate::KeyError;
use crate::aws_signature::{Unsigned, amz_date, authorization};
use crate::environment::{Context, read_optional, read_settings};
use crate::service::{expect, secret_json};

/// Where they come from, for messages.
pub(crate) const PLACES: &str = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_WEB_IDENTITY_TOKEN_FILE, ~/.aws (AWS_PROFILE) or the container";

/// Credentials with less life left than this are renewed, in seconds.
const MARGIN: i64 = 120;
/// What else gives a profile credentials.
const OTHER_WAYS: [&str; 4] = ["sso_session", "sso_start_url", "login_session", "credential_process"];
/// How many profiles may lead to each other.
const MAX_CHAIN: usize = 4;

/// An access key with its secret.
#[derive(Clone)]
pub(crate) struct AwsCredentials {
    pub(crate) access_key: String,
    secret: Zeroizing<String>,
    pub(crate) session: Option<Zeroizing<String>>,
    expires: Option<Timestamp>,
}

impl AwsCredentials {
    pub(crate) fn new(access_key: &str, secret: &str, session: Option<Zeroizing<String>>) -> Self {
        Self {
            access_key: access_key.to_owned(),
            secret: Zeroizing::new(secret.to_owned()),
            session,
            expires: None,
        }
    }

    /// What the derivation of a signing key begins with.
    pub(crate) fn first_key(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(format!("AWS4{}", self.secret.as_str()).into_bytes())
    }
}

impl fmt::Debug for AwsCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AwsCredentials({}, …)", self.access_key)
    }
}

/// The form in which containers and machines get their credentials.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Handed {
    access_key_id: String,
    secret_access_key: Zeroizing<String>,
    #[serde(alias = "SessionToken")]
    token: Option<Zeroizing<String>>,
    expiration: Option<String>,
}

impl From<Handed> for AwsCredentials {
    fn from(handed: Handed) -> Self {
        Self {
            access_key: handed.access_key_id,
            secret: handed.secret_access_key,
            session: handed.token,
            expires: Some(end_of(handed.expiration.as_deref())),
        }
    }
}

/// When credentials that were lent end. If nobody can tell, they are used once.
fn end_of(date: Option<&str>) -> Timestamp {
    date.and_then(|date| date.parse().ok()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A place with credentials.
#[derive(Debug)]
enum Place {
    Fixed(AwsCredentials),
    WebIdentity { role: String, session_name: String, token_file: PathBuf },
    Role { base: Box<Place>, role: String, session_name: String, external_id: Option<String> },
    Container { url: Url, authorization: Option<Zeroizing<String>>, token_file: Option<PathBuf> },
    Machine { base: Url },
}

/// The credentials of this process, fetched when first needed and kept while they live.
#[derive(Debug)]
pub(crate) struct AwsLogin {
    place: Place,
    region: String,
    sts: Url,
    http: Http,
    metadata: Http,
    kept: Mutex<Option<AwsCredentials>>,
}

/// The shared files, taken apart.
struct Profiles {
    files: [BTreeMap<String, BTreeMap<String, String>>; 2],
}

impl Profiles {
    fn read(context: &Context) -> Result<Self, KeyError> {
        let read = |variable, below_home| -> Result<_, KeyError> {
            let text = read_optional(context.environment.path_or_home(variable, below_home))?;
            Ok(text.map(|text| sections(&text)).unwrap_or_default())
        };
        Ok(Self {
            files: [
                read("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials")?,
                read("AWS_CONFIG_FILE", ".aws/config")?,
            ],
        })
    }

    /// A profile that was named and is not there, or has its credentials in a way that is not known here, is an error,
    /// never a reason to be somebody else.
    fn must_be_usable(&self, named: Option<&str>) -> Result<(), KeyError> {
        let Some(name) = named else { return Ok(()) };
        let why = if !self.files.iter().any(|file| file.contains_key(name)) {
            "is in neither ~/.aws/credentials nor ~/.aws/config"
        } else if OTHER_WAYS.iter().any(|way| self.value(name, way).is_some()) {
            "takes its credentials from a login or a program, which is not supported here; run \
             `eval \"$(aws configure export-credentials --format env)\"` before"
        } else {
            return Ok(());
        };
        Err(KeyError::Refused(format!("the AWS profile {name} {why}")))
    }

    fn value(&self, profile: &str, name: &str) -> Option<&str> {
        self.files.iter().find_map(|file| file.get(profile)?.get(name)).map(String::as_str)
    }
}

/// A file of sections with `name = value` lines. `[profile x]` and `[x]` are the same section; nested settings
/// (indented) are of no interest here.
fn sections(text: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut all: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut current = None;
    for line in text.lines().filter(|line| !line.starts_with([' ', '\t', '#', ';'])) {
        if let Some(name) = line.trim_end().strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            let name = name.trim();
            current = Some(name.strip_prefix("profile ").unwrap_or(name).trim().to_owned());
        } else if let (Some(section), Some((name, value))) = (&current, line.split_once('=')) {
            all.entry(section.clone()).or_default().insert(name.trim().to_owned(), value.trim().to_owned());
        }
    }
    all
}

/// The region from the variables or the shared files.
pub(crate) fn region(context: &Context) -> Result<Option<String>, KeyError> {
    let environment = &context.environment;
    if let Some(region) = environment.first(&["AWS_REGION", "AWS_DEFAULT_REGION"]) {
        return Ok(Some(region.to_string()));
    }
    Ok(Profiles::read(context)?.value(&profile(context), "region").map(str::to_owned))
}

fn profile(context: &Context) -> String {
    context.environment.plain("AWS_PROFILE").unwrap_or_else(|| "default".into())
}

impl AwsLogin {
    /// Finds where the credentials come from. Asks nobody yet.
    pub(crate) fn find(context: &Context, region: &str) -> Result<Self, KeyError> {
        let sts = match context.environment.first(&["AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"]) {
            Some(url) => parse_url(&url)?,
            None => parse_url(&format!("https://{}.{region}.{}", sts_name(context, region), domain(region)))?,
        };
        Ok(Self {
            place: find_place(context)?,
            region: region.to_owned(),
            sts,
            http: context.http(),
            metadata: context.metadata_http(),
            kept: Mutex::new(None),
        })
    }

    /// Credentials that are good for a while.
    pub(crate) async fn credentials(&self) -> Result<AwsCredentials, KeyError> {
        let now = SystemClock.now();
        let kept = self.kept.lock().ok().and_then(|kept| kept.clone());
        let lives =
            |c: &AwsCredentials| c.expires.is_none_or(|end| end.as_second() - now.as_second() > MARGIN);
        if let Some(credentials) = kept.filter(lives) {
            return Ok(credentials);
        }
        let fresh = self.fetch(&self.place).await?;
        if let Ok(mut kept) = self.kept.lock() {
            *kept = Some(fresh.clone());
        }
        Ok(fresh)
    }

    /// The service did not take the credentials.
    pub(crate) fn forget(&self) {
        if let Ok(mut kept) = self.kept.lock() {
            *kept = None;
        }
    }

    async fn fetch(&self, place: &Place) -> Result<AwsCredentials, KeyError> {
        match place {
            Place::Fixed(credentials) => Ok(credentials.clone()),
            Place::WebIdentity { role, session_name, token_file } => {
                let token = read_settings(token_file)?;
                let fields = [
                    ("Action", "AssumeRoleWithWebIdentity"),
                    ("RoleArn", role),
                    ("RoleSessionName", session_name),
                    ("WebIdentityToken", token.as_str()),
                ];
                self.ask_sts(&fields, None).await
            }
            Place::Role { base, role, session_name, external_id } => {
                let base = Box::pin(self.fetch(base)).await?;
                let mut fields =
                    vec![("Action", "AssumeRole"), ("RoleArn", role), ("RoleSessionName", session_name)];
                fields.extend(external_id.as_deref().map(|id| ("ExternalId", id)));
                self.ask_sts(&fields, Some(&base)).await
            }
            Place::Container { url, authorization, token_file } => {
                let token = match token_file {
                    Some(file) => Some(read_settings(file)?),
                    None => authorization.clone(),
                };
                let mut request = Request::get("the container's credentials", url).limit(1 << 16);
                if let Some(token) = &token {
                    request = request.secret_header("authorization", token)?;
                }
                let answer = expect(self.metadata.send(request).await?, &[200], PLACES)?;
                Ok(secret_json::<Handed>(answer, "expected credentials in JSON")?.into())
            }
            Place::Machine { base } => self.ask_machine(base).await,
        }
    }

    /// The metadata service of a machine in EC2, in its second version: a token first.
    async fn ask_machine(&self, base: &Url) -> Result<AwsCredentials, KeyError> {
        const SERVICE: &str = "the machine's metadata";
        let url = countersign_http::join(base, "/latest/api/token");
        let request = Request::new(SERVICE, Method::PUT, &url)
            .header("x-aws-ec2-metadata-token-ttl-seconds", "300")?
            .limit(1 << 12);
        let token = Zeroizing::new(expect(self.metadata.send(request).await?, &[200], PLACES)?.body);
        let token = std::str::from_utf8(&token)
            .map_err(|_| KeyError::Refused(format!("{SERVICE}: a token that is not text")))?;
        let url = countersign_http::join(base, "/latest/meta-data/iam/security-credentials/");
        let request =
            Request::get(SERVICE, &url).secret_header("x-aws-ec2-metadata-token", token)?.limit(1 << 12);
        let role = expect(self.metadata.send(request).await?, &[200], PLACES)?.body;
        let role = String::from_utf8_lossy(&role).lines().next().unwrap_or_default().trim().to_owned();
        let url = countersign_http::join(base, "/latest/meta-data/iam/security-credentials/");
        let url = countersign_http::join(&url, &format!("/{role}"));
        let request =
            Request::get(SERVICE, &url).secret_header("x-aws-ec2-metadata-token", token)?.limit(1 << 16);
        let answer = expect(self.metadata.send(request).await?, &[200], PLACES)?;
        Ok(secret_json::<Handed>(answer, "expected credentials in JSON")?.into())
    }

    /// The Security Token Service: one set of credentials (or a token) for another.
    async fn ask_sts(
        &self,
        fields: &[(&str, &str)],
        signed_by: Option<&AwsCredentials>,
    ) -> Result<AwsCredentials, KeyError> {
        const FORM: &str = "application/x-www-form-urlencoded";
        let body = url::form_urlencoded::Serializer::new("Version=2011-06-15&".to_owned())
            .extend_pairs(fields)
            .finish();
        let body = Zeroizing::new(body.into_bytes());
        let mut url = self.sts.clone();
        url.set_path("/");
        let mut request =
            Request::post("AWS STS", &url, FORM, Vec::new()).secret_body(body.clone()).limit(1 << 16);
        if let Some(credentials) = signed_by {
            let now = SystemClock.now();
            let date = amz_date(now);
            let host = host_of(&url);
            let session = credentials.session.as_ref().map(|token| token.as_str());
            let mut headers = vec![("content-type", FORM), ("host", host.as_str()), ("x-amz-date", &date)];
            headers.extend(session.map(|token| ("x-amz-security-token", token)));
            let unsigned = Unsigned { method: "POST", path: "/", query: "", headers: &headers, body: &body };
            let value = authorization(&unsigned, credentials, &self.region, "sts", now);
            request = request.authorization("AWS4-HMAC-SHA256", &value)?.header("x-amz-date", &date)?;
            if let Some(token) = session {
                request = request.secret_header("x-amz-security-token", token)?;
            }
        }
        let mut answer = expect(self.http.send(request).await?, &[200], PLACES)?;
        let body = Zeroizing::new(std::mem::take(&mut answer.body));
        let body = String::from_utf8_lossy(&body);
        // XML whose values are base64 and dates: nothing in them is ever escaped.
        let value = |name: &str| {
            let rest = body.split(&format!("<{name}>")).nth(1)?;
            rest.split('<').next().map(str::trim).filter(|value| !value.is_empty())
        };
        let missing = || KeyError::from(answer.wrong("expected credentials, found none"));
        let mut credentials = AwsCredentials::new(
            value("AccessKeyId").ok_or_else(missing)?,
            value("SecretAccessKey").ok_or_else(missing)?,
            value("SessionToken").map(|token| Zeroizing::new(token.to_owned())),
        );
        credentials.expires = Some(end_of(value("Expiration")));
        Ok(credentials)
    }
}

/// `host` or `host:port` of an address, as the header `Host` has it.
pub(crate) fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The domain of a region's services.
pub(crate) fn domain(region: &str) -> &'static str {
    if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
}

/// Whether only endpoints with validated cryptography are wanted.
pub(crate) fn wants_fips(context: &Context) -> bool {
    context.environment.plain("AWS_USE_FIPS_ENDPOINT").is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// The name of the Security Token Service. In GovCloud the plain one is validated, and there is no other.
fn sts_name(context: &Context, region: &str) -> &'static str {
    if wants_fips(context) && !region.starts_with("us-gov-") { "sts-fips" } else { "sts" }
}

fn find_place(context: &Context) -> Result<Place, KeyError> {
    let environment = &context.environment;
    if let (Some(id), Some(secret)) =
        (environment.plain("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY"))
    {
        return Ok(Place::Fixed(AwsCredentials::new(&id, &secret, environment.get("AWS_SESSION_TOKEN"))));
    }
    let session_name = environment.plain("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| "countersign".to_owned());
    if let (Some(file), Some(role)) =
        (environment.plain("AWS_WEB_IDENTITY_TOKEN_FILE"), environment.plain("AWS_ROLE_ARN"))
    {
        return Ok(Place::WebIdentity { role, session_name, token_file: file.into() });
    }
    let profiles = Profiles::read(context)?;
    if let Some(place) = of_profile(context, &profiles, &profile(context), &session_name, 0)? {
        return Ok(place);
    }
    profiles.must_be_usable(environment.plain("AWS_PROFILE").as_deref())?;
    if let Some(place) = container(context)? {
        return Ok(place);
    }
    if environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT").is_some() {
        return machine(context);
    }
    Err(KeyError::Refused(format!("no credentials for AWS found; expected them in {PLACES}")))
}

fn of_profile(
    context: &Context,
    profiles: &Profiles,
    name: &str,
    session_name: &str,
    depth: usize,
) -> Result<Option<Place>, KeyError> {
    if depth >= MAX_CHAIN {
        return Err(KeyError::Refused(format!("more than {MAX_CHAIN} AWS profiles lead to each other")));
    }
    let value = |key: &str| profiles.value(name, key);
    let fixed = || {
        let session = value("aws_session_token").map(|token| Zeroizing::new(token.to_owned()));
        let keys = value("aws_access_key_id").zip(value("aws_secret_access_key"));
        keys.map(|(id, secret)| Place::Fixed(AwsCredentials::new(id, secret, session)))
    };
    let Some(role) = value("role_arn") else { return Ok(fixed()) };
    let session_name = value("role_session_name").unwrap_or(session_name).to_owned();
    if let Some(file) = value("web_identity_token_file") {
        return Ok(Some(Place::WebIdentity { role: role.to_owned(), session_name, token_file: file.into() }));
    }
    let base = match (value("source_profile"), value("credential_source")) {
        // A profile may lead to itself, which then means its own keys.
        (Some(source), _) if source == name => fixed(),
        (Some(source), _) => of_profile(context, profiles, source, &session_name, depth + 1)?,
        (None, Some("EcsContainer")) => container(context)?,
        (None, Some("Ec2InstanceMetadata")) => Some(machine(context)?),
        (None, Some("Environment")) => None,
        (None, _) => fixed(),
    };
    let Some(base) = base else {
        return Err(KeyError::Refused(format!(
            "the AWS profile {name} takes the role {role}, and the credentials to take it with are not there"
        )));
    };
    Ok(Some(Place::Role {
        base: Box::new(base),
        role: role.to_owned(),
        session_name,
        external_id: value("external_id").map(str::to_owned),
    }))
}

fn container(context: &Context) -> Result<Option<Place>, KeyError> {
    let environment = &context.environment;
    let url = match environment.plain("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
        Some(path) if path.starts_with('/') => parse_url(&format!("http://169.254.170.2{path}"))?,
        Some(path) => {
            return Err(KeyError::Refused(format!(
                "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: expected a path that begins with /, found \"{path}\""
            )));
        }
        None => match environment.plain("AWS_CONTAINER_CREDENTIALS_FULL_URI") {
            Some(url) => parse_url(&url)?,
            None => return Ok(None),
        },
    };
    // Plain http is for the addresses which never leave the machine: loopback, and those of ECS and EKS.
    let own = ["169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"];
    if url.scheme() != "https" && !is_loopback(&url) && !own.contains(&url.host_str().unwrap_or_default()) {
        return Err(KeyError::Refused(
            "AWS_CONTAINER_CREDENTIALS_FULL_URI: expected https, or an address of this machine".into(),
        ));
    }
    Ok(Some(Place::Container {
        url,
        authorization: environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN"),
        token_file: environment.plain("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").map(PathBuf::from),
    }))
}

fn machine(context: &Context) -> Result<Place, KeyError> {
    let given = context.environment.plain("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    let base = parse_url(given.as_deref().unwrap_or("http://169.254.169.254"))?;
    let own = ["169.254.169.254", "[fd00:ec2::254]"];
    if base.scheme() == "https" || is_loopback(&base) || own.contains(&base.host_str().unwrap_or_default()) {
        Ok(Place::Machine { base })
    } else {
        Err(KeyError::Refused(
            "AWS_EC2_METADATA_SERVICE_ENDPOINT: expected the machine's metadata service".into(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_of_both_files_are_read_and_the_rest_is_left() {
        let found = sections(
            "junk = 1\n[default]\naws_access_key_id = A # no comment\n\n[profile release]\nregion=eu-west-1\n\
             s3 =\n  max = 1\n; c\n[x]\n",
        );
        assert_eq!(found["default"]["aws_access_key_id"], "A # no comment");
        assert_eq!(found["release"]["region"], "eu-west-1");
        assert!(!found["release"].contains_key("max") && !found.contains_key("x"));
    }

    #[test]
    fn the_first_place_that_has_credentials_wins_and_nowhere_is_an_error_that_says_where() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().to_str().unwrap();
        let error = find_place(&Context::given(&[("HOME", home)])).unwrap_err().to_string();
        assert!(error.contains("AWS_ACCESS_KEY_ID"), "{error}");
        std::fs::create_dir(dir.path().join(".aws")).unwrap();
        std::fs::write(
            dir.path().join(".aws/credentials"),
            "[default]\naws_access_key_id=FILE\naws_secret_access_key=s\n[loop]\nrole_arn=r\nsource_profile=loop2\n\
             [loop2]\nrole_arn=r\nsource_profile=loop\n[hollow]\nrole_arn=r\nsource_profile=none\n\
             [sso]\nsso_session=s\n[region]\nregion=eu-west-1\n",
        )
        .unwrap();
        let fixed = |variables: &[(&str, &str)]| {
            let all = [&[("HOME", home)], variables].concat();
            match find_place(&Context::given(&all)).unwrap() {
                Place::Fixed(credentials) => credentials.access_key,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(fixed(&[]), "FILE");
        assert_eq!(fixed(&[("AWS_ACCESS_KEY_ID", "ENV"), ("AWS_SECRET_ACCESS_KEY", "s")]), "ENV");
        assert_eq!(fixed(&[("AWS_ACCESS_KEY_ID", "ENV"), ("AWS_SECRET_ACCESS_KEY", "")]), "FILE");
        // Not even when others are at hand.
        for profile in ["loop", "hollow", "sso", "not-there"] {
            let named = [("HOME", home), ("AWS_PROFILE", profile)];
            let container = [("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/other")];
            let error = find_place(&Context::given(&[&named[..], &container].concat())).unwrap_err();
            assert!(error.to_string().contains("profile"), "{error}");
        }
        let bare = [("HOME", home), ("AWS_PROFILE", "region")];
        let container = [("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/own")];
        let found = find_place(&Context::given(&[&bare[..], &container].concat())).unwrap();
        assert!(matches!(found, Place::Container { .. }), "a profile that says nothing of credentials");
    }

    #[test]
    fn lent_credentials_of_which_nobody_knows_the_end_are_not_kept() {
        assert_eq!(end_of(Some("2099-01-01T00:00:00Z")).as_second(), 4_070_908_800);
        for unknown in [None, Some("tomorrow")] {
            assert_eq!(end_of(unknown), Timestamp::UNIX_EPOCH);
        }
    }

    #[test]
    fn validated_endpoints_are_asked_for_tokens_too() {
        let sts = |region: &str, fips: &str| {
            let context = Context::given(&[
                ("AWS_ACCESS_KEY_ID", "a"),
                ("AWS_SECRET_ACCESS_KEY", "b"),
                ("AWS_USE_FIPS_ENDPOINT", fips),
            ]);
            host_of(&AwsLogin::find(&context, region).unwrap().sts)
        };
        assert_eq!(sts("us-east-1", "true"), "sts-fips.us-east-1.amazonaws.com");
        assert_eq!(sts("us-east-1", "false"), "sts.us-east-1.amazonaws.com");
        assert_eq!(sts("us-gov-west-1", "true"), "sts.us-gov-west-1.amazonaws.com");
        assert_eq!(sts("cn-north-1", ""), "sts.cn-north-1.amazonaws.com.cn");
    }

    #[test]
    fn v59_container_and_machine_credentials_stay_on_the_machine() {
        for (variable, value) in [
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://example.com/credentials"),
            ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "@example.com/credentials"),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://example.com"),
        ] {
            assert!(find_place(&Context::given(&[(variable, value)])).is_err(), "{value}");
        }
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let credentials = AwsCredentials::new("ID", "hunter2", Some(Zeroizing::new("hunter3".into())));
        assert!(!format!("{:?}", Place::Fixed(credentials)).contains("hunter"));
        let place = Place::Container {
            url: Url::parse("http://127.0.0.1").unwrap(),
            authorization: Some(Zeroizing::new("hunter2".into())),
            token_file: None,
        };
        assert!(!format!("{place:?}").contains("hunter"), "{place:?}");
    }
}
