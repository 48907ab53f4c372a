//! `twinstream check-config`: what a start would say of a settings file, without one.
//!
//! Ansible runs it before it replaces a file: a setting that would keep a server from starting never reaches its place.

use std::process::ExitCode;

use serde_json::json;
use twinstream_broker::BrokerOptions;
use twinstream_registry::RegistryOptions;

use crate::arguments::{CheckConfig, OutputFormat, Role, Server};
use crate::failure::Failure;
use crate::output;

pub(crate) fn run(options: CheckConfig, format: OutputFormat) -> Result<ExitCode, Failure> {
    let file = options.role.config.as_ref().map_or("the defaults".to_owned(), |file| file.display().to_string());
    let (name, read) = match options.server {
        Server::Broker => ("broker", check_broker(options.role)),
        Server::Registry => ("registry", check_registry(options.role)),
        Server::Worker => ("worker", check_worker(&options.role)),
    };
    let without_effect =
        read.map_err(|failure| failure.tried(format!("to read {file} as the settings of a {name}")))?;
    match format {
        OutputFormat::Json | OutputFormat::Yaml => {
            output::data(format, &json!({"server": name, "ok": true, "without_effect": without_effect}))?
        }
        _ => {
            without_effect.iter().try_for_each(|told| output::line(told))?;
            output::line(&format!("{file}: a {name} starts with these settings"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn check_broker(role: Role) -> Result<Vec<String>, Failure> {
    let options = BrokerOptions { config: role.config, overrides: role.overrides };
    twinstream_broker::check(&options).map_err(|error| Failure::chain(&error))
}

fn check_registry(role: Role) -> Result<Vec<String>, Failure> {
    let options = RegistryOptions { config: role.config, overrides: role.overrides };
    twinstream_registry::check(&options).map_err(|error| Failure::chain(&error))
}

fn check_worker(role: &Role) -> Result<Vec<String>, Failure> {
    twinstream_connect::check(role.config.as_deref(), &role.overrides).map_err(|error| Failure::chain(&error))
}
