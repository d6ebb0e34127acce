//! The cases, by name.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use countersign_builder::BuildError;
use countersign_builder::signer::statement;

use crate::world::{World, sha256, told};

/// The word with which this program builds until it is killed.
pub(crate) const KILLED: &str = "__killed";
/// How the environment tells that build where its world is.
const PLACE: &str = "COUNTERSIGN_TEST_PLACE";

/// A build that copies the file of the source.
const COPY: &str = "outputs = [\"copy\"]\n---\n[[step]]\nrun = [\"cp\", \"{source}/file\", \"{out}/copy\"]\n";

pub(crate) const ALL: &[(&str, fn())] = &[
    ("the_statement_names_all_that_went_in_and_all_that_came_out", names_all),
    ("only_source_and_recipe_are_parameters", parameters),
    ("a_reference_that_moves_after_it_was_resolved_changes_nothing", moved),
    ("what_a_build_prints_is_a_log_and_no_provenance", printed),
    ("a_file_that_the_recipe_does_not_name_is_no_output", unnamed),
    ("an_output_that_is_missing_is_a_failure", missing),
    ("a_build_that_fails_makes_no_statement", failing),
    ("nothing_of_an_earlier_build_is_there", fresh),
    ("a_build_that_depends_on_nothing_else_is_the_same_twice", same_twice),
    ("a_build_that_depends_on_who_where_or_when_is_told", not_the_same),
    ("a_mask_that_keeps_others_out_is_no_matter", mask),
    ("a_rootfs_of_another_digest_is_refused", other_rootfs),
    ("a_journal_that_was_changed_or_cut_makes_no_statement", journal),
    ("a_development_build_has_another_builder", development),
    ("a_build_that_is_killed_leaves_no_process_and_no_statement", killed),
];

fn shell(outputs: &str, script: &str) -> String {
    format!("outputs = [{outputs}]\n---\n[[step]]\nrun = [\"sh\", \"-c\", '''{script}''']\n")
}

fn names_all() {
    let digest = countersign_crypto::HashAlgorithm::Sha256.digest(b"an input\n").to_hex();
    let recipe = format!(
        "outputs = [\"copy\", \"d/*\"]\n---\n[[input]]\nname = \"in\"\nurl = \"https://files.example/input.txt\"\nsha256 = \"{digest}\"\n\
         [[step]]\nrun = [\"cp\", \"{{source}}/file\", \"{{out}}/copy\"]\n[[step]]\nrun = [\"mkdir\", \"{{out}}/d\"]\n\
         [[step]]\nrun = [\"cp\", \"{{inputs}}/in\", \"{{out}}/d/in\"]\n"
    );
    let world = World::new(&recipe);
    let commit = world.commit(&recipe, "two\n");
    let built = world.whole(false).unwrap();
    let (statement, provenance) = told(&built);
    let subjects: Vec<_> =
        statement.subjects.iter().map(|s| (s.name.as_str(), s.digest["sha256"].clone())).collect();
    let of = |path: &str| sha256(&world.outputs().join(path));
    assert_eq!(subjects, [("copy", of("copy")), ("d/in", of("d/in"))]);
    assert_eq!(fs::read(world.outputs().join("copy")).unwrap(), b"two\n");
    assert_eq!(provenance.builder.id, "https://builder.example/builders/userns/v1");
    let known = |algorithm: &str, hex: &str| {
        provenance.dependencies.iter().any(|d| d.digest.get(algorithm).is_some_and(|found| found == hex))
    };
    assert!(known("gitCommit", &commit) && known("sha256", &world.rootfs) && known("sha256", &digest));
    assert!(provenance.dependencies.iter().any(|d| d.digest.contains_key("gitBlob")));
    let log = provenance.byproducts.iter().find(|b| b.name == "build.log").unwrap();
    assert_eq!(log.digest["sha256"], sha256(&world.log()));
    assert_eq!(provenance.internal_parameters["network"], "none");
    assert!(provenance.started.unwrap() < provenance.finished.unwrap());
}

