//! The root file system of the suite: a Perl and a shell of this machine with the libraries they need, and nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::BuildError;

/// Makes the work directory: root, source and inputs.
pub(super) fn prepare(work: &Path) -> Result<(), BuildError> {
    let root = work.join("root");
    for directory in ["root/usr/bin", "root/bin", "source", "inputs"] {
        fs::create_dir_all(work.join(directory)).map_err(BuildError::file(directory))?;
    }
    fs::write(work.join("source/file"), b"source\n").map_err(BuildError::file("source"))?;
    for program in ["perl", "sh"] {
        let found = find(program)?;
        for library in libraries(&found)? {
            let target = root.join(library.strip_prefix("/").unwrap_or(&library));
            if let Some(above) = target.parent() {
                fs::create_dir_all(above).map_err(BuildError::file(above.display()))?;
            }
            fs::copy(&library, &target).map_err(BuildError::file(library.display()))?;
        }
        fs::copy(&found, root.join("usr/bin").join(program)).map_err(BuildError::file(found.display()))?;
    }
    fs::copy(root.join("usr/bin/sh"), root.join("bin/sh")).map_err(BuildError::file("sh"))?;
    // Owned by whoever runs the suite, and with the bit: of use to nobody within.
    let setuid = root.join("usr/bin/perl-setuid");
    fs::copy(root.join("usr/bin/perl"), &setuid).map_err(BuildError::file("perl"))?;
    fs::set_permissions(&setuid, fs::Permissions::from_mode(0o4755)).map_err(BuildError::file("perl"))?;
    for directory in ["root", "source", "inputs"] {
        let all = fs::Permissions::from_mode(0o755);
        fs::set_permissions(work.join(directory), all).map_err(BuildError::file(directory))?;
    }
    Ok(())
}

fn find(program: &str) -> Result<PathBuf, BuildError> {
    ["/usr/bin", "/bin"]
        .into_iter()
        .map(|directory| Path::new(directory).join(program))
        .find(|path| path.exists())
        .ok_or_else(|| BuildError::File { what: program.into(), message: "not in /usr/bin or /bin".into() })
}

/// The libraries that the machine's loader names.
fn libraries(program: &Path) -> Result<BTreeSet<PathBuf>, BuildError> {
    let ran = Command::new("ldd").arg(program).output().map_err(BuildError::file("ldd"))?;
    let text = String::from_utf8_lossy(&ran.stdout);
    Ok(text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect())
}
