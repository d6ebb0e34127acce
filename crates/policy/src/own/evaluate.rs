//! A policy over a request.

use std::collections::{BTreeMap, BTreeSet};

use countersign_crypto::Digest;
use countersign_registry::Reference;
use jiff::Timestamp;
use serde_json::json;

use super::schema::{DigestRule, Which};
use super::who::Who;
use super::{ImagePolicy, Said};
use crate::ask::{Ask, Stop};
use crate::authority::Authority;
use crate::cel::{self, Variables};
use crate::decision::{Deciding, Pin, PolicyName, RuleResult, Status};
use crate::evaluate::Policy;
use crate::finding::{Finding, Why, predicate};
use crate::images::ImageUse;
use crate::judge::{Fact, What};
use crate::lint::Lint;
use crate::question::CouldNot;
use crate::request::{Artifact, CustomObject, Request};
use crate::statements::{Target, Verdict, newest, signed_at};

/// The rule of `signedBy`, in results.
const SIGNED: &str = "signedBy";

impl Policy for ImagePolicy {
    fn name(&self) -> PolicyName {
        self.name.clone()
    }

    fn lints(&self) -> Vec<Lint> {
        self.lints.clone()
    }

    fn custom_objects(&self) -> Vec<CustomObject> {
        self.custom.kinds().map(CustomObject::Kind).collect()
    }

    fn evaluate(&self, request: &Request, ask: &Ask<'_>) -> Result<(Vec<RuleResult>, Vec<Pin>), Stop> {
        let mut told = Told { policy: self, results: Vec::new(), pins: Vec::new() };
        if let Some(artifact) = &request.artifact {
            let open = told.file(artifact, ask);
            return if open { Err(Stop::Open) } else { Ok((told.results, Vec::new())) };
        }
        let images = self.custom.judged_images(request, ask.now());
        if images.as_ref().is_ok_and(Vec::is_empty) {
            return Ok((Vec::new(), Vec::new()));
        }
        match self.scope.covers(request, ask) {
            Ok(true) => {}
            Ok(false) => return Ok((Vec::new(), Vec::new())),
            Err(Stop::CouldNot(could_not)) => {
                told.could_not(None, "", &could_not);
                return Ok((told.results, Vec::new()));
            }
            Err(Stop::Open) => return Err(Stop::Open),
        }
        let mut open = false;
        match images {
            Err(error) => told.ended(None, "", Status::Fail, "images_malformed", error),
            Ok(images) => {
                for (name, uses) in by_name(&images) {
                    open |= told.image(name, &uses, ask);
                }
            }
        }
        if open { Err(Stop::Open) } else { Ok((told.results, told.pins)) }
    }
}

/// The images by their names: each is judged once, however often it is used.
fn by_name(images: &[ImageUse]) -> BTreeMap<&str, Vec<&ImageUse>> {
    let mut found: BTreeMap<&str, Vec<&ImageUse>> = BTreeMap::new();
    for image in images {
        found.entry(image.image.as_str()).or_default().push(image);
    }
    found
}

/// What a policy says.
struct Told<'a> {
    policy: &'a ImagePolicy,
    results: Vec<RuleResult>,
    pins: Vec<Pin>,
}

