//! `twinstream cluster health`: a gate for scripts.
//!
//! Well is a cluster that has a controller, whose partitions all have a leader and all their replicas in sync, of which no
//! broker is fenced or missing, and whose directories are all there. Exit code 0 is that and nothing else; 1 is not well, and
//! with `--wait` 4 is not well in time, whatever keeps it from being well.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use twinstream_client::{Admin, ClientError};
use twinstream_model::TopicName;

use crate::admin::{TOPIC, configs};
use crate::arguments::{Cluster, OutputFormat};
use crate::bootstrap::{admin, failed};
use crate::failure::Failure;
use crate::output;

/// Between two looks of `--wait`.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// More partitions of a kind than anybody reads.
const NAMED_MAX: usize = 20;

#[derive(Debug, Args)]
pub(crate) struct Health {
    /// Wait until all is well, so many seconds at most; exits with 4 then.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(..=86_400))]
    wait: Option<u64>,
    /// So many brokers must be there.
    #[arg(long, value_name = "N")]
    brokers: Option<usize>,
    #[command(flatten)]
    cluster: Cluster,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    healthy: bool,
    cluster_id: Option<String>,
    controller: Option<i32>,
    brokers: usize,
    /// What is wrong, in words; nothing when all is well.
    problems: Vec<String>,
    brokers_missing: Vec<i32>,
    partitions: usize,
    offline: Vec<String>,
    under_min_isr: Vec<String>,
    under_replicated: Vec<String>,
    not_led_by_first_replica: usize,
}

pub(crate) async fn run(options: &Health, format: OutputFormat) -> Result<ExitCode, Failure> {
    let Some(seconds) = options.wait else {
        let report = look(options).await?;
        show(&report, format)?;
        return Ok(if report.healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    };
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        // A cluster that starts is not there at first; one that hangs must not hang the gate.
        let left = deadline.saturating_duration_since(Instant::now());
        let looked = tokio::time::timeout(left.max(LOOK_EVERY), look(options)).await;
        let report = looked.unwrap_or_else(|_| Err(Failure::timed_out("the brokers did not answer in time")));
        if let Ok(report) = &report
            && report.healthy
        {
            show(report, format)?;
            return Ok(ExitCode::SUCCESS);
        }
        if Instant::now() + LOOK_EVERY >= deadline {
            return match report {
                Ok(report) => {
                    show(&report, format)?;
                    Err(Failure::timed_out(format!("the cluster is not well after {seconds} s")))
                }
                Err(failure) => Err(failure.coded(4)),
            };
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn look(options: &Health) -> Result<Report, Failure> {
    let cluster = &options.cluster;
    let admin = admin(cluster).await?;
    report(&admin, options.brokers).await.map_err(|error| failed(cluster, &error))
}

async fn report(admin: &Admin, brokers_wanted: Option<usize>) -> Result<Report, ClientError> {
    let view = admin.raw().refresh_all().await?;
    let mut report = Report { cluster_id: admin.cluster_id(), brokers: view.brokers.len(), ..Report::default() };
    report.controller = match super::quorum_now(admin).await {
        Ok(quorum) => quorum.map(|quorum| quorum.leader_id.0),
        Err(ClientError::UnsupportedVersion { .. }) => view.controller.map(|node| node.0),
        Err(ClientError::Broker { .. } | ClientError::Timeout { .. }) => None,
        Err(error) => return Err(error),
    };
    for broker in super::brokers(admin).await? {
        if broker.fenced == Some(true) || !view.brokers.contains_key(&twinstream_model::NodeId(broker.broker)) {
            report.brokers_missing.push(broker.broker);
        }
    }
    let names: Vec<String> = view.topics.keys().map(TopicName::to_string).collect();
    let min_isr = match names.is_empty() {
        true => Default::default(),
        false => configs(admin, TOPIC, &names, Some(&["min.insync.replicas"])).await?,
    };
    for topic in view.topics.values() {
        let of =
            min_isr.get(topic.name.as_str()).and_then(|found| found.first()).and_then(|entry| entry.value.as_ref());
        let min: usize = of.and_then(|value| value.as_str().parse().ok()).unwrap_or(1);
        for (index, partition) in &topic.partitions {
            let name = || format!("{}-{}", topic.name, index.0);
            report.partitions += 1;
            if partition.leader.is_none() {
                report.offline.push(name());
            }
            if partition.isr.len() < min.min(partition.replicas.len()) {
                report.under_min_isr.push(name());
            }
            if partition.isr.len() < partition.replicas.len() || !partition.offline.is_empty() {
                report.under_replicated.push(name());
            }
            let missing = partition.replicas.iter().filter(|node| !view.brokers.contains_key(node));
            report.brokers_missing.extend(missing.map(|node| node.0));
            report.not_led_by_first_replica += usize::from(partition.leader.as_ref() != partition.replicas.first());
        }
    }
    report.brokers_missing.sort_unstable();
    report.brokers_missing.dedup();
    report.problems = problems(&report, brokers_wanted);
    report.healthy = report.problems.is_empty();
    Ok(report)
}

fn problems(report: &Report, brokers_wanted: Option<usize>) -> Vec<String> {
    let mut problems = Vec::new();
    if report.controller.is_none() {
        problems.push("no controller: nobody leads the metadata quorum".to_owned());
    }
    if let Some(wanted) = brokers_wanted.filter(|wanted| report.brokers < *wanted) {
        problems.push(format!("{} of {wanted} brokers are there", report.brokers));
    }
    if !report.brokers_missing.is_empty() {
        let missing: Vec<String> = report.brokers_missing.iter().map(i32::to_string).collect();
        problems.push(format!("brokers away: {}", missing.join(", ")));
    }
    for (what, partitions) in [
        ("without leader", &report.offline),
        ("below min.insync.replicas", &report.under_min_isr),
        ("under-replicated", &report.under_replicated),
    ] {
        if !partitions.is_empty() {
            let named = partitions.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
            let more = partitions.len().saturating_sub(NAMED_MAX);
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            problems.push(format!("{what}: {} of {} partitions: {named}{more}", partitions.len(), report.partitions));
        }
    }
    problems
}

fn show(report: &Report, format: OutputFormat) -> Result<(), Failure> {
    let state = if report.healthy { "healthy" } else { "NOT healthy" };
    let controller = report.controller.map_or("none".to_owned(), |node| node.to_string());
    let id = report.cluster_id.as_deref().unwrap_or("unknown");
    let mut text = format!(
        "cluster {id}: {state}\n  controller {controller}, {} brokers, {} partitions, {} not led by their first replica",
        report.brokers, report.partitions, report.not_led_by_first_replica
    );
    report.problems.iter().for_each(|problem| text.push_str(&format!("\n  {problem}")));
    output::done(format, report, &[state], &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_trouble_alone_is_a_problem() {
        let well = || Report { controller: Some(1), brokers: 3, partitions: 9, ..Report::default() };
        assert_eq!(problems(&well(), Some(3)), Vec::<String>::new());
        let one = || vec!["t-0".to_owned()];
        for sick in [
            Report { controller: None, ..well() },
            Report { brokers: 2, ..well() },
            Report { brokers_missing: vec![3], ..well() },
            Report { offline: one(), ..well() },
            Report { under_min_isr: one(), ..well() },
            Report { under_replicated: one(), ..well() },
        ] {
            assert_eq!(problems(&sick, Some(3)).len(), 1, "{sick:?}");
        }
    }
}
