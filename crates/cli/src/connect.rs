//! `twinstream connect ..`: connectors of any worker that speaks Kafka Connect's REST API.
//!
//! `apply` is the heart: it takes files of connectors, works out what differs from what runs, and PUTs only that, since a PUT
//! restarts tasks. A file holds one connector or a list of them, as JSON, YAML or properties: `{"name": .., "config": {..}}`
//! as Connect's POST takes it, or settings alone with `name` among them.
//! Values that a worker hides in its answers (`****`) can not be compared; they count as different.

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCandidates;
use serde_json::{Value as Json, json};
use twinstream_connector_mirror::counted;

use crate::arguments::{OutputFormat, WORKER_VARIABLE, Worker};
use crate::bootstrap::block_on;
use crate::complete;
use crate::confirm;
use crate::context::reach::shown;
use crate::failure::Failure;
use crate::http::{Http, HttpError};
use crate::link::{encoded, list_of, word};
use crate::output;
use crate::watch::Watch;

/// A worker gives its own answers that long.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(90);

#[derive(Debug, Subcommand)]
pub(crate) enum Connect {
    /// List the connectors that a worker could run.
    Plugins {
        /// Also converters, transformations and predicates.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        worker: Worker,
    },
    /// List connectors with their states.
    List {
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        worker: Worker,
    },
    /// Show a connector: its tasks, their failures, its settings.
    Get {
        #[arg(add = ArgValueCandidates::new(complete::connectors))]
        name: String,
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        worker: Worker,
    },
    /// Create connectors from files, or give them new settings; nothing happens to those that have them.
    Apply {
        #[command(flatten)]
        files: Files,
        /// Print the difference, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Let a worker check the settings in files; exits with 1 if one is wrong.
    Validate(Files),
    /// Copy nothing until it is resumed.
    Pause(One),
    /// Go on.
    Resume(One),
    /// End all tasks; resume starts them again.
    Stop(One),
    /// Start a connector and its tasks again.
    Restart {
        #[command(flatten)]
        one: One,
        /// Only this task.
        #[arg(long, value_name = "N", conflicts_with = "only_failed")]
        task: Option<u32>,
        /// Only what has failed.
        #[arg(long)]
        only_failed: bool,
    },
    /// Show where a connector is in its source or in its topics; set or forget it while it is stopped.
    Offsets {
        #[command(flatten)]
        one: One,
        /// Set what this file holds, in the form in which it is shown with -o json.
        #[arg(long, value_name = "FILE")]
        set: Option<PathBuf>,
        /// Forget all, so that it starts anew.
        #[arg(long, conflicts_with = "set")]
        reset: bool,
        /// Do not ask on the terminal.
        #[arg(short, long)]
        yes: bool,
    },
    /// Delete connectors; what they have copied stays, and so do their offsets.
    Delete {
        #[arg(required = true, add = ArgValueCandidates::new(complete::connectors))]
        names: Vec<String>,
        /// Tell what would be deleted, and delete nothing.
        #[arg(long)]
        dry_run: bool,
        /// Do not ask on the terminal.
        #[arg(short, long)]
        yes: bool,
        #[command(flatten)]
        worker: Worker,
    },
}

#[derive(Debug, Args)]
pub(crate) struct One {
    #[arg(add = ArgValueCandidates::new(complete::connectors))]
    name: String,
    #[command(flatten)]
    worker: Worker,
}

#[derive(Debug, Args)]
pub(crate) struct Files {
    /// Connectors, as JSON, YAML or properties; may be given many times.
    #[arg(short, long, value_name = "FILE", required = true)]
    file: Vec<PathBuf>,
    #[command(flatten)]
    worker: Worker,
}

struct Api {
    http: Http,
    url: String,
    source: String,
}

impl Api {
    fn new(worker: &Worker) -> Result<Self, Failure> {
        let url = worker.worker.trim_end_matches('/').to_owned();
        Ok(Self { http: Http::new(REQUEST_TIME_MAX)?, url, source: worker.source.clone() })
    }

    /// The path of a connector, or of something below it.
    fn of(&self, name: &str, below: &str) -> String {
        format!("{}/connectors/{}{below}", self.url, encoded(name))
    }