impl Told<'_> {
    /// Judges an image. Whether a question is open; then what is told is of no use.
    fn image(&mut self, name: &str, uses: &[&ImageUse], ask: &Ask<'_>) -> bool {
        let policy = self.policy;
        let about = Some((name, None));
        let image = match Reference::parse(name) {
            Ok(image) => image,
            // Nobody can tell whether it is meant.
            Err(error) => {
                self.ended(about, "", Status::Fail, "image_malformed", error.to_string());
                return false;
            }
        };
        if !policy.images.match_repository(image.repository()) {
            return false;
        }
        if policy.digest == DigestRule::Require && image.digest().is_none() {
            let message = format!("{name}: expected an image by digest, found a tag; write {name}@sha256:…");
            self.ended(about, "digest", Status::Fail, "not_pinned", message);
            return false;
        }
        let digest = match ask.digest(&image) {
            Ok(digest) => digest,
            Err(Stop::Open) => return true,
            Err(Stop::CouldNot(could_not)) => {
                self.could_not(about, "", &could_not);
                return false;
            }
        };
        let judging = Judging { target: Target::image(&image, digest), name, ask };
        let (passed, open) = self.judged(&judging);
        if passed && policy.digest == DigestRule::Pin && image.digest().is_none() {
            self.pins.extend(uses.iter().map(|used| Pin {
                pointer: used.pointer.clone(),
                from: name.to_owned(),
                to: format!("{name}@{digest}"),
            }));
        }
        open
    }

    /// Judges a file or a directory. Whether a question is open.
    fn file(&mut self, artifact: &Artifact, ask: &Ask<'_>) -> bool {
        if !self.policy.images.match_file(&artifact.name) {
            return false;
        }
        let judging = Judging { target: Target::File(artifact.digest), name: &artifact.name, ask };
        self.judged(&judging).1
    }

    /// Tells what each rule says. Whether all hold, and whether a question is open; then what is told is of no use.
    fn judged(&mut self, judging: &Judging<'_>) -> (bool, bool) {
        let policy = self.policy;
        let Judging { target, name, ask } = judging;
        let about = Some((*name, Some(*target.digest())));
        let mut findings = Vec::new();
        if let Some(who) = &policy.signed_by {
            findings.push((
                SIGNED,
                judging.who(who, &|authority| ask.find_target(target, authority, &What::Signature)),
            ));
        }
        for said in &policy.attestations {
            let finding = judging.who(&said.by, &|authority| judging.statement(authority, said));
            findings.push((said.rule.as_str(), finding));
        }
        let (mut passed, mut open) = (true, false);
        for (rule, finding) in findings {
            passed &= matches!(finding, Finding::Holds(_));
            match finding {
                Finding::Open => open = true,
                Finding::CouldNot(could_not) => self.could_not(about, rule, &could_not),
                Finding::No(why) => {
                    let message = format!("{name}: {}{}", why.text, judging.see());
                    self.ended(about, rule, Status::Fail, &why.reason, message);
                }
                Finding::Holds(facts) => {
                    let message = format!("{name}: holds, by {}", signers(&facts));
                    let decided_by = facts.iter().map(Deciding::of).collect();
                    self.decided(about, rule, Status::Pass, "verified", message, decided_by);
                }
            }
        }
        for typed in &policy.typed {
            match typed.judge(target, ask) {
                Err(Stop::Open) => (passed, open) = (false, true),
                Err(Stop::CouldNot(could_not)) => {
                    passed = false;
                    self.could_not(about, typed.rule(), &could_not);
                }
                Ok(verdict) => {
                    passed &= verdict.holds;
                    self.verdict(about, typed.rule(), judging, verdict);
                }
            }
        }
        (passed, open)
    }

    fn verdict(
        &mut self,
        about: Option<(&str, Option<Digest>)>,
        rule: &str,
        judging: &Judging<'_>,
        verdict: Verdict,
    ) {
        let Verdict { holds, reason, message, decided_by, level, .. } = verdict;
        let (status, see) = if holds { (Status::Pass, String::new()) } else { (Status::Fail, judging.see()) };
        let message = format!("{}: {message}{see}", judging.name);
        self.decided(about, rule, status, if holds { "verified" } else { reason }, message, decided_by);
        if let Some(result) = self.results.last_mut() {
            result.level = level;
        }
    }

    fn could_not(&mut self, about: Option<(&str, Option<Digest>)>, rule: &str, could_not: &CouldNot) {
        let message = match about {
            Some((name, _)) => format!("{name}: could not be checked: {}", could_not.text),
            None => format!("could not be checked: {}", could_not.text),
        };
        self.ended(about, rule, Status::Error, could_not.reason.code(), message);
    }

    fn ended(
        &mut self,
        about: Option<(&str, Option<Digest>)>,
        rule: &str,
        status: Status,
        reason: &str,
        message: String,
    ) {
        self.decided(about, rule, status, reason, message, Vec::new());
    }

    fn decided(
        &mut self,
        about: Option<(&str, Option<Digest>)>,
        rule: &str,
        status: Status,
        reason: &str,
        message: String,
        decided_by: Vec<Deciding>,
    ) {
        self.results.push(RuleResult {
            policy: self.policy.name.clone(),
            rule: rule.to_owned(),
            image: about.map(|(name, _)| name.to_owned()),
            digest: about.and_then(|(_, digest)| digest),
            status,
            action: self.policy.action,
            fail_closed: self.policy.fail_closed,
            reason: reason.to_owned(),
            message,
            properties: BTreeMap::new(),
            decided_by,
            level: None,
        });
    }
}

