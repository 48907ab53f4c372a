//! `twinstream mirror`: a dedicated-mode file of MirrorMaker 2, all of its flows in this process (KIP-382).
//!
//! Picture: the file becomes a plan (`twinstream_connector_mirror::dedicated`), and each flow of the plan a Connect worker
//! on its target cluster with the connectors of the mirror family ([`flows`] keeps them running).
//! Invariants: everything that is wrong with a file is told at once, before anything is started or any cluster is asked;
//! values that may be secret are shown nowhere.

mod flows;

use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value as Json, json};
use twinstream_connect::{Settings, check_connector, connector_keys, settings};
use twinstream_connect_api::{ConfigDef, Plugin, RawConfig};
use twinstream_connector_mirror::dedicated::{Flow, Known, Plan, plan};

use crate::arguments::{Mirror, OutputFormat};
use crate::bootstrap::block_on;
use crate::failure::Failure;
use crate::{output, roles};

/// The connectors that every flow has, as far as this release has them.
const FAMILY: [&str; 3] = ["MirrorSourceConnector", "MirrorCheckpointConnector", "MirrorHeartbeatConnector"];

pub(crate) fn run(options: Mirror, format: OutputFormat) -> Result<ExitCode, Failure> {
    let mut pairs = read(&options.config)?;
    pairs.extend(options.overrides);
    let plugins: Vec<Plugin> = FAMILY
        .into_iter()
        .filter_map(|name| roles::plugins().into_iter().find(|plugin| plugin.answers_to(name)))
        .collect();
    let connectors: Vec<(String, ConfigDef)> =
        plugins.iter().map(|plugin| (plugin.class.clone(), connector_keys(plugin))).collect();
    let known = Known { worker: settings::names().collect(), connectors };
    let at_fault = |problems: &[String]| {
        Failure::new(problems.join("\n  ")).tried(format!("to read {}", options.config.display()))
    };
    let plan = plan(&pairs, &options.clusters, &known).map_err(|error| at_fault(&error.problems))?;
    let problems = block_on(async { Ok(check(&plan, &plugins).await) })?;
    if !problems.is_empty() {
        return Err(at_fault(&problems));
    }
    if options.dry_run {
        return show(&plan, &known.connectors, format);
    }
    for note in &plan.notes {
        tracing::warn!("{note}");
    }
    roles::serve("mirror", |shutdown| flows::run(plan.flows, shutdown))
}

fn read(file: &Path) -> Result<RawConfig, Failure> {
    let failed = |reason: String| Failure::new(format!("cannot read {}: {reason}", file.display()));
    let text = std::fs::File::open(file).map_err(|error| failed(error.to_string()))?;
    let pairs = java_properties::read(std::io::BufReader::new(text)).map_err(|error| failed(error.to_string()))?;
    Ok(pairs.into_iter().collect())
}

/// What workers and connectors have against their settings.
async fn check(plan: &Plan, plugins: &[Plugin]) -> Vec<String> {
    let mut problems = Vec::new();
    for flow in &plan.flows {
        let settings = match Settings::from_map(flow.worker.clone()) {
            Ok(settings) => settings,
            Err(error) => {
                problems.push(format!("{}: {error}", flow.name()));
                continue;
            }
        };
        for (name, config) in &flow.connectors {
            let found = check_connector(&settings, plugins, config).await;
            problems.extend(found.iter().map(|problem| format!("{} {name}: {problem}", flow.name())));
        }
    }
    problems
}

fn show(plan: &Plan, known: &[(String, ConfigDef)], format: OutputFormat) -> Result<ExitCode, Failure> {
    if matches!(format, OutputFormat::Json | OutputFormat::Yaml) {
        let flows: Vec<Json> = plan.flows.iter().map(|flow| flow_json(flow, known)).collect();
        output::data(format, &json!({"flows": flows, "notes": plan.notes}))?;
        return Ok(ExitCode::SUCCESS);
    }
    let row = |flow: &Flow| {
        let setting = |name: &str| flow.worker.get(name).cloned().unwrap_or_default();
        let names: Vec<&str> = flow.connectors.iter().map(|(name, _)| name.as_str()).collect();
        let copies = if flow.enabled { "yes" } else { "heartbeats only" };
        [flow.name(), copies.to_owned(), setting("group.id"), setting("listeners"), names.join(",")]
    };
    output::table(["flow", "copies", "group", "rest", "connectors"], plan.flows.iter().map(row).collect())?;
    for note in &plan.notes {
        output::talk(note);
    }
    Ok(ExitCode::SUCCESS)
}

fn flow_json(flow: &Flow, known: &[(String, ConfigDef)]) -> Json {
    let masked = |class: Option<&String>, config: &RawConfig| {
        let def = known.iter().find(|(known, _)| Some(known) == class).map(|(_, def)| def.clone());
        def.unwrap_or_default().masked(config)
    };
    let connectors: serde_json::Map<String, Json> = flow
        .connectors
        .iter()
        .map(|(name, config)| (name.clone(), json!(masked(config.get("connector.class"), config))))
        .collect();
    json!({
        "source": flow.source,
        "target": flow.target,
        "enabled": flow.enabled,
        "worker": masked(None, &flow.worker),
        "connectors": connectors,
    })
}