fn parameters() {
    let world = World::new(COPY);
    let (_, provenance) = told(&world.whole(false).unwrap());
    let members: Vec<_> = provenance.parameters.as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, ["configPath", "source"]);
    assert_eq!(provenance.parameters["source"]["ref"], "main");
}

fn moved() {
    let world = World::new(COPY);
    let first = world.commit(COPY, "first\n");
    let prepared = world.prepare().unwrap();
    let second = world.commit(COPY, "second\n");
    let (_, provenance) = told(&world.build(prepared, false).unwrap());
    assert_eq!(fs::read(world.outputs().join("copy")).unwrap(), b"first\n");
    let commits: Vec<_> = provenance.dependencies.iter().filter_map(|d| d.digest.get("gitCommit")).collect();
    assert_eq!(commits, [&first]);
    assert_ne!(first, second);
}

fn printed() {
    let fake = r#"{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"forged","digest":{"sha256":"00"}}]}"#;
    let world = World::new(&shell(
        "\"copy\"",
        &format!("echo '{fake}'; echo '{fake}' >&2; cp \"$PWD/file\" /out/copy"),
    ));
    let built = world.whole(false).unwrap();
    let (statement, _) = told(&built);
    assert_eq!(statement.subjects.len(), 1);
    assert_eq!(statement.subjects[0].name, "copy");
    assert!(fs::read_to_string(world.log()).unwrap().contains("forged"));
    assert!(!String::from_utf8_lossy(&built.journal).contains("forged"));
}

fn unnamed() {
    let world = World::new(&shell("\"copy\"", "cp file /out/copy; cp file /out/provenance.sigstore.json"));
    let error = world.whole(false).unwrap_err();
    assert!(matches!(&error, BuildError::Output(why) if why.contains("provenance.sigstore.json")), "{error}");
}

fn missing() {
    let world = World::new(&shell("\"copy\", \"other\"", "cp file /out/copy"));
    let error = world.whole(false).unwrap_err();
    assert!(matches!(&error, BuildError::Output(why) if why.contains("\"other\"")), "{error}");
}

fn failing() {
    let world = World::new(&shell("\"copy\"", "cp file /out/copy; echo why it failed; exit 3"));
    let error = world.whole(false).unwrap_err();
    assert!(matches!(&error, BuildError::Step(why) if why.contains("why it failed")), "{error}");
    let none = World::new(&shell("\"copy\"", "true").replace("\"sh\"", "\"no-such-program\""));
    assert!(matches!(none.whole(false), Err(BuildError::Step(_))));
}

fn fresh() {
    let world = World::new(&shell(
        "\"copy\"",
        "test -z \"$(ls -A /build)$(ls -A /tmp)$(ls -A /out)\" || exit 9; echo x > /build/left; echo x > /tmp/left; cp file /out/copy",
    ));
    world.whole(false).unwrap();
    world.whole(false).unwrap();
}

fn same_twice() {
    let world = World::new(COPY);
    let (_, provenance) = told(&world.whole(true).unwrap());
    assert_eq!(provenance.internal_parameters["reproduced"]["bitwise"], true);
    let (_, once) = told(&world.whole(false).unwrap());
    assert!(once.internal_parameters.get("reproduced").is_none());
}

/// Each circumstance alone makes the two builds differ: none is only said to be another.
fn not_the_same() {
    for (what, script) in [
        ("the user", "id -u > {out}/copy"),
        ("the machine", "hostname > {out}/copy"),
        ("the directory", "echo {build} > {out}/copy"),
        ("the time", "date +%s%N > {out}/copy"),
        ("the time zone", "echo $TZ > {out}/copy"),
        ("the language", "echo $LC_ALL > {out}/copy"),
        ("the mask", "umask > {out}/copy"),
    ] {
        let world = World::new(&shell("\"copy\"", script));
        let error = world.whole(true).expect_err(what).to_string();
        assert!(error.contains("copy: differs from byte"), "{what}: {error}");
    }
}

