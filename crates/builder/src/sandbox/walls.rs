//! The walls around the build which it puts on itself before the first step and can never take off: no capabilities, no new
//! privileges, limits, Landlock, and a list of the system calls there are. Each is checked when it is put up: a kernel that lacks
//! one builds nothing.

use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus, Scope,
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_capabilities_secure_bits,
};

use crate::recipe::Limits;

/// The oldest Landlock with all that is needed: files, renames, truncation and TCP. Linux 6.7.
const LANDLOCK: ABI = ABI::V4;
/// How many files a process may have open.
const OPEN_FILES: u64 = 4096;

/// Takes every capability away, for good.
pub(super) fn drop_capabilities() -> Result<(), String> {
    let fails = |e: rustix::io::Errno| format!("capabilities cannot be dropped: {e}");
    for capability in CapabilitySet::all().iter() {
        // What the kernel does not know, nobody has.
        if capability_is_in_bounding_set(capability).unwrap_or(false) {
            remove_capability_from_bounding_set(capability).map_err(fails)?;
        }
    }
    let bits = CapabilitiesSecureBits::NO_ROOT
        | CapabilitiesSecureBits::NO_ROOT_LOCKED
        | CapabilitiesSecureBits::NO_SETUID_FIXUP
        | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED;
    set_capabilities_secure_bits(bits).map_err(fails)?;
    clear_ambient_capability_set().map_err(fails)?;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .map_err(fails)?;
    nix::sys::prctl::set_no_new_privs().map_err(|e| format!("no_new_privs cannot be set: {e}"))
}

/// Sets the limits of every process of the build.
pub(super) fn limit(limits: &Limits) -> Result<(), String> {
    for (resource, wanted) in [
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_DATA, limits.memory_bytes()),
        (Resource::RLIMIT_FSIZE, limits.disk_bytes()),
        (Resource::RLIMIT_NOFILE, OPEN_FILES),
        (Resource::RLIMIT_NPROC, u64::from(limits.processes)),
    ] {
        let fails = |e: nix::Error| format!("{resource:?} cannot be set: {e}");
        let (_, most) = getrlimit(resource).map_err(fails)?;
        let value = wanted.min(most);
        setrlimit(resource, value, value).map_err(fails)?;
    }
    Ok(())
}

/// Landlock: everything may be read and run, only the given directories be written; no TCP; no signals and no abstract sockets of
/// outsiders.
pub(super) fn landlock(writable: &[&str]) -> Result<(), String> {
    let fails = |e: &dyn std::fmt::Display| {
        format!("Landlock cannot be used ({e}); a build needs Linux 6.7 or newer with Landlock switched on")
    };
    let open = |path: &str| PathFd::new(Path::new(path)).map_err(|e| fails(&e));
    let all = AccessFs::from_all(LANDLOCK);
    let read = AccessFs::from_read(LANDLOCK);
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(all)
        .and_then(|rules| rules.handle_access(AccessNet::from_all(LANDLOCK)))
        // Newer kernels have these; on older ones the namespaces alone must do.
        .and_then(|rules| rules.set_compatibility(CompatLevel::BestEffort).scope(Scope::from_all(ABI::V6)))
        .and_then(|rules| rules.create())
        .map_err(|e| fails(&e))?
        .set_compatibility(CompatLevel::HardRequirement)
        .add_rule(PathBeneath::new(open("/")?, read))
        .map_err(|e| fails(&e))?;
    for place in writable {
        rules = rules.add_rule(PathBeneath::new(open(place)?, all)).map_err(|e| fails(&e))?;
    }
    let devices = AccessFs::ReadFile | AccessFs::WriteFile;
    for device in super::mounts::DEVICES {
        rules = rules
            .add_rule(PathBeneath::new(open(&format!("/dev/{device}"))?, devices))
            .map_err(|e| fails(&e))?;
    }
    let status = rules.restrict_self().map_err(|e| fails(&e))?;
    match status.ruleset {
        RulesetStatus::NotEnforced => Err(fails(&"the kernel enforces nothing")),
        _ => Ok(()),
    }
}
