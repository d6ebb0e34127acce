//! Policies in Rego, by cosign's contract: package `sigstore`, a rule `isCompliant` over `input`.
//!
//! | `isCompliant` | means |
//! |---|---|
//! | `true` | yes |
//! | objects with `result`, `error`, `warning` | yes, if each has the result `true` and no warning; one is enough for cosign |
//! | anything else, or nothing | no; with what the rules `errorMsg` and `warnMsg` say |
//!
//! An evaluation takes a bounded number of steps and a bounded time, and reaches neither network nor files nor a clock:
//! see [`screen`](screen::screen). One that exceeds its bounds could not be checked.

mod screen;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use regorus::Engine;
use regorus::languages::rego::compiler::Compiler;
use regorus::rvm::RegoVM;
use regorus::rvm::program::Program;
use regorus::utils::limits::ExecutionTimerConfig;
use serde_json::Value;

/// The most steps of one evaluation.
const MAX_STEPS: usize = 1_000_000;
/// The longest time that one evaluation takes: what single functions may need is no step.
const MAX_TIME: ExecutionTimerConfig = ExecutionTimerConfig {
    limit: Duration::from_millis(500),
    check_interval: match NonZeroU32::new(256) {
        Some(interval) => interval,
        None => NonZeroU32::MIN,
    },
};
/// The largest input, in bytes.
const MAX_INPUT: usize = 16 << 20;
/// The longest message of a policy that is handed on, in characters.
const MAX_MESSAGE: usize = 1000;

/// A policy, ready to be evaluated.
#[derive(Debug, Clone)]
pub(super) struct Rego {
    compliant: Arc<Program>,
    messages: Vec<Arc<Program>>,
}

/// What a policy says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It holds.
    Yes,
    /// It does not, and why.
    No(String),
}

impl Rego {
    /// Reads a policy.
    ///
    /// # Errors
    /// In words, what is wrong.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        screen::screen(text)?;
        let mut engine = Engine::new();
        engine.set_rego_v0(true);
        let package = engine.add_policy("policy.rego".into(), text.into()).map_err(words)?;
        if package != "data.sigstore" {
            return Err(format!("expected package sigstore, found {}", package.trim_start_matches("data.")));
        }
        let mut compile = |rule: &str| -> Result<Arc<Program>, String> {
            let policy = engine.compile_with_entrypoint(&rule.into()).map_err(words)?;
            Compiler::compile_from_policy(&policy, &[rule]).map_err(words)
        };
        let compliant = compile("data.sigstore.isCompliant")
            .map_err(|e| format!("expected a rule isCompliant that can be compiled: {e}"))?;
        let messages = ["errorMsg", "warnMsg"]
            .iter()
            .filter(|name| text.contains(**name))
            .filter_map(|name| compile(&format!("data.sigstore.{name}")).ok())
            .collect();
        Ok(Self { compliant, messages })
    }

    /// Evaluates the policy on an input.
    ///
    /// # Errors
    /// In words, why it could not be evaluated.
    pub(super) fn evaluate(&self, input: &Value) -> Result<Verdict, String> {
        let text = input.to_string();
        if text.len() > MAX_INPUT {
            return Err(format!("expected an input of at most {MAX_INPUT} bytes, found {}", text.len()));
        }
        let input = regorus::Value::from_json_str(&text).map_err(words)?;
        match run(&self.compliant, &input)? {
            Value::Bool(true) => Ok(Verdict::Yes),
            Value::Array(responses) if !responses.is_empty() => Ok(all_of(&responses)),
            _ => {
                let mut said = Vec::new();
                for message in &self.messages {
                    if let Value::String(text) = run(message, &input)?
                        && !text.is_empty()
                    {
                        said.push(text);
                    }
                }
                Ok(no(&said.join("; ")))
            }
        }
    }
}

fn run(program: &Arc<Program>, input: &regorus::Value) -> Result<Value, String> {
    let mut machine = RegoVM::new();
    machine.load_program(program.clone());
    machine.set_max_instructions(MAX_STEPS);
    machine.set_execution_timer_config(Some(MAX_TIME));
    machine.set_input(input.clone());
    let result = machine.execute().map_err(|e| format!("the Rego policy: {e}"))?;
    if result == regorus::Value::Undefined {
        return Ok(Value::Null);
    }
    // Sets become lists.
    serde_json::from_str(&result.to_json_str().map_err(words)?).map_err(|e| e.to_string())
}

/// Each response must say yes, and warn of nothing.
fn all_of(responses: &[Value]) -> Verdict {
    for response in responses {
        let text = |name: &str| response.get(name).and_then(Value::as_str).unwrap_or_default();
        if response.get("result") != Some(&Value::Bool(true)) {
            return no(text("error"));
        }
        if response.get("warning").is_some_and(|warning| warning.as_str() != Some("")) {
            return no(&format!("warning: {}", text("warning")));
        }
    }
    Verdict::Yes
}

fn no(message: &str) -> Verdict {
    let message: String = message.chars().take(MAX_MESSAGE).collect();
    Verdict::No(match message.as_str() {
        "" => "isCompliant is not true".into(),
        _ => message,
    })
}

