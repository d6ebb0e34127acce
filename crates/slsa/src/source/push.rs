//! Whether a push is let in: history only grows, tags stay, and two persons agree to each change of a protected branch.
//!
//! Names in commits are claims: anybody can write any. So a name there never counts as a person who agrees, but always as one who
//! cannot be the reviewer. Who agrees is who signed a review, and who the server says is pushing.

use std::collections::BTreeSet;
use std::fmt;

use super::review::Review;

/// Where the system itself writes what it says of revisions.
pub const ATTESTATIONS: &str = "refs/notes/attestations";
/// Where reviewers put their statements.
pub const REVIEWS: &str = "refs/notes/reviews";
/// The most changes of refs in one push.
pub const MAX_CHANGES: usize = 1_000;
/// Where objects are that git shows in the place of others.
const REPLACEMENTS: &str = "refs/replace/";

/// What is protected, and how.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The repository, as reviews name it.
    pub repository: String,
    /// Patterns of protected branches.
    pub branches: Vec<String>,
    /// Patterns of tags.
    pub tags: Vec<String>,
    /// How many reviewers each change needs.
    pub reviewers: usize,
    /// Those who may change anything.
    pub people: Vec<Person>,
}

/// Somebody.
#[derive(Debug, Clone, Default)]
pub struct Person {
    /// The name by which the server and the messages call them.
    pub name: String,
    /// The addresses in their commits.
    pub emails: Vec<String>,
}

/// What changes of one ref, as git says it.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// The full name of the ref.
    pub name: String,
    /// What it was; none for a new one.
    pub old: Option<String>,
    /// What it will be; none for one that is deleted.
    pub new: Option<String>,
    /// Whether what was is an ancestor of what will be. Never asked for new and deleted refs.
    pub fast_forward: bool,
    /// Whether the server has made the ref a name of another one, which is what would change.
    pub symbolic: bool,
    /// Of the notes of reviewers: the commits of which a review that was there is there no more.
    pub lost: Vec<String>,
    /// The addresses of authors and committers of all commits that are new.
    pub authors: BTreeSet<String>,
    /// The verified reviews of what will be.
    pub reviews: Vec<Review>,
}

/// A push.
#[derive(Debug, Clone, Default)]
pub struct Push {
    /// The person who pushes, if the server says so.
    pub actor: Option<String>,
    /// The refs.
    pub changes: Vec<Change>,
}

/// Why a change is not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The ref.
    pub name: String,
    /// A word for programs.
    pub code: &'static str,
    /// What was expected and found.
    pub why: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.name, self.why, self.code)
    }
}

/// Whether a pattern, with `*` for any characters at its end, means a ref.
fn means(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.strip_prefix(start).is_some_and(|rest| !rest.is_empty()),
        None => pattern == name,
    }
}

impl Rules {
    /// Whether a branch is protected.
    #[must_use]
    pub fn is_protected(&self, name: &str) -> bool {
        self.branches.iter().any(|pattern| means(pattern, name))
    }

    /// Whether a tag stays where it is.
    #[must_use]
    pub fn is_tag(&self, name: &str) -> bool {
        self.tags.iter().any(|pattern| means(pattern, name))
    }

    /// All whom an address in a commit may name.
    fn named(&self, email: &str) -> impl Iterator<Item = &str> {
        let has = move |person: &&Person| person.emails.iter().any(|own| own.eq_ignore_ascii_case(email));
        self.people.iter().filter(has).map(|person| person.name.as_str())
    }

    /// All that is wrong with a push; empty when it is let in.
    #[must_use]
    pub fn judge(&self, push: &Push) -> Vec<Refusal> {
        if push.changes.len() > MAX_CHANGES {
            let found = push.changes.len();
            let why = format!("expected at most {MAX_CHANGES} refs in one push, found {found}");
            return vec![Refusal { name: "push".into(), code: "too_many_refs", why }];
        }
        push.changes.iter().flat_map(|change| self.judge_change(change, push.actor.as_deref())).collect()
    }

    fn judge_change(&self, change: &Change, actor: Option<&str>) -> Vec<Refusal> {
        let refuse = |code, why: String| vec![Refusal { name: change.name.clone(), code, why }];
        let below = change.name.strip_prefix(ATTESTATIONS);
        if below.is_some_and(|below| below.is_empty() || below.starts_with('/')) {
            return refuse("own_ref", "only the server itself writes here".into());
        }
        if change.symbolic {
            return refuse("symbolic", "it stands for another ref; push to that one".into());
        }
        if change.name.starts_with(REPLACEMENTS) && change.new.is_some() {
            let why = "what git shows in the place of another object would change history under its names";
            return refuse("replaces", why.into());
        }
        let branch = self.is_protected(&change.name);
        if self.is_tag(&change.name) {
            return match (&change.old, &change.new) {
                (Some(_), None) => refuse("tag_deleted", "a tag stays".into()),
                (Some(old), Some(_)) => {
                    refuse("tag_moved", format!("a tag stays where it is, which is {old}; make a new one"))
                }
                _ => Vec::new(),
            };
        }
        if !branch && change.name != REVIEWS {
            return Vec::new();
        }
        let Some(new) = &change.new else {
            return refuse("deleted", "it is protected and cannot be deleted".into());
        };
        if change.old.is_some() && !change.fast_forward {
            let why = "what was there is no ancestor of what is pushed; history only grows".to_owned();
            return refuse("not_fast_forward", why);
        }
        if let Some(commit) = change.lost.first() {
            return refuse(
                "review_lost",
                format!("a review of {commit} is there no more; reviews are only added"),
            );
        }
        if branch { self.review(change, new, actor) } else { Vec::new() }
    }

