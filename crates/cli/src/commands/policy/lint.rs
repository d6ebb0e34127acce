//! `countersign policy lint`: what is wrong with policies, and what a reader of them should know.

use std::path::PathBuf;

use clap::Args;
use countersign_clock::{Clock as _, SystemClock};
use countersign_http::text::printable;
use countersign_policy::cluster_image::{CONFIG_MAP, NoMatch, TrustRootObject};
use countersign_policy::own::PolicyException;
use countersign_policy::{Document, load};
use serde_json::{Value, json};

use super::{documents, files};
use crate::args::OutputArgs;
use crate::failure::{Outcome, USAGE};
use crate::out::{Terminal, counted};

/// Read policies, and tell what is wrong with them and what is read more strictly than their own engine reads it
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign policy lint policy.yaml
  countersign policy lint policies/ -o json",
    after_help = "Exits with 1 when a file has an error. Remarks are no errors: the policy can be used as it is."
)]
pub(super) struct Lint {
    /// Files or directories with policies
    #[arg(required = true, value_name = "FILE|DIR")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Something to tell of a file.
struct Told {
    file: String,
    kind: &'static str,
    path: String,
    code: &'static str,
    message: String,
}

/// What is to be known of policy-controller's settings: what is not understood in them, and what is read more strictly.
fn of_settings(file: &str, document: &Document) -> Vec<Told> {
    let text = |pointer: &str| document.value.pointer(pointer).and_then(Value::as_str);
    if (document.kind.as_str(), text("/metadata/name")) != ("ConfigMap", Some(CONFIG_MAP)) {
        return Vec::new();
    }
    let told = |kind, field: &str, code, message: String| Told {
        file: file.to_owned(),
        kind,
        path: format!("ConfigMap {CONFIG_MAP}: data.{field}"),
        code,
        message,
    };
    let fields = document.value.get("data").and_then(Value::as_object).into_iter().flatten();
    let data = fields.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect();
    let mut all = Vec::new();
    match NoMatch::of_config_map(&data) {
        Err(error) => all.push(told(
            "error",
            "no-match-policy",
            "unusable",
            format!("{error}; until it is put right, images that no policy is about are refused"),
        )),
        Ok(Some(NoMatch::Allow)) => all.push(told(
            "remark",
            "no-match-policy",
            "no_match_allows",
            "an image that no ClusterImagePolicy is about may run, whoever made it".into(),
        )),
        Ok(_) => {}
    }
    if data.get("fail-on-empty-authorities").is_some_and(|value| value != "true") {
        let message =
            "a ClusterImagePolicy without authorities is refused all the same: nobody would have to sign";
        all.push(told("remark", "fail-on-empty-authorities", "authorities_are_needed", message.into()));
    }
    all
}

/// What is to be known of a trust root: whether it can be used now, and whom somebody will have to ask.
fn of_trust_root(file: &str, root: &TrustRootObject) -> Option<Told> {
    let told = |kind, field: &str, code, message| Told {
        file: file.to_owned(),
        kind,
        path: format!("TrustRoot {}: {field}", root.name()),
        code,
        message,
    };
    if let Some(remote) = root.remote() {
        let message = format!(
            "whoever uses it asks {}, and policies that name it could not be checked while that cannot be had; put its \
             trusted root into trustedRootJSON to ask nobody",
            printable(&remote.mirror)
        );
        return Some(told("remark", "spec.remote", "trust_root_is_fetched", message));
    }
    let error = root.compile(SystemClock.now(), None).err()?;
    Some(told("error", "spec", "unusable", error.text))
}

impl Lint {
    pub(super) fn run(&self, terminal: &Terminal) -> Outcome {
        let mut told = Vec::new();
        let mut policies = 0;
        for path in files(&self.files)? {
            let file = path.display().to_string();
            let loaded = documents(&path)?.map_err(|error| vec![error]).and_then(load);
            match loaded {
                Err(errors) => told.extend(errors.into_iter().map(|error| Told {
                    file: file.clone(),
                    kind: "error",
                    path: error.path,
                    code: "unusable",
                    message: error.message,
                })),
                Ok(loaded) => {
                    policies += loaded.policies().count();
                    told.extend(loaded.resources.iter().flat_map(|document| of_settings(&file, document)));
                    for root in &loaded.trust_roots {
                        told.extend(of_trust_root(&file, root));
                    }
                    let ended = |exception: &&PolicyException| exception.until() <= SystemClock.now();
                    told.extend(loaded.own_exceptions.iter().filter(ended).map(|exception| Told {
                        file: file.clone(),
                        kind: "remark",
                        path: format!("PolicyException {}: spec.until", exception.name()),
                        code: "exception_ended",
                        message: format!("it holds no longer, since {}; take it away", exception.until()),
                    }));
                    for policy in loaded.policies() {
                        told.extend(policy.lints().into_iter().map(|lint| Told {
                            file: file.clone(),
                            kind: "remark",
                            path: format!("{}: {}", policy.name(), lint.path),
                            code: lint.code,
                            message: lint.message,
                        }));
                    }
                }
            }
        }
        let errors = told.iter().filter(|told| told.kind == "error").count();
        if self.output.is_json() {
            let list: Vec<Value> = told
                .iter()
                .map(|told| {
                    json!({"file": told.file, "kind": told.kind, "path": told.path, "code": told.code, "message": told.message})
                })
                .collect();
            terminal.json(
                "policy-lint",
                1,
                &json!({"policies": policies, "errors": errors, "told": list}),
            )?;
        } else {
            for Told { file, kind, path, code, message } in &told {
                let mark = if *kind == "error" { terminal.no() } else { terminal.none() };
                let told = printable(&format!("{file}: {path}: {message} ({code})"));
                terminal.line(&format!("{mark} {told}"))?;
            }
            let count = |n: usize, one, many| counted(u64::try_from(n).unwrap_or(u64::MAX), one, many);
            let summary = format!(
                "{}, {}, {}",
                count(policies, "policy", "policies"),
                count(errors, "error", "errors"),
                count(told.len() - errors, "remark", "remarks")
            );
            terminal.line(&summary)?;
        }
        Ok(if errors == 0 { 0 } else { USAGE })
    }
}
