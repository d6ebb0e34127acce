//! The run: reviews, what changes between them, and the judge over the answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use countersign_client::policy::{Source, SourceOptions};
use countersign_crypto::{Digest, Signer as _};
use countersign_kubernetes::admit::{Admission, Face};
use countersign_policy::TrustRoot;
use countersign_registry::RegistryOptions;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::dice::Dice;
use super::hostile::{Failing, Machine, Stepping};
use super::registry::Registry;
use super::world::{Image, World};
use crate::support::{Hook, Reviewed, pod, review, spec};

/// After so many reviews something changes: the policy, the trust root, the clock.
const CHANGE: usize = 20;
/// How long the API server waits at least, in seconds. Without optimisations a verification takes many times as long.
const PATIENCE: u64 = if cfg!(debug_assertions) { 6 } else { 2 };
/// How often the webhook begins anew in a run.
const RESTARTS: usize = 6;
/// After how many it is told how far a long run is.
const TOLD: usize = 5_000;

/// What the webhook was told to judge by.
#[derive(Debug, Clone, Copy)]
struct State {
    rule: usize,
    root: usize,
}

/// A webhook in a runtime of its own, which can end in the middle of everything.
struct Live {
    hook: Hook,
    source: Arc<Source>,
    client: reqwest::Client,
    stopped: AtomicBool,
    killed: AtomicBool,
    runtime: Mutex<Option<Runtime>>,
}

/// What came of the reviews.
#[derive(Debug, Default, Clone)]
pub(super) struct Counts {
    pub(super) admitted: usize,
    pub(super) refused: usize,
    pub(super) could_not_check: usize,
    /// The client went away.
    pub(super) left: usize,
    /// The webhook was killed under them.
    pub(super) killed: usize,
    pub(super) restarts: usize,
    pub(super) changes: usize,
    pub(super) requests: usize,
    pub(super) faults: usize,
    /// The longest that an answer took of the time there was for it, in percent.
    pub(super) slowest: u128,
    /// How late the machine itself was at most, in milliseconds.
    pub(super) lag: u128,
    /// What must not be.
    pub(super) wrong: Vec<String>,
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { admitted, refused, could_not_check, left, killed, .. } = self;
        let Self { restarts, changes, requests, faults, slowest, lag, wrong, .. } = self;
        writeln!(f, "{admitted} admitted, {refused} refused, {could_not_check} could not be checked")?;
        writeln!(f, "{left} clients left, {killed} reviews lost in a webhook that was killed")?;
        writeln!(
            f,
            "{restarts} restarts, {changes} changes, {requests} requests to registries, {faults} faults"
        )?;
        writeln!(f, "the slowest answer took {slowest} % of its time; the machine lagged {lag} ms at most")?;
        write!(f, "{} wrong", wrong.len())
    }
}

pub(super) struct Run {
    dice: Arc<Dice>,
    world: World,
    /// The one that fails, and the one that does not.
    registries: [Arc<Registry>; 2],
    calm: Arc<AtomicBool>,
    clock: Arc<Stepping>,
    states: tokio::sync::Mutex<()>,
    /// All that were ever told to the webhook, and how many of them it has taken for certain.
    told: Mutex<(Vec<State>, usize)>,
    live: Mutex<Option<Arc<Live>>>,
    counts: Mutex<Counts>,
    machine: Machine,
    reviews: usize,
}

/// One review, and what its answer may be.
struct Asked {
    face: Face,
    body: Value,
    /// The images that were there before, which nobody judges: container and image.
    before: BTreeSet<(String, String)>,
    timeout: u64,
}

impl Run {
    pub(super) async fn start(reviews: usize, seed: u64) -> Arc<Self> {
        let dice = Arc::new(Dice::new(seed));
        let ((failing, host), (quiet, calm_host)) = (Registry::listen().await, Registry::listen().await);
        let mut world = World::new(&[host.clone(), calm_host.clone()]);
        let images = (reviews / 100).clamp(45, 450);
        let (there, here) = (world.fill(&host, images), world.fill(&calm_host, images / 3));
        let registries = [
            Registry::serve(failing, there, Arc::clone(&dice), false),
            Registry::serve(quiet, here, Arc::clone(&dice), true),
        ];
        let run = Arc::new(Self {
            dice,
            world,
            registries,
            calm: Arc::default(),
            clock: Arc::new(Stepping::new()),
            states: tokio::sync::Mutex::default(),
            told: Mutex::new((vec![State { rule: 0, root: 0 }], 1)),
            live: Mutex::default(),
            counts: Mutex::default(),
            machine: Machine::watch(),
            reviews,
        });
        run.restart(false).await;
        run
    }

