//! `AdmissionReview`, `admission.k8s.io/v1`: what an API server asks, and what it is answered.

use std::collections::BTreeMap;

use countersign_crypto::encoding::base64_encode;
use countersign_policy::{Access, GroupVersionKind, ObjectName, Operation, Pin, Request, User};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The largest review that is read, in bytes: two objects of the largest size that an API server keeps, and room.
pub const MAX_REVIEW: usize = 8 << 20;

const API_VERSION: &str = "admission.k8s.io/v1";

/// A review that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an AdmissionReview of {API_VERSION}, found {found}")]
pub struct ReviewError {
    /// The request's id, if it could be read: an answer under it is understood.
    pub uid: Option<String>,
    /// What is there instead.
    pub found: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireReview {
    api_version: String,
    kind: String,
    request: WireRequest,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireRequest {
    uid: String,
    kind: WireKind,
    #[serde(default)]
    sub_resource: Option<String>,
    #[serde(default)]
    request_sub_resource: Option<String>,
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: String,
    operation: String,
    #[serde(default)]
    user_info: WireUser,
    #[serde(default)]
    object: Option<Value>,
    #[serde(default)]
    old_object: Option<Value>,
    #[serde(default)]
    dry_run: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct WireKind {
    #[serde(default)]
    group: String,
    version: String,
    kind: String,
}

#[derive(Debug, Default, Deserialize)]
struct WireUser {
    #[serde(default)]
    username: String,
    #[serde(default)]
    groups: Vec<String>,
}

/// What an API server asks.
#[derive(Debug, Clone)]
pub struct Review {
    /// Its id, which the answer repeats.
    pub uid: String,
    /// What is judged.
    pub request: Request,
}

impl Review {
    /// Reads a review.
    ///
    /// # Errors
    /// [`ReviewError`]. Unknown members are passed over, as API servers add some.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ReviewError> {
        if bytes.len() > MAX_REVIEW {
            let found = format!("{} bytes, which is more than {MAX_REVIEW}", bytes.len());
            return Err(ReviewError { uid: None, found });
        }
        let wire: WireReview = serde_json::from_slice(bytes).map_err(|e| {
            let uid = || -> Option<String> {
                let value: Value = serde_json::from_slice(bytes).ok()?;
                Some(value.pointer("/request/uid")?.as_str()?.to_owned())
            };
            ReviewError { uid: uid(), found: format!("something else: {e}") }
        })?;
        let uid = wire.request.uid.clone();
        let wrong = |found: String| ReviewError { uid: Some(uid.clone()), found };
        if (wire.api_version.as_str(), wire.kind.as_str()) != (API_VERSION, "AdmissionReview") {
            return Err(wrong(format!("\"{}\" \"{}\"", wire.api_version, wire.kind)));
        }
        let operation = match wire.request.operation.as_str() {
            "CREATE" => Operation::Create,
            "UPDATE" => Operation::Update,
            "DELETE" => Operation::Delete,
            "CONNECT" => Operation::Connect,
            other => return Err(wrong(format!("the operation \"{other}\""))),
        };
        let object = wire.request.object.filter(|object| !object.is_null());
        let old_object = wire.request.old_object.filter(|object| !object.is_null());
        if object.is_none() && matches!(operation, Operation::Create | Operation::Update) {
            return Err(wrong(format!("a {} without an object", operation.code())));
        }
        let WireRequest { kind, namespace, name, user_info, .. } = wire.request;
        let subresource = wire.request.sub_resource.or(wire.request.request_sub_resource).unwrap_or_default();
        let object = object.unwrap_or_default();
        let access = access_of(&object, &kind.kind, &namespace);
        let request = Request {
            kind: GroupVersionKind { group: kind.group, version: kind.version, kind: kind.kind },
            subresource,
            namespace,
            name,
            operation,
            object,
            artifact: None,
            old_object,
            user: User { name: user_info.username, groups: user_info.groups, ..User::default() },
            dry_run: wire.request.dry_run.unwrap_or_default(),
            background: false,
            access,
        };
        Ok(Self { uid, request })
    }
}

/// What registries may be asked with for a workload: the pull secrets its pods name, and those of its service account.
#[must_use]
pub fn access_of(object: &Value, kind: &str, namespace: &str) -> Access {
    let spec = countersign_policy::images::pod_spec_pointer(kind).and_then(|pointer| object.pointer(pointer));
    let Some(spec) = spec else { return Access::default() };
    let named = |name: &str| ObjectName { namespace: namespace.to_owned(), name: name.to_owned() };
    let secrets = spec.get("imagePullSecrets").and_then(Value::as_array).into_iter().flatten();
    let account = spec.get("serviceAccountName").and_then(Value::as_str).filter(|name| !name.is_empty());
    Access {
        secrets: secrets.filter_map(|secret| secret.get("name")?.as_str()).map(named).collect(),
        service_accounts: [named(account.unwrap_or("default"))].into(),
        ..Access::default()
    }
}

/// How a review ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Outcome {
    /// The policies admit it.
    Admitted,
    /// It cannot bring an image into the cluster, or is of a namespace that is exempt.
    Passed,
    /// Something is wrong with it.
    Refused,
    /// Nothing was found to be wrong, and something could not be checked.
    #[default]
    CouldNotCheck,
    /// It is no review.
    Malformed,
    /// The program failed over it.
    Fault,
    /// There is too much to do.
    Busy,
}

impl Outcome {
    /// The stable name, in snake case.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Passed => "passed",
            Self::Refused => "refused",
            Self::CouldNotCheck => "could_not_check",
            Self::Malformed => "malformed",
            Self::Fault => "fault",
            Self::Busy => "busy",
        }
    }

    /// The only two that admit.
    const fn admits(self) -> bool {
        matches!(self, Self::Admitted | Self::Passed)
    }

    /// The HTTP status of a refusal.
    const fn status(self) -> u16 {
        match self {
            Self::Refused => 403,
            Self::Malformed => 400,
            Self::Busy => 503,
            _ => 500,
        }
    }
}