/// What an error says, without the text that it points into.
fn words(error: impl std::fmt::Display) -> String {
    let text = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    let said = match (text.strip_prefix("--> policy.rego:"), text.rsplit_once("error: ")) {
        (Some(place), Some((_, what))) => {
            format!("line {}: {what}", place.split(' ').next().unwrap_or_default())
        }
        _ => text,
    };
    said.chars().take(MAX_MESSAGE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn says(rules: &str, input: &Value) -> Verdict {
        Rego::read(&format!("package sigstore\n{rules}")).unwrap().evaluate(input).unwrap()
    }

    #[test]
    fn yes_is_true_and_nothing_else() {
        for (rules, input, yes) in [
            ("isCompliant { input.a == 1 }", json!({"a": 1}), true),
            ("isCompliant { input.a == 1 }", json!({"a": 2}), false),
            ("isCompliant { input.a == 1 }", json!({}), false),
            ("default isCompliant = false\nisCompliant { input.a == 1 }", json!({"a": 1}), true),
            ("default isCompliant = false\nisCompliant { input.a == 1 }", json!({"a": 2}), false),
            ("isCompliant = 1", json!({}), false),
            ("isCompliant = \"true\"", json!({}), false),
            ("isCompliant = {\"result\": true}", json!({}), false),
            ("isCompliant = []", json!({}), false),
            ("isCompliant { startswith(input.a, \"x\") }", json!({"a": 1}), false),
            ("isCompliant { input.a > 9007199254740992 }", json!({"a": 9_007_199_254_740_993_u64}), true),
            ("import rego.v1\nisCompliant if { some x in input.l; x == 1 }", json!({"l": [1]}), true),
            ("import rego.v1\nisCompliant if { every x in input.l { x == 1 } }", json!({"l": [1, 2]}), false),
        ] {
            assert_eq!(says(rules, &input) == Verdict::Yes, yes, "{rules} {input}");
        }
    }

    #[test]
    fn responses_must_all_say_yes_and_warn_of_nothing() {
        let respond = "isCompliant[response] { r := input.l[_]; response := r }";
        let yes = json!({"result": true, "error": "", "warning": ""});
        for (responses, expected) in [
            (json!([yes]), Verdict::Yes),
            (json!([{"result": true}]), Verdict::Yes),
            (json!([]), Verdict::No("isCompliant is not true".into())),
            (json!([{"result": false, "error": "too old"}]), Verdict::No("too old".into())),
            (json!([yes, {"result": false, "error": "too old"}]), Verdict::No("too old".into())),
            (json!([{"result": true, "warning": "soon"}]), Verdict::No("warning: soon".into())),
            (json!([{"result": "true"}]), Verdict::No("isCompliant is not true".into())),
            (json!([true]), Verdict::No("isCompliant is not true".into())),
        ] {
            assert_eq!(says(respond, &json!({"l": responses})), expected, "{responses}");
        }
    }

    #[test]
    fn what_the_policy_says_of_its_no_is_handed_on() {
        let rules = "default isCompliant = false\nerrorMsg = sprintf(\"found %d\", [input.a])\nwarnMsg = \"see the wiki\"";
        assert_eq!(says(rules, &json!({"a": 3})), Verdict::No("found 3; see the wiki".into()));
    }

    #[test]
    fn a_policy_that_nothing_could_satisfy_is_refused() {
        for (text, expected) in [
            ("package other\nisCompliant { true }", "package sigstore"),
            ("package sigstore\nallowed { true }", "isCompliant"),
            ("package sigstore\nisCompliant { x }", "isCompliant"),
            ("isCompliant", "expect"),
            ("", "expect"),
        ] {
            let error = Rego::read(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn an_evaluation_without_end_could_not_be_checked() {
        let rules = "isCompliant { input.l[i]; input.l[j]; input.l[k]; i + j + k == 0 - 1 }";
        let rego = Rego::read(&format!("package sigstore\n{rules}")).unwrap();
        let error = rego.evaluate(&json!({"l": vec![1; 2000]})).unwrap_err();
        assert!(error.contains("limit"), "{error}");
    }

    #[test]
    fn the_longest_expression_and_the_longest_chain_fit_the_stack() {
        let run = || {
            let sum = "1 + ".repeat(100);
            assert_eq!(says(&format!("isCompliant {{ {sum}0 }}"), &json!({})), Verdict::Yes);
            let fields = ".a".repeat(100);
            assert_ne!(says(&format!("isCompliant {{ input{fields} }}"), &json!({})), Verdict::Yes);
            let indices = "[0]".repeat(100);
            assert_ne!(says(&format!("isCompliant {{ input{indices} }}"), &json!({})), Verdict::Yes);
            let nested = format!("{}1{}", "[".repeat(7), "]".repeat(7));
            assert_eq!(says(&format!("isCompliant {{ {nested} }}"), &json!({})), Verdict::Yes);
            // As much of the deepest as there may be: read twice on each level, and done.
            let deep = format!("isCompliant {{ {nested} }}\n").repeat(1500);
            assert_eq!(says(&deep, &json!({})), Verdict::Yes);
            let chain: String = (0..14).map(|i| format!("r{i} {{ r{} }}\n", i + 1)).collect();
            assert_eq!(says(&format!("isCompliant {{ r0 }}\n{chain}r14 = true"), &json!({})), Verdict::Yes);
        };
        std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap().join().unwrap();
    }
}
