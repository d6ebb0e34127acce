//! The command line as a whole: names, order and examples. Each command's arguments stand with the command.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Args, FromArgMatches, Parser, Subcommand};

use crate::args::Global;
use crate::commands;
use crate::failure::Outcome;
use crate::out::Terminal;

/// How wide a line of help is at most, in characters.
const WIDTH: usize = 100;

const EXAMPLES: &str = "\
Examples:
  countersign quickstart README.md                 try everything on this machine
  countersign sign app.tar                         sign as yourself; writes app.tar.sigstore.json
  countersign verify app.tar --email a@example.com --issuer https://idp.example.com
  countersign trust add https://sigstore.example.com   use a private instance
  countersign init && countersign serve            run one";

const CODES: &str = "\
Exit codes: 0 done, 1 usage, 2 verification failed, 3 no signature found,
4 another identity or policy, 5 trust root missing or unusable, 6 network, 7 a fault of the program.";

/// Signs, logs and verifies with an identity, and runs the services behind that
#[derive(Debug, Parser)]
#[command(
    name = "countersign",
    version,
    before_help = EXAMPLES,
    after_help = CODES,
    disable_help_subcommand = true,
    infer_long_args = false,
    max_term_width = WIDTH
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Makes the commands from a list: the name, what parses its arguments and runs it, and what it does in one line. A
/// command's own arguments are defined only once it is the one that is called: all of them together took a quarter of the
/// time in which a file is verified.
macro_rules! commands {
    ($($(#[$cfg:meta])* $name:literal $variant:ident($arguments:ty), $about:literal;)+) => {
        /// The commands, in the order of the help text: our own first, then those under cosign's names.
        #[derive(Debug)]
        pub(crate) enum Command {
            $($(#[$cfg])* $variant($arguments),)+
        }

        impl Command {
            pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
                match self {
                    $($(#[$cfg])* Self::$variant(command) => command.run(terminal),)+
                }
            }
        }

        impl Subcommand for Command {
            fn augment_subcommands(program: clap::Command) -> clap::Command {
                $($(#[$cfg])*
                let program = program.subcommand(clap::Command::new($name).about($about).defer(|command| {
                    // A struct of flattened arguments would leave its own description behind.
                    globals_last(<$arguments>::augment_args(command).about($about))
                }));)+
                program
            }

            fn augment_subcommands_for_update(program: clap::Command) -> clap::Command {
                Self::augment_subcommands(program)
            }

            fn has_subcommand(name: &str) -> bool {
                $($(#[$cfg])* if name == $name { return true; })+
                false
            }
        }

        impl FromArgMatches for Command {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
                match matches.subcommand() {
                    $($(#[$cfg])* Some(($name, given)) => {
                        <$arguments>::from_arg_matches(given).map(Self::$variant)
                    })+
                    _ => Err(clap::Error::new(ErrorKind::MissingSubcommand)),
                }
            }

            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
                *self = Self::from_arg_matches(matches)?;
                Ok(())
            }
        }
    };
}

/// Moves the arguments of every command behind the command's own, which come later when they are deferred.
fn globals_last(command: clap::Command) -> clap::Command {
    let globals: Vec<_> = command
        .get_arguments()
        .filter(|argument| argument.is_global_set())
        .map(Arg::get_id)
        .cloned()
        .collect();
    globals.into_iter().fold(command, |command, id| command.mut_arg(id, |argument| argument))
}

commands! {
    "quickstart" Quickstart(commands::quickstart::Quickstart),
        "Try everything on this machine: a private instance, signatures of your files, their verification, a forgery refused";
    "sign" Sign(commands::sign::Sign),
        "Sign files and images with your identity, or with a key";
    "verify" Verify(commands::verify::Verify),
        "Verify files and images: who signed them, when, and that nothing has changed since";
    "inspect" Inspect(commands::inspect::Inspect),
        "Show a bundle, a certificate or a trusted root in plain words";
    "tree" Tree(commands::tree::Tree),
        "Show everything attached to an image: what it is, whether it is signed, and by whom it says it is";
    "copy" Copy(commands::copy::Copy),
        "Copy an image with every platform and all its evidence, and read the copy back";
    "save" Save(commands::copy::Save),
        "Write an image with all its evidence to a directory, for a machine without network";
    "load" Load(commands::copy::Load),
        "Bring an image with all its evidence from a directory or an archive into a registry";
    "scan" Scan(Box<commands::scan::Scan>),
        "Judge the images of manifests by controls: signed, by whom, from where, pinned; with a score and reports";
    #[cfg(target_os = "linux")]
    "build" Build(Box<commands::build::Build>),
        "Build a source apart from everything else, by digest, with provenance that the build cannot forge";
    "provenance" Provenance(Box<commands::provenance::Provenance>),
        "Sign what is known of the build that runs here: source, commit, run, materials; beside files and images";
    "run" Run(Box<commands::run::Run>),
        "Run a command, and sign which files it found and which it left";
    "vex" Vex(commands::vex::VexCommand),
        "Say whether a vulnerability touches a product, and take out of a scan what does not";
    "sbom" Sbom(commands::sbom::SbomCommand),
        "Look at bills of materials, and check that one is about an artifact and says enough";
    "source" Source(commands::source::SourceCommand),
        "Make a git server of your own a source control system of SLSA's source track: reviews, hooks, provenance of revisions";
    "init" Init(commands::init::Init),
        "Make an instance: its keys, certificates, logs, trust root and configuration, in one directory";
    "serve" Serve(commands::serve::Serve),
        "Run an instance: certificate authority, CT log, transparency log, timestamp authority and trust root";
    "doctor" Doctor(commands::doctor::Doctor),
        "Check an instance: keys, clock, disk, expiry, reachability; and say the next step";
    "rotate" Rotate(commands::rotate::Rotate),
        "Replace a key of an instance so that everything signed before stays valid";
    "revoke" Revoke(commands::revoke::Revoke),
        "Say what no longer counts: an identity, a key, an artifact or a builder, since when and why";
    "incident" Incident(Box<commands::incident::Incident>),
        "Find out what somebody signed, where it lies and runs; keep the evidence in one file; revoke it";
    "admission" Admission(commands::admission::AdmissionCommand),
        "Judge what comes into a Kubernetes cluster by its images";
    "trust" Trust(commands::trust::TrustCommand),
        "Show and change which instances this machine trusts";
    "log" Log(commands::log::LogCommand),
        "Read a transparency log and check its proofs";
    "notary" Notary(commands::notary::NotaryCommand),
        "Sign, verify and look at signatures of the Notary Project (notation)";
    "slsa" Slsa(commands::slsa::SlsaCommand),
        "Verify how and from what something was built, at which SLSA level; read and sign summaries of that";
    "policy" Policy(commands::policy::PolicyCommand),
        "Read, check and explain policies over images, of every language that clusters have";
    "sign-blob" SignBlob(commands::cosign_sign::SignBlob),
        "Sign a file, with cosign's flags";
    "verify-blob" VerifyBlob(commands::cosign_verify::VerifyBlob),
        "Verify a file, with cosign's flags";
    "attest" Attest(commands::sign_image::Attest),
        "Sign a statement about an image, with cosign's flags";
    "attest-blob" AttestBlob(commands::cosign_sign::AttestBlob),
        "Sign a statement about a file, with cosign's flags";
    "verify-blob-attestation" VerifyBlobAttestation(commands::cosign_verify::VerifyBlobAttestation),
        "Verify a statement about a file, with cosign's flags";
    "verify-attestation" VerifyAttestation(commands::verify_image::VerifyAttestation),
        "Verify statements about images, with cosign's flags";
    "download" Download(commands::download::Download),
        "Fetch the evidence of an image, unverified";
    "attach" Attach(commands::attach::Attach),
        "Attach evidence that was made elsewhere";
    "clean" Clean(commands::copy::Clean),
        "Take evidence away from an image";
    "triangulate" Triangulate(commands::tree::Triangulate),
        "Print where the older form of an image's evidence lies";
    "dockerfile" Dockerfile(commands::references::DockerfileCommand),
        "Verify the images that a Dockerfile names";
    "manifest" Manifest(commands::references::ManifestCommand),
        "Verify the images that Kubernetes objects name";
    "login" Login(commands::login::Login),
        "Keep the credential for a registry, where Docker and podman look for it too";
    "env" Env(commands::env::Env),
        "Show the variables of the environment that are read";
    "initialize" Initialize(commands::trust::Initialize),
        "Trust a TUF repository, with cosign's flags";
    "bundle" Bundle(commands::inspect::BundleCommand),
        "Look into bundles, with cosign's names";
    "trusted-root" TrustedRoot(commands::create::TrustedRootCommand),
        "Make a trusted root document";
    "signing-config" SigningConfig(commands::create::SigningConfigCommand),
        "Make a signing configuration document";
    "generate-key-pair" GenerateKeyPair(commands::keys::GenerateKeyPair),
        "Make a key pair, in files or where the key is to live";
    "import-key-pair" ImportKeyPair(commands::keys::ImportKeyPair),
        "Bring a key of another form (PKCS#1, SEC 1, PKCS#8) into cosign's encrypted form";
    "change-password" ChangePassword(commands::keys::ChangePassword),
        "Encrypt a key file anew, under another password";
    "public-key" PublicKey(commands::keys::PublicKeyCommand),
        "Print the public key of a private one";
    #[cfg(all(unix, feature = "pkcs11"))]
    "pkcs11-tool" Pkcs11Tool(commands::pkcs11::Pkcs11Tool),
        "List hardware tokens and the references of the keys on them";
    "completion" Completion(commands::completion::Completion),
        "Print the completions for a shell";
    "man" Man(commands::man::Man),
        "Write the manual pages into a directory";
    "version" Version(commands::version::Version),
        "Print the version";
}

/// `sign --notary …` and `verify --notary …` are other spellings of `notary sign …` and `notary verify …`, and
/// `verify --policy FILE …` of `policy verify --policy FILE …`: the flag chooses a command with flags of its own.
pub(crate) fn respelled(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = arguments.into_iter().collect();
    // Options of every command may stand in front of the verb, some with a word behind them.
    let mut verb = 1;
    while let Some(word) = words.get(verb).and_then(|word| word.to_str()).filter(|word| word.starts_with('-'))
    {
        verb += if matches!(word, "--color" | "--timeout" | "-t") { 2 } else { 1 };
    }
    let flags = || words.iter().take_while(|word| *word != "--").skip(verb + 1);
    let is_policy = |word: &OsString| {
        word.to_str().is_some_and(|word| word == "--policy" || word.starts_with("--policy="))
    };
    if flags().any(is_policy) && words.get(verb).is_some_and(|verb| verb == "verify") {
        words.insert(verb, "policy".into());
        return words;
    }
    let flag = flags().position(|word| word == "--notary").map(|at| at + verb + 1);
    if let (Some(at), Some("sign" | "verify")) = (flag, words.get(verb).and_then(|verb| verb.to_str())) {
        words.remove(at);
        words.insert(verb, "notary".into());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definitions_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_flags_notary_and_policy_are_commands() {
        let respelled = |line: &str| {
            let words = respelled(line.split(' ').map(Into::into));
            words.iter().map(|word| word.to_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
        };
        for (line, expected) in [
            ("countersign verify --notary a/b:c", "countersign notary verify a/b:c"),
            ("countersign verify --trust-store s --notary a", "countersign notary verify --trust-store s a"),
            ("countersign sign a --notary", "countersign notary sign a"),
            ("countersign verify -- --notary", "countersign verify -- --notary"),
            (
                "countersign -q --color never verify --notary a",
                "countersign -q --color never notary verify a",
            ),
            ("countersign --color sign verify --notary a", "countersign --color sign notary verify a"),
            ("countersign verify --policy p a", "countersign policy verify --policy p a"),
            ("countersign -q verify a --policy=p", "countersign -q policy verify a --policy=p"),
            ("countersign verify -- --policy", "countersign verify -- --policy"),
            ("countersign verify-attestation --policy p a", "countersign verify-attestation --policy p a"),
            ("countersign verify a", "countersign verify a"),
            ("countersign tree --notary a", "countersign tree --notary a"),
            ("countersign --notary", "countersign --notary"),
            ("countersign", "countersign"),
        ] {
            assert_eq!(respelled(line), expected);
        }
    }

    #[test]
    fn every_command_says_what_it_does_and_begins_with_an_example() {
        fn check(command: &clap::Command) {
            for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
                let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
                assert!(!about.is_empty(), "{} says nothing", sub.get_name());
                if sub.has_subcommands() {
                    check(sub);
                } else {
                    let before = sub.get_before_help().map(ToString::to_string).unwrap_or_default();
                    assert!(before.contains(sub.get_name()), "{} has no example", sub.get_name());
                    // One that is wrapped cannot be copied.
                    let wide = before.lines().find(|line| line.chars().count() > WIDTH);
                    assert_eq!(wide, None, "{}: wider than {WIDTH}", sub.get_name());
                }
            }
        }
        let mut program = Cli::command();
        program.build();
        check(&program);
        let wide = EXAMPLES.lines().chain(CODES.lines()).find(|line| line.chars().count() > WIDTH);
        assert_eq!(wide, None, "wider than {WIDTH}");
    }

    /// cosign's flags by command, as its third version has them: each is taken, or refused with a reason.
    #[test]
    fn every_flag_of_cosign_is_known() {
        const REGISTRY: &str = "allow-http-registry allow-insecure-registry registry-username registry-password \
             registry-token registry-cacert registry-client-cert registry-client-key registry-server-name k8s-keychain \
             attachment-tag-prefix";
        const SIGN: &str = "identity-token fulcio-auth-flow oidc-provider oidc-client-id oidc-disable-ambient-providers \
             oidc-issuer fulcio-url rekor-url oidc-client-secret-file oidc-redirect-url signing-config trusted-root \
             use-signing-config timestamp-server-url timestamp-client-cacert timestamp-client-cert timestamp-client-key \
             timestamp-server-name key yes bundle tlog-upload sk slot issue-certificate certificate certificate-chain";
        const VERIFY: &str = "certificate-identity certificate-identity-regexp certificate-oidc-issuer \
             certificate-oidc-issuer-regexp certificate-github-workflow-trigger certificate-github-workflow-sha \
             certificate-github-workflow-name certificate-github-workflow-repository certificate-github-workflow-ref \
             key trusted-root insecure-ignore-tlog insecure-ignore-sct use-signed-timestamps check-claims offline \
             allow-certificate-chain certificate-chain ca-roots ca-intermediates timestamp-certificate-chain sct \
             private-infrastructure sk slot rekor-url new-bundle-format";
        const SWITCHES: &[&str] = &[
            "yes",
            "recursive",
            "upload",
            "no-upload",
            "force",
            "local-image",
            "check-claims",
            "offline",
            "b64",
            "insecure-ignore-tlog",
            "insecure-ignore-sct",
            "use-signed-timestamps",
            "tlog-upload",
            "sk",
            "use-signing-config",
            "allow-http-registry",
            "allow-insecure-registry",
            "new-bundle-format",
            "oidc-disable-ambient-providers",
            "k8s-keychain",
        ];
        let all: [(&[&str], &[&str]); 18] = [
            (
                &["sign"],
                &[
                    REGISTRY,
                    SIGN,
                    "annotations recursive upload registry-referrers-mode new-bundle-format output-signature \
                     output-certificate output-payload payload attachment sign-container-identity \
                     record-creation-timestamp",
                ],
            ),
            (
                &["verify"],
                &[
                    REGISTRY,
                    VERIFY,
                    "annotations output local-image signature payload attachment max-workers experimental-oci11 certificate",
                ],
            ),
            (
                &["sign-blob"],
                &[SIGN, "signing-algorithm output-signature output-certificate output b64 rfc3161-timestamp"],
            ),
            (&["verify-blob"], &[VERIFY, "bundle signature certificate rfc3161-timestamp"]),
            (
                &["attest"],
                &[
                    REGISTRY,
                    SIGN,
                    "predicate type no-upload statement replace rekor-entry-type record-creation-timestamp",
                ],
            ),
            (&["attest-blob"], &[SIGN, "predicate type statement hash"]),
            (
                &["verify-attestation"],
                &[REGISTRY, VERIFY, "type output policy local-image max-workers experimental-oci11"],
            ),
            (&["verify-blob-attestation"], &[VERIFY, "bundle type digest digestAlg"]),
            (&["generate-key-pair"], &["output-key-prefix kms"]),
            (&["public-key"], &["key outfile sk slot"]),
            (&["import-key-pair"], &["key output-key-prefix yes"]),
            (&["initialize"], &["mirror root root-checksum staging"]),
            (&["tree"], &[REGISTRY, "registry-referrers-mode"]),
            (&["download", "attestation"], &[REGISTRY, "predicate-type platform"]),
            (&["save"], &[REGISTRY, "dir"]),
            (&["clean"], &[REGISTRY, "type force"]),
            (&["copy"], &[REGISTRY, "only sig-only force platform"]),
            (
                &["attach", "signature"],
                &[REGISTRY, "signature payload certificate certificate-chain tsr rekor-response"],
            ),
        ];
        let mut cli = Cli::command();
        cli.build();
        for (path, flags) in all {
            let command = path.iter().fold(&cli, |command, name| command.find_subcommand(name).unwrap());
            let known: Vec<&str> = command
                .get_arguments()
                .flat_map(|a| a.get_long_and_visible_aliases().unwrap_or_default())
                .collect();
            for flag in flags.iter().flat_map(|list| list.split_whitespace()) {
                assert!(known.contains(&flag), "{path:?} does not know --{flag}");
            }
            // cosign's switches are also spelled with their value.
            for argument in
                command.get_arguments().filter(|a| a.get_long().is_some_and(|l| SWITCHES.contains(&l)))
            {
                let values = argument.get_num_args().unwrap();
                assert_eq!((values.min_values(), values.max_values()), (0, 1), "{path:?} {argument}");
            }
        }
    }
}
