//! A policy over one image beside which a thousand statements lie, half of them by strangers: in memory, beside verifying as many
//! signatures and nothing else.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use countersign_bundle::TrustedRoot;
use countersign_crypto::{HashAlgorithm, KeyPair, KeyType, Signer as _};
use countersign_policy::own::ImagePolicy;
use countersign_policy::{Answer, CouldNot, Evidence, Known, Memo, PolicySet, Question, Request, TrustRoot};
use countersign_registry::Descriptor;
use countersign_registry::evidence::{Form, Found, Origin};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::admission::{BUNDLE, signed};
use crate::services::Size;
use crate::table::{Beside, Table, median, time};

const IMAGE: &str = "registry.example/shop/app";
/// How many statements lie beside the image.
const STATEMENTS: usize = 1000;
/// How many evaluations are measured.
const ROUNDS: usize = 5;
const BUILDER: &str = "https://builds.example/hermetic/v1";

/// What is said of the image, by type.
fn predicates() -> [(&'static str, Value); 4] {
    [
        (
            "https://slsa.dev/provenance/v1",
            json!({"buildDefinition": {"buildType": "https://builds.example/make", "externalParameters": {}},
                "runDetails": {"builder": {"id": BUILDER}}}),
        ),
        (
            "https://cyclonedx.org/bom",
            json!({"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [{"name": "openssl"}]}),
        ),
        (
            "https://in-toto.io/attestation/test-result/v0.1",
            json!({"result": "PASSED", "configuration": [{"uri": "ci.yml"}]}),
        ),
        (
            "https://countersign.dev/code-review/v1",
            json!({"repository": "https://git.example/shop", "verdict": "approved", "authors": [{"id": "ann"}],
                "reviewers": [{"id": "bob"}]}),
        ),
    ]
}

/// What a registry would say, in memory.
struct Memory {
    evidence: Arc<Evidence>,
    memo: Option<Memo>,
}

impl Known for Memory {
    fn answer(&self, question: &Question) -> Option<Result<Answer, CouldNot>> {
        match question {
            Question::Evidence(of) => Some(Ok(Answer::Evidence(Arc::new(self.evidence.of_forms(&of.forms))))),
            // Keys sign, and nobody else is believed.
            Question::Trust(None) => {
                Some(TrustRoot::new(TrustedRoot::default()).map(|root| Answer::Trust(Arc::new(root))))
            }
            _ => None,
        }
    }

    fn memo(&self) -> Option<&Memo> {
        self.memo.as_ref()
    }
}

/// The rows of policies over what is known.
pub(crate) fn rows(table: &mut Table, size: Size) -> Result<()> {
    let count = STATEMENTS.min(size.images);
    let (trusted, stranger) =
        (KeyPair::generate(KeyType::EcdsaP256)?, KeyPair::generate(KeyType::EcdsaP256)?);
    let digest = HashAlgorithm::Sha256.digest(b"an image");
    let predicates = predicates();
    let mut found = Vec::with_capacity(count);
    for number in 0..count {
        let (kind, predicate) = predicates.get(number / 2 % predicates.len()).context("a predicate")?;
        let statement = json!({"_type": "https://in-toto.io/Statement/v1", "predicateType": kind, "predicate": predicate,
            "subject": [{"name": number.to_string(), "digest": {"sha256": digest.to_hex()}}]});
        let key = if number % 2 == 0 { &trusted } else { &stranger };
        let bytes = signed(&statement.to_string(), key)?;
        let layer = Descriptor::of(BUNDLE, &bytes);
        let (form, origin, manifest) = (Form::Bundle, Origin::ReferrersApi, layer.clone());
        found.push(Found { form, origin, manifest, layer, annotations: Default::default(), bytes });
    }
    let key = json!({"key": trusted.public_key().to_pem()});
    let policy = ImagePolicy::read(&json!({"apiVersion": "countersign.dev/v1alpha1", "kind": "ImagePolicy",
        "metadata": {"name": "known"}, "spec": {"images": ["**"], "require": {"transparencyLog": false},
            "provenance": {"level": 3, "roots": [{"builder": BUILDER, "signer": key, "level": 3}]},
            "sbom": {"signedBy": key}, "tests": {"signedBy": key}, "review": {"signedBy": key}}}))
    .map_err(|error| anyhow!("{error}"))?;
    let set = PolicySet::new(vec![Box::new(policy)]);
    let mut memory = Memory { evidence: Arc::new(Evidence::new(found)), memo: None };
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"},
        "spec": {"containers": [{"name": "a", "image": format!("{IMAGE}@{digest}")}]}});
    let request = Request::of_object(pod);
    let evaluate = |memory: &Memory| -> Result<Duration> {
        let began = Instant::now();
        let decision = set.evaluate(&request, memory, Timestamp::UNIX_EPOCH);
        let took = began.elapsed();
        let decision = decision.map_err(|open| anyhow!("{open:?} is open"))?;
        ensure!(decision.admits() && decision.results.len() == 4, "{decision:?}");
        Ok(took)
    };
    let first = (0..ROUNDS).map(|_| evaluate(&memory)).collect::<Result<Vec<_>>>()?;
    memory.memo = Some(Memo::new(100));
    evaluate(&memory)?;
    let again = (0..ROUNDS).map(|_| evaluate(&memory)).collect::<Result<Vec<_>>>()?;
    let raw = raw(&trusted, count)?;
    let what = format!("policy over {count} statements on one image");
    for (kind, took) in [("first", median(first)), ("again", median(again))] {
        let beside = Beside::new(
            format!("{count} signatures alone {}", time(raw)),
            took.as_secs_f64() / raw.as_secs_f64(),
        );
        table.add(format!("{what}, {kind}"), time(took), [beside]);
    }
    Ok(())
}

/// How long as many signatures take to verify, and nothing else.
fn raw(key: &KeyPair, count: usize) -> Result<Duration> {
    let message = [7_u8; 512];
    let (public, signature) = (key.public_key(), key.sign(&message)?);
    let scheme = key.scheme();
    let began = Instant::now();
    for _ in 0..count {
        public.verify(scheme, black_box(&message), black_box(&signature))?;
    }
    Ok(began.elapsed())
}
