//! What a shell is told when it completes: commands and flags from the tree, names from the servers.
//!
//! Picture: a shell runs this binary again with `COMPLETE=<shell>` and the words of its command line behind `--`. The servers
//! that are asked are those that the finished command would ask: `-b`, `-w`, `--registry`, `-X` and `--context` among these
//! words count, then the environment and the contexts.
//! Invariants: whoever presses Tab waits [`WITHIN`] at most; a server that does not answer, or a file of contexts that is
//! wrong, gives no names and no words.

use std::future::Future;
use std::time::Duration;

use clap::CommandFactory;
use clap_complete::CompleteEnv;
use clap_complete::engine::CompletionCandidate;
use serde_json::Value as Json;
use twinstream_client::{Admin, ClientSettings};

use crate::arguments::Arguments;
use crate::context::file::Contexts;
use crate::context::reach::{Given, Known};
use crate::failure::Failure;
use crate::http::Http;

/// The variable by which a shell says that it completes.
pub(crate) const VARIABLE: &str = "COMPLETE";
const WITHIN: Duration = Duration::from_millis(1_500);
/// More names than anybody reads.
const NAMES_MAX: usize = 1_000;

/// Answers a shell and ends, if it is a shell that calls.
pub(crate) fn answer_shell() {
    CompleteEnv::with_factory(Arguments::command).var(VARIABLE).completer("twinstream").complete();
}

pub(crate) fn contexts() -> Vec<CompletionCandidate> {
    candidates(Contexts::read().ok().map(|contexts| contexts.contexts.into_keys().collect()))
}

pub(crate) fn topics() -> Vec<CompletionCandidate> {
    candidates(asked(async |words| {
        let topics = admin(&words).await?.topics().await.ok()?;
        Some(topics.into_keys().map(|name| name.to_string()).collect())
    }))
}

pub(crate) fn groups() -> Vec<CompletionCandidate> {
    candidates(asked(async |words| {
        let (groups, _) = admin(&words).await?.raw().list_groups_now().await.ok()?;
        Some(groups.into_iter().map(|group| group.group.to_string()).collect())
    }))
}

pub(crate) fn connectors() -> Vec<CompletionCandidate> {
    candidates(asked(async |words| texts(&words.get(&words.worker()?, "/connectors").await?)))
}

pub(crate) fn links() -> Vec<CompletionCandidate> {
    candidates(asked(async |words| {
        let links = words.get(&words.worker()?, "/links").await?;
        // A shell would take the arrow for a redirection.
        Some(links.as_array()?.iter().filter_map(|link| Some(link["link"].as_str()?.replace("->", ":"))).collect())
    }))
}

pub(crate) fn subjects() -> Vec<CompletionCandidate> {
    candidates(asked(async |words| texts(&words.get(&words.registry()?, "/subjects").await?)))
}

fn texts(names: &Json) -> Option<Vec<String>> {
    Some(names.as_array()?.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect())
}

fn candidates(names: Option<Vec<String>>) -> Vec<CompletionCandidate> {
    names.unwrap_or_default().into_iter().take(NAMES_MAX).map(CompletionCandidate::new).collect()
}

async fn admin(words: &Words) -> Option<Admin> {
    let timeout = WITHIN.as_millis().to_string();
    let servers = words.known.bootstrap(&words.given("-b", "--bootstrap-server")).is?;
    let ours = [("bootstrap.servers".to_owned(), servers), ("default.api.timeout.ms".to_owned(), timeout)];
    let properties = words.known.properties(&words.properties).into_iter();
    let properties = properties.filter_map(|(name, value)| Some((name, value.is?)));
    let settings = ClientSettings::from_map(ours.into_iter().chain(properties)).ok()?;
    Admin::connect(&settings).await.ok()
}

/// Asks a server, for a moment.
fn asked<F>(ask: impl FnOnce(Words) -> F) -> Option<Vec<String>>
where
    F: Future<Output = Option<Vec<String>>>,
{
    let words = Words::read().ok()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let answer = runtime.block_on(async { tokio::time::timeout(WITHIN, ask(words)).await.ok()? });
    runtime.shutdown_background();
    answer
}

/// The command line that is being written.
struct Words {
    words: Vec<String>,
    properties: Vec<(String, String)>,
    known: Known,
}

impl Words {
    fn read() -> Result<Self, Failure> {
        let all = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
        let words: Vec<String> = all.skip_while(|word| word != "--").skip(1).collect();
        let pair = |text: &String| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        let properties = values(&words, "-X", "--property").iter().filter_map(pair).collect();
        let known = Known::read(values(&words, "--context", "--context").pop())?;
        Ok(Self { words, properties, known })
    }

    fn given(&self, short: &str, long: &str) -> Given<'_> {
        let flag = self.words.iter().enumerate().rev().find_map(|(index, word)| {
            let attached = word.strip_prefix(long).and_then(|rest| rest.strip_prefix('='));
            attached.or_else(|| self.words.get(index + 1).filter(|_| word == short || word == long).map(String::as_str))
        });
        Given { flag, properties: &self.properties }
    }

    fn worker(&self) -> Option<String> {
        self.known.worker(&self.given("-w", "--worker")).is
    }

    fn registry(&self) -> Option<String> {
        let list = self.known.registry(&self.given("--registry", "--registry")).is?;
        list.split(',').next().map(str::to_owned)
    }

    async fn get(&self, server: &str, path: &str) -> Option<Json> {
        Http::new(WITHIN).ok()?.get(&format!("{}{path}", server.trim_end_matches('/'))).await.ok()
    }
}

/// The values of a flag, in both spellings.
fn values(words: &[String], short: &str, long: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (index, word) in words.iter().enumerate() {
        if word == short || word == long {
            found.extend(words.get(index + 1).cloned());
        } else if let Some(value) = word.strip_prefix(long).and_then(|rest| rest.strip_prefix('=')) {
            found.push(value.to_owned());
        }
    }
    found
}