    /// Whether enough people agree to a change of a protected branch.
    fn review(&self, change: &Change, new: &str, actor: Option<&str>) -> Vec<Refusal> {
        let refuse = |code, why: String| vec![Refusal { name: change.name.clone(), code, why }];
        if self.reviewers == 0 {
            return Vec::new();
        }
        let said = |approves: bool| -> BTreeSet<&str> {
            let ours = change.reviews.iter().filter(|one| one.is_for(new, &change.name, &self.repository));
            ours.filter(|one| one.approves() == approves).map(|one| one.by.as_str()).collect()
        };
        // Whoever has said no has to say yes to another revision.
        let approved: BTreeSet<&str> = said(true).difference(&said(false)).copied().collect();
        let known = |name: &str| self.people.iter().any(|person| person.name == name);
        let mut own: BTreeSet<&str> = change.authors.iter().flat_map(|email| self.named(email)).collect();
        own.extend(actor);
        let reviewers: Vec<&str> =
            approved.iter().copied().filter(|name| known(name) && !own.contains(name)).collect();
        if reviewers.len() < self.reviewers {
            let of_others = if approved.iter().any(|name| own.contains(name)) {
                "; an author or the one who pushes is no reviewer of the change"
            } else if change.reviews.iter().any(|review| review.commit != new) {
                "; there are reviews of other revisions, and none of them is what would come into the branch"
            } else {
                ""
            };
            return refuse(
                "not_reviewed",
                format!(
                    "expected {} signed for {new} by somebody other than who wrote and who pushes it, found {}{of_others}",
                    if self.reviewers == 1 {
                        "an approval".to_owned()
                    } else {
                        format!("{} approvals", self.reviewers)
                    },
                    reviewers.len()
                ),
            );
        }
        let agreed: BTreeSet<&str> =
            approved.iter().copied().chain(actor).filter(|name| known(name)).collect();
        if agreed.len() <= self.reviewers {
            return refuse(
                "author_unknown",
                format!(
                    "expected {} people who agree, found {}: names in commits are claims. Let the server say who pushes \
                     (--actor), or let the author sign too",
                    self.reviewers + 1,
                    agreed.len()
                ),
            );
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use countersign_attestation::predicate::code_review::{CodeReview, Opinion};

    use super::*;

    const REPOSITORY: &str = "git+https://git.example/shop";
    const MAIN: &str = "refs/heads/main";

    fn rules() -> Rules {
        let person = |name: &str| Person { name: name.into(), emails: vec![format!("{name}@example.com")] };
        Rules {
            repository: REPOSITORY.into(),
            branches: vec![MAIN.into(), "refs/heads/release/*".into()],
            tags: vec!["refs/tags/*".into()],
            reviewers: 1,
            people: ["alice", "bob", "carol"].map(person).into(),
        }
    }

    fn review(by: &str) -> Review {
        Review {
            by: by.into(),
            commit: "new".into(),
            said: CodeReview {
                repository: REPOSITORY.into(),
                branch: MAIN.into(),
                verdict: Opinion::Approved,
                comment: String::new(),
                authors: Vec::new(),
                reviewers: Vec::new(),
                reviewed_on: None,
            },
        }
    }

    fn change() -> Change {
        Change {
            name: MAIN.into(),
            old: Some("old".into()),
            new: Some("new".into()),
            fast_forward: true,
            authors: ["alice@example.com".to_owned()].into(),
            reviews: vec![review("bob")],
            ..Change::default()
        }
    }

    fn codes(actor: Option<&str>, change: Change) -> Vec<&'static str> {
        let push = Push { actor: actor.map(str::to_owned), changes: vec![change] };
        rules().judge(&push).into_iter().map(|refusal| refusal.code).collect()
    }

    #[test]
    fn two_people_who_agree_are_let_in() {
        assert_eq!(codes(Some("alice"), change()), [""; 0]);
        let both = Change { reviews: vec![review("bob"), review("alice")], ..change() };
        assert_eq!(codes(None, both), [""; 0], "the author signs where the server does not say who pushes");
        let pushed_by_reviewer = Change { reviews: vec![review("bob"), review("carol")], ..change() };
        assert_eq!(codes(Some("bob"), pushed_by_reviewer), [""; 0]);
    }

    #[test]
    fn one_person_under_two_names_is_one() {
        let forged = Change { authors: ["alice@example.com".to_owned()].into(), ..change() };
        assert_eq!(codes(None, forged.clone()), ["author_unknown"]);
        assert_eq!(
            codes(Some("bob"), forged),
            ["not_reviewed"],
            "who pushes is no reviewer, whatever the commit says"
        );
        assert_eq!(codes(Some("mallory"), change()), ["author_unknown"], "nobody's people");
    }

    #[test]
    fn each_part_of_a_review_alone_makes_it_no_review() {
        let with = |edit: fn(&mut Review)| {
            let mut one = review("bob");
            edit(&mut one);
            codes(Some("alice"), Change { reviews: vec![one], ..change() })
        };
        assert_eq!(with(|r| r.by = "alice".into()), ["not_reviewed"], "approves the own change");
        assert_eq!(with(|r| r.by = "mallory".into()), ["not_reviewed"]);
        assert_eq!(with(|r| r.commit = "old".into()), ["not_reviewed"]);
        assert_eq!(with(|r| r.said.branch = "refs/heads/release/1".into()), ["not_reviewed"]);
        assert_eq!(with(|r| r.said.repository = "git+https://git.example/other".into()), ["not_reviewed"]);
        assert_eq!(with(|r| r.said.verdict = Opinion::Rejected), ["not_reviewed"]);
        assert_eq!(with(|r| r.said.branch.clear()), ["not_reviewed"], "of no branch");
        let mut no = review("bob");
        no.said.verdict = Opinion::Rejected;
        let taken_back = Change { reviews: vec![review("bob"), no], ..change() };
        assert_eq!(codes(Some("alice"), taken_back), ["not_reviewed"]);
        let twice = Rules { reviewers: 2, ..rules() };
        let push = Push {
            actor: Some("alice".into()),
            changes: vec![Change { reviews: vec![review("bob"), review("bob")], ..change() }],
        };
        assert_eq!(twice.judge(&push)[0].code, "not_reviewed", "one reviewer is counted once");
    }

    #[test]
    fn an_author_in_any_of_the_new_commits_is_no_reviewer() {
        let both = ["alice@example.com", "BOB@example.com"].map(str::to_owned).into();
        assert_eq!(codes(Some("alice"), Change { authors: both, ..change() }), ["not_reviewed"]);
    }

    #[test]
    fn an_address_of_two_people_names_both() {
        let mut shared = rules();
        for person in &mut shared.people {
            person.emails.push("team@example.com".into());
        }
        let change = Change { authors: ["team@example.com".to_owned()].into(), ..change() };
        let push = Push { actor: Some("alice".into()), changes: vec![change] };
        assert_eq!(shared.judge(&push)[0].code, "not_reviewed");
    }

    #[test]
    fn refs_that_change_others_are_refused() {
        let of = |name: &str| Change { name: name.into(), ..change() };
        let symbolic = Change { symbolic: true, ..of("refs/heads/master") };
        assert_eq!(codes(Some("alice"), symbolic), ["symbolic"]);
        assert_eq!(codes(Some("alice"), of("refs/replace/00")), ["replaces"]);
        let away = Change { new: None, ..of("refs/replace/00") };
        assert_eq!(codes(Some("alice"), away), [""; 0], "to take one away is right");
        assert_eq!(codes(Some("alice"), of("refs/notes/attestations/x")), ["own_ref"]);
        assert_eq!(codes(Some("alice"), of("refs/notes/attestations-of-ours")), [""; 0]);
    }

    #[test]
    fn history_only_grows_and_tags_stay() {
        assert_eq!(codes(Some("alice"), Change { fast_forward: false, ..change() }), ["not_fast_forward"]);
        assert_eq!(codes(Some("alice"), Change { new: None, ..change() }), ["deleted"]);
        let tag = |old: Option<&str>, new: Option<&str>| {
            let of = |text: Option<&str>| text.map(str::to_owned);
            codes(
                None,
                Change {
                    name: "refs/tags/v1".into(),
                    old: of(old),
                    new: of(new),
                    fast_forward: true,
                    ..Change::default()
                },
            )
        };
        assert_eq!(tag(None, Some("a")), [""; 0]);
        assert_eq!(tag(Some("a"), Some("b")), ["tag_moved"]);
        assert_eq!(tag(Some("a"), None), ["tag_deleted"]);
    }

    #[test]
    fn the_systems_own_notes_and_the_reviews_are_kept() {
        let notes = |name: &str, fast_forward| {
            codes(None, Change { name: name.into(), reviews: Vec::new(), fast_forward, ..change() })
        };
        assert_eq!(notes(ATTESTATIONS, true), ["own_ref"]);
        assert_eq!(notes(REVIEWS, true), [""; 0]);
        assert_eq!(notes(REVIEWS, false), ["not_fast_forward"], "a rejection cannot be taken away");
        let lost = Change { name: REVIEWS.into(), lost: vec!["new".into()], ..change() };
        assert_eq!(codes(None, lost), ["review_lost"], "not by a further commit either");
        assert_eq!(notes("refs/heads/topic", false), [""; 0], "what is not protected is free");
        assert_eq!(notes("refs/heads/release/1", true), ["not_reviewed"]);
    }
}