/// What an API server is answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// The request's id.
    pub uid: String,
    /// How it ended. It is refused unless this admits it.
    pub outcome: Outcome,
    /// Why it is refused, for people.
    pub message: String,
    /// What whoever asks is to be told all the same.
    pub warnings: Vec<String>,
    /// Images to pin.
    pub pins: Vec<Pin>,
    /// For the API server's audit log.
    pub audit: BTreeMap<String, String>,
    /// How many rules could not be checked, whether that refuses or not.
    pub unchecked: usize,
}

/// The longest warning that an API server passes on whole, in bytes.
const MAX_WARNING: usize = 256;

impl Answer {
    /// Whether the request is admitted.
    #[must_use]
    pub const fn allowed(&self) -> bool {
        self.outcome.admits()
    }

    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let patch = (self.allowed() && !self.pins.is_empty()).then(|| self.patch());
        let status = (!self.allowed()).then(|| WireStatus {
            code: self.outcome.status(),
            reason: match self.outcome.status() {
                403 => "Forbidden",
                400 => "BadRequest",
                503 => "ServiceUnavailable",
                _ => "InternalError",
            },
            message: &self.message,
        });
        let response = WireResponse {
            uid: &self.uid,
            allowed: self.allowed(),
            status,
            warnings: self.warnings.iter().map(|warning| shortened(warning, MAX_WARNING)).collect(),
            audit_annotations: &self.audit,
            patch_type: patch.is_some().then_some("JSONPatch"),
            patch,
        };
        json!({ "apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response })
            .to_string()
            .into_bytes()
    }

    /// A JSON patch in base64. Its tests make sure that what is replaced is what was judged.
    fn patch(&self) -> String {
        let operations: Vec<_> = self
            .pins
            .iter()
            .flat_map(|pin| [("test", &pin.pointer, &pin.from), ("replace", &pin.pointer, &pin.to)])
            .map(|(op, path, value)| json!({ "op": op, "path": path, "value": value }))
            .collect();
        base64_encode(Value::Array(operations).to_string().as_bytes())
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireResponse<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<WireStatus<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    audit_annotations: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
}

#[derive(Serialize)]
struct WireStatus<'a> {
    code: u16,
    reason: &'static str,
    message: &'a str,
}

/// In one line of so many bytes at most. An API server drops a warning with a control character in it.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    let one_line = text.trim_end().replace('\n', "; ").replace(char::is_control, " ");
    if one_line.len() <= most {
        return one_line;
    }
    let mut end = most.saturating_sub('…'.len_utf8());
    while !one_line.is_char_boundary(end) {
        end -= 1;
    }
    one_line.get(..end).unwrap_or_default().to_owned() + "…"
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_crypto::encoding::base64_decode;

