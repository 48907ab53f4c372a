//! `twinstream context ..`, and what every other command knows without a flag.
//!
//! Picture: a context is a name for a site: its brokers, its worker, its registry, and properties of clients. [`file`] keeps
//! them, one of them is the current one. [`reach`] decides, value by value, where a command goes; the flags of all commands
//! are read through it, so no command can forget the contexts.
//!
//! Precedence: flag, `-X`, the context that `--context` names, environment, the context of `TWINSTREAM_CONTEXT` or else the
//! current one, default. A context that is named on the command line beats the environment, so that what somebody exported
//! yesterday never redirects a command that says where it goes.
//!
//! Not here: secrets; properties are stored as they are given, in a file that only its owner reads.

pub(crate) mod file; // what is kept
pub(crate) mod reach; // what wins

use std::process::ExitCode;

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCandidates;
use serde::Serialize;
use serde_json::json;

use crate::arguments::{OutputFormat, name_and_value};
use crate::complete;
use crate::confirm;
use crate::failure::Failure;
use crate::output;

use file::{Context, Contexts};
use reach::{Given, Known, Value};

#[derive(Debug, Subcommand)]
pub(crate) enum ContextCommand {
    /// List the contexts; the current one has a star.
    List,
    /// Make a context the current one.
    Use {
        #[arg(add = ArgValueCandidates::new(complete::contexts))]
        name: String,
    },
    /// Store a new context, and use it with --use.
    Add {
        name: String,
        #[command(flatten)]
        values: Values,
        /// Make it the current one.
        #[arg(long = "use")]
        and_use: bool,
    },
    /// Change values of a context, or take it away with --delete.
    Edit {
        #[arg(add = ArgValueCandidates::new(complete::contexts))]
        name: String,
        #[command(flatten)]
        values: Values,
        /// A value to take away: bootstrap, worker, registry, or a property of the client; may be given many times.
        #[arg(long, value_name = "NAME")]
        unset: Vec<String>,
        /// Take the context away.
        #[arg(long, conflicts_with_all = ["bootstrap_server", "worker", "registry", "properties", "unset"])]
        delete: bool,
        /// Do not ask on the terminal.
        #[arg(short, long)]
        yes: bool,
    },
    /// Show a context, or what a command would use now and why.
    Show {
        /// The current one if absent.
        #[arg(add = ArgValueCandidates::new(complete::contexts), conflicts_with = "effective")]
        name: Option<String>,
        /// Show each value that a command would use, and where it comes from.
        #[arg(long)]
        effective: bool,
        /// For --effective: a property as another command would be given it; may be given many times.
        #[arg(short = 'X', long = "property", value_name = "NAME=VALUE", value_parser = name_and_value, requires = "effective")]
        properties: Vec<(String, String)>,
    },
}

/// What a context holds.
#[derive(Debug, Args)]
pub(crate) struct Values {
    /// Brokers to ask first, as host:port, comma separated.
    #[arg(short, long, value_name = "HOST:PORT")]
    bootstrap_server: Option<String>,
    /// The REST API of a worker.
    #[arg(short, long, value_name = "URL")]
    worker: Option<String>,
    /// The schema registry.
    #[arg(long, value_name = "URL")]
    registry: Option<String>,
    /// A property of the Kafka client; may be given many times.
    #[arg(short = 'X', long = "property", value_name = "NAME=VALUE", value_parser = name_and_value)]
    properties: Vec<(String, String)>,
}

impl Values {
    fn into_context(self, mut context: Context) -> Result<Context, Failure> {
        context.bootstrap_servers = self.bootstrap_server.or(context.bootstrap_servers);
        context.worker = self.worker.or(context.worker);
        context.registry = self.registry.or(context.registry);
        context.properties.extend(self.properties);
        context.check().map_err(Failure::usage)?;
        Ok(context)
    }
}

