//! Arguments that several commands share.

pub(crate) mod alerts;
pub(crate) mod artifact;
pub(crate) mod authority;
pub(crate) mod cluster;
pub(crate) mod identity;
pub(crate) mod login;
pub(crate) mod refused;
pub(crate) mod registry;
pub(crate) mod reports;
pub(crate) mod revocation;
pub(crate) mod services;
pub(crate) mod witness;

use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use crate::out::{Color, Format, Terminal, parse_duration};

/// A number, and what is said when it is none.
pub(crate) fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("expected a number, found \"{text}\""))
}

/// Arguments of every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// When to colour the output
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "auto",
        value_name = "WHEN",
        help_heading = "Everywhere"
    )]
    color: Color,
    /// Say nothing on standard error but errors
    #[arg(short, long, global = true, help_heading = "Everywhere")]
    quiet: bool,
    /// Say more on standard error
    #[arg(short = 'd', long, global = true, help_heading = "Everywhere")]
    verbose: bool,
    /// The longest time for the whole command, such as 3m
    #[arg(short = 't', long, global = true, value_parser = parse_duration, value_name = "TIME", help_heading = "Everywhere")]
    timeout: Option<Duration>,
}

impl Global {
    pub(crate) fn terminal(&self) -> Terminal {
        Terminal::new(self.color, self.quiet, self.verbose, self.timeout)
    }
}

/// The form of a command's data.
#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// The form of the data on standard output
    #[arg(short, long, value_enum, default_value = "text", value_name = "FORM")]
    pub(crate) output: Format,
}

impl OutputArgs {
    pub(crate) fn is_json(&self) -> bool {
        self.output == Format::Json
    }
}
