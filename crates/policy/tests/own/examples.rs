//! The examples of `docs/policies.md` are read as they stand there.

use countersign_policy::{load, read_documents};

#[test]
fn every_example_of_the_documentation_is_a_policy_or_an_exception() {
    let page = include_str!("../../../../docs/policies.md");
    let mut examples = 0;
    for block in page.split("```yaml\n").skip(1) {
        let example = block.split("```").next().unwrap();
        let loaded =
            load(read_documents(example).unwrap()).unwrap_or_else(|errors| panic!("{errors:?}\n{example}"));
        assert_eq!(loaded.policies().count() + loaded.own_exceptions.len(), 1, "{example}");
        examples += 1;
    }
    assert!(examples >= 6, "{examples} examples");
}
