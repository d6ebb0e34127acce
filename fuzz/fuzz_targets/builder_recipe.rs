//! Recipes of builds: outputs lead down, and every step has a program.
#![no_main]

use countersign_builder::Recipe;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(recipe) = Recipe::parse(data) else { return };
    assert!(!recipe.steps.is_empty() && recipe.steps.iter().all(|step| !step.run.is_empty()));
    assert!(!recipe.outputs.is_empty());
    for output in &recipe.outputs {
        assert!(!output.as_str().starts_with('/') && !output.as_str().split('/').any(|part| part == ".."));
        let _ = output.fits("a/b");
    }
});
