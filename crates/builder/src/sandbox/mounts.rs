//! The file system of the build: a root that cannot be written, and one file system in memory, of a given size, for all that can.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::{FsFlags, statvfs};

use super::plan::{INPUTS, Plan, ROOT, Root, SCRATCH, SOURCE};

/// The devices there are.
pub(super) const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];
/// The most files and directories that can be made.
const MAX_FILES: u64 = 2_000_000;

/// Says what failed, and on what.
fn fails<E: std::fmt::Display>(what: &str, path: impl AsRef<Path>) -> impl FnOnce(E) -> String {
    let path = path.as_ref().display().to_string();
    let what = what.to_owned();
    move |e| format!("{path}: {what}: {e}")
}

fn directory(path: impl AsRef<Path>) -> Result<(), String> {
    fs::create_dir_all(&path).map_err(fails("cannot be made", path))
}

/// A place of the plan (`/src`), seen from the work directory.
fn within(place: &str) -> String {
    format!("{ROOT}{place}")
}

/// Mounts everything below [`ROOT`], in the namespace of this process. The current directory is the work directory.
pub(super) fn make_root(plan: &Plan) -> Result<(), String> {
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .map_err(fails("cannot be taken out of the host's mounts", "/"))?;
    match &plan.root {
        Root::Unpacked => bind(ROOT, ROOT)?,
        Root::Host(paths) => {
            memory(ROOT, 16 << 20, 10_000)?;
            paths.iter().try_for_each(|path| from_host(path))?;
        }
    }
    let scratch = plan.limits.disk_bytes();
    memory(SCRATCH, scratch, MAX_FILES)?;
    if plan.root != Root::Unpacked {
        mount_points(Path::new("."), plan)?;
    }
    read_only_bind(SOURCE, &within(&plan.places.source))?;
    read_only_bind(INPUTS, &within(&plan.places.inputs))?;
    for (name, place) in [("build", plan.places.build.as_str()), ("out", &plan.places.out), ("tmp", "/tmp")] {
        let own = format!("{SCRATCH}/{name}");
        directory(&own)?;
        bind(&own, &within(place))?;
    }
    devices()?;
    read_only(ROOT)
}

/// Makes the directories that are mounted on. What is there must be a directory: a link would lead the mount elsewhere.
pub(super) fn mount_points(work: &Path, plan: &Plan) -> Result<(), String> {
    for place in ["/dev", "/proc", "/tmp"].into_iter().chain(plan.places.all()) {
        let path = work.join(within(place));
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => {
                return Err(format!(
                    "{place}: expected a directory in the root file system, found something else"
                ));
            }
            Err(_) => fs::create_dir(&path).map_err(fails("cannot be made", &path))?,
        }
    }
    Ok(())
}

/// A directory of the host, read-only, at the same place. A symbolic link, such as `/bin`, stays one.
fn from_host(path: &str) -> Result<(), String> {
    let target = within(path);
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if let Some(above) = Path::new(&target).parent() {
        directory(above)?;
    }
    if found.is_symlink() {
        let to = fs::read_link(path).map_err(fails("cannot be read", path))?;
        return symlink(to, &target).map_err(fails("cannot be made", &target));
    }
    if found.is_dir() {
        directory(&target)?;
    } else {
        fs::write(&target, b"").map_err(fails("cannot be made", &target))?;
    }
    read_only_bind(path, &target)
}

fn devices() -> Result<(), String> {
    let dev = within("/dev");
    memory(&dev, 1 << 20, 1000)?;
    for device in DEVICES {
        let target = format!("{dev}/{device}");
        fs::write(&target, b"").map_err(fails("cannot be made", &target))?;
        bind(&format!("/dev/{device}"), &target)?;
    }
    for (name, to) in
        [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2"), ("shm", "/tmp")]
    {
        let link = format!("{dev}/{name}");
        symlink(to, &link).map_err(fails("cannot be made", link))?;
    }
    let flags =
        MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(None::<&str>, dev.as_str(), None::<&str>, flags, None::<&str>)
        .map_err(fails("cannot be made read-only", dev))
}

/// A file system in memory.
fn memory(target: &str, bytes: u64, files: u64) -> Result<(), String> {
    let options = format!("size={bytes},nr_inodes={files},mode=0755");
    mount(
        Some("tmpfs"),
        target,
        Some("tmpfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some(options.as_str()),
    )
    .map_err(fails("memory cannot be mounted", target))
}

fn bind(from: &str, to: &str) -> Result<(), String> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .map_err(fails("cannot be mounted", from))
}

fn read_only_bind(from: &str, to: &str) -> Result<(), String> {
    bind(from, to)?;
    read_only(to)
}

/// Makes a mount read-only. What the host's mount forbids stays forbidden: the kernel refuses less.
fn read_only(target: &str) -> Result<(), String> {
    let found = statvfs(target).map_err(fails("cannot be looked at", target))?.flags();
    let mut flags =
        MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    if found.contains(FsFlags::ST_NOEXEC) {
        flags |= MsFlags::MS_NOEXEC;
    }
    mount(None::<&str>, target, None::<&str>, flags, None::<&str>)
        .map_err(fails("cannot be made read-only", target))
}

/// Makes [`ROOT`] the root for every process of the namespace, with the processes of this one in `/proc`, and lets go of the host's.
pub(super) fn enter_root() -> Result<(), String> {
    let proc = within("/proc");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), proc.as_str(), Some("proc"), flags, Some("subset=pid"))
        .map_err(fails("cannot be mounted (within a container the host's /proc must not be masked)", proc))?;
    std::env::set_current_dir(ROOT).map_err(fails("cannot be entered", ROOT))?;
    nix::unistd::pivot_root(".", ".").map_err(fails("cannot become the root", ROOT))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(fails("cannot be let go", "the host's root"))?;
    std::env::set_current_dir("/").map_err(fails("cannot be entered", "/"))
}
