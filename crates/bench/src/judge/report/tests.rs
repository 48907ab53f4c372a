use super::{About, Failure, Report, RowReport, Sample, goal, number};
use crate::load::{ClientUse, MachineUse, Run, Took};
use crate::targets::{Goal, Row, Verdict};

/// A million records in so many seconds.
fn run(seconds: f64, busiest_share: f64) -> Run {
    let client = ClientUse { cpu_seconds: seconds, busiest_thread: "rdk:broker1".to_owned(), busiest_share };
    let machine = MachineUse { processors: 2, busy_seconds: seconds, others_seconds: 0.0, load_average: 1.0 };
    let took = Took { seconds, client, brokers: None, machine };
    Run {
        records: 1_000_000,
        bytes: 1_024_000_000,
        took,
        acknowledged: None,
        end_to_end: None,
        relayed: None,
        sent: None,
    }
}

fn sample(values: &[f64], run: Run) -> Sample {
    Sample { values: values.to_vec(), runs: vec![run] }
}

fn verdicts(row: &RowReport) -> Vec<Verdict> {
    row.metrics.iter().map(|metric| metric.verdict).collect()
}

fn report(rows: Vec<RowReport>) -> Report {
    Report {
        at_unix_seconds: 0,
        processors: 2,
        kernel: "6".to_owned(),
        about: About {
            ours: "twinstream".to_owned(),
            rival: None,
            pairs: 1,
            scale: 1.0,
            rows_in_all: 17,
            pairs_wanted: 5,
        },
        load_average_before: 0.0,
        rows,
        failures: Vec::new(),
        not_run: Vec::new(),
    }
}

#[test]
fn a_row_is_judged_by_its_metrics_in_their_order() {
    let ours = vec![sample(&[0.5, 800.0], run(1.0, 0.5))];
    let theirs = vec![sample(&[2.0, 400.0], run(2.0, 0.5))];
    let row = RowReport::of(Row::Produce1, ours, theirs, Vec::new());
    assert_eq!(verdicts(&row), [Verdict::Met, Verdict::Met]);
    assert_eq!(row.metrics[0].ratio.expect("a ratio").median, 0.25);
}

#[test]
fn a_rate_is_excused_by_a_client_that_reaches_no_more_against_nobody() {
    let ours = || vec![sample(&[0.5, 500.0], run(1.0, 0.5))];
    let theirs = || vec![sample(&[2.0, 400.0], run(1.25, 0.5))];
    let excused = RowReport::of(Row::Produce1, ours(), theirs(), vec![run(0.95, 0.5)]);
    assert_eq!(verdicts(&excused), [Verdict::Met, Verdict::ClientIsTheLimit]);
    let missed = RowReport::of(Row::Produce1, ours(), theirs(), vec![run(0.5, 0.5)]);
    assert_eq!(verdicts(&missed), [Verdict::Met, Verdict::Missed]);
    assert!(report(vec![excused.clone()]).is_good() && !report(vec![excused, missed]).is_good());
}

#[test]
fn the_table_names_what_was_missed() {
    let row = RowReport::of(Row::Memory, vec![sample(&[30.0, 100.0], run(1.0, 0.1))], Vec::new(), Vec::new());
    let text = report(vec![row]).text();
    assert!(text.ends_with("not the whole table: 1 of 17 rows, 1 pairs, not 5\n1 missed: memory idle\n"), "{text}");
}

#[test]
fn numbers_keep_three_digits() {
    assert_eq!([12_345.6, 12.34, 1.234, 0.1234].map(number), ["12346", "12.3", "1.23", "0.123"]);
}

#[test]
fn targets_are_told_as_they_were_written() {
    assert_eq!(goal(Goal::RatioAtMost(1.0 / 15.0)), "<= 0.0667 x");
    assert_eq!([goal(Goal::AtLeast(400.0)), goal(Goal::RatioAtMost(0.35))], [">= 400", "<= 0.35 x"]);
}

#[test]
fn a_row_that_did_not_run_is_no_success() {
    let mut report = report(Vec::new());
    report.failures.push(Failure { row: "fetch", reason: "no broker".to_owned() });
    assert!(!report.is_good() && report.text().contains("fetch           FAILED: no broker"));
    let failure = report.failures.remove(0);
    assert!(report.is_good());
    report.not_run.push(failure);
    assert!(!report.is_good() && report.text().contains("fetch           NOT RUN: no broker"));
}

#[test]
fn another_build_of_ours_is_compared_with_but_not_judged_by() {
    let sides = || (vec![sample(&[0.5, 500.0], run(1.0, 0.5))], vec![sample(&[0.5, 500.0], run(1.0, 0.5))]);
    let (ours, theirs) = sides();
    let row = RowReport::of(Row::Fetch, ours, theirs, Vec::new()).against_another_build();
    assert_eq!(verdicts(&row), [Verdict::NotCompared, Verdict::NotCompared]);
    assert!(row.metrics[0].ratio.is_some());
}
