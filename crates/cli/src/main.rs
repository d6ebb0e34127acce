//! The `countersign` program: arguments in, output and exit codes out.
//!
//! Exit codes: 0 done, 1 usage, 2 verification failed, 3 no signature found, 4 another identity or policy,
//! 5 trust root, 6 network, 7 a fault of the program. No other way out gives 0.

mod args;
mod checklist;
mod cli;
mod commands;
#[cfg(test)]
mod documents;
mod failure;
mod git;
mod out;
mod progress;
mod view;

use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;

use crate::failure::{INTERNAL, USAGE};

fn main() -> ExitCode {
    // Started by this program itself, to load the module of a hardware token: see `countersign_keys::pkcs11`.
    #[cfg(all(unix, feature = "pkcs11"))]
    if std::env::args_os().nth(1).is_some_and(|first| first == countersign_keys::pkcs11::WORKER_COMMAND) {
        return match countersign_keys::pkcs11::run_worker() {
            Ok(()) => ExitCode::SUCCESS,
            Err(message) => {
                out::say(&format!("error: {message}"));
                ExitCode::from(USAGE)
            }
        };
    }
    // Started by `build`: the sandbox, which must be made before this process has threads.
    #[cfg(target_os = "linux")]
    if let Some(code) =
        std::env::args_os().nth(1).and_then(|first| countersign_builder::sandbox::hidden(first.to_str()?))
    {
        return code;
    }
    // A panic must never look like success: one that reaches this place is a fault.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        // Not by `eprintln!`: where standard error is gone, that would be a panic within a panic.
        out::say(&format!(
            "error: a fault in countersign itself, at {place}; please report it with the command line"
        ));
    }));
    ExitCode::from(std::panic::catch_unwind(run).unwrap_or(INTERNAL))
}

fn run() -> u8 {
    let arguments: Vec<_> = std::env::args_os().collect();
    #[cfg(target_os = "linux")]
    let arguments = commands::build::as_signer(arguments);
    let cli = match cli::Cli::try_parse_from(cli::respelled(arguments)) {
        Ok(cli) => cli,
        Err(error) => {
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // If the text cannot be printed, the code still tells.
            let printed = error.print().is_ok();
            return match (asked, printed) {
                (true, true) => 0,
                (true, false) => INTERNAL,
                (false, _) => USAGE,
            };
        }
    };
    let terminal = cli.global.terminal();
    match out::end_in_time(&terminal).and_then(|()| cli.command.run(&terminal)) {
        Ok(code) => code,
        Err(failure) => {
            out::report(&failure);
            failure.code
        }
    }
}
