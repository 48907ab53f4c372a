//! What is shown at the end: addresses, counts, one query with its answer, four commands to paste.

use serde::Serialize;

use super::contexts;
use super::flow::{self, Flow};
use super::plan::{Plan, Site};
use crate::arguments::OutputFormat;
use crate::failure::Failure;
use crate::output;

pub(super) struct Report {
    pub ready_ms: u64,
    pub flow: Flow,
}

/// The object of `-o json`; its fields are a promise to scripts.
#[derive(Serialize)]
struct Json {
    upstream_records: u64,
    downstream_records: u64,
    documents: u64,
    ready_ms: u64,
    mirrored_ms: u64,
    indexed_ms: u64,
}

impl Report {
    /// Whether everything that is upstream is also downstream and in the index.
    pub(super) fn is_complete(&self) -> bool {
        let Flow { upstream_records, downstream_records, documents, .. } = self.flow;
        upstream_records > 0 && upstream_records == downstream_records && upstream_records == documents
    }
}

/// `by_context`: whether commands find both sites by contexts.
pub(super) fn show(
    plan: &Plan,
    report: &Report,
    once: bool,
    by_context: bool,
    format: OutputFormat,
) -> Result<(), Failure> {
    match format {
        OutputFormat::Json | OutputFormat::Yaml | OutputFormat::Name => json(report, format),
        OutputFormat::Table | OutputFormat::Wide => {
            addresses(plan)?;
            counts(report)?;
            query(plan, report)?;
            commands(plan, by_context)?;
            output::line(match once {
                true => "\nstopping, as --once says; without it everything stays up until Ctrl-C.",
                false => "\nCtrl-C stops everything; the same command goes on where it was.",
            })
        }
    }
}

fn json(report: &Report, format: OutputFormat) -> Result<(), Failure> {
    let flow = &report.flow;
    output::data(
        format,
        &Json {
            upstream_records: flow.upstream_records,
            downstream_records: flow.downstream_records,
            documents: flow.documents,
            ready_ms: report.ready_ms,
            mirrored_ms: flow.mirrored_ms,
            indexed_ms: flow.indexed_ms,
        },
    )
}

fn addresses(plan: &Plan) -> Result<(), Failure> {
    let site = |site: &Site| [format!("{} brokers", site.name), site.bootstrap.clone()];
    let rows = vec![
        site(&plan.upstream),
        site(&plan.downstream),
        ["schema registry".to_owned(), plan.registry.url.clone()],
        ["worker".to_owned(), plan.worker.url.clone()],
        ["links, for a browser".to_owned(), format!("{}/links/ui", plan.worker.url)],
        ["search".to_owned(), plan.search.url.clone()],
        ["data and logs".to_owned(), plan.data_dir.display().to_string()],
    ];
    output::line("")?;
    output::table(["what", "where"], rows)
}

fn counts(report: &Report) -> Result<(), Failure> {
    let flow = &report.flow;
    let seconds = |ms: u64| format!("{:.2} s", ms as f64 / 1000.0);
    let rows = vec![
        ["upstream records, topic earthquakes".to_owned(), flow.upstream_records.to_string(), seconds(report.ready_ms)],
        [
            format!("downstream records, topic {}", flow::mirrored_topic()),
            flow.downstream_records.to_string(),
            seconds(flow.mirrored_ms),
        ],
        [format!("documents, index {}", flow::mirrored_topic()), flow.documents.to_string(), seconds(flow.indexed_ms)],
    ];
    output::line("")?;
    output::table(["count", "read back", "after"], rows)?;
    if !report.is_complete() {
        output::talk("warning: the counts differ; read the logs of worker and search");
    }
    Ok(())
}

fn query(plan: &Plan, report: &Report) -> Result<(), Failure> {
    output::line("")?;
    output::line(&format!("the strongest quake of the week, asked from {}:", index(plan)))?;
    match &report.flow.strongest {
        Some(quake) => output::line(&format!("  magnitude {}, {}, {}", quake.magnitude, quake.place, utc(quake.time))),
        None => output::line("  the index has no answer yet"),
    }
}

fn commands(plan: &Plan, by_context: bool) -> Result<(), Failure> {
    let us = program();
    let (up, down) = (plan.upstream.brokers[0].address(), plan.downstream.brokers[0].address());
    let (registry, worker) = (&plan.registry.url, &plan.worker.url);
    let schema = plan.schema_file();
    let schema = schema.display();
    let event = concat!(
        r#"{"id":"mine","time":1518000000000,"updated":1518000000000,"magnitude":9.9,"magnitude_type":"mw","#,
        r#""place":"my desk","longitude":0,"latitude":0,"depth_km":1,"tsunami":0,"felt":1,"significance":1,"#,
        r#""network":"me","status":"reviewed"}"#
    );
    let topic = flow::mirrored_topic();
    let index = index(plan);
    let (up, down) = match by_context {
        true => (String::new(), format!(" --context {}", contexts::DOWNSTREAM)),
        false => (format!(" -b {up} --registry {registry}"), format!(" -b {down} --registry {registry}")),
    };
    if by_context {
        let (here, there) = (contexts::UPSTREAM, contexts::DOWNSTREAM);
        output::line(&format!("\ncontexts: {here} (upstream) is the current one while this runs, and {there}"))?;
    }
    output::line("\nnow try, in another terminal:")?;
    output::line(&format!("  echo 'mine|{event}' | \\\n    {us} produce earthquakes{up} -K '|' --schema {schema}"))?;
    output::line(&format!("  {us} consume {topic}{down} --from-beginning --exit -f '%k %s\\n'"))?;
    output::line(&format!("  curl -s '{index}/_search?q=place:desk'"))?;
    output::line(&format!("  curl -s {worker}/connectors/mirror/status"))
}

/// The address of the index as it may be shown.
fn index(plan: &Plan) -> String {
    format!("{}/{}", plan.search.url, flow::mirrored_topic())
}

/// How this binary is called from the current folder.
pub(super) fn program() -> String {
    let Ok(path) = std::env::current_exe() else { return "twinstream".to_owned() };
    let here = std::env::current_dir().ok();
    let relative = here.and_then(|here| path.strip_prefix(here).ok().map(|path| path.display().to_string()));
    match relative {
        // A shell looks for a bare name on its PATH only.
        Some(name) if !name.contains('/') => format!("./{name}"),
        Some(relative) => relative,
        None => path.display().to_string(),
    }
}

/// Milliseconds since 1970 as a date of the Gregorian calendar. Years are counted from 1 March of the year 0 in eras of 400,
/// so that the leap day is the last of its year and every era has the same length.
fn utc(ms: i64) -> String {
    let (days, second) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000) / 1_000);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests;
