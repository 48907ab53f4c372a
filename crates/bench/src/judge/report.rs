//! What came out, as text for a person and as JSON for a file.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::load::Run;
use crate::mirror::Copied;
use crate::proc;
use crate::stats::Spread;
use crate::targets::{ClientLimit, Goal, Heading, Metric, Verdict, judge};

/// One run of a row on one side: a value for each metric of the row, and the runs of clients that they come from.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sample {
    pub values: Vec<f64>,
    pub runs: Vec<Run>,
}

/// Which table a report is of, and how it was run.
#[derive(Clone, Debug, Serialize)]
pub struct About {
    pub ours: String,
    pub rival: Option<String>,
    pub pairs: usize,
    pub scale: f64,
    /// So many rows has the whole table.
    pub rows_in_all: usize,
    /// Fewer pairs say little on a machine that others use.
    pub pairs_wanted: usize,
}

/// All that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub at_unix_seconds: u64,
    pub processors: usize,
    pub kernel: String,
    #[serde(flatten)]
    pub about: About,
    pub load_average_before: f64,
    pub rows: Vec<RowReport>,
    pub failures: Vec<Failure>,
    /// Rows that what is measured is not able to run yet.
    pub not_run: Vec<Failure>,
}

/// A row that did not run, or not to its end.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    pub row: &'static str,
    pub reason: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct RowReport {
    pub row: &'static str,
    pub what: &'static str,
    pub metrics: Vec<MetricReport>,
    pub client: ClientLimit,
    /// Processors that neither client nor brokers had, in the median run; they blur what is measured here.
    pub others: f64,
    pub load_average: f64,
    pub ours: Vec<Sample>,
    pub theirs: Vec<Sample>,
    /// Runs of the same client against a broker that does nothing.
    pub ceiling: Vec<Run>,
    /// Copies of links, ours and then theirs.
    pub copies: Vec<Copied>,
    /// What else a reader has to know.
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct MetricReport {
    #[serde(flatten)]
    pub metric: Metric,
    pub ours: Spread,
    pub theirs: Option<Spread>,
    pub ratio: Option<Spread>,
    pub verdict: Verdict,
}

impl Report {
    pub(crate) fn begin(about: About) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            at_unix_seconds: now.as_secs(),
            processors: proc::processors(),
            kernel: kernel.trim().to_owned(),
            about,
            load_average_before: proc::load_average().unwrap_or(0.0),
            rows: Vec::new(),
            failures: Vec::new(),
            not_run: Vec::new(),
        }
    }

    /// Whether every row ran and no target was missed.
    pub fn is_good(&self) -> bool {
        self.failures.is_empty()
            && self.not_run.is_empty()
            && self.rows.iter().flat_map(|row| &row.metrics).all(|metric| metric.verdict != Verdict::Missed)
    }

    /// Why no verdict about the whole table can be had from this.
    fn is_part(&self) -> Option<String> {
        let mut reasons = Vec::new();
        let about = &self.about;
        if self.rows.len() < about.rows_in_all {
            reasons.push(format!("{} of {} rows", self.rows.len(), about.rows_in_all));
        }
        if about.pairs < about.pairs_wanted {
            reasons.push(format!("{} pairs, not {}", about.pairs, about.pairs_wanted));
        }
        if about.scale < 1.0 {
            reasons.push(format!("sizes times {}", about.scale));
        }
        let metrics = || self.rows.iter().flat_map(|row| &row.metrics);
        if metrics().any(|metric| metric.verdict == Verdict::NotCompared) {
            reasons.push("ratios to the rival were not measured".to_owned());
        }
        (!reasons.is_empty()).then(|| reasons.join(", "))
    }

    /// The whole table.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{} processors, kernel {}, load average before {:.2}, {} pairs, scale {}\nours:  {}\nrival: {}\n",
            self.processors,
            self.kernel,
            self.load_average_before,
            self.about.pairs,
            self.about.scale,
            self.about.ours,
            self.about.rival.as_deref().unwrap_or("none"),
        );
        let _never_fails = writeln!(text, "{HEAD}");
        for row in &self.rows {
            text += &row.text();
        }
        for failure in &self.failures {
            let _never_fails = writeln!(text, "{:<15} FAILED: {}", failure.row, failure.reason);
        }
        for row in &self.not_run {
            let _never_fails = writeln!(text, "{:<15} NOT RUN: {}", row.row, row.reason);
        }
        if let Some(why) = self.is_part() {
            let _never_fails = writeln!(text, "not the whole table: {why}");
        }
        let missed = self.rows.iter().flat_map(|row| row.metrics.iter().map(move |metric| (row.row, metric)));
        let missed: Vec<String> = missed
            .filter(|(_, metric)| metric.verdict == Verdict::Missed)
            .map(|(row, metric)| format!("{row} {}", metric.metric.name))
            .collect();
        text += &match missed.is_empty() {
            true => "no target was missed\n".to_owned(),
            false => format!("{} missed: {}\n", missed.len(), missed.join(", ")),
        };
        text
    }
}

const HEAD: &str = "row             metric                             ours (min .. max)                  \
                    rival (min .. max)            ratio (min .. max)  target    verdict";

