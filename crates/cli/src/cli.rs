//! The command line as a whole: names, order and examples. Each command's arguments stand with the command.

use std::ffi::OsString;

use clap::{Parser, Subcommand};

use crate::args::Global;
use crate::commands;
use crate::failure::Outcome;
use crate::out::Terminal;

/// How wide a line of help is at most, in characters.
const WIDTH: usize = 100;

const EXAMPLES: &str = "\
Examples:
  countersign quickstart README.md                 try everything on this machine
  countersign sign app.tar                         sign with your identity; writes app.tar.sigstore.json
  countersign verify app.tar --email a@example.com --issuer https://idp.example.com
  countersign trust add https://sigstore.example.com   use a private instance
  countersign init && countersign serve            run one";

const CODES: &str = "\
Exit codes: 0 done, 1 usage, 2 verification failed, 3 no signature found, 4 another identity or policy,
5 trust root missing or unusable, 6 network, 7 a fault of the program.";

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

/// The commands, in the order of the help text: our own first, then those under cosign's names.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Quickstart(commands::quickstart::Quickstart),
    Sign(commands::sign::Sign),
    Verify(commands::verify::Verify),
    Inspect(commands::inspect::Inspect),
    Tree(commands::tree::Tree),
    Copy(commands::copy::Copy),
    Save(commands::copy::Save),
    Load(commands::copy::Load),
    Init(commands::init::Init),
    Serve(commands::serve::Serve),
    Doctor(commands::doctor::Doctor),
    Rotate(commands::rotate::Rotate),
    Trust(commands::trust::TrustCommand),
    Log(commands::log::LogCommand),
    Notary(commands::notary::NotaryCommand),
    SignBlob(commands::cosign_sign::SignBlob),
    VerifyBlob(commands::cosign_verify::VerifyBlob),
    Attest(commands::sign_image::Attest),
    AttestBlob(commands::cosign_sign::AttestBlob),
    VerifyBlobAttestation(commands::cosign_verify::VerifyBlobAttestation),
    VerifyAttestation(commands::verify_image::VerifyAttestation),
    Download(commands::download::Download),
    Attach(commands::attach::Attach),
    Clean(commands::copy::Clean),
    Triangulate(commands::tree::Triangulate),
    Dockerfile(commands::references::DockerfileCommand),
    Manifest(commands::references::ManifestCommand),
    Login(commands::login::Login),
    Env(commands::env::Env),
    Initialize(commands::trust::Initialize),
    Bundle(commands::inspect::BundleCommand),
    TrustedRoot(commands::create::TrustedRootCommand),
    SigningConfig(commands::create::SigningConfigCommand),
    GenerateKeyPair(commands::keys::GenerateKeyPair),
    ImportKeyPair(commands::keys::ImportKeyPair),
    ChangePassword(commands::keys::ChangePassword),
    PublicKey(commands::keys::PublicKeyCommand),
    #[cfg(all(unix, feature = "pkcs11"))]
    Pkcs11Tool(commands::pkcs11::Pkcs11Tool),
    Completion(commands::completion::Completion),
    Man(commands::man::Man),
    Version(commands::version::Version),
}

impl Command {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        match self {
            Self::Quickstart(command) => command.run(terminal),
            Self::TrustedRoot(command) => command.run(terminal),
            Self::SigningConfig(command) => command.run(terminal),
            Self::Verify(command) => command.run(terminal),
            Self::VerifyBlob(command) => command.run(terminal),
            Self::VerifyBlobAttestation(command) => command.run(terminal),
            Self::VerifyAttestation(command) => command.run(terminal),
            Self::Download(command) => command.run(terminal),
            Self::Attach(command) => command.run(terminal),
            Self::Clean(command) => command.run(terminal),
            Self::Triangulate(command) => command.run(terminal),
            Self::Dockerfile(command) => command.run(terminal),
            Self::Manifest(command) => command.run(terminal),
            Self::Login(command) => command.run(terminal),
            Self::Env(command) => command.run(terminal),
            Self::Inspect(command) => command.run(terminal),
            Self::Tree(command) => command.run(terminal),
            Self::Copy(command) => command.run(terminal),
            Self::Save(command) => command.run(terminal),
            Self::Load(command) => command.run(terminal),
            Self::Init(command) => command.run(terminal),
            Self::Doctor(command) => command.run(terminal),
            Self::Rotate(command) => command.run(terminal),
            Self::Bundle(command) => command.run(terminal),
            Self::Serve(command) => command.run(terminal),
            Self::Sign(command) => command.run(terminal),
            Self::Trust(command) => command.run(terminal),
            Self::Log(command) => command.run(terminal),
            Self::Notary(command) => command.run(terminal),
            Self::SignBlob(command) => command.run(terminal),
            Self::Attest(command) => command.run(terminal),
            Self::AttestBlob(command) => command.run(terminal),
            Self::Initialize(command) => command.run(terminal),
            Self::GenerateKeyPair(command) => command.run(terminal),
            Self::ImportKeyPair(command) => command.run(terminal),
            Self::ChangePassword(command) => command.run(terminal),
            Self::PublicKey(command) => command.run(terminal),
            #[cfg(all(unix, feature = "pkcs11"))]
            Self::Pkcs11Tool(command) => command.run(terminal),
            Self::Completion(command) => command.run(terminal),
            Self::Man(command) => command.run(terminal),
            Self::Version(command) => command.run(terminal),
        }
    }
}

/// `sign --notary …` and `verify --notary …` are other spellings of `notary sign …` and `notary verify …`: the flag
/// chooses a kind of signature with flags of its own.
pub(crate) fn respelled(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = arguments.into_iter().collect();
    // Options of every command may stand in front of the verb, some with a word behind them.
    let mut verb = 1;
    while let Some(word) = words.get(verb).and_then(|word| word.to_str()).filter(|word| word.starts_with('-'))
    {
        verb += if matches!(word, "--color" | "--timeout" | "-t") { 2 } else { 1 };
    }
    let flags = words.iter().take_while(|word| *word != "--");
    let flag = flags.skip(verb + 1).position(|word| word == "--notary").map(|at| at + verb + 1);
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
    fn the_flag_notary_is_the_command_notary() {
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
            for sub in command.get_subcommands() {
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
        check(&Cli::command());
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
