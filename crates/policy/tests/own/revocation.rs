//! What was revoked is refused by policies, and a judgement that is kept does not outlive a new list.

use std::sync::Arc;

use countersign_policy::{
    Answer, CouldNot, CouldNotReason, Known, Memo, PolicySet, Question, Request, Status, TrustRoot,
};
use countersign_verify::revocation::{Entry, Revocation, RevocationList, Revocations, Target, Text};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::support::{By, Cluster, pod};
use crate::{IMAGE, alice, policy, read};

type Lists = Vec<Arc<Revocations>>;

/// Answers as a cluster does, with what was revoked by everybody and under the installation's own trust root.
struct Revoking<'a> {
    cluster: &'a Cluster,
    memo: &'a Memo,
    everywhere: Result<Lists, CouldNot>,
    own: Lists,
}

impl Known for Revoking<'_> {
    fn answer(&self, question: &Question) -> Option<Result<Answer, CouldNot>> {
        match (question, self.cluster.answer(question)) {
            (Question::Trust(None), Some(Ok(Answer::Trust(root)))) => {
                let root = TrustRoot::clone(&root).revoking(self.own.clone());
                Some(Ok(Answer::Trust(Arc::new(root))))
            }
            (_, answer) => answer,
        }
    }

    fn memo(&self) -> Option<&Memo> {
        Some(self.memo)
    }

    fn revocations(&self) -> Result<Lists, CouldNot> {
        self.everywhere.clone()
    }
}

fn list(now: Timestamp, hours: i64, names: &[&str]) -> Lists {
    let from = |hours| now.checked_add(SignedDuration::from_hours(hours)).unwrap();
    let entry = |(id, name): (u32, &&str)| Entry {
        id,
        revoke: Some(Revocation {
            target: Target::Identity { name: Some(Text::Exact((*name).to_owned())), issuer: None },
            since: None,
            until: None,
            expires: None,
        }),
        undo: None,
        reason: "stolen".into(),
        by: "soc".into(),
        at: now,
    };
    let entries = (1..).zip(names).map(entry).collect();
    let list = RevocationList { number: 1, issued_at: from(-100), expires: from(hours), entries };
    vec![Arc::new(Revocations::read(&list.to_json().unwrap(), "test").unwrap())]
}

#[test]
fn each_list_alone_refuses_whatever_was_judged_before_and_a_missing_or_expired_one_is_could_not_check() {
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    cluster.sign(IMAGE, By::Alice, &json!({}));
    let (now, memo) = (cluster.now, Memo::new(100));
    let set = PolicySet::new(vec![Box::new(read(&policy(json!({"signedBy": alice()}))))]);
    let revoked = || list(now, 1, &["alice@example.com"]);
    let (another, expired) = (|| list(now, 1, &["bob@example.com"]), || list(now, 0, &[]));
    let missing = CouldNot::new(CouldNotReason::Unusable, "there should be a list");
    let fail = |reason: &str| Some((Status::Fail, reason.to_owned()));
    let error = || Some((Status::Error, "unusable".to_owned()));
    for (everywhere, own, expected) in [
        (Ok(Vec::new()), Vec::new(), None),
        (Ok(revoked()), Vec::new(), fail("revoked")),
        (Ok(Vec::new()), Vec::new(), None),
        (Ok(Vec::new()), revoked(), fail("revoked")),
        (Ok(another()), another(), None),
        (Ok(expired()), Vec::new(), error()),
        (Ok(Vec::new()), expired(), error()),
        (Err(missing), Vec::new(), error()),
        (Ok(Vec::new()), Vec::new(), None),
    ] {
        let known = Revoking { cluster: &cluster, memo: &memo, everywhere, own };
        let decision = set.evaluate(&Request::of_object(pod(&[IMAGE])), &known, now).unwrap();
        let wrong = decision.results.iter().find(|result| result.status != Status::Pass);
        assert_eq!(wrong.map(|result| (result.status, result.reason.clone())), expected);
        assert_eq!(decision.admits(), expected.is_none());
    }
}
