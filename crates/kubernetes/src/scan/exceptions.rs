//! Exceptions: failures that are known and accepted, in Kubescape's form, with an end.

use countersign_verify::Matcher;
use jiff::Timestamp;
use serde::Deserialize;

use super::control::Control;
use super::report::{Report, Status};
use super::resource::ResourceName;

/// The largest file, in bytes.
const MAX_LEN: usize = 4 << 20;

/// Why exceptions cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ExceptionsError(String);

/// The exceptions that hold now.
#[derive(Debug, Default)]
pub struct Exceptions {
    holding: Vec<Exception>,
    /// The names of those whose time is over.
    pub expired: Vec<String>,
}

#[derive(Debug)]
struct Exception {
    name: String,
    reason: String,
    controls: Vec<Control>,
    resources: Vec<Designator>,
}

/// Which resources: all that is named must match, and something is.
#[derive(Debug)]
struct Designator {
    kind: Option<Matcher>,
    namespace: Option<Matcher>,
    name: Option<Matcher>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Written {
    name: String,
    #[serde(default)]
    reason: Option<String>,
    policy_type: Option<String>,
    actions: Vec<String>,
    resources: Vec<WrittenDesignator>,
    posture_policies: Vec<WrittenPolicy>,
    /// RFC 3339.
    expiration_date: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct WrittenDesignator {
    designator_type: String,
    attributes: WrittenAttributes,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct WrittenAttributes {
    kind: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPolicy {
    #[serde(rename = "controlID", alias = "controlId")]
    control: String,
}

impl Exceptions {
    /// Reads a list in YAML or JSON, as of `now`.
    ///
    /// # Errors
    /// [`ExceptionsError`]. An exception from everything, or of nothing, is refused; so is a field that would not be heard.
    pub fn read(text: &str, now: Timestamp) -> Result<Self, ExceptionsError> {
        if text.len() > MAX_LEN {
            return Err(ExceptionsError(format!("expected at most {MAX_LEN} bytes, found {}", text.len())));
        }
        let written: Vec<Written> = serde_saphyr::from_str(text)
            .map_err(|e| ExceptionsError(format!("expected a list of exceptions: {e}")))?;
        let mut read = Self::default();
        for one in written {
            let name = one.name.clone();
            let wrong = |why: String| ExceptionsError(format!("exception \"{name}\": {why}"));
            let end: Option<Timestamp> = match &one.expiration_date {
                None => None,
                Some(text) => Some(
                    text.parse()
                        .map_err(|e| wrong(format!("expirationDate: expected a time as RFC 3339: {e}")))?,
                ),
            };
            let exception = Exception::of(one).map_err(wrong)?;
            if end.is_some_and(|end| now >= end) {
                read.expired.push(name);
            } else {
                read.holding.push(exception);
            }
        }
        Ok(read)
    }

    /// Marks the failures of a report that are excepted. What nobody could look at stays so.
    #[must_use]
    pub fn apply(&self, report: Report) -> Report {
        report.changed(|resource, control, image| {
            if image.status != Status::Failed {
                return;
            }
            if let Some(exception) = self.holding.iter().find(|e| e.covers(resource, control)) {
                image.status = Status::Excepted;
                image.message =
                    format!("{}; excepted by \"{}\"{}", image.message, exception.name, exception.reason);
            }
        })
    }
}

impl Exception {
    fn of(written: Written) -> Result<Self, String> {
        if written.policy_type.is_some_and(|kind| kind != "postureExceptionPolicy") {
            return Err("policyType: expected postureExceptionPolicy".into());
        }
        if written.actions != ["alertOnly"] {
            return Err(format!("actions: expected [alertOnly], found {:?}", written.actions));
        }
        if written.resources.is_empty() || written.posture_policies.is_empty() {
            return Err("expected resources and posturePolicies; an exception from everything is none".into());
        }
        let mut controls = Vec::new();
        for policy in &written.posture_policies {
            let control = Control::parse(&policy.control)
                .ok_or_else(|| format!("posturePolicies: there is no control \"{}\" here", policy.control))?;
            controls.push(control);
        }
        let resources = written.resources.into_iter().map(Designator::of).collect::<Result<_, _>>()?;
        let reason = written.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        Ok(Self { name: written.name, reason, controls, resources })
    }

    fn covers(&self, resource: &ResourceName, control: Control) -> bool {
        self.controls.contains(&control)
            && self.resources.iter().any(|designator| designator.covers(resource))
    }
}

impl Designator {
    fn of(written: WrittenDesignator) -> Result<Self, String> {
        if written.designator_type != "Attributes" {
            return Err(format!("designatorType: expected Attributes, found {}", written.designator_type));
        }
        let WrittenAttributes { kind, namespace, name } = written.attributes;
        let matcher = |text: Option<String>| {
            text.map(|text| Matcher::pattern(&text).map_err(|e| e.to_string())).transpose()
        };
        let read = Self { kind: matcher(kind)?, namespace: matcher(namespace)?, name: matcher(name)? };
        if read.kind.is_none() && read.namespace.is_none() && read.name.is_none() {
            return Err(
                "attributes: expected kind, namespace or name, found none; write name: .* for all".into()
            );
        }
        Ok(read)
    }

    fn covers(&self, resource: &ResourceName) -> bool {
        let holds = |matcher: &Option<Matcher>, text: &str| matcher.as_ref().is_none_or(|m| m.matches(text));
        holds(&self.kind, &resource.kind)
            && holds(&self.namespace, &resource.namespace)
            && holds(&self.name, &resource.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::tests::sample;

    fn exception(attributes: &str, control: &str, more: &str) -> String {
        format!(
            "[{{name: x, reason: known, actions: [alertOnly], resources: [{{designatorType: Attributes, attributes: {{{attributes}}}}}], \
             posturePolicies: [{{controlID: {control}}}]{more}}}]"
        )
    }

    fn failed(text: &str) -> usize {
        let now = "2026-06-01T00:00:00Z".parse().unwrap();
        Exceptions::read(text, now).unwrap().apply(sample()).controls[0].resources.failed
    }

    #[test]
    fn each_attribute_alone_can_keep_an_exception_from_covering() {
        let all = "kind: Deployment, namespace: prod, name: shop";
        assert_eq!(failed(&exception(all, "C-0237", "")), 0);
        assert_eq!(failed(&exception("name: sh.*", "C-0237", "")), 0, "a pattern over the whole name");
        for other in [
            "kind: Pod, namespace: prod, name: shop",
            "kind: Deployment, namespace: pro, name: shop",
            "kind: Deployment, namespace: prod, name: hop",
        ] {
            assert_eq!(failed(&exception(other, "C-0237", "")), 1, "{other}");
        }
        assert_eq!(failed(&exception(all, "C-0306", "")), 1, "another control");
        assert_eq!(failed(&exception(all, "C-0237", ", expirationDate: 2026-06-01T00:00:00Z")), 1, "expired");
        assert_eq!(failed(&exception(all, "C-0237", ", expirationDate: 2026-06-01T00:00:01Z")), 0);
    }

    #[test]
    fn what_would_except_too_much_or_would_not_be_heard_is_refused() {
        for bad in [
            exception("", "C-0237", ""),
            exception("name: x", "C-9999", ""),
            exception("cluster: x", "C-0237", ""),
            exception("name: '('", "C-0237", ""),
            exception("name: x", "C-0237", ", policyType: other"),
            exception("name: x", "C-0237", ", unheard: 1"),
            "[{name: x, actions: [alertOnly], resources: [], posturePolicies: [{controlID: C-0237}]}]".into(),
            exception("name: x", "C-0237", "").replace("alertOnly", "disable"),
            exception("name: x", "C-0237", "")
                .replace("designatorType: Attributes", "designatorType: Labels"),
        ] {
            assert!(Exceptions::read(&bad, Timestamp::UNIX_EPOCH).is_err(), "{bad}");
        }
    }
}
