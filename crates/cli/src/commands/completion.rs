//! `countersign completion`: completions for a shell.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::failure::Outcome;
use crate::out::Terminal;

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  countersign completion bash > /etc/bash_completion.d/countersign\n  countersign completion zsh > \"${fpath[1]}/_countersign\""
)]
pub(crate) struct Completion {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completion {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "countersign", &mut text);
        terminal.data(&String::from_utf8_lossy(&text))?;
        Ok(0)
    }
}
