//! Where a command goes: of each value the one that wins, and who gave it.
//!
//! Invariants: [`Known`] is the only place that knows the precedence, for commands and for `context show --effective` alike.
//! The flags `-b`, `-w` and `--registry` are read through [`Cluster`], [`Worker`] and [`Registry`], which clap fills here.

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use clap_complete::engine::ArgValueCandidates;

use super::file::{Context, Contexts};
use crate::arguments::{
    BOOTSTRAP_VARIABLE, DEFAULT_BOOTSTRAP, DEFAULT_REGISTRY, DEFAULT_WORKER, REGISTRY_VARIABLE, WORKER_VARIABLE,
    name_and_value,
};
use crate::complete;
use crate::failure::Failure;

pub(crate) const CONTEXT_VARIABLE: &str = "TWINSTREAM_CONTEXT";
/// What clients of Confluent's registry call its address.
const REGISTRY_PROPERTY: &str = "schema.registry.url";
const BOOTSTRAP_PROPERTY: &str = "bootstrap.servers";
/// Parts of names of properties whose values are not shown.
const SECRET: [&str; 4] = ["password", "secret", "jaas", "token"];

/// How an operator command reaches a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub bootstrap_server: String,
    /// Without `bootstrap.servers`.
    pub properties: Vec<(String, String)>,
    /// Who gave the servers, as a person reads it.
    pub source: String,
}

/// How an operator command reaches a worker.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    pub worker: String,
    pub source: String,
}

/// How an operator command reaches a schema registry.
#[derive(Clone, Debug)]
pub(crate) struct Registry {
    pub url: String,
    pub source: String,
    /// Whether anybody named it.
    pub is_named: bool,
}

impl Registry {
    /// The registry if somebody named one; nobody means the default who does not say so.
    pub(crate) fn named(&self) -> Option<&str> {
        self.is_named.then_some(self.url.as_str())
    }
}

/// A value and who gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    pub is: Option<String>,
    pub source: String,
}

/// What stands on the command line.
#[derive(Debug)]
pub(crate) struct Given<'a> {
    pub flag: Option<&'a str>,
    pub properties: &'a [(String, String)],
}

/// What is known beside the command line.
#[derive(Debug)]
pub(crate) struct Known {
    context: Option<(String, Context)>,
    chosen_by: &'static str,
    is_named_by_flag: bool,
}

impl Known {
    pub(crate) fn read(named: Option<String>) -> Result<Self, Failure> {
        let contexts = Contexts::read()?;
        let variable = std::env::var_os(CONTEXT_VARIABLE).is_some_and(|name| !name.is_empty());
        let context = contexts.chosen(named.as_deref())?.map(|(name, context)| (name.to_owned(), context.clone()));
        let chosen_by = match (&named, variable, &context) {
            (Some(_), ..) => "--context",
            (None, true, _) => CONTEXT_VARIABLE,
            (None, false, Some(_)) => "the current one",
            (None, false, None) => "no context is the current one",
        };
        Ok(Self { context, chosen_by, is_named_by_flag: named.is_some() })
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.context.as_ref().map(|(name, _)| name.as_str())
    }

    pub(crate) fn chosen_by(&self) -> &'static str {
        self.chosen_by
    }

    pub(crate) fn bootstrap(&self, given: &Given<'_>) -> Value {
        let names = ("-b", BOOTSTRAP_PROPERTY, BOOTSTRAP_VARIABLE);
        self.value(given, names, |context| context.bootstrap_servers.as_ref(), Some(DEFAULT_BOOTSTRAP))
    }

    pub(crate) fn worker(&self, given: &Given<'_>) -> Value {
        self.value(given, ("-w", "", WORKER_VARIABLE), |context| context.worker.as_ref(), Some(DEFAULT_WORKER))
    }

    pub(crate) fn registry(&self, given: &Given<'_>) -> Value {
        let names = ("--registry", REGISTRY_PROPERTY, REGISTRY_VARIABLE);
        self.value(given, names, |context| context.registry.as_ref(), Some(DEFAULT_REGISTRY))
    }

    fn value(
        &self,
        given: &Given<'_>,
        (flag, property, variable): (&str, &str, &str),
        of: impl Fn(&Context) -> Option<&String>,
        default: Option<&str>,
    ) -> Value {
        let value = |is: &str, source: String| Value { is: Some(is.to_owned()), source };
        if let Some(is) = given.flag {
            return value(is, format!("flag {flag}"));
        }
        if let Some((_, is)) = given.properties.iter().rev().find(|(name, _)| name == property) {
            return value(is, format!("flag -X {property}"));
        }
        let of_context =
            self.context.as_ref().and_then(|(name, context)| Some(value(of(context)?, format!("context {name}"))));
        if let (true, Some(of_context)) = (self.is_named_by_flag, &of_context) {
            return of_context.clone();
        }
        match std::env::var(variable).ok().filter(|is| !is.is_empty()) {
            Some(is) => value(&is, format!("environment {variable}")),
            None => {
                of_context.unwrap_or_else(|| Value { is: default.map(str::to_owned), source: "default".to_owned() })
            }
        }
    }

    /// Properties of the client in the order in which they are set: those of the context, then those of `-X`.
    pub(crate) fn properties(&self, given: &[(String, String)]) -> Vec<(String, Value)> {
        let mut properties: Vec<(String, Value)> = Vec::new();
        if let Some((context, values)) = &self.context {
            let source = format!("context {context}");
            let of =
                |(name, is): (&String, &String)| (name.clone(), Value { is: Some(is.clone()), source: source.clone() });
            properties.extend(values.properties.iter().map(of));
        }
        for (name, is) in given.iter().filter(|(name, _)| name != BOOTSTRAP_PROPERTY && name != REGISTRY_PROPERTY) {
            properties.retain(|(known, _)| known != name);
            properties.push((name.clone(), Value { is: Some(is.clone()), source: "flag -X".to_owned() }));
        }
        properties
    }
}

