//! `twinstream link ..`: the verbs of a worker's `/links`, on a command line.
//!
//! Nothing is decided here: the worker answers, and this prints it. With `-o json` its answer is printed as it came.

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value as Json, json};
use twinstream_connector_mirror::counted;

use crate::arguments::{Link, LinkChange, OneLink, OutputFormat, WORKER_VARIABLE, Worker};
use crate::bootstrap::block_on;
use crate::confirm;
use crate::failure::Failure;
use crate::http::{Http, HttpError};
use crate::link_describe;
use crate::link_ops;
use crate::link_verify;
use crate::output;

const LAG_COLUMNS: [&str; 9] = ["topic", "partition", "position", "end", "records", "bytes", "ms", "verified", "error"];

/// A worker gives its own answers that long.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(90);

pub(crate) fn run(command: Link, format: OutputFormat) -> Result<ExitCode, Failure> {
    block_on(async {
        match command {
            Link::List { watch, worker } => {
                let api = Api::new(&worker)?;
                watch.run(async || list(&api, format).await).await
            }
            Link::Describe(seen) => seen.watch.run(async || describe(&seen.link, format).await).await,
            Link::Lag(seen) => seen.watch.run(async || lag(&seen.link, format).await).await,
            Link::Verify(verify) => link_verify::run(&verify, format).await,
            Link::Create { change, source, target, config_file, config } => {
                let mut settings = match &config_file {
                    Some(file) => settings_of(file)?,
                    None => BTreeMap::new(),
                };
                let servers =
                    [("source.cluster.bootstrap.servers", source), ("target.cluster.bootstrap.servers", target)];
                settings.extend(servers.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
                settings.extend(config);
                create(&change, settings, format).await
            }
            Link::Delete { change, yes } => {
                if !yes && !change.dry_run {
                    confirm::ask(&format!(
                        "delete link {}? Topics and offsets stay; mirrors take no records from anybody until they are promoted, which `twinstream link failover` does before the link is deleted.",
                        change.link.link
                    ))?;
                }
                delete(&change, format).await
            }
            Link::Pause(change) => want(&change, "pause", format).await,
            Link::Resume(change) => want(&change, "resume", format).await,
            Link::Stop(change) => want(&change, "stop", format).await,
            Link::Failover(asked) => link_ops::run("failover", &asked, format).await,
            Link::Promote(asked) => link_ops::run("promote", &asked, format).await,
            Link::Reverse(asked) => link_ops::run("reverse", &asked, format).await,
            Link::Failback(asked) => link_ops::run("failback", &asked, format).await,
        }
    })
}

/// The worker's `/links`.
pub(crate) struct Api {
    http: Http,
    worker: String,
    source: String,
}

impl Api {
    pub(crate) fn new(worker: &Worker) -> Result<Self, Failure> {
        Self::within(worker, REQUEST_TIME_MAX)
    }

    /// With a time limit of its own.
    pub(crate) fn within(worker: &Worker, time_max: Duration) -> Result<Self, Failure> {
        let url = worker.worker.trim_end_matches('/').to_owned();
        Ok(Self { http: Http::new(time_max)?, worker: url, source: worker.source.clone() })
    }

    /// The path of a link, or of something below it.
    pub(crate) fn url(&self, link: &str, below: &str) -> String {
        format!("{}/links/{}{below}", self.worker, encoded(link))
    }

    fn failed(&self, error: &HttpError) -> Failure {
        let failure = Failure::new(error).tried(format!("the worker at {} ({})", self.worker, self.source));
        match error.status {
            None if error.is_timeout => failure.coded(4),
            None => failure
                .next(format!("start one with `twinstream worker`, or name yours with -w URL or {WORKER_VARIABLE}")),
            Some(404) => failure.coded(3).next("`twinstream link list`"),
            Some(_) => failure,
        }
    }

    /// The same, with the link that was probably meant.
    async fn not_there(&self, link: &str, error: &HttpError) -> Failure {
        let failure = self.failed(error);
        let Ok(known) = self.http.get(&format!("{}/links", self.worker)).await else { return failure };
        if error.status != Some(404) {
            return failure;
        }
        let names = list_of(&known).filter_map(|link| link["link"].as_str());
        failure.did_you_mean(&link.replace("->", ":"), names.map(|name| name.replace("->", ":")))
    }

    pub(crate) async fn put(&self, url: &str, body: &Json) -> Result<Json, Failure> {
        self.http.put(url, body).await.map_err(|error| self.failed(&error))
    }

    async fn get(&self, url: &str) -> Result<Json, Failure> {
        self.http.get(url).await.map_err(|error| self.failed(&error))
    }
}

/// For a path or a query.
pub(crate) fn encoded(text: &str) -> impl std::fmt::Display {
    utf8_percent_encode(text, NON_ALPHANUMERIC)
}

fn dry(change: &LinkChange) -> &'static str {
    if change.dry_run { "?dry-run" } else { "" }
}

/// A connector's JSON, or lines of a properties file.
fn settings_of(file: &Path) -> Result<BTreeMap<String, String>, Failure> {
    let wrong = |why: String| Failure::usage(format!("settings file {}: {why}", file.display()));
    let text = fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    if !text.trim_start().starts_with('{') {
        let pairs = java_properties::read(Cursor::new(text)).map_err(|error| wrong(error.to_string()))?;
        return Ok(pairs.into_iter().collect());
    }
    let entries: BTreeMap<String, Json> = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let text = |value: Json| match value {
        Json::String(text) => text,
        other => other.to_string(),
    };
    Ok(entries.into_iter().map(|(name, value)| (name, text(value))).collect())
}

