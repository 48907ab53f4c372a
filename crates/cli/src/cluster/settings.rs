//! `twinstream cluster config list|set|unset`: settings of brokers, of one or as the default of all.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;
use twinstream_connector_mirror::counted;

use crate::admin::{BROKER, alter_configs, configs};
use crate::arguments::{Cluster, OutputFormat, name_and_value};
use crate::bootstrap::{admin, failed};
use crate::failure::Failure;
use crate::output;
use crate::topic_change::{changes, differences, show_differences};

/// Kafka's names of where a value comes from, by their numbers.
const SOURCES: [&str; 9] =
    ["unknown", "topic", "broker", "all brokers", "file", "default", "logger", "client metrics", "group"];
/// Values that somebody gave while brokers ran.
const DYNAMIC_BROKER: i8 = 2;
const DYNAMIC_DEFAULT: i8 = 3;

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// List the settings that somebody gave; all with --all.
    List {
        /// Of this broker; of all if absent.
        #[arg(long, value_name = "ID")]
        broker: Option<i32>,
        /// Also those that stand at their default.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        cluster: Cluster,
    },
    /// Set a setting while the brokers run.
    Set {
        #[arg(required = true, value_name = "NAME=VALUE", value_parser = name_and_value)]
        settings: Vec<(String, String)>,
        #[command(flatten)]
        change: Change,
    },
    /// Take a setting away, so that the file's or the default holds again.
    Unset {
        #[arg(required = true)]
        names: Vec<String>,
        #[command(flatten)]
        change: Change,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Change {
    /// Of this broker only; of all if absent.
    #[arg(long, value_name = "ID")]
    broker: Option<i32>,
    /// Let the brokers check it, print the difference, and change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    cluster: Cluster,
}

pub(crate) async fn run(command: Config, format: OutputFormat) -> Result<ExitCode, Failure> {
    match command {
        Config::List { broker, all, cluster } => list(&cluster, broker, all, format).await,
        Config::Set { settings, change: asked } => change(asked, settings, Vec::new(), format).await,
        Config::Unset { names, change: asked } => change(asked, Vec::new(), names, format).await,
    }
}

#[derive(Serialize)]
struct Row {
    broker: String,
    setting: String,
    value: Option<String>,
    source: &'static str,
    read_only: bool,
    sensitive: bool,
}

async fn list(cluster: &Cluster, broker: Option<i32>, all: bool, format: OutputFormat) -> Result<ExitCode, Failure> {
    let admin = admin(cluster).await?;
    let known = admin.brokers().await.map_err(|error| failed(cluster, &error))?;
    let known: Vec<String> = known.iter().map(|broker| broker.id.0.to_string()).collect();
    let names = match broker {
        Some(id) if !known.contains(&id.to_string()) => {
            return Err(Failure::not_found(format!("there is no broker {id}, only {}", known.join(", "))));
        }
        Some(id) => vec![id.to_string()],
        None => known,
    };
    let found = configs(&admin, BROKER, &names, None).await.map_err(|error| failed(cluster, &error))?;
    let mut rows = Vec::new();
    for (broker, entries) in found {
        for entry in entries {
            let source = usize::try_from(entry.config_source).ok().and_then(|index| SOURCES.get(index)).copied();
            if all || source != Some("default") {
                rows.push(Row {
                    broker: broker.clone(),
                    setting: entry.name.to_string(),
                    value: entry.value.map(|value| value.to_string()),
                    source: source.unwrap_or("unknown"),
                    read_only: entry.read_only,
                    sensitive: entry.is_sensitive,
                });
            }
        }
    }
    output::listing(format, &rows, &["broker", "setting", "value", "source", "+read-only"], |row| {
        let value = match (&row.value, row.sensitive) {
            (_, true) => "(hidden)".to_owned(),
            (value, false) => value.clone().unwrap_or_else(|| "-".to_owned()),
        };
        let read_only = if row.read_only { "yes" } else { "no" };
        vec![row.broker.clone(), row.setting.clone(), value, row.source.to_owned(), read_only.to_owned()]
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn change(
    change: Change,
    set: Vec<(String, String)>,
    unset: Vec<String>,
    format: OutputFormat,
) -> Result<ExitCode, Failure> {
    let cluster = &change.cluster;
    let admin = admin(cluster).await?;
    // The empty name is the default of all brokers.
    let name = change.broker.map(|id| id.to_string()).unwrap_or_default();
    let found = configs(&admin, BROKER, std::slice::from_ref(&name), None).await;
    let found = found.map_err(|error| failed(cluster, &error))?;
    let level = if name.is_empty() { DYNAMIC_DEFAULT } else { DYNAMIC_BROKER };
    let own = found.into_values().flatten().filter(|entry| entry.config_source == level);
    let now = own.filter_map(|entry| Some((entry.name.to_string(), entry.value?.to_string()))).collect();
    let changes = changes(set, unset);
    let differences = differences(&now, &changes);
    let altered = alter_configs(&admin, BROKER, &name, &changes, change.dry_run).await;
    altered.map_err(|error| failed(cluster, &error))?;
    show_differences(format, &differences)?;
    if format.is_text() {
        let whose = if name.is_empty() { "all brokers".to_owned() } else { format!("broker {name}") };
        let would = if change.dry_run { "would change" } else { "changed" };
        output::talk(&format!("{would} {} of {whose}", counted(differences.len(), "setting")));
    }
    Ok(ExitCode::SUCCESS)
}