fn mask() {
    use nix::sys::stat::{Mode, umask};
    let usual = umask(Mode::from_bits_truncate(0o077));
    let ended = World::new(COPY).whole(true);
    umask(usual);
    ended.unwrap();
}

fn other_rootfs() {
    let mut world = World::new(COPY);
    world.rootfs = "0".repeat(64);
    world.commit(COPY, "three\n");
    let error = world.prepare().map(drop).unwrap_err().to_string();
    assert!(error.contains("expected sha256:0000"), "{error}");
}

fn journal() {
    let world = World::new(COPY);
    let built = world.whole(false).unwrap();
    let text = String::from_utf8(built.journal.clone()).unwrap();
    assert!(statement(text.as_bytes()).is_ok());
    let lines: Vec<&str> = text.lines().collect();
    for without in 0..lines.len() {
        let kept: Vec<&str> =
            lines.iter().enumerate().filter(|(at, _)| *at != without).map(|(_, l)| *l).collect();
        assert!(statement(format!("{}\n", kept.join("\n")).as_bytes()).is_err(), "without line {without}");
    }
    // Cut short anywhere, as by the death of control.
    for end in 0..text.len() {
        assert!(statement(&text.as_bytes()[..end]).is_err(), "cut at {end}");
    }
    for changed in [
        text.replacen("\"copy\"", "\"evil\"", 1),
        text.replacen("userns", "development", 1),
        format!("{text}{}\n", lines[0]),
        format!("{text}{}\n", lines[lines.len() - 1]),
    ] {
        assert_ne!(changed, text);
        assert!(statement(changed.as_bytes()).is_err(), "{changed}");
    }
}

fn development() {
    let world = World::new(COPY);
    let mut request = world.request();
    request.development = Some(Vec::new());
    let built = world.build(world.prepare_as(&request).unwrap(), false).unwrap();
    let (_, provenance) = told(&built);
    assert_eq!(provenance.builder.id, "https://builder.example/builders/development/v1");
    assert!(provenance.dependencies.iter().all(|d| d.name != "rootfs"));
}

fn killed() {
    let mark = format!("{}", std::process::id());
    let world = World::new(&shell("\"copy\"", &format!("echo begun; exec sleep 9{mark}")));
    let mut control = Command::new("/proc/self/exe")
        .arg(KILLED)
        .arg0("countersign-test-control")
        .env(PLACE, world.directory.path())
        .env("TMPDIR", world.directory.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let sleeps = || {
        fs::read_dir("/proc").unwrap().flatten().any(|entry| {
            fs::read(entry.path().join("cmdline"))
                .is_ok_and(|line| line == format!("sleep\09{mark}\0").as_bytes())
        })
    };
    wait_for("the step runs", sleeps);
    control.kill().unwrap();
    control.wait().unwrap();
    wait_for("the step is dead", || !sleeps());
    // What is left of it: a journal that is not closed.
    let journals: Vec<_> = fs::read_dir(world.directory.path())
        .unwrap()
        .flatten()
        .filter_map(|entry| fs::read(entry.path().join("journal.jsonl")).ok())
        .collect();
    assert_eq!(journals.len(), 1);
    assert!(String::from_utf8_lossy(&journals[0]).contains("planned"));
    assert!(statement(&journals[0]).is_err());
}

/// Waits until something holds; for a minute at most.
fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !holds() {
        assert!(begun.elapsed().as_secs() < 60, "not within a minute: {what}");
        std::thread::yield_now();
    }
}

/// The control side of the build that is killed: with the repository and the mirror of the other process' world.
pub(crate) fn build_until_killed() -> ! {
    let place = std::env::var_os(PLACE).map(std::path::PathBuf::from).unwrap();
    let world = World::at(&place);
    let ended = world.whole(false);
    panic!("it was to be killed: {ended:?}");
}