impl RowReport {
    /// Judges the samples of a row.
    pub fn of(row: impl Into<Heading>, ours: Vec<Sample>, theirs: Vec<Sample>, ceiling: Vec<Run>) -> Self {
        let row = row.into();
        let client = client_limit(&ours, &ceiling);
        let metrics = row.metrics.iter().enumerate().filter_map(|(index, metric)| {
            let values = |samples: &[Sample]| -> Vec<f64> {
                samples.iter().filter_map(|sample| sample.values.get(index).copied()).collect()
            };
            let (own, other) = (values(&ours), values(&theirs));
            let (spread, ratio) = (Spread::of(&own)?, Spread::of_ratios(&own, &other));
            let verdict = judge(metric.goal, spread, ratio, client);
            Some(MetricReport { metric: *metric, ours: spread, theirs: Spread::of(&other), ratio, verdict })
        });
        let runs = || ours.iter().chain(&theirs).flat_map(|sample| &sample.runs);
        let others: Vec<f64> = runs().map(|run| run.took.machine.others_seconds / run.took.seconds).collect();
        Self {
            row: row.name,
            what: row.what,
            metrics: metrics.collect(),
            client,
            others: Spread::of(&others).map_or(0.0, |spread| spread.median),
            load_average: proc::load_average().unwrap_or(0.0),
            ours,
            theirs,
            ceiling,
            copies: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Takes the verdict from ratios: the targets are about a rival, not about another build of ours.
    pub(crate) fn against_another_build(mut self) -> Self {
        for metric in self.metrics.iter_mut().filter(|metric| metric.metric.goal.is_ratio()) {
            metric.verdict = Verdict::NotCompared;
        }
        self
    }

    pub fn text(&self) -> String {
        let mut text = String::new();
        for metric in &self.metrics {
            let unit = metric.metric.unit.name();
            let name = format!("{} {unit}", metric.metric.name);
            let _never_fails = writeln!(
                text,
                "{:<15} {name:<27} {:>27} {:>32} {:>29}  {:<9} {}",
                self.row,
                spread(Some(metric.ours)),
                spread(metric.theirs),
                spread(metric.ratio),
                goal(metric.metric.goal),
                metric.verdict.name(),
            );
        }
        let _never_fails = writeln!(text, "{:<15} {}", "", self.note());
        text
    }

    /// Who could have been the limit, and what disturbed.
    fn note(&self) -> String {
        let mut parts = self.notes.clone();
        let client = |samples: &[Sample]| {
            let used = samples.iter().filter_map(|sample| sample.runs.first());
            let used: Vec<f64> = used.map(|run| run.took.client.cpu_seconds / run.took.seconds).collect();
            Spread::of(&used).map(|spread| spread.median)
        };
        if let Some(ours) = client(&self.ours) {
            let theirs = client(&self.theirs).map(|theirs| format!(" ({theirs:.2} on the rival)")).unwrap_or_default();
            let busiest = self.client.busiest_share;
            let most = self.client.busiest_at_ceiling;
            let most = most.map(|most| format!(" ({most:.2} against a broker that does nothing)")).unwrap_or_default();
            parts.push(format!("client {ours:.2} processors{theirs}, its busiest thread {busiest:.2}{most}"));
        }
        if let Some(share) = self.client.of_ceiling {
            parts.push(format!("{:.0} % of its rate there", share * 100.0));
        }
        parts.push(format!("others {:.2} processors, load average {:.2}", self.others, self.load_average));
        parts.join("; ")
    }
}

fn client_limit(ours: &[Sample], ceiling: &[Run]) -> ClientLimit {
    let first: Vec<&Run> = ours.iter().filter_map(|sample| sample.runs.first()).collect();
    let shares: Vec<f64> = first.iter().map(|run| run.took.client.busiest_share).collect();
    let shares_at_ceiling: Vec<f64> = ceiling.iter().map(|run| run.took.client.busiest_share).collect();
    let own: Vec<f64> = first.iter().map(|run| run.records_per_second()).collect();
    let most: Vec<f64> = ceiling.iter().map(Run::records_per_second).collect();
    ClientLimit {
        busiest_share: Spread::of(&shares).map_or(0.0, |spread| spread.median),
        busiest_at_ceiling: Spread::of(&shares_at_ceiling).map(|spread| spread.median),
        of_ceiling: Spread::of_ratios(&own, &most).map(|spread| spread.median),
    }
}

fn spread(spread: Option<Spread>) -> String {
    spread.map_or_else(
        || "-".to_owned(),
        |spread| format!("{} ({} .. {})", number(spread.median), number(spread.min), number(spread.max)),
    )
}

/// Three digits that count.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// As it was written, but a fifteenth needs no sixteen digits.
fn bound(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

fn goal(goal: Goal) -> String {
    match goal {
        Goal::RatioAtMost(wanted) => format!("<= {} x", bound(wanted)),
        Goal::RatioAtLeast(wanted) => format!(">= {} x", bound(wanted)),
        Goal::RatioAtLeastOrClientLimit(wanted) => format!(">= {} x *", bound(wanted)),
        Goal::AtMost(wanted) => format!("<= {}", bound(wanted)),
        Goal::AtLeast(wanted) => format!(">= {}", bound(wanted)),
        Goal::None => String::new(),
    }
}

#[cfg(test)]
mod tests;
