//! Answers to produce requests are cut by chance, leaders die and lose their snapshots; the checker of the faults judges.

use std::time::Duration;

use twinstream_client::raw::kafka_protocol::messages::ProduceRequest;
use twinstream_client::raw::kafka_protocol::protocol::Request;

use super::{Of, Row, Stage, nothing_tried};
use crate::faults::{Dice, Trial};
use crate::load::LoadOptions;
use crate::nemesis::{Act, Proxy, files};

const TOPIC: &str = "repeats";
const PARTITIONS: i32 = 3;
/// Of so many answers one is cut.
const CUT_OF: u64 = 6;
/// Most answers are shorter.
const ANSWER_BYTES: u64 = 120;
/// Leaders are found again, by clients that are as slow as Kafka's defaults.
const WRITABLE_WITHIN: Duration = Duration::from_secs(60);

/// So many leaders die.
pub async fn storm(of: Of, rounds: usize, seed: u64) -> Row {
    let stage = Stage::start(of, 3).await;
    let (proxies, name) = (stage.proxies, stage.subject.name());
    let load = LoadOptions { readers: true, ..LoadOptions::new(TOPIC, PARTITIONS) };
    let mut trial = Trial::start("repeated batches", stage.subject, seed, load).await;
    for proxy in &proxies {
        cut_some(proxy, Dice::new(trial.dice.between(1, u64::MAX - 1)));
    }
    let mut removed = 0;
    for round in 0..rounds {
        trial.breathe().await;
        let partition = trial.any_partition();
        let leader = trial.leader(partition).await;
        if round % 2 == 0 {
            trial.kill(leader);
        } else {
            trial.stop(leader).await;
        }
        trial.all_writable(WRITABLE_WITHIN).await;
        let lost = remove_snapshots(&trial, leader);
        removed += lost;
        trial.step(format!("broker {leader} loses {lost} snapshots of producers"));
        trial.start_broker(leader).await;
        trial.whole().await;
        trial.operator.lead_by(TOPIC, partition, leader).await;
        trial.all_writable(WRITABLE_WITHIN).await;
    }
    for proxy in &proxies {
        proxy.calm().await;
    }
    let cut: usize = proxies.iter().map(Proxy::acts).sum();
    let report = trial.finish().await;
    eprintln!("{report}");
    let mut faults = if report.is_good() { Vec::new() } else { vec![report.to_string()] };
    faults.extend(nothing_tried(cut, "answers cut"));
    faults.extend(nothing_tried(removed, "snapshots removed"));
    if !report.is_good() {
        report.keep();
    }
    let what = format!("storm: {rounds} leaders lost with their snapshots, answers cut");
    let note = format!("{cut} answers cut, {removed} snapshots removed; {}", report.verdict);
    Row { subject: name, what, faults, note }
}

fn cut_some(proxy: &Proxy, mut dice: Dice) {
    proxy.rule(move |asked| {
        if asked.key == ProduceRequest::KEY && dice.between(1, CUT_OF) == 1 {
            Act::CutAnswer(usize::try_from(dice.between(0, ANSWER_BYTES)).expect("a few bytes"))
        } else {
            Act::Pass
        }
    });
}

fn remove_snapshots(trial: &Trial, broker: usize) -> usize {
    let mut removed = 0;
    for partition in 0..PARTITIONS {
        let folder = trial.subject.log_dir(broker, TOPIC, partition).join(format!("{TOPIC}-{partition}"));
        for file in files::files_below(&folder) {
            if file.extension().is_some_and(|found| found == "snapshot") {
                std::fs::remove_file(&file).unwrap_or_else(|error| panic!("remove {}: {error}", file.display()));
                removed += 1;
            }
        }
    }
    removed
}
