//! A repository, a root file system made of this machine's shell, and a builder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use countersign_attestation::predicate::provenance::Provenance;
use countersign_attestation::statement::Statement;
use countersign_builder::BuildError;
use countersign_builder::control::{Built, Place, Prepared, Request, SourceRef, Store, prepare};
use countersign_crypto::HashAlgorithm;
use countersign_http::{Http, HttpOptions};
use countersign_registry::{Registry, RegistryOptions};

/// What the recipes of these tests run.
const TOOLS: [&str; 10] = ["sh", "cat", "cp", "date", "hostname", "id", "ln", "ls", "mkdir", "sleep"];

/// Where a world is.
pub(crate) enum Home {
    /// In a directory of its own.
    Own(tempfile::TempDir),
    /// In that of another process.
    Others(PathBuf),
}

impl Home {
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Own(directory) => directory.path(),
            Self::Others(path) => path,
        }
    }
}

/// Everything of one test; gone when dropped.
pub(crate) struct World {
    pub(crate) directory: Home,
    pub(crate) rootfs: String,
}

fn run(program: &str, arguments: &[&str], directory: &Path) -> String {
    let ran = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .envs([("GIT_AUTHOR_NAME", "t"), ("GIT_AUTHOR_EMAIL", "t@example.com")])
        .envs([("GIT_COMMITTER_NAME", "t"), ("GIT_COMMITTER_EMAIL", "t@example.com")])
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(ran.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap().trim().to_owned()
}

impl World {
    /// A world whose repository holds this recipe below a rootfs, and a file.
    pub(crate) fn new(recipe: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        fs::create_dir_all(at.join("mirror")).unwrap();
        fs::write(at.join("mirror/input.txt"), b"an input\n").unwrap();
        rootfs(&at.join("root"));
        run("tar", &["-C", "root", "-cf", "mirror/rootfs.tar", "."], at);
        let rootfs = sha256(&at.join("mirror/rootfs.tar"));
        let own = Self { directory: Home::Own(directory), rootfs };
        fs::create_dir(own.repository()).unwrap();
        run("git", &["init", "--quiet", "--initial-branch=main", "."], &own.repository());
        own.commit(recipe, "one\n");
        own
    }

    /// The world of another process.
    pub(crate) fn at(path: &Path) -> Self {
        Self { rootfs: sha256(&path.join("mirror/rootfs.tar")), directory: Home::Others(path.to_owned()) }
    }

    pub(crate) fn repository(&self) -> PathBuf {
        self.directory.path().join("repository")
    }

    /// Commits a recipe and the content of the file; gives the commit.
    pub(crate) fn commit(&self, recipe: &str, content: &str) -> String {
        let own = self.repository();
        let head = format!(
            "version = 1\n[rootfs]\nurl = \"https://files.example/rootfs.tar\"\nsha256 = \"{}\"\n",
            self.rootfs
        );
        // What stands at the top of a recipe must come before its tables.
        let (top, tables) = recipe.split_once("---\n").unwrap_or((recipe, ""));
        let head = head.replacen("version = 1\n", &format!("version = 1\n{top}"), 1);
        fs::create_dir_all(own.join(".countersign")).unwrap();
        fs::write(own.join(".countersign/build.toml"), format!("{head}{tables}")).unwrap();
        fs::write(own.join("file"), content).unwrap();
        run("git", &["add", "."], &own);
        run("git", &["commit", "--quiet", "--message", "change"], &own);
        run("git", &["rev-parse", "HEAD"], &own)
    }

    pub(crate) fn request(&self) -> Request {
        let source = format!("git+file://{}@main", self.repository().display());
        Request {
            source: SourceRef::parse(&source).unwrap(),
            config: ".countersign/build.toml".into(),
            base: "https://builder.example".into(),
            development: None,
            version: "0".into(),
        }
    }

    pub(crate) fn prepare_as(&self, request: &Request) -> Result<Prepared, BuildError> {
        let mirror = format!("https://files.example/=file://{}/mirror/", self.directory.path().display());
        let store = Store::new(
            self.directory.path().join("store"),
            vec![Place::parse(&mirror).unwrap()],
            Http::new(HttpOptions::default()),
        )?;
        let registry = Registry::new(RegistryOptions::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(prepare(request, &store, &registry))
    }

    pub(crate) fn prepare(&self) -> Result<Prepared, BuildError> {
        self.prepare_as(&self.request())
    }

    /// Builds what was prepared, into a new directory.
    pub(crate) fn build(&self, prepared: Prepared, twice: bool) -> Result<Built, BuildError> {
        let outputs = self.outputs();
        let _ = fs::remove_dir_all(&outputs);
        fs::create_dir(&outputs).unwrap();
        prepared.build(&outputs, &self.log(), twice)
    }

    pub(crate) fn outputs(&self) -> PathBuf {
        self.directory.path().join("outputs")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    pub(crate) fn whole(&self, twice: bool) -> Result<Built, BuildError> {
        self.build(self.prepare()?, twice)
    }
}

/// The statement of a build, and its provenance.
pub(crate) fn told(built: &Built) -> (Statement, Provenance) {
    let statement = countersign_builder::signer::statement(&built.journal).unwrap();
    let statement = Statement::from_json(&statement.to_json().unwrap()).unwrap();
    let text = statement.predicate.as_ref().unwrap().get();
    let provenance = Provenance::from_json(&statement.predicate_type, text).unwrap();
    (statement, provenance)
}

pub(crate) fn sha256(path: &Path) -> String {
    HashAlgorithm::Sha256.digest(&fs::read(path).unwrap()).to_hex()
}

fn rootfs(root: &Path) {
    fs::create_dir_all(root.join("bin")).unwrap();
    for tool in TOOLS {
        let found =
            ["/usr/bin", "/bin"].map(|d| Path::new(d).join(tool)).into_iter().find(|p| p.exists()).unwrap();
        let ldd = Command::new("ldd").arg(&found).output().unwrap();
        for library in String::from_utf8_lossy(&ldd.stdout).split_whitespace().filter(|w| w.starts_with('/'))
        {
            let target = root.join(library.trim_start_matches('/'));
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::copy(library, target).unwrap();
        }
        fs::copy(&found, root.join("bin").join(tool)).unwrap();
    }
}
