//! `pkcs11-tool`: what is on a hardware token, under cosign's names.

use clap::{Args, Subcommand};
use countersign_keys::pkcs11::uri::{KeyMatch, TokenAttribute, TokenMatch};
use countersign_keys::pkcs11::{Pkcs11Uri, default_module, list_keys, list_tokens};
use serde_json::json;

use crate::args::{OutputArgs, number};
use crate::commands::keys::password;
use crate::failure::{Failure, Outcome};
use crate::out::Terminal;

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  countersign pkcs11-tool list-tokens --module-path /usr/lib/softhsm/libsofthsm2.so\n  countersign pkcs11-tool list-keys-uris --slot-id 1722837645"
)]
pub(crate) struct Pkcs11Tool {
    #[command(subcommand)]
    command: ToolCommand,
}

#[derive(Debug, Subcommand)]
enum ToolCommand {
    ListTokens(ListTokens),
    ListKeysUris(ListKeysUris),
}

/// The module, as cosign names it.
#[derive(Debug, Args)]
struct ModuleArgs {
    /// The PKCS #11 module; else COUNTERSIGN_PKCS11_MODULE_PATH or COSIGN_PKCS11_MODULE_PATH names it
    #[arg(long, value_name = "FILE")]
    module_path: Option<String>,
}

impl ModuleArgs {
    fn path(&self) -> Result<String, Failure> {
        match &self.module_path {
            Some(path) => Ok(path.clone()),
            None => Ok(default_module()?),
        }
    }
}

/// List the tokens of a module
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  countersign pkcs11-tool list-tokens --module-path /usr/lib/softhsm/libsofthsm2.so"
)]
struct ListTokens {
    #[command(flatten)]
    module: ModuleArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// List the private keys of a token with the references that name them
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  countersign pkcs11-tool list-keys-uris --slot-id 1722837645\n  countersign sign FILE --key 'pkcs11:token=release;object=signing?module-path=/usr/lib/hsm.so'",
    after_help = "The PIN comes from COUNTERSIGN_PKCS11_PIN or COSIGN_PKCS11_PIN, else from the terminal; never from an argument."
)]
struct ListKeysUris {
    #[command(flatten)]
    module: ModuleArgs,
    /// The token's slot, as list-tokens shows it
    #[arg(long, value_name = "NUMBER", value_parser = number::<u64>)]
    slot_id: u64,
    /// Taken by cosign; refused here
    #[arg(long, value_name = "PIN", hide = true)]
    pin: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

impl Pkcs11Tool {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        match &self.command {
            ToolCommand::ListTokens(command) => command.run(terminal),
            ToolCommand::ListKeysUris(command) => command.run(terminal),
        }
    }
}

impl ListTokens {
    fn run(&self, terminal: &Terminal) -> Outcome {
        let module = self.module.path()?;
        let tokens = list_tokens(&module)?;
        if self.output.is_json() {
            let list: Vec<_> = tokens
                .iter()
                .map(|t| {
                    json!({ "slot": t.slot, "label": t.label, "manufacturer": t.manufacturer, "model": t.model,
                        "serial": t.serial })
                })
                .collect();
            terminal.json("pkcs11-tokens", 1, &json!({ "module": module, "tokens": list }))?;
            return Ok(0);
        }
        terminal.line(&format!("Tokens of the PKCS #11 module {module}:"))?;
        for token in &tokens {
            terminal.line(&format!(
                "Token in slot {}\n        Label: {}\n        Manufacturer: {}\n        Model: {}\n        S/N: {}",
                token.slot, token.label, token.manufacturer, token.model, token.serial
            ))?;
        }
        Ok(0)
    }
}

impl ListKeysUris {
    fn run(&self, terminal: &Terminal) -> Outcome {
        if self.pin.is_some() {
            return Err(Failure::usage(
                "--pin is not taken: everyone who sees the list of processes would read the PIN",
            )
            .next(
                "set COSIGN_PKCS11_PIN, or leave it out and be asked; change a PIN that others may have seen",
            ));
        }
        let module = self.module.path()?;
        let token = list_tokens(&module)?
            .into_iter()
            .find(|token| token.slot == self.slot_id)
            .ok_or_else(|| Failure::usage(format!("no token is in slot {} of {module}", self.slot_id)))?;
        let keys = list_keys(&module, self.slot_id, &password(false))?;
        let attributes = [(TokenAttribute::Token, token.label), (TokenAttribute::Serial, token.serial)];
        let uri = |key: &KeyMatch| Pkcs11Uri {
            token: TokenMatch { attributes: attributes.clone().into(), slot: None },
            key: key.clone(),
            object_type: None,
            module_path: Some(module.clone().into()),
            module_name: None,
            pin_source: None,
        };
        if self.output.is_json() {
            let list: Vec<_> = keys
                .iter()
                .map(|k| json!({ "label": k.key.label, "kind": k.kind, "uri": uri(&k.key).to_string() }))
                .collect();
            terminal.json(
                "pkcs11-keys",
                1,
                &json!({ "module": module, "slot": self.slot_id, "keys": list }),
            )?;
            return Ok(0);
        }
        terminal.line(&format!("Keys in slot {} of the PKCS #11 module {module}:", self.slot_id))?;
        for (number, key) in keys.iter().enumerate() {
            terminal.line(&format!(
                "Key {number}\n        Label: {}\n        Type: {}\n        URI: {}",
                key.key.label.as_deref().unwrap_or("(none)"),
                key.kind,
                uri(&key.key)
            ))?;
        }
        Ok(0)
    }
}
