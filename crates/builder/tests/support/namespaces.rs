//! What builds need of the machine that tests run on.

/// Whether user namespaces can be made here, as in most containers they cannot; said in one line if not, and with CI=true a failure.
pub(crate) fn namespaces() -> bool {
    let made = std::process::Command::new("unshare").args(["--user", "--map-root-user", "true"]).output();
    let can = made.is_ok_and(|made| made.status.success());
    if !can {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "user namespaces cannot be made here");
        println!("skipped: user namespaces cannot be made here, and builds need them");
    }
    can
}