    pub(super) fn counts(&self) -> Counts {
        let mut counts = self.counts.lock().unwrap().clone();
        counts.lag = self.machine.lag().as_millis();
        for registry in &self.registries {
            counts.requests += registry.requests.load(Ordering::Relaxed);
            counts.faults += registry.faults.load(Ordering::Relaxed);
        }
        counts
    }

    fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.counts.lock().unwrap());
    }

    fn wrong(&self, text: String) {
        self.count(|counts| counts.wrong.push(text));
    }

    /// All reviews, so many at once.
    pub(super) async fn all(self: &Arc<Self>, at_once: usize) {
        let next = Arc::<AtomicUsize>::default();
        let working = (0..at_once).map(|_| {
            let (run, next) = (Arc::clone(self), Arc::clone(&next));
            tokio::spawn(async move { run.work(&next).await })
        });
        for ended in join_all(working).await {
            ended.unwrap();
        }
    }

    async fn work(&self, next: &AtomicUsize) {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= self.reviews {
                return;
            }
            if number.is_multiple_of(TOLD) && number > 0 {
                println!("{number} reviews");
            }
            if number % (self.reviews / (RESTARTS + 1)) == 1 {
                self.restart(self.dice.permille(500)).await;
            } else if number.is_multiple_of(CHANGE) {
                self.change().await;
            }
            self.one().await;
        }
    }

    fn live(&self) -> Arc<Live> {
        Arc::clone(self.live.lock().unwrap().as_ref().unwrap())
    }

    /// Another webhook in the place of the one that runs, which is stopped, or killed in the middle of its work.
    async fn restart(&self, kill: bool) {
        let _turn = self.states.lock().await;
        let state = *self.told.lock().unwrap().0.last().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let source = Arc::new(Source::new(SourceOptions {
            registry: RegistryOptions { concurrency: Some(64), ..RegistryOptions::default() },
            cluster: Arc::new(Failing {
                dice: Arc::clone(&self.dice),
                calm: Arc::clone(&self.calm),
                key: self.world.first.public_key().to_pem(),
            }),
            trust: BTreeMap::new(),
        }));
        let admission = Admission::new(Arc::clone(&source), Arc::clone(&self.clock) as _);
        let hook = runtime.spawn(Hook::of(admission)).await.unwrap();
        let live = Live {
            client: hook.client(),
            hook,
            source,
            stopped: AtomicBool::new(false),
            killed: AtomicBool::new(false),
            runtime: Mutex::new(Some(runtime)),
        };
        self.tell(&live, state);
        let before = self.live.lock().unwrap().replace(Arc::new(live));
        let Some(before) = before else { return };
        self.count(|counts| counts.restarts += 1);
        if kill {
            before.killed.store(true, Ordering::SeqCst);
            before.runtime.lock().unwrap().take().unwrap().shutdown_background();
        } else {
            before.stopped.store(true, Ordering::SeqCst);
            before.hook.running.shutdown();
        }
    }

    fn tell(&self, live: &Live, state: State) {
        let root = TrustRoot::new(self.world.roots[state.root].clone()).unwrap();
        live.source.set_trust([(None, Arc::new(root))].into());
        live.hook.admission.set_policies(self.world.rules[state.rule].policies());
    }

    async fn set(&self, state: State) {
        let _turn = self.states.lock().await;
        self.told.lock().unwrap().0.push(state);
        self.tell(&self.live(), state);
        let mut told = self.told.lock().unwrap();
        told.1 = told.0.len();
    }

    async fn change(&self) {
        let mut state = *self.told.lock().unwrap().0.last().unwrap();
        match self.dice.below(4) {
            0 | 1 => state.rule = self.dice.below(self.world.rules.len()),
            2 => state.root = self.dice.below(3) / 2,
            _ => self.clock.step(&self.dice),
        }
        self.set(state).await;
        self.count(|counts| counts.changes += 1);
    }

    fn asked(&self) -> Asked {
        let dice = &self.dice;
        let images: Vec<String> =
            (0..1 + dice.below(3)).map(|_| self.image().written(dice.below(3))).collect();
        let images: Vec<&str> = images.iter().map(String::as_str).collect();
        let mut object = match dice.below(4) {
            0 => json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "app"},
                "spec": {"template": {"spec": spec(&images)}}}),
            1 => json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "app"},
                "spec": {"jobTemplate": {"spec": {"template": {"spec": spec(&images)}}}}}),
            _ => pod(&images),
        };
        if dice.permille(150) {
            pod_of(&mut object)["imagePullSecrets"] = json!([{"name": dice.pick(&["pull", "missing"])}]);
        }
        let mut before = BTreeSet::new();
        let mut body = review(if dice.permille(200) { "UPDATE" } else { "CREATE" }, &object);
        if body["request"]["operation"] == "UPDATE" {
            let mut old = object;
            for container in containers(&mut old) {
                if dice.permille(500) {
                    let text = |name: &str| container[name].as_str().unwrap().to_owned();
                    before.insert((text("name"), text("image")));
                } else {
                    container["image"] = "elsewhere.example/old:1".into();
                }
            }
            body["request"]["oldObject"] = old;
        }
        let face = if dice.permille(600) { Face::Mutate } else { Face::Validate };
        Asked { face, body, before, timeout: PATIENCE + u64::try_from(dice.below(2)).unwrap() }
    }

    fn image(&self) -> &Image {
        self.dice.pick(&self.world.images)
    }

    async fn one(&self) {
        let asked = self.asked();
        while !self.ask(&asked).await {}
    }

    /// Whether that is that. A webhook that was stopped takes nothing new; then the one in its place is asked.
    async fn ask(&self, asked: &Asked) -> bool {
        let since = self.told.lock().unwrap().1 - 1;
        let live = self.live();
        let started = Instant::now();
        let answering = self.answer(&live, asked);
        let patience = match self.dice.permille(20) {
            true => Duration::from_millis(u64::try_from(self.dice.below(60)).unwrap()),
            false => Duration::MAX,
        };
        let Ok(answer) = tokio::time::timeout(patience, answering).await else {
            self.count(|counts| counts.left += 1);
            return true;
        };
        let took = started.elapsed();
        match answer {
            Some(answer) => {
                let states = self.told.lock().unwrap().0[since..].to_vec();
                self.judge(asked, &answer, took, &states);
            }
            None if live.killed.load(Ordering::SeqCst) => self.count(|counts| counts.killed += 1),
            None if live.stopped.load(Ordering::SeqCst) => return false,
            None => self.wrong(format!("no answer to {}", asked.body)),
        }
        true
    }

    /// Over TLS, or without it.
    async fn answer(&self, live: &Live, asked: &Asked) -> Option<Reviewed> {
        let body = asked.body.to_string();
        let bytes = if self.dice.permille(400) {
            let path = format!("/{}?timeout={}s", asked.face.code(), asked.timeout);
            let sent = live.client.post(format!("{}{path}", live.hook.running.url)).body(body).send();
            sent.await.ok()?.bytes().await.ok()?.to_vec()
        } else {
            let timeout = Duration::from_secs(asked.timeout);
            live.hook.admission.answer(asked.face, body.as_bytes(), timeout).await.to_json()
        };
        let answer: Value = serde_json::from_slice(&bytes).ok()?;
        Some(Reviewed(answer["response"].clone()))
    }

    fn judge(&self, asked: &Asked, answer: &Reviewed, took: Duration, states: &[State]) {
        let timeout = Duration::from_secs(asked.timeout);
        let share = took.as_millis() * 100 / timeout.as_millis();
        self.count(|counts| counts.slowest = counts.slowest.max(share));
        let lag = self.machine.lag();
        if took > timeout + lag {
            self.wrong(format!(
                "an answer after {took:?} of {timeout:?}, the machine lagged {lag:?}: {answer:?}"
            ));
        }
        if answer.0["uid"] != asked.body["request"]["uid"] {
            self.wrong(format!("an answer to something else: {answer:?}"));
        }
        if answer.allowed() {
            self.count(|counts| counts.admitted += 1);
            for image in admitted(asked, answer) {
                if !states.iter().any(|state| self.may_pass(&image, *state, states)) {
                    self.wrong(format!("{image} was admitted by {states:?}: {} {answer:?}", asked.body));
                }
            }
        } else if answer.code() == 403 {
            self.count(|counts| counts.refused += 1);
            if self.is_calm(asked) && states.iter().all(|state| self.all_may_pass(asked, *state)) {
                self.wrong(format!("refused by {states:?}: {} {answer:?}", asked.body));
            }
        } else {
            self.count(|counts| counts.could_not_check += 1);
            if answer.code() != 500 || answer.message().contains("a fault of the program") {
                self.wrong(format!("{answer:?}"));
            }
        }
    }

    /// Whether an image, as it would run, is pinned to something that is signed as this policy wants it. The trust root
    /// may be any of those that held meanwhile.
    fn may_pass(&self, image: &str, state: State, states: &[State]) -> bool {
        let rule = &self.world.rules[state.rule];
        let digest = image.split_once('@').and_then(|(_, digest)| Digest::parse(digest).ok());
        let truth = digest.and_then(|digest| self.world.truth.get(&digest)).copied().unwrap_or_default();
        states.iter().any(|state| (rule.accepts)(truth, state.root))
    }

    /// Whether only the registry is asked to which nothing happens, and no secret that is missing.
    fn is_calm(&self, asked: &Asked) -> bool {
        let host = &self.registries[1].host;
        let mut object = asked.body["request"]["object"].clone();
        let here = |container: &Value| container["image"].as_str().unwrap().starts_with(host);
        let calm = containers(&mut object).iter().all(here);
        calm && pod_of(&mut object)["imagePullSecrets"].is_null() && asked.face == Face::Mutate
    }

    fn all_may_pass(&self, asked: &Asked, state: State) -> bool {
        let mut object = asked.body["request"]["object"].clone();
        containers(&mut object).iter().all(|container| {
            let name = container["image"].as_str().unwrap();
            let written = |image: &&Image| (0..3).any(|way| image.written(way) == name);
            let image = self.world.images.iter().find(written).unwrap();
            let pinned = image.digest.map(|digest| format!("x@{digest}")).unwrap_or_default();
            state.root == 0 && self.may_pass(&pinned, state, &[state])
        })
    }

    /// When nothing fails any more, every image that is signed passes, from both registries, and no other.
    pub(super) async fn is_well_when_all_is_calm(&self) {
        self.calm.store(true, Ordering::Relaxed);
        for registry in &self.registries {
            registry.calm.store(true, Ordering::Relaxed);
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        for rule in 0..self.world.rules.len() {
            let state = State { rule, root: 0 };
            self.set(state).await;
            for image in &self.world.images {
                let Some(digest) = image.digest else { continue };
                let expected = self.may_pass(&format!("x@{digest}"), state, &[state]);
                // What could not be asked for is not asked for again at once.
                loop {
                    let body = review("CREATE", &pod(&[&image.name]));
                    let asked = Asked { face: Face::Mutate, body, before: BTreeSet::new(), timeout: 10 };
                    let answer = self.answer(&self.live(), &asked).await.unwrap();
                    if answer.allowed() == expected && (expected || answer.code() == 403) {
                        break;
                    }
                    if Instant::now() > deadline || (answer.allowed() && !expected) {
                        self.wrong(format!(
                            "calm, rule {rule}, {} expected {expected}: {answer:?}",
                            image.name
                        ));
                        break;
                    }
                }
            }
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let runtime = self.runtime.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        runtime.into_iter().for_each(Runtime::shutdown_background);
    }
}

/// The pod in a workload.
fn pod_of(object: &mut Value) -> &mut Value {
    let pointer = match object["kind"].as_str().unwrap() {
        "Pod" => "/spec",
        "CronJob" => "/spec/jobTemplate/spec/template/spec",
        _ => "/spec/template/spec",
    };
    object.pointer_mut(pointer).unwrap()
}

fn containers(object: &mut Value) -> &mut Vec<Value> {
    pod_of(object)["containers"].as_array_mut().unwrap()
}

/// The images that were judged and would run now: as they are written after what the answer changes.
fn admitted(asked: &Asked, answer: &Reviewed) -> Vec<String> {
    let mut object = asked.body["request"]["object"].clone();
    let before =
        containers(&mut object).iter().map(|c| c["image"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    for (pointer, to) in answer.pins() {
        *object.pointer_mut(&pointer).expect("what is pinned is there") = to.into();
    }
    let text = |container: &Value, name: &str| container[name].as_str().unwrap().to_owned();
    let judged = containers(&mut object)
        .iter()
        .zip(before)
        .filter(|(container, image)| !asked.before.contains(&(text(container, "name"), image.clone())));
    judged.map(|(container, _)| text(container, "image")).collect()
}
