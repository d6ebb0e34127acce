//! The rules by which a workflow is read, and what one of them found.

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Weight {
    /// Worth knowing.
    Note,
    /// Weakens what can be said of the build.
    Warning,
    /// Lets others change the build or take its secrets.
    Error,
}

/// A rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// An action by tag or branch.
    MutableAction,
    /// A workflow of elsewhere by tag or branch.
    MutableWorkflow,
    /// An image by tag.
    MutableImage,
    /// A command that uses the network.
    NetworkCommand,
    /// An action that uses the network.
    NetworkAction,
    /// A command whose work is described elsewhere.
    UnseenCommand,
    /// A cache shared with other runs.
    Cache,
    /// A text of strangers within a script.
    ScriptInjection,
    /// A text of whoever pushes or starts the run within a script.
    ScriptExpression,
    /// Something that whoever starts the run chooses.
    RunInput,
    /// All permissions.
    PermissionsWriteAll,
    /// No word on permissions.
    PermissionsUnset,
    /// The right to an identity in a job that runs steps of its own.
    IdTokenInBuild,
    /// A runner that is not fresh for each job.
    SelfHostedRunner,
    /// Runs on the changes of strangers, with the rights of the project.
    PullRequestTarget,
    /// A secret handed to a step or a workflow.
    SecretInStep,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::MutableAction,
        Self::MutableWorkflow,
        Self::MutableImage,
        Self::NetworkCommand,
        Self::NetworkAction,
        Self::UnseenCommand,
        Self::Cache,
        Self::ScriptInjection,
        Self::ScriptExpression,
        Self::RunInput,
        Self::PermissionsWriteAll,
        Self::PermissionsUnset,
        Self::IdTokenInBuild,
        Self::SelfHostedRunner,
        Self::PullRequestTarget,
        Self::SecretInStep,
    ];

    /// Its name in reports.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::MutableAction => "mutable-action",
            Self::MutableWorkflow => "mutable-workflow",
            Self::MutableImage => "mutable-image",
            Self::NetworkCommand => "network-command",
            Self::NetworkAction => "network-action",
            Self::UnseenCommand => "unseen-command",
            Self::Cache => "cache",
            Self::ScriptInjection => "script-injection",
            Self::ScriptExpression => "script-expression",
            Self::RunInput => "run-input",
            Self::PermissionsWriteAll => "permissions-write-all",
            Self::PermissionsUnset => "permissions-unset",
            Self::IdTokenInBuild => "id-token-in-build",
            Self::SelfHostedRunner => "self-hosted-runner",
            Self::PullRequestTarget => "pull-request-target",
            Self::SecretInStep => "secret-in-step",
        }
    }

    /// How much it weighs.
    #[must_use]
    pub const fn weight(self) -> Weight {
        match self {
            Self::ScriptInjection
            | Self::PermissionsWriteAll
            | Self::IdTokenInBuild
            | Self::SelfHostedRunner
            | Self::PullRequestTarget => Weight::Error,
            Self::MutableAction
            | Self::MutableWorkflow
            | Self::MutableImage
            | Self::NetworkCommand
            | Self::NetworkAction
            | Self::Cache
            | Self::ScriptExpression
            | Self::RunInput
            | Self::PermissionsUnset => Weight::Warning,
            Self::UnseenCommand | Self::SecretInStep => Weight::Note,
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::MutableAction | Self::MutableWorkflow => {
                "name the commit, 40 hexadecimal digits, and the tag in a comment"
            }
            Self::MutableImage => "name the image by digest: NAME@sha256:…",
            Self::NetworkCommand | Self::NetworkAction => {
                "fetch by digest in a step before the build, and build without a network"
            }
            Self::UnseenCommand => "read what it runs: this reading ends here",
            Self::Cache => "build releases without a cache, or check what comes out of it by digest",
            Self::ScriptInjection | Self::ScriptExpression => {
                "put the text into an environment variable (env:), and name that in the script"
            }
            Self::RunInput => "build releases from what is in the source alone",
            Self::PermissionsWriteAll | Self::PermissionsUnset => {
                "permissions: {} for the workflow, and for each job what it needs"
            }
            Self::IdTokenInBuild => "sign in a job or workflow of its own, which runs no step of the build",
            Self::SelfHostedRunner => "build releases on runners that are made anew for each job",
            Self::PullRequestTarget => "use pull_request, which has neither secrets nor rights",
            Self::SecretInStep => "hand secrets only to steps that run nothing of the build",
        }
    }

    /// Whether a build with such a finding fetches or runs what its source does not name for good.
    #[must_use]
    pub const fn breaks_hermetic(self) -> bool {
        matches!(
            self,
            Self::MutableAction
                | Self::MutableWorkflow
                | Self::MutableImage
                | Self::NetworkCommand
                | Self::NetworkAction
                | Self::Cache
        )
    }
}

/// What a rule found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// The line, from 1.
    pub line: u64,
    /// The job; empty for the workflow as a whole.
    pub job: String,
    /// What stands there, shortened.
    pub text: String,
    /// What it means.
    pub why: String,
}
