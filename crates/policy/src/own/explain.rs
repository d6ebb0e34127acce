//! What a policy demands, in plain words.

use super::schema::{DigestRule, Which};
use super::who::Who;
use super::{ImagePolicy, Said};
use crate::authority::{Authority, Demands};
use crate::decision::Action;
use crate::pattern::Glob;
use crate::trust::{TrustBase, TrustSpec};

impl ImagePolicy {
    /// What it demands, in plain words, line by line; what belongs to a line is set in below it.
    #[must_use]
    pub fn explain(&self) -> Vec<String> {
        let mut lines = vec![format!("is about the {}", self.images.in_words())];
        lines.extend(self.custom.kinds().map(|kind| format!("also in objects of the kind {kind}")));
        lines.extend(self.scope.in_words().into_iter().map(|line| format!("only {line}")));
        let mut first = None;
        if let Some(who) = &self.signed_by {
            lines.push("the image must be signed by".into());
            who.in_words(1, &mut lines);
            first = who.first();
        }
        for said in &self.attestations {
            said.in_words(&mut lines);
            first = first.or_else(|| said.by.first());
        }
        for typed in &self.typed {
            typed.in_words(&mut lines);
            first = first.or_else(|| typed.first());
        }
        if let Some(authority) = first {
            lines.push(evidence(authority.demands));
            lines.push(trust(&authority.trust));
            if let Some(repository) = &authority.repository {
                lines.push(format!("signatures and statements are looked for in {repository}"));
            }
        }
        lines.push(
            match self.digest {
                DigestRule::Pin => "an image that passes is pinned to the digest that was verified",
                DigestRule::Require => "an image must be written by its digest; a tag is refused",
                DigestRule::Keep => "a tag is left as it is, and may name another image later",
            }
            .into(),
        );
        lines.push(
            match self.action {
                Action::Deny => "what does not hold is refused",
                Action::Warn => "what does not hold is told to whoever asks, and let in",
                Action::Audit => "what does not hold is written down, and let in",
            }
            .into(),
        );
        if self.action == Action::Deny {
            let then = if self.fail_closed { "refused too" } else { "let in, with a warning" };
            lines.push(format!("what could not be checked is {then}"));
        }
        lines
    }
}

impl Said {
    fn in_words(&self, lines: &mut Vec<String>) {
        let age = self.max_age.map(|age| format!(", not older than {age:#}")).unwrap_or_default();
        lines.push(format!("there must be a statement of type {}{age}, by", self.kind));
        self.by.in_words(1, lines);
        if self.conditions.is_empty() {
            return;
        }
        lines.push(
            match self.which {
                Which::All => "  and all that each of them says in this time must have",
                Which::Newest => "  and the newest of each must have",
                Which::Any => "  and one of each must have",
            }
            .into(),
        );
        lines.extend(self.conditions.iter().map(|condition| format!("    {condition}")));
    }
}

impl Who {
    /// Somebody of it; what is demanded of the evidence is the same for all.
    fn first(&self) -> Option<&Authority> {
        match self {
            Self::One(authority) => Some(authority),
            Self::Several { of, .. } => of.first().and_then(Self::first),
        }
    }

    fn in_words(&self, depth: usize, lines: &mut Vec<String>) {
        let indent = "  ".repeat(depth);
        match self {
            Self::One(authority) => {
                let annotations: Vec<String> =
                    authority.annotations.iter().map(|(name, value)| format!("{name}={value}")).collect();
                let with = match annotations.as_slice() {
                    [] => String::new(),
                    list => format!(", with {} in the same signature", list.join(" and ")),
                };
                lines.push(format!("{indent}{}{with}", authority.name));
            }
            Self::Several { need, of } => {
                let how = match (*need, of.len()) {
                    (1, _) => "one of".to_owned(),
                    (need, all) if need == all => "all of".to_owned(),
                    (need, all) => format!("at least {need} of these {all}"),
                };
                lines.push(format!("{indent}{how}"));
                of.iter().for_each(|who| who.in_words(depth + 1, lines));
            }
        }
    }
}

fn evidence(demands: Demands) -> String {
    let mut parts = Vec::new();
    if demands.log {
        parts.push("a transparency log has it");
    }
    if demands.sct {
        parts.push("a CT log has the certificate, if there is one");
    }
    if demands.timestamp {
        parts.push("a timestamp authority has seen it");
    }
    match parts.as_slice() {
        [] => "nobody else need have seen the signature".into(),
        parts => format!("a signature counts when {}", parts.join(", and ")),
    }
}

fn trust(trust: &TrustSpec) -> String {
    let mut line = match &trust.base {
        TrustBase::Installation => "trusted is what this installation trusts".to_owned(),
        TrustBase::Named(name) => format!("trusted is the trust root \"{name}\""),
        TrustBase::Document(_) => "trusted is the trust root in the policy".to_owned(),
    };
    let own: Vec<&str> = [
        ("certificate authorities", &trust.roots),
        ("transparency logs", &trust.log_keys),
        ("CT logs", &trust.ct_keys),
        ("timestamp authorities", &trust.timestamp_chain),
    ]
    .into_iter()
    .filter_map(|(what, given)| given.as_ref().map(|_| what))
    .collect();
    if !own.is_empty() {
        line.push_str(&format!(", but for {}, which stand in the policy", own.join(" and ")));
    }
    if let Some(url) = &trust.log_url {
        line.push_str(&format!("; only the log at {url} counts"));
    }
    line
}

/// Patterns, for people.
pub(super) fn listed(globs: &[Glob]) -> String {
    globs.iter().map(Glob::as_str).collect::<Vec<_>>().join(", ")
}