/// A value as it may be printed.
pub(crate) fn shown<'a>(name: &str, value: &'a str) -> &'a str {
    let name = name.to_ascii_lowercase();
    if SECRET.iter().any(|secret| name.contains(secret)) { "(hidden)" } else { value }
}

/// The flag of the whole command line.
fn known(matches: &ArgMatches) -> Result<Known, clap::Error> {
    let named = matches.try_get_one::<String>("context").ok().flatten().cloned();
    Known::read(named).map_err(|failure| clap::Error::raw(clap::error::ErrorKind::Io, failure.text_for_clap()))
}

fn on_command_line<'a>(matches: &'a ArgMatches, id: &str) -> Option<&'a str> {
    let is_given = matches.value_source(id) == Some(ValueSource::CommandLine);
    matches.get_one::<String>(id).filter(|_| is_given).map(String::as_str)
}

fn properties(matches: &ArgMatches) -> Vec<(String, String)> {
    let of = matches.try_get_many::<(String, String)>("properties").ok().flatten();
    of.into_iter().flatten().cloned().collect()
}

fn flag(id: &'static str, long: &'static str, value: &'static str, help: String) -> Arg {
    Arg::new(id).long(long).value_name(value).help(help)
}

fn help(what: &str, variable: &str, default: &str) -> String {
    format!("{what} Else {variable}, else the context, else {default}.")
}

impl Args for Cluster {
    fn augment_args(command: Command) -> Command {
        let servers = "Brokers to ask first, as host:port, comma separated.";
        let servers = help(servers, BOOTSTRAP_VARIABLE, DEFAULT_BOOTSTRAP);
        command.arg(flag("bootstrap_server", "bootstrap-server", "HOST:PORT", servers).short('b')).arg(
            Arg::new("properties")
                .short('X')
                .long("property")
                .value_name("NAME=VALUE")
                .help("A property of the Kafka client; may be given many times.")
                .action(clap::ArgAction::Append)
                .value_parser(name_and_value),
        )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Cluster {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let known = known(matches)?;
        let properties = properties(matches);
        let given = Given { flag: on_command_line(matches, "bootstrap_server"), properties: &properties };
        let servers = known.bootstrap(&given);
        let properties = known.properties(&properties).into_iter();
        Ok(Self {
            bootstrap_server: servers.is.unwrap_or_default(),
            source: servers.source,
            properties: properties.filter_map(|(name, value)| Some((name, value.is?))).collect(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Worker {
    fn augment_args(command: Command) -> Command {
        let help = help("The REST API of a worker.", WORKER_VARIABLE, DEFAULT_WORKER);
        command.arg(flag("worker", "worker", "URL", help).short('w'))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Worker {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let worker = known(matches)?.worker(&Given { flag: on_command_line(matches, "worker"), properties: &[] });
        Ok(Self { worker: worker.is.unwrap_or_default(), source: worker.source })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Registry {
    fn augment_args(command: Command) -> Command {
        command.arg(flag(
            "registry",
            "registry",
            "URL",
            help("The schema registry.", REGISTRY_VARIABLE, DEFAULT_REGISTRY),
        ))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Registry {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let properties = properties(matches);
        let given = Given { flag: on_command_line(matches, "registry"), properties: &properties };
        let registry = known(matches)?.registry(&given);
        let is_named = registry.source != "default";
        Ok(Self { url: registry.is.unwrap_or_default(), source: registry.source, is_named })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// `--context`, which all commands take.
#[derive(Debug, Args)]
pub(crate) struct ContextFlag {
    /// The context whose brokers, worker and registry are meant. Else TWINSTREAM_CONTEXT, else the current one.
    #[arg(long, global = true, value_name = "NAME", add = ArgValueCandidates::new(complete::contexts))]
    pub context: Option<String>,
}