async fn list(api: &Api, format: OutputFormat) -> Result<ExitCode, Failure> {
    let links = api.get(&format!("{}/links", api.worker)).await?;
    let links: Vec<&Json> = list_of(&links).collect();
    output::listing(format, &links, &["link", "state", "connectors", "tasks", "partitions that stand"], |link| {
        let connectors = list_of(&link["connectors"]).count();
        let tasks: i64 = list_of(&link["connectors"]).filter_map(|member| member["tasks"].as_i64()).sum();
        let (stand, held) = (word(&link["partitions_standing"]), word(&link["partitions_held"]));
        let stand = if stand == "0" { stand } else { format!("{stand} of {held}") };
        vec![word(&link["link"]), word(&link["state"]), connectors.to_string(), tasks.to_string(), stand]
    })?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn list_of(json: &Json) -> impl Iterator<Item = &Json> {
    json.as_array().into_iter().flatten()
}

/// A text as it is, anything else as JSON has it; nothing for null.
pub(crate) fn word(json: &Json) -> String {
    match json {
        Json::Null => "-".to_owned(),
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A number of an answer with its noun; `?` for one that the worker does not know.
pub(crate) fn count_of(json: &Json, noun: &str) -> String {
    json.as_i64().map_or_else(|| counted(0, noun).replacen('0', "?", 1), |count| counted(count, noun))
}

async fn describe(link: &OneLink, format: OutputFormat) -> Result<ExitCode, Failure> {
    let api = Api::new(&link.worker)?;
    let found = match api.http.get(&api.url(&link.link, "")).await {
        Ok(found) => found,
        Err(error) => return Err(api.not_there(&link.link, &error).await),
    };
    match format {
        OutputFormat::Json | OutputFormat::Yaml => output::data(format, &found)?,
        _ => output::line(&link_describe::told(&found))?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn lag(link: &OneLink, format: OutputFormat) -> Result<ExitCode, Failure> {
    let api = Api::new(&link.worker)?;
    let lag = api.get(&api.url(&link.link, "/lag")).await?;
    match format {
        OutputFormat::Json | OutputFormat::Yaml => output::data(format, &lag)?,
        _ => {
            let rows = list_of(&lag["partitions"]).map(|partition| LAG_COLUMNS.map(|column| word(&partition[column])));
            output::table(LAG_COLUMNS, rows.collect())?;
            let (records, bytes) = (count_of(&lag["records"], "record"), count_of(&lag["bytes"], "byte"));
            output::talk(&format!("{records} behind, {bytes}, {} ms", word(&lag["ms"])));
        }
    }
    // A partition that could not be asked may be any distance behind.
    let is_known = lag["unknown"].as_i64() == Some(0);
    Ok(if is_known { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn create(
    change: &LinkChange,
    settings: BTreeMap<String, String>,
    format: OutputFormat,
) -> Result<ExitCode, Failure> {
    let link = &change.link;
    let api = Api::new(&link.worker)?;
    let answer = api.http.put(&api.url(&link.link, dry(change)), &json!(settings)).await;
    told(&api, change, "stored", answer, format)
}

async fn delete(change: &LinkChange, format: OutputFormat) -> Result<ExitCode, Failure> {
    let link = &change.link;
    let api = Api::new(&link.worker)?;
    let answer = api.http.delete(&api.url(&link.link, dry(change))).await;
    told(&api, change, "deleted", answer, format)
}

async fn want(change: &LinkChange, verb: &str, format: OutputFormat) -> Result<ExitCode, Failure> {
    let link = &change.link;
    let api = Api::new(&link.worker)?;
    let answer = api.http.put(&api.url(&link.link, &format!("/{verb}{}", dry(change))), &json!({})).await;
    let done = match verb {
        "pause" => "paused",
        "resume" => "resumed",
        _ => "stopped",
    };
    told(&api, change, done, answer, format)
}

/// Prints what a change came to.
fn told(
    api: &Api,
    change: &LinkChange,
    done: &str,
    answer: Result<Json, HttpError>,
    format: OutputFormat,
) -> Result<ExitCode, Failure> {
    let answer = answer.map_err(|error| api.failed(&error))?;
    let link = &change.link.link;
    match format {
        // A change without a body in its answer is told all the same: scripts read one object for each command.
        OutputFormat::Json | OutputFormat::Yaml if answer.is_object() => output::data(format, &answer)?,
        OutputFormat::Json | OutputFormat::Yaml => output::data(format, &json!({"link": link, "done": done}))?,
        _ if change.dry_run => output::line(&format!("would be {done}: {}", names(&answer)))?,
        _ => output::line(&format!("link {link} {done}"))?,
    }
    if let (true, Some(note)) = (format.is_text(), answer["note"].as_str()) {
        let topics: Vec<String> = list_of(&answer["mirrors"]).map(word).collect();
        output::line(&format!("{}: {note}", topics.join(", ")))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The connectors that a dry run names.
fn names(answer: &Json) -> String {
    let of_change = list_of(&answer["changes"]).map(|change| &change["connector"]);
    let names: Vec<String> = list_of(&answer["connectors"]).chain(of_change).map(word).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_from_json_and_from_properties() {
        let folder = tempfile::tempdir().unwrap();
        let read = |text: &str| {
            let file = folder.path().join("link");
            fs::write(&file, text).unwrap();
            settings_of(&file)
        };
        let wanted =
            BTreeMap::from([("tasks.max".to_owned(), "2".to_owned()), ("topics".to_owned(), "a,b".to_owned())]);
        assert_eq!(read("# mine\ntopics = a,b\ntasks.max=2\n").unwrap(), wanted);
        assert_eq!(read("{\"topics\": \"a,b\", \"tasks.max\": 2}").unwrap(), wanted);
        let refused = read("{\"topics\"").unwrap_err().text();
        assert!(refused.contains("settings file"), "{refused}");
    }
}