pub(crate) fn run(command: ContextCommand, named: Option<String>, format: OutputFormat) -> Result<ExitCode, Failure> {
    match command {
        ContextCommand::List => list(&named, format)?,
        ContextCommand::Use { name } => {
            Contexts::change(|contexts| {
                contexts.get(&name)?;
                contexts.current = Some(name.clone());
                Ok(())
            })?;
            told(format, &name, "used", &format!("context {name} is the current one"))?;
            if std::env::var_os(reach::CONTEXT_VARIABLE).is_some_and(|set| !set.is_empty()) {
                output::talk(&format!("note: {} is set here, and wins over it", reach::CONTEXT_VARIABLE));
            }
        }
        ContextCommand::Add { name, values, and_use } => {
            file::check_name(&name).map_err(Failure::usage)?;
            let context = values.into_context(Context::default())?;
            Contexts::change(|contexts| {
                if contexts.contexts.contains_key(&name) {
                    return Err(Failure::new(format!("context {name} is there already"))
                        .next(format!("change it with `twinstream context edit {name}`")));
                }
                contexts.contexts.insert(name.clone(), context);
                if and_use {
                    contexts.current = Some(name.clone());
                }
                Ok(())
            })?;
            let used = if and_use { ", and is the current one" } else { "" };
            told(format, &name, "added", &format!("context {name} added{used}"))?;
        }
        ContextCommand::Edit { name, delete: true, yes, .. } => {
            Contexts::read()?.get(&name)?;
            if !yes {
                confirm::ask(&format!("delete context {name}?"))?;
            }
            Contexts::change(|contexts| {
                contexts.contexts.remove(&name);
                contexts.current.take_if(|current| *current == name);
                Ok(())
            })?;
            told(format, &name, "deleted", &format!("context {name} deleted"))?;
        }
        ContextCommand::Edit { name, values, unset, .. } => {
            Contexts::change(|contexts| {
                let mut context = contexts.get(&name)?.clone();
                unset.iter().try_for_each(|value| context.unset(value))?;
                contexts.contexts.insert(name.clone(), values.into_context(context)?);
                Ok(())
            })?;
            told(format, &name, "changed", &format!("context {name} changed"))?;
        }
        ContextCommand::Show { effective: true, properties, .. } => effective(named, properties, format)?,
        ContextCommand::Show { name, .. } => show(name.or(named), format)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn told(format: OutputFormat, name: &str, done: &str, text: &str) -> Result<(), Failure> {
    output::done(format, &json!({"context": name, "done": done}), &[name], text)
}

#[derive(Serialize)]
struct Listed {
    context: String,
    current: bool,
    bootstrap_servers: Option<String>,
    worker: Option<String>,
    registry: Option<String>,
}

fn list(named: &Option<String>, format: OutputFormat) -> Result<(), Failure> {
    let contexts = Contexts::read()?;
    let current = contexts.chosen(named.as_deref())?.map(|(name, _)| name.to_owned());
    let row = |(name, context): (&String, &Context)| Listed {
        context: name.clone(),
        current: current.as_ref() == Some(name),
        bootstrap_servers: context.bootstrap_servers.clone(),
        worker: context.worker.clone(),
        registry: context.registry.clone(),
    };
    let rows: Vec<Listed> = contexts.contexts.iter().map(row).collect();
    let dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    output::listing(format, &rows, &["context", "current", "brokers", "worker", "registry"], |row| {
        let star = if row.current { "*" } else { "-" };
        vec![row.context.clone(), star.to_owned(), dash(&row.bootstrap_servers), dash(&row.worker), dash(&row.registry)]
    })?;
    if rows.is_empty() && format.is_text() {
        output::talk("there are no contexts; `twinstream context add NAME -b HOST:PORT --use` makes one");
    }
    Ok(())
}

fn show(name: Option<String>, format: OutputFormat) -> Result<(), Failure> {
    let contexts = Contexts::read()?;
    let Some((name, context)) = contexts.chosen(name.as_deref())? else {
        return Err(Failure::not_found("no context is the current one")
            .tried(Contexts::path().display())
            .next("`twinstream context list`, then `twinstream context use NAME`"));
    };
    let mut context = context.clone();
    for (name, value) in &mut context.properties {
        *value = reach::shown(name, value).to_owned();
    }
    match format {
        OutputFormat::Name => output::line(name),
        OutputFormat::Json | OutputFormat::Yaml => {
            output::data(format, &json!({"context": name, "file": Contexts::path(), "values": context}))
        }
        OutputFormat::Table | OutputFormat::Wide => {
            output::line(&format!("context {name}, in {}", Contexts::path().display()))?;
            let own = [
                ("bootstrap.servers", &context.bootstrap_servers),
                ("worker", &context.worker),
                ("registry", &context.registry),
            ];
            let own = own.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
            let properties = context.properties.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            own.chain(properties).try_for_each(|(name, value)| output::line(&format!("  {name}={value}")))
        }
    }
}

#[derive(Serialize)]
struct Effective {
    value: String,
    is: Option<String>,
    source: String,
}

fn effective(named: Option<String>, properties: Vec<(String, String)>, format: OutputFormat) -> Result<(), Failure> {
    let known = Known::read(named)?;
    let given = Given { flag: None, properties: &properties };
    let row = |name: &str, value: Value| Effective {
        value: name.to_owned(),
        is: value.is.map(|is| reach::shown(name, &is).to_owned()),
        source: value.source,
    };
    let mut rows = vec![
        Effective {
            value: "context".to_owned(),
            is: known.name().map(str::to_owned),
            source: known.chosen_by().to_owned(),
        },
        row("bootstrap.servers", known.bootstrap(&given)),
        row("worker", known.worker(&given)),
        row("registry", known.registry(&given)),
    ];
    rows.extend(known.properties(&properties).into_iter().map(|(name, value)| row(&name, value)));
    output::listing(format, &rows, &["value", "is", "source"], |row| {
        vec![row.value.clone(), row.is.clone().unwrap_or_else(|| "-".to_owned()), row.source.clone()]
    })
}

#[cfg(test)]
mod tests;