/// Who made these facts, for people.
fn signers(facts: &[Fact]) -> String {
    let names: BTreeSet<String> = facts.iter().map(|fact| Who::signer_of(fact).0).collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}

/// What is judged, by its digest.
struct Judging<'a> {
    target: Target,
    name: &'a str,
    ask: &'a Ask<'a>,
}

impl Judging<'_> {
    /// The next command, for the end of a refusal.
    fn see(&self) -> String {
        match &self.target {
            Target::Image(image, _) => format!("; see countersign tree {image}"),
            Target::File(_) => String::new(),
        }
    }

    fn who(&self, who: &Who, judge: &dyn Fn(&Authority) -> Finding<Fact>) -> Finding<Fact> {
        match who {
            Who::One(authority) => judge(authority),
            Who::Several { need, of } => self.several(*need, of, judge),
        }
    }

    /// So many, by as many different signers: one who is two of them counts once.
    fn several(&self, need: usize, of: &[Who], judge: &dyn Fn(&Authority) -> Finding<Fact>) -> Finding<Fact> {
        let (mut facts, mut choices, mut nested, mut unsure) = (Vec::new(), Vec::new(), 0, 0);
        let (mut open, mut could_not, mut why) = (false, None, None);
        let mut held = 0;
        for who in of {
            match self.who(who, judge) {
                Finding::Holds(more) => {
                    match who {
                        Who::One(_) => choices.push(more.iter().map(Who::signer_of).collect()),
                        Who::Several { .. } => nested += 1,
                    }
                    facts.extend(more);
                    held = nested + most_distinct(&choices);
                    if held >= need {
                        return Finding::Holds(facts);
                    }
                }
                Finding::No(no) => why = why.or(Some(no)),
                Finding::CouldNot(error) => {
                    unsure += 1;
                    could_not = could_not.or(Some(error));
                }
                Finding::Open => open = true,
            }
        }
        match (open, could_not) {
            (true, _) => Finding::Open,
            (false, Some(error)) if held + unsure >= need => Finding::CouldNot(error),
            (false, _) => {
                let mut why = why.unwrap_or_else(|| {
                    Why::new(
                        "same_signer",
                        "expected different signers, found the same one in several places",
                    )
                });
                if of.len() > 1 {
                    let all = of.len();
                    why.text = format!(
                        "{need} of {all} must have signed, {held} have; of the others, first: {}",
                        why.text
                    );
                }
                Finding::No(why)
            }
        }
    }

    /// Statements by somebody, with what must hold of them.
    fn statement(&self, authority: &Authority, said: &Said) -> Finding<Fact> {
        let what = What::Statement(vec![said.kind.clone()]);
        let found = match said.which {
            Which::Any => self.ask.find_target(&self.target, authority, &what),
            Which::All | Which::Newest => self.ask.find_all(&self.target, authority, &what),
        };
        let facts = match found {
            Finding::Holds(facts) => facts,
            other => return other,
        };
        match said.of_facts(&facts, self) {
            Ok(facts) => Finding::Holds(facts),
            Err(why) => Finding::No(why),
        }
    }
}

/// The most of these that can each have another signer.
fn most_distinct(choices: &[Vec<(String, String)>]) -> usize {
    let mut taken: BTreeMap<&(String, String), usize> = BTreeMap::new();
    (0..choices.len()).filter(|index| assign(*index, choices, &mut taken, &mut BTreeSet::new())).count()
}

/// Finds a signer for one of them, and for who has that signer another one, if there is any.
fn assign<'a>(
    index: usize,
    choices: &'a [Vec<(String, String)>],
    taken: &mut BTreeMap<&'a (String, String), usize>,
    tried: &mut BTreeSet<&'a (String, String)>,
) -> bool {
    for signer in choices.get(index).into_iter().flatten() {
        if !tried.insert(signer) {
            continue;
        }
        let free = match taken.get(signer).copied() {
            None => true,
            Some(other) => assign(other, choices, taken, tried),
        };
        if free {
            taken.insert(signer, index);
            return true;
        }
    }
    false
}

