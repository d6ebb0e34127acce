//! Workflow files of strangers: whatever is found in one stands on a line that is there.
#![no_main]

use countersign_slsa::assess::Claims;
use countersign_slsa::workflow::Workflow;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = Claims::read(text);
    let Ok(workflow) = Workflow::read("seed.yml", text) else { return };
    assert!(!workflow.jobs.is_empty());
    let lines = u64::try_from(text.split('\n').count()).unwrap();
    for finding in workflow.findings() {
        assert!((1..=lines).contains(&finding.line), "line {} of {lines}", finding.line);
        assert!(!finding.text.contains('\n'));
    }
});
