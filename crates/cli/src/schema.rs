//! `twinstream schema ..`: any registry that speaks Confluent's REST API.
//!
//! Schemas are printed as they are stored; `get` without `-o` prints nothing but the schema, so that it can be piped to a file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCandidates;
use serde_json::{Value as Json, json};
use twinstream_connector_mirror::counted;

use crate::arguments::{OutputFormat, REGISTRY_VARIABLE, Registry};
use crate::bootstrap::block_on;
use crate::complete;
use crate::confirm;
use crate::failure::Failure;
use crate::http::{Http, HttpError};
use crate::link::{encoded, list_of, word};
use crate::output;
use crate::watch::Watch;

const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);
const LEVELS: [&str; 7] =
    ["NONE", "BACKWARD", "BACKWARD_TRANSITIVE", "FORWARD", "FORWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE"];
const MODES: [&str; 5] = ["READWRITE", "READONLY", "READONLY_OVERRIDE", "IMPORT", "FORWARD"];

#[derive(Debug, Subcommand)]
pub(crate) enum Schema {
    /// List subjects with their latest versions.
    List {
        /// Also those that are deleted, but not for good.
        #[arg(long)]
        deleted: bool,
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        registry: Registry,
    },
    /// Print a schema, by subject and version or by id.
    #[command(disable_version_flag = true)]
    Get {
        #[arg(required_unless_present = "id", conflicts_with = "id", add = ArgValueCandidates::new(complete::subjects))]
        subject: Option<String>,
        /// A number; the latest one if absent.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        version: Option<u32>,
        /// The id that stands in records.
        #[arg(long, value_name = "ID", conflicts_with = "version")]
        id: Option<u32>,
        #[command(flatten)]
        registry: Registry,
    },
    /// Register a schema, or find its id if it is registered.
    Register {
        #[command(flatten)]
        file: SchemaFile,
        /// Only check that it would be accepted.
        #[arg(long)]
        dry_run: bool,
    },
    /// Check whether a schema may follow; exits with 1 if not.
    #[command(disable_version_flag = true)]
    Check {
        #[command(flatten)]
        file: SchemaFile,
        /// Against this version only; against those that the level names if absent.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        version: Option<u32>,
    },
    /// Show what differs between two versions, or between a version and a file; exits with 1 if something does.
    Diff {
        #[arg(add = ArgValueCandidates::new(complete::subjects))]
        subject: String,
        /// The older version; the one before the newer if absent, or the latest beside a file.
        #[arg(long, value_name = "N")]
        from: Option<u32>,
        /// The newer version; the latest if absent.
        #[arg(long, value_name = "N", conflicts_with = "file")]
        to: Option<u32>,
        /// A schema that is not registered.
        #[arg(short, long, value_name = "FILE")]
        file: Option<PathBuf>,
        #[command(flatten)]
        registry: Registry,
    },
    /// Show or set what may be written: READWRITE, READONLY, IMPORT.
    Mode(Setting),
    /// Show or set the compatibility level.
    Config(Setting),
    /// Delete a subject or one of its versions.
    #[command(disable_version_flag = true)]
    Delete {
        #[arg(add = ArgValueCandidates::new(complete::subjects))]
        subject: String,
        /// Only this version.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        version: Option<u32>,
        /// For good; it must have been deleted before.
        #[arg(long)]
        permanent: bool,
        /// Tell what would be deleted, and delete nothing.
        #[arg(long)]
        dry_run: bool,
        /// Do not ask on the terminal.
        #[arg(short, long)]
        yes: bool,
        #[command(flatten)]
        registry: Registry,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SchemaFile {
    #[arg(add = ArgValueCandidates::new(complete::subjects))]
    subject: String,
    /// The schema.
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// AVRO, JSON or PROTOBUF; by the name of the file if absent (.json, .proto, else AVRO).
    #[arg(long = "type", value_name = "TYPE", value_parser = ["AVRO", "JSON", "PROTOBUF"], ignore_case = true)]
    kind: Option<String>,
    #[command(flatten)]
    registry: Registry,
}

#[derive(Debug, Args)]
pub(crate) struct Setting {
    /// Of this subject; of the whole registry if absent.
    #[arg(add = ArgValueCandidates::new(complete::subjects))]
    subject: Option<String>,
    /// The new value.
    #[arg(long, value_name = "VALUE")]
    set: Option<String>,
    /// Take the subject's own value away, so that the registry's holds again.
    #[arg(long, conflicts_with = "set", requires = "subject")]
    unset: bool,
    #[command(flatten)]
    registry: Registry,
}

struct Api {
    http: Http,
    url: String,
    source: String,
}

impl Api {
    fn new(registry: &Registry) -> Result<Self, Failure> {
        // Of a list of replicas the first one: each forwards what it may not write itself.
        let url = registry.url.split(',').next().unwrap_or_default().trim_end_matches('/').to_owned();
        Ok(Self { http: Http::new(REQUEST_TIME_MAX)?, url, source: registry.source.clone() })
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    fn failed(&self, error: &HttpError) -> Failure {
        let failure = Failure::new(error).tried(format!("the registry at {} ({})", self.url, self.source));
        match error.status {
            None if error.is_timeout => failure.coded(4),
            None => failure.next(format!(
                "start one with `twinstream registry`, or name yours with --registry URL, {REGISTRY_VARIABLE} or a context"
            )),
            Some(404) => failure.coded(3).next("`twinstream schema list`"),
            Some(409) => failure.next("`twinstream schema diff` shows what changed, `schema config` the level"),
            Some(_) => failure,
        }
    }

    async fn get(&self, path: &str) -> Result<Json, Failure> {
        self.http.get(&self.at(path)).await.map_err(|error| self.failed(&error))
    }

    /// The same for something of a subject, which may be spelled wrongly.
    async fn get_of(&self, subject: &str, path: &str) -> Result<Json, Failure> {
        match self.http.get(&self.at(path)).await {
            Ok(found) => Ok(found),
            Err(error) => Err(self.of_subject(subject, &error).await),
        }
    }

    async fn of_subject(&self, subject: &str, error: &HttpError) -> Failure {
        let failure = self.failed(error);
        let known = match error.status {
            Some(404) => self.http.get(&self.at("/subjects")).await.unwrap_or(Json::Null),
            _ => return failure,
        };
        let known: Vec<&str> = list_of(&known).filter_map(Json::as_str).collect();
        if known.contains(&subject) { failure } else { failure.did_you_mean(subject, known) }
    }
}

pub(crate) fn run(command: Schema, format: OutputFormat) -> Result<ExitCode, Failure> {
    block_on(async {
        match command {
            Schema::List { deleted, watch, registry } => {
                let api = Api::new(&registry)?;
                watch.run(async || list(&api, deleted, format).await).await
            }
            Schema::Get { subject, version, id, registry } => {
                get(&Api::new(&registry)?, subject.as_deref(), version, id, format).await
            }
            Schema::Register { file, dry_run: true } => check(&file, None, format).await,
            Schema::Register { file, dry_run: false } => register(&file, format).await,
            Schema::Check { file, version } => check(&file, version, format).await,
            Schema::Diff { subject, from, to, file, registry } => {
                diff(&Api::new(&registry)?, &subject, (from, to), file.as_deref(), format).await
            }
            Schema::Mode(setting) => self::setting(&setting, &Kind::MODE, format).await,
            Schema::Config(setting) => self::setting(&setting, &Kind::LEVEL, format).await,
            Schema::Delete { subject, version, permanent, dry_run, yes, registry } => {
                let api = Api::new(&registry)?;
                delete(&api, &subject, version, (permanent, dry_run, yes), format).await
            }
        }
    })
}

async fn list(api: &Api, deleted: bool, format: OutputFormat) -> Result<ExitCode, Failure> {
    let deleted = if deleted { "?deleted=true" } else { "" };
    let subjects = api.get(&format!("/subjects{deleted}")).await?;
    let mut rows = Vec::new();
    for subject in list_of(&subjects).filter_map(Json::as_str) {
        let versions = api.get(&format!("/subjects/{}/versions{deleted}", encoded(subject))).await?;
        rows.push(json!({"subject": subject, "versions": versions}));
    }
    output::listing(format, &rows, &["subject", "latest", "versions", "+all"], |row| {
        let all: Vec<String> = list_of(&row["versions"]).map(word).collect();
        let latest = all.last().cloned().unwrap_or_else(|| "-".to_owned());
        vec![word(&row["subject"]), latest, all.len().to_string(), all.join(",")]
    })?;
    Ok(ExitCode::SUCCESS)
}

/// What the path calls the latest version.
fn version_word(version: Option<u32>) -> String {
    version.map_or("latest".to_owned(), |version| version.to_string())
}

async fn version_of(api: &Api, subject: &str, version: Option<u32>) -> Result<Json, Failure> {
    api.get_of(subject, &format!("/subjects/{}/versions/{}", encoded(subject), version_word(version))).await
}

async fn get(
    api: &Api,
    subject: Option<&str>,
    version: Option<u32>,
    id: Option<u32>,
    format: OutputFormat,
) -> Result<ExitCode, Failure> {
    let found = match (subject, id) {
        (Some(subject), _) => version_of(api, subject, version).await?,
        (None, id) => {
            let id = id.unwrap_or_default();
            let mut found = api.get(&format!("/schemas/ids/{id}")).await?;
            found["id"] = json!(id);
            found
        }
    };
    let name = format!("{} {}", word(&found["subject"]), word(&found["version"]));
    output::done(format, &found, &[name], &pretty(&word(&found["schema"])))?;
    if format == OutputFormat::Wide {
        let [subject, version, id] = ["subject", "version", "id"].map(|name| word(&found[name]));
        output::talk(&format!("subject {subject}, version {version}, id {id}, {}", kind_of(&found)));
    }
    Ok(ExitCode::SUCCESS)
}

fn kind_of(schema: &Json) -> String {
    schema["schemaType"].as_str().unwrap_or("AVRO").to_owned()
}

/// JSON with a line for each part; other languages as they are.
fn pretty(schema: &str) -> String {
    let parsed = serde_json::from_str::<Json>(schema).ok();
    parsed.and_then(|json| serde_json::to_string_pretty(&json).ok()).unwrap_or_else(|| schema.trim_end().to_owned())
}

fn read(file: &Path) -> Result<String, Failure> {
    let read = fs::read_to_string(file);
    read.map_err(|error| Failure::usage(format!("cannot read the schema {}: {error}", file.display())))
}

fn body(file: &SchemaFile) -> Result<Json, Failure> {
    let by_name = match file.file.extension().and_then(|extension| extension.to_str()) {
        Some("json") => "JSON",
        Some("proto") => "PROTOBUF",
        _ => "AVRO",
    };
    let kind = file.kind.as_deref().unwrap_or(by_name).to_uppercase();
    Ok(json!({"schema": read(&file.file)?, "schemaType": kind}))
}

async fn register(file: &SchemaFile, format: OutputFormat) -> Result<ExitCode, Failure> {
    let api = Api::new(&file.registry)?;
    let (subject, body) = (&file.subject, body(file)?);
    let url = api.at(&format!("/subjects/{}/versions", encoded(subject)));
    let answer = api.http.post(&url, Some(&body)).await.map_err(|error| api.failed(&error))?;
    let found = api.http.post(&api.at(&format!("/subjects/{}", encoded(subject))), Some(&body)).await;
    let version = found.map(|found| found["version"].clone()).unwrap_or(Json::Null);
    let object = json!({"subject": subject, "id": answer["id"], "version": version});
    let text = format!("subject {subject}: version {}, id {}", word(&version), word(&answer["id"]));
    output::done(format, &object, &[subject], &text)?;
    Ok(ExitCode::SUCCESS)
}

async fn check(file: &SchemaFile, version: Option<u32>, format: OutputFormat) -> Result<ExitCode, Failure> {
    let api = Api::new(&file.registry)?;
    let (subject, body) = (&file.subject, body(file)?);
    let version = version.map(|version| format!("/{version}")).unwrap_or_default();
    let path = format!("/compatibility/subjects/{}/versions{version}?verbose=true", encoded(subject));
    let answer = match api.http.post(&api.at(&path), Some(&body)).await {
        Ok(answer) => answer,
        // There is nothing yet that it could break.
        Err(error) if error.status == Some(404) && version.is_empty() => json!({"is_compatible": true, "messages": []}),
        Err(error) => return Err(api.failed(&error)),
    };
    let fits = answer["is_compatible"] == true;
    let mut text = format!("subject {subject}: {}", if fits { "compatible" } else { "NOT compatible" });
    list_of(&answer["messages"]).for_each(|message| text.push_str(&format!("\n  {}", word(message))));
    output::done(format, &answer, &[subject], &text)?;
    Ok(if fits { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn diff(
    api: &Api,
    subject: &str,
    (from, to): (Option<u32>, Option<u32>),
    file: Option<&Path>,
    format: OutputFormat,
) -> Result<ExitCode, Failure> {
    let (new_name, new, before) = match file {
        Some(file) => (file.display().to_string(), read(file)?, None),
        None => {
            let newer = version_of(api, subject, to).await?;
            let version = newer["version"].as_u64().unwrap_or(1) as u32;
            // Versions that were deleted leave holes.
            let versions = api.get_of(subject, &format!("/subjects/{}/versions", encoded(subject))).await?;
            let older = list_of(&versions).filter_map(Json::as_u64).filter(|known| *known < u64::from(version)).max();
            (format!("{subject} version {version}"), word(&newer["schema"]), Some(older.map(|older| older as u32)))
        }
    };
    let from = match (from, before) {
        (Some(from), _) => Some(from),
        (None, Some(None)) => {
            return Err(Failure::not_found(format!("{new_name} is the first one")).next("name another with --from N"));
        }
        (None, before) => before.flatten(),
    };
    let old = version_of(api, subject, from).await?;
    let old_name = format!("{subject} version {}", word(&old["version"]));
    let (old, new) = (pretty(&word(&old["schema"])), pretty(&new));
    let lines = changed_lines(&old, &new);
    let is_equal = lines.iter().all(|(mark, _)| *mark == ' ');
    let object = json!({"from": old_name, "to": new_name, "equal": is_equal,
        "removed": lines.iter().filter(|(mark, _)| *mark == '-').map(|(_, line)| *line).collect::<Vec<_>>(),
        "added": lines.iter().filter(|(mark, _)| *mark == '+').map(|(_, line)| *line).collect::<Vec<_>>()});
    let mut text = format!("--- {old_name}\n+++ {new_name}");
    match is_equal {
        true => text = format!("{old_name} and {new_name} are equal"),
        false => lines.iter().for_each(|(mark, line)| text.push_str(&format!("\n{mark}{line}"))),
    }
    output::done(format, &object, &[subject], &text)?;
    Ok(if is_equal { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Both texts line by line, with `-` before what is only in the old one and `+` before what is only in the new one: the longest
/// common run of lines stays.
fn changed_lines<'a>(old: &'a str, new: &'a str) -> Vec<(char, &'a str)> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let mut common = vec![vec![0_u32; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            let apart = common[i + 1][j].max(common[i][j + 1]);
            common[i][j] = if old[i] == new[j] { common[i + 1][j + 1] + 1 } else { apart };
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            lines.push((' ', old[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            lines.push(('-', old[i]));
            i += 1;
        } else {
            lines.push(('+', new[j]));
            j += 1;
        }
    }
    lines
}

/// One of the two things that a registry and its subjects have.
struct Kind {
    path: &'static str,
    asks: &'static str,
    answers: &'static str,
    known: &'static [&'static str],
    default_to_global: &'static str,
}

impl Kind {
    const MODE: Self =
        Self { path: "mode", asks: "mode", answers: "mode", known: &MODES, default_to_global: "?defaultToGlobal=true" };
    const LEVEL: Self = Self {
        path: "config",
        asks: "compatibility",
        answers: "compatibilityLevel",
        known: &LEVELS,
        default_to_global: "?defaultToGlobal=true",
    };
}

async fn setting(setting: &Setting, kind: &Kind, format: OutputFormat) -> Result<ExitCode, Failure> {
    let api = Api::new(&setting.registry)?;
    let subject = setting.subject.as_deref();
    let path = subject.map_or(format!("/{}", kind.path), |subject| format!("/{}/{}", kind.path, encoded(subject)));
    if let Some(value) = &setting.set {
        let value = value.to_uppercase();
        if !kind.known.contains(&value.as_str()) {
            let wrong = Failure::usage(format!("{value} is no {}", kind.asks)).did_you_mean(&value, kind.known);
            return Err(wrong.next(format!("use one of {}", kind.known.join(", "))));
        }
        let set = api.http.put(&api.at(&path), &json!({ kind.asks: value })).await;
        set.map_err(|error| api.failed(&error))?;
    } else if setting.unset {
        match api.http.delete(&api.at(&path)).await {
            // It had none of its own, which is what was wanted.
            Err(error) if error.status != Some(404) => return Err(api.failed(&error)),
            _ => {}
        }
    }
    let asked = if subject.is_some() { kind.default_to_global } else { "" };
    let found = api.get(&format!("{path}{asked}")).await?;
    let value = word(&found[kind.answers]);
    let whose = subject.map_or("the registry".to_owned(), |subject| format!("subject {subject}"));
    let object = json!({"subject": subject, kind.asks: value});
    output::done(format, &object, &[&value], &format!("{} of {whose}: {value}", kind.asks))?;
    Ok(ExitCode::SUCCESS)
}

async fn delete(
    api: &Api,
    subject: &str,
    version: Option<u32>,
    (permanent, is_dry, yes): (bool, bool, bool),
    format: OutputFormat,
) -> Result<ExitCode, Failure> {
    let also_deleted = if permanent { "?deleted=true" } else { "" };
    let path = format!("/subjects/{}", encoded(subject));
    let versions = api.get_of(subject, &format!("{path}/versions{also_deleted}")).await?;
    let meant: Vec<u64> = list_of(&versions)
        .filter_map(Json::as_u64)
        .filter(|known| version.is_none_or(|version| u64::from(version) == *known))
        .collect();
    if meant.is_empty() {
        return Err(Failure::not_found(format!("subject {subject} has no version {}", version_word(version)))
            .next(format!("`twinstream schema list` and `twinstream schema get {subject}`")));
    }
    let count = counted(meant.len(), "version");
    let good = if permanent { " for good" } else { "" };
    if is_dry {
        let object = json!({"subject": subject, "would_delete": meant, "permanent": permanent});
        output::done(format, &object, &[subject], &format!("would delete {count} of subject {subject}{good}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    if !yes {
        confirm::ask(&format!("delete {count} of subject {subject}{good}?"))?;
    }
    let path = version.map_or(path.clone(), |version| format!("{path}/versions/{version}"));
    let permanent_query = if permanent { "?permanent=true" } else { "" };
    let deleted = api.http.delete(&api.at(&format!("{path}{permanent_query}"))).await;
    deleted.map_err(|error| api.failed(&error))?;
    let object = json!({"subject": subject, "deleted": meant, "permanent": permanent});
    output::done(format, &object, &[subject], &format!("deleted {count} of subject {subject}{good}"))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_stay_are_told_from_those_that_come_and_go() {
        let lines = changed_lines("a\nb\nc", "a\nx\nc\nd");
        assert_eq!(lines, [(' ', "a"), ('-', "b"), ('+', "x"), (' ', "c"), ('+', "d")]);
        assert_eq!(changed_lines("", ""), []);
    }
}