impl Said {
    /// The statements that are as they must be, or why not.
    fn of_facts(&self, facts: &[Fact], judging: &Judging<'_>) -> Result<Vec<Fact>, Why> {
        let now = judging.ask.now();
        // Of each signer, as somebody else's newer word is none of theirs.
        let counting =
            if self.which == Which::Newest { newest(facts, |_| ()) } else { facts.iter().collect() };
        let mut aged: Vec<(Option<Timestamp>, &Fact)> =
            counting.into_iter().map(|fact| (signed_at(fact), fact)).collect();
        if self.max_age.is_some() || self.which == Which::Newest {
            aged.retain(|(at, _)| at.is_some());
            if aged.is_empty() {
                let text = format!(
                    "the statement of type {}: expected a time of signing from a timestamp authority or a log, found none",
                    self.kind
                );
                return Err(Why::new("signing_time_unknown", text));
            }
        }
        aged.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        if let Some(max_age) = self.max_age {
            let newest = aged.first().and_then(|(at, _)| *at);
            aged.retain(|(at, _)| at.is_some_and(|at| now.duration_since(at) <= max_age));
            if aged.is_empty() {
                let at = newest.map_or_else(|| "never".into(), |at| at.to_string());
                let text = format!(
                    "expected a statement of type {} not older than {max_age:#}, found the newest of {at}; make it anew",
                    self.kind
                );
                return Err(Why::new("too_old", text));
            }
        }
        let mut holding = Vec::new();
        let mut why = None;
        for (at, fact) in aged {
            match self.condition_not_met(fact, at, judging) {
                None => holding.push(fact.clone()),
                Some(text) if self.which == Which::Any => why = why.or(Some(text)),
                Some(text) => return Err(Why::new("condition_not_met", text)),
            }
        }
        match why {
            Some(text) if holding.is_empty() => Err(Why::new("condition_not_met", text)),
            _ => Ok(holding),
        }
    }

    /// The first condition that does not hold of a statement, in words.
    fn condition_not_met(&self, fact: &Fact, at: Option<Timestamp>, judging: &Judging<'_>) -> Option<String> {
        if self.conditions.is_empty() {
            return None;
        }
        let about = |text: String| format!("the statement {} of type {}: {text}", fact.evidence, self.kind);
        let predicate = match predicate(fact) {
            Ok(predicate) => predicate,
            Err(text) => return Some(about(text)),
        };
        let (identity, issuer) = Who::signer_of(fact);
        let Judging { target, name, ask } = judging;
        let digest = target.digest().to_string();
        let image = target.repository().map_or_else(
            || json!({}),
            |repository| {
                json!({
                    "name": name,
                    "registry": repository.registry(),
                    "repository": repository.path(),
                    "digest": digest,
                })
            },
        );
        let variables = Variables::new(ask.now())
            .with("predicate", &predicate)
            .with("signer", &json!({ "identity": identity, "issuer": issuer }))
            .with("image", &image)
            .with("artifact", &json!({ "name": name, "digest": digest }))
            .with_value("signedAt", at.map_or(cel::Value::Null, cel::Value::Time));
        self.conditions.iter().find_map(|condition| match condition.holds(&variables) {
            Ok(true) => None,
            Ok(false) => Some(about(format!("expected {condition}, which does not hold"))),
            Err(error) => Some(about(format!("expected {condition}, which cannot be evaluated: {error}"))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_signer_counts_once_wherever_it_fits() {
        let choices = |lists: &[&[&str]]| {
            let list = |list: &&[&str]| list.iter().map(|s| ((*s).to_owned(), String::new())).collect();
            lists.iter().map(list).collect::<Vec<Vec<_>>>()
        };
        assert_eq!(most_distinct(&choices(&[&["a"], &["a"]])), 1);
        assert_eq!(most_distinct(&choices(&[&["a", "b"], &["a"]])), 2);
        assert_eq!(most_distinct(&choices(&[&["a", "b"], &["a", "b"], &["a", "b"]])), 2);
        assert_eq!(most_distinct(&choices(&[&["a", "b"], &["b", "c"], &["a"], &["c", "d"]])), 4);
        assert_eq!(most_distinct(&choices(&[])), 0);
    }
}