    fn review(change: impl FnOnce(&mut Value)) -> Result<Review, ReviewError> {
        let mut review = json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
                "kind": {"group": "", "version": "v1", "kind": "Pod"},
                "resource": {"group": "", "version": "v1", "resource": "pods"},
                "namespace": "shop",
                "operation": "CREATE",
                "userInfo": {"username": "alice", "groups": ["dev"]},
                "object": {"apiVersion": "v1", "kind": "Pod", "spec": {
                    "imagePullSecrets": [{"name": "pull"}],
                    "containers": [{"name": "app", "image": "r.example/app:v1"}]}},
                "oldObject": null,
                "dryRun": true,
                "somethingNew": 1
            }
        });
        change(&mut review);
        Review::from_json(review.to_string().as_bytes())
    }

    #[test]
    fn a_review_is_read_with_what_registries_may_be_asked_with() {
        let review = review(|_| ()).unwrap();
        assert_eq!(review.uid, "705ab4f5-6393-11e8-b7cc-42010a800002");
        let request = review.request;
        assert_eq!(
            (request.namespace.as_str(), request.user.name.as_str(), request.dry_run),
            ("shop", "alice", true)
        );
        assert_eq!(request.kind.to_string(), "v1/Pod");
        let named = |name: &str| ObjectName { namespace: "shop".into(), name: name.into() };
        assert_eq!(request.access.secrets, [named("pull")].into());
        assert_eq!(request.access.service_accounts, [named("default")].into());
    }

    #[test]
    fn what_is_no_review_is_refused_under_its_id() {
        for (broken, named) in [
            (review(|r| r["request"]["object"] = Value::Null), "without an object"),
            (review(|r| r["request"]["operation"] = "PATCH".into()), "PATCH"),
            (review(|r| r["apiVersion"] = "admission.k8s.io/v1beta1".into()), "v1beta1"),
            (review(|r| r["kind"] = "Pod".into()), "Pod"),
            (review(|r| r["request"]["kind"] = 1.into()), "something else"),
        ] {
            let error = broken.unwrap_err();
            assert_eq!(error.uid.as_deref(), Some("705ab4f5-6393-11e8-b7cc-42010a800002"));
            assert!(error.to_string().contains(named), "{error}");
        }
        assert!(Review::from_json(b"{").unwrap_err().uid.is_none());
        assert!(Review::from_json(&vec![b' '; MAX_REVIEW + 1]).is_err());
    }

    #[test]
    fn a_refusal_carries_no_patch() {
        let pin =
            Pin { pointer: "/spec/containers/0/image".into(), from: "a".into(), to: "a@sha256:x".into() };
        let mut answer = Answer {
            uid: "u".into(),
            outcome: Outcome::Refused,
            message: "no".into(),
            pins: vec![pin],
            ..Answer::default()
        };
        let read = |answer: &Answer| -> Value { serde_json::from_slice(&answer.to_json()).unwrap() };
        let refused = read(&answer);
        assert_eq!(refused["response"]["status"]["message"], "no");
        assert!(refused["response"].get("patch").is_none());
        answer.outcome = Outcome::Admitted;
        let admitted = read(&answer);
        let patch = base64_decode(admitted["response"]["patch"].as_str().unwrap()).unwrap();
        let patch: Value = serde_json::from_slice(&patch).unwrap();
        assert_eq!(patch[0]["op"], "test");
        assert_eq!((&patch[1]["op"], &patch[1]["value"]), (&"replace".into(), &"a@sha256:x".into()));
    }

    #[test]
    fn warnings_are_one_line_and_short() {
        let long = "ä".repeat(400) + "\nx";
        let short = shortened(&long, MAX_WARNING);
        assert!(short.len() <= MAX_WARNING && !short.contains('\n') && short.ends_with('…'));
        assert_eq!(shortened("a\tb\r\nc\u{1b}[1m\n", MAX_WARNING), "a b ; c [1m");
    }
}