    fn failed(&self, error: &HttpError) -> Failure {
        let failure = Failure::new(error).tried(format!("the worker at {} ({})", self.url, self.source));
        match error.status {
            None if error.is_timeout => failure.coded(4),
            None => failure.next(format!(
                "start one with `twinstream worker`, or name yours with -w URL, {WORKER_VARIABLE} or a context"
            )),
            Some(404) => failure.coded(3).next("`twinstream connect list`"),
            Some(409) => failure.next("the workers are sorting themselves out; try again in a moment"),
            Some(_) => failure,
        }
    }

    /// About a connector, whose name may be spelled wrongly.
    async fn of_connector(&self, name: &str, error: &HttpError) -> Failure {
        let failure = self.failed(error);
        if error.status != Some(404) {
            return failure;
        }
        let known = self.http.get(&format!("{}/connectors", self.url)).await.unwrap_or(Json::Null);
        let known: Vec<&str> = list_of(&known).filter_map(Json::as_str).collect();
        if known.contains(&name) { failure } else { failure.did_you_mean(name, known) }
    }

    async fn get(&self, name: &str, below: &str) -> Result<Json, Failure> {
        match self.http.get(&self.of(name, below)).await {
            Ok(found) => Ok(found),
            Err(error) => Err(self.of_connector(name, &error).await),
        }
    }
}

pub(crate) fn run(command: Connect, format: OutputFormat) -> Result<ExitCode, Failure> {
    block_on(async {
        match command {
            Connect::Plugins { all, worker } => plugins(&Api::new(&worker)?, all, format).await,
            Connect::List { watch, worker } => {
                let api = Api::new(&worker)?;
                watch.run(async || list(&api, format).await).await
            }
            Connect::Get { name, watch, worker } => {
                let api = Api::new(&worker)?;
                watch.run(async || get(&api, &name, format).await).await
            }
            Connect::Apply { files, dry_run } => apply(&files, dry_run, format).await,
            Connect::Validate(files) => validate(&files, format).await,
            Connect::Pause(one) => want(&one, "pause", "paused", format).await,
            Connect::Resume(one) => want(&one, "resume", "resumed", format).await,
            Connect::Stop(one) => want(&one, "stop", "stopped", format).await,
            Connect::Restart { one, task, only_failed } => restart(&one, task, only_failed, format).await,
            Connect::Offsets { one, set, reset, yes } => offsets(&one, set.as_deref(), reset, yes, format).await,
            Connect::Delete { names, dry_run, yes, worker } => {
                delete(&Api::new(&worker)?, &names, dry_run, yes, format).await
            }
        }
    })
}

async fn plugins(api: &Api, all: bool, format: OutputFormat) -> Result<ExitCode, Failure> {
    let url = format!("{}/connector-plugins{}", api.url, if all { "?connectorsOnly=false" } else { "" });
    let found = api.http.get(&url).await.map_err(|error| api.failed(&error))?;
    let rows: Vec<&Json> = list_of(&found).collect();
    output::listing(format, &rows, &["class", "type", "version"], |row| {
        ["class", "type", "version"].map(|name| word(&row[name])).to_vec()
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn list(api: &Api, format: OutputFormat) -> Result<ExitCode, Failure> {
    let url = format!("{}/connectors?expand=status&expand=info", api.url);
    let found = api.http.get(&url).await.map_err(|error| api.failed(&error))?;
    let rows: Vec<Json> = found
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, about)| {
            let status = &about["status"];
            let states: Vec<&str> = list_of(&status["tasks"]).filter_map(|task| task["state"].as_str()).collect();
            json!({
                "connector": name,
                "type": status["type"],
                "state": status["connector"]["state"],
                "tasks": states.len(),
                "running": states.iter().filter(|state| **state == "RUNNING").count(),
                "failed": states.iter().filter(|state| **state == "FAILED").count(),
                "worker": status["connector"]["worker_id"],
                "class": about["info"]["config"]["connector.class"],
            })
        })
        .collect();
    output::listing(
        format,
        &rows,
        &["connector", "type", "state", "tasks", "running", "failed", "+worker", "+class"],
        |row| {
            ["connector", "type", "state", "tasks", "running", "failed", "worker", "class"]
                .map(|name| word(&row[name]))
                .to_vec()
        },
    )?;
    Ok(ExitCode::SUCCESS)
}

async fn get(api: &Api, name: &str, format: OutputFormat) -> Result<ExitCode, Failure> {
    let config = api.get(name, "/config").await?;
    let status = api.get(name, "/status").await?;
    let mut text = format!(
        "connector {name}: {} on {}",
        word(&status["connector"]["state"]),
        word(&status["connector"]["worker_id"])
    );
    let tasks = list_of(&status["tasks"]).map(|task| ["id", "state", "worker_id"].map(|column| word(&task[column])));
    let tasks: Vec<[String; 3]> = tasks.collect();
    if !tasks.is_empty() {
        text.push_str(&format!("\n{}", output::table_text(["task", "state", "worker"], tasks)));
    }
    for part in list_of(&status["tasks"]).chain([&status["connector"]]) {
        if let Some(trace) = part["trace"].as_str().filter(|trace| !trace.is_empty()) {
            let whose = part["id"].as_i64().map_or("connector".to_owned(), |id| format!("task {id}"));
            text.push_str(&format!("\n{whose} failed: {}", trace.trim_end()));
        }
    }
    text.push_str("\nsettings:");
    for (setting, value) in config.as_object().into_iter().flatten() {
        text.push_str(&format!("\n  {setting}={}", word(value)));
    }
    output::done(format, &json!({"name": name, "config": config, "status": status}), &[name], &text)?;
    Ok(ExitCode::SUCCESS)
}

type Settings = BTreeMap<String, String>;

/// The connectors of a file, by their names.
fn connectors_of(file: &Path) -> Result<Vec<(String, Settings)>, Failure> {
    let wrong = |why: String| {
        Failure::usage(format!("{}: {why}", file.display()))
            .next("a connector is {\"name\": \"..\", \"config\": {..}}, or its settings with `name` among them")
    };
    let text = fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let parsed: Json = match file.extension().and_then(|extension| extension.to_str()) {
        Some("properties") => {
            let pairs = java_properties::read(Cursor::new(text)).map_err(|error| wrong(error.to_string()))?;
            json!(pairs)
        }
        Some("yaml" | "yml") => serde_yaml_ng::from_str(&text).map_err(|error| wrong(error.to_string()))?,
        _ => serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?,
    };
    let all = match parsed {
        Json::Array(all) => all,
        one => vec![one],
    };
    let mut found = Vec::new();
    for connector in all {
        let name = connector["name"].as_str().or_else(|| connector["config"]["name"].as_str());
        let Some(name) = name.filter(|name| !name.is_empty()).map(str::to_owned) else {
            return Err(wrong("a connector has no name".to_owned()));
        };
        let config = if connector["config"].is_object() { &connector["config"] } else { &connector };
        let mut settings = Settings::new();
        for (setting, value) in config.as_object().into_iter().flatten() {
            if value.is_object() || value.is_array() {
                return Err(wrong(format!("setting {setting} of connector {name} is neither text nor number")));
            }
            // A null is how JSON says that it is not set.
            if !value.is_null() {
                settings.insert(setting.clone(), word(value));
            }
        }
        if !settings.contains_key("connector.class") {
            return Err(wrong(format!("connector {name} has no connector.class")));
        }
        settings.insert("name".to_owned(), name.clone());
        found.push((name, settings));
    }
    Ok(found)
}

/// All files are read before the first request.
fn all_of(files: &Files) -> Result<Vec<(String, Settings)>, Failure> {
    let mut all = Vec::new();
    for file in &files.file {
        all.extend(connectors_of(file)?);
    }
    Ok(all)
}

async fn apply(files: &Files, is_dry: bool, format: OutputFormat) -> Result<ExitCode, Failure> {
    let api = Api::new(&files.worker)?;
    let mut done = Vec::new();
    for (name, wanted) in all_of(files)? {
        let now = match api.http.get(&api.of(&name, "/config")).await {
            Ok(now) => Some(now),
            Err(error) if error.status == Some(404) => None,
            Err(error) => return Err(api.failed(&error)),
        };
        let differences = differences(now.as_ref(), &wanted);
        let what = match (&now, differences.is_empty()) {
            (None, _) => "created",
            (Some(_), false) => "changed",
            (Some(_), true) => "unchanged",
        };
        if what != "unchanged" && !is_dry {
            let put = api.http.put(&api.of(&name, "/config"), &json!(wanted)).await;
            put.map_err(|error| {
                api.failed(&error).tried(format!("to apply connector {name}; those before it are applied"))
            })?;
        }
        done.push(json!({"connector": name, "done": what, "dry_run": is_dry, "differences": differences}));
    }
    match format {
        OutputFormat::Json | OutputFormat::Yaml => output::data(format, &done)?,
        OutputFormat::Name => done.iter().try_for_each(|row| output::line(&word(&row["connector"])))?,
        OutputFormat::Table | OutputFormat::Wide => {
            for row in &done {
                let would = if is_dry && row["done"] != "unchanged" { "would be " } else { "" };
                output::line(&format!("connector {} {would}{}", word(&row["connector"]), word(&row["done"])))?;
                for difference in list_of(&row["differences"]) {
                    let side = |name: &str| difference[name].as_str().unwrap_or("(not set)").to_owned();
                    output::line(&format!("  {}: {} -> {}", word(&difference["setting"]), side("from"), side("to")))?;
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn differences(now: Option<&Json>, wanted: &Settings) -> Vec<Json> {
    let old: Settings =
        now.and_then(Json::as_object).into_iter().flatten().map(|(name, value)| (name.clone(), word(value))).collect();
    let mut names: Vec<&String> = old.keys().chain(wanted.keys()).collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .filter(|name| old.get(*name) != wanted.get(*name) && *name != "name")
        .map(|name| {
            // Whoever reads a difference over a shoulder, or in the log of a pipeline, need not read a password.
            let side = |of: &Settings| of.get(name).map(|value| shown(name, value).to_owned());
            json!({"setting": name, "from": side(&old), "to": side(wanted)})
        })
        .collect()
}

async fn validate(files: &Files, format: OutputFormat) -> Result<ExitCode, Failure> {
    let api = Api::new(&files.worker)?;
    let mut problems = Vec::new();
    let all = all_of(files)?;
    for (name, settings) in &all {
        let class = &settings["connector.class"];
        let url = format!("{}/connector-plugins/{}/config/validate", api.url, encoded(class));
        let answer = api.http.put(&url, &json!(settings)).await.map_err(|error| api.failed(&error))?;
        for config in list_of(&answer["configs"]) {
            for error in list_of(&config["value"]["errors"]) {
                problems.push(json!({"connector": name, "setting": config["value"]["name"], "error": error}));
            }
        }
    }
    if problems.is_empty() && format.is_text() {
        output::line(&format!("{}: no errors", counted(all.len(), "connector")))?;
    } else {
        output::listing(format, &problems, &["connector", "setting", "error"], |row| {
            ["connector", "setting", "error"].map(|name| word(&row[name])).to_vec()
        })?;
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn want(one: &One, verb: &str, done: &str, format: OutputFormat) -> Result<ExitCode, Failure> {
    let (api, name) = (Api::new(&one.worker)?, &one.name);
    if let Err(error) = api.http.put(&api.of(name, &format!("/{verb}")), &json!({})).await {
        return Err(api.of_connector(name, &error).await);
    }
    told(name, done, format)
}

fn told(name: &str, done: &str, format: OutputFormat) -> Result<ExitCode, Failure> {
    let object = json!({"connector": name, "done": done});
    output::done(format, &object, &[name], &format!("connector {name} {done}"))?;
    Ok(ExitCode::SUCCESS)
}

async fn restart(one: &One, task: Option<u32>, only_failed: bool, format: OutputFormat) -> Result<ExitCode, Failure> {
    let (api, name) = (Api::new(&one.worker)?, &one.name);
    let below = match task {
        Some(task) => format!("/tasks/{task}/restart"),
        None => format!("/restart?includeTasks=true&onlyFailed={only_failed}"),
    };
    if let Err(error) = api.http.post(&api.of(name, &below), None).await {
        return Err(api.of_connector(name, &error).await);
    }
    told(name, "restarted", format)
}

async fn offsets(
    one: &One,
    set: Option<&Path>,
    reset: bool,
    yes: bool,
    format: OutputFormat,
) -> Result<ExitCode, Failure> {
    let (api, name) = (Api::new(&one.worker)?, &one.name);
    let stopped = |failure: Failure| failure.next(format!("stop it first: `twinstream connect stop {name}`"));
    if let Some(file) = set {
        let wrong = |why: String| Failure::usage(format!("{}: {why}", file.display()));
        let text = fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
        let body: Json = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let url = api.of(name, "/offsets");
        return match api.http.patch(&url, &body).await {
            Ok(_) => told(name, "got these offsets", format),
            Err(error) if error.status == Some(400) => Err(stopped(api.failed(&error))),
            Err(error) => Err(api.of_connector(name, &error).await),
        };
    }
    if reset {
        if !yes {
            confirm::ask(&format!("let connector {name} forget where it is?"))?;
        }
        return match api.http.delete(&api.of(name, "/offsets")).await {
            Ok(_) => told(name, "starts anew", format),
            Err(error) if error.status == Some(400) => Err(stopped(api.failed(&error))),
            Err(error) => Err(api.of_connector(name, &error).await),
        };
    }
    let found = api.get(name, "/offsets").await?;
    if matches!(format, OutputFormat::Json | OutputFormat::Yaml) {
        output::data(format, &found)?; // the whole, so that --set takes it back
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<&Json> = list_of(&found["offsets"]).collect();
    output::listing(format, &rows, &["partition", "offset"], |row| {
        vec![pairs(&row["partition"]), pairs(&row["offset"])]
    })?;
    Ok(ExitCode::SUCCESS)
}

/// `topic=t partition=0`.
fn pairs(object: &Json) -> String {
    let pairs = object.as_object().into_iter().flatten();
    pairs.map(|(name, value)| format!("{name}={}", word(value))).collect::<Vec<_>>().join(" ")
}

async fn delete(
    api: &Api,
    names: &[String],
    is_dry: bool,
    yes: bool,
    format: OutputFormat,
) -> Result<ExitCode, Failure> {
    for name in names {
        api.get(name, "").await?;
    }
    let list = names.join(", ");
    if is_dry {
        output::done(format, &json!({"would_delete": names}), names, &format!("would delete {list}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    if !yes {
        confirm::ask(&format!("delete {list}?"))?;
    }
    for name in names {
        if let Err(error) = api.http.delete(&api.of(name, "")).await {
            return Err(api.of_connector(name, &error).await);
        }
    }
    output::done(format, &json!({"deleted": names}), names, &format!("deleted {list}"))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connectors_are_read_from_all_shapes_of_files() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str, text: &str| {
            let file = folder.path().join(name);
            fs::write(&file, text).unwrap();
            connectors_of(&file)
        };
        let wanted: Settings = [("name", "m"), ("connector.class", "C"), ("tasks.max", "2")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into();
        for (name, text) in [
            ("a.json", r#"{"name": "m", "config": {"connector.class": "C", "tasks.max": 2}}"#),
            ("b.json", r#"{"name": "m", "connector.class": "C", "tasks.max": "2", "other": null}"#),
            ("c.yaml", "- name: m\n  config:\n    connector.class: C\n    tasks.max: 2\n"),
            ("d.properties", "name=m\nconnector.class=C\ntasks.max=2\n"),
        ] {
            assert_eq!(read(name, text).unwrap(), [("m".to_owned(), wanted.clone())], "{name}");
        }
        for (text, named) in [("{", "line 1"), ("{}", "no name"), (r#"{"name": "m"}"#, "no connector.class")] {
            let told = read("bad.json", text).unwrap_err().text();
            assert!(told.contains(named) && told.contains("bad.json"), "{told}");
        }
    }

    #[test]
    fn only_what_differs_is_a_difference() {
        let wanted: Settings =
            [("name", "m"), ("a", "1"), ("b", "2")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        assert_eq!(differences(Some(&json!({"name": "m", "a": "1", "b": "2"})), &wanted), Vec::<Json>::new());
        let changed = differences(Some(&json!({"a": "1", "b": "3", "c": "4"})), &wanted);
        assert_eq!(
            changed,
            [json!({"setting": "b", "from": "3", "to": "2"}), json!({"setting": "c", "from": "4", "to": null})]
        );
    }

    #[test]
    fn a_password_differs_without_being_told() {
        let wanted: Settings = [("connection.password".to_owned(), "hunter2".to_owned())].into();
        let told = json!(differences(None, &wanted)).to_string();
        assert!(told.contains("connection.password") && !told.contains("hunter2"), "{told}");
    }
}
