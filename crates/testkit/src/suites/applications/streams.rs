//! Kafka Streams counts words with `processing.guarantee=exactly_once_v2`: the example that Kafka ships, in two processes
//! that share the partitions and keep standby replicas of each other's stores.
//!
//! It writes each new count of a word, so the output of a word that came n times is 1, 2, .. n: a count that is left out
//! was lost or went astray between two lives of the application, one that is there twice was counted twice.

use std::collections::BTreeMap;

use twinstream_client::ConsumerRecord;

use super::follower::Follower;
use super::input::Input;
use super::program::Program;
use super::site::{Side, Site};
use super::{Effort, WORKS_WITHIN};
use crate::faults::Dice;
use crate::folder::Folder;
use crate::peer::{self, Kafka};
use crate::records;
use crate::wait::wait_until;

const CLASS: &str = "org.apache.kafka.streams.examples.wordcount.WordCountDemo";
/// As the example has them.
const INPUT: &str = "streams-plaintext-input";
const OUTPUT: &str = "streams-wordcount-output";
const PARTITIONS: i32 = 4;
const APPLICATIONS: usize = 2;
const WORDS_PER_LINE: usize = 5;
const WORDS: [&str; 20] = [
    "all", "streams", "lead", "to", "kafka", "hello", "join", "summit", "the", "quick", "brown", "fox", "jumps",
    "over", "a", "lazy", "dog", "und", "so", "weiter",
];
/// What its library logs when it gives up; the example waits on without it.
const GIVES_UP: &str = "The streams client is going to shut down now";
/// Counts between two kills.
const COUNTS: usize = 1_000;

pub(super) async fn run(side: Side, effort: Effort) -> String {
    let (kafka, folder) = (peer::kafka(), Folder::new());
    let mut site = Site::start(side, effort.brokers).await;
    site.create_topic(INPUT, PARTITIONS, &[]).await;
    site.create_topic(OUTPUT, PARTITIONS, &[]).await;
    let mut applications: Vec<Program> =
        (1..=APPLICATIONS).map(|number| application(&kafka, &folder, &site.bootstrap, number)).collect();
    for application in &mut applications {
        application.start();
    }
    let mut dice = Dice::new(1);
    let line = move |_| (0..WORDS_PER_LINE).map(|_| *dice.pick(&WORDS)).collect::<Vec<_>>().join(" ");
    let input = Input::start(&site.bootstrap, INPUT, line);
    let follower = Follower::start(&site.bootstrap, OUTPUT, PARTITIONS).await;
    follower.until_more(COUNTS).await;
    for kill in 0..effort.kills {
        site.lose_a_broker().await;
        follower.until_more(COUNTS).await;
        let application = &mut applications[kill % APPLICATIONS];
        application.kill();
        if kill % 2 == 1 {
            // The other one takes over everything first, once the session of this one is over.
            follower.until_more(COUNTS).await;
        }
        application.start();
        follower.until_more(COUNTS).await;
    }
    let lines = input.stop().await;
    let wanted = words_of(&lines);
    let total: usize = wanted.values().sum();
    wait_until("every word is counted", WORKS_WITHIN, || async { follower.records() >= total }).await;
    for application in &mut applications {
        application.stop().await;
    }
    let written = records::read_all(&site.bootstrap, INPUT).await;
    assert_eq!(written.len(), lines.len(), "every line was written once");
    let counted = counts_of(&records::read_committed(&site.bootstrap, OUTPUT).await);
    assert_eq!(faults(&wanted, &counted), Vec::<String>::new());
    site.assert_no_transaction_hangs(&mut kafka.tools());
    let pause = follower.longest_pause().as_secs_f64();
    format!("{total} words, each counted once; longest time without a count {pause:.1} s")
}

fn application(kafka: &Kafka, folder: &Folder, bootstrap: &str, number: usize) -> Program {
    let name = format!("word-count-{number}");
    let state = folder.sub(&format!("{name}-state")).display().to_string();
    let settings = [
        ("bootstrap.servers", bootstrap),
        ("application.id", "word-count"),
        ("client.id", name.as_str()),
        ("processing.guarantee", "exactly_once_v2"),
        ("num.standby.replicas", "1"),
        ("state.dir", &state),
        ("session.timeout.ms", "6000"),
        ("heartbeat.interval.ms", "1000"),
        ("metadata.max.age.ms", "2000"),
    ];
    Program::new(kafka, folder, &name, CLASS, &settings).gives_up_with(GIVES_UP)
}

/// How often each word is there.
fn words_of(lines: &[String]) -> BTreeMap<String, usize> {
    let mut words = BTreeMap::new();
    for word in lines.iter().flat_map(|line| line.split(' ')) {
        *words.entry(word.to_owned()).or_default() += 1;
    }
    words
}

/// The counts of each word, in their order.
fn counts_of(output: &[ConsumerRecord]) -> BTreeMap<String, Vec<usize>> {
    let mut counts: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for record in output {
        let word = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok()).expect("a word");
        let count = record.value.as_deref().and_then(|value| value.try_into().ok()).map(u64::from_be_bytes);
        let count = count.and_then(|count| usize::try_from(count).ok()).expect("a count of eight bytes");
        counts.entry(word.to_owned()).or_default().push(count);
    }
    counts
}

/// What is wrong with the output.
fn faults(wanted: &BTreeMap<String, usize>, counted: &BTreeMap<String, Vec<usize>>) -> Vec<String> {
    let mut faults = Vec::new();
    for (word, times) in wanted {
        let none = Vec::new();
        let counts = counted.get(word).unwrap_or(&none);
        let mut expected = 1..=*times;
        let odd = counts.iter().find(|count| expected.next() != Some(**count));
        match odd {
            Some(odd) => faults.push(format!("`{word}`, {times} times, is counted {odd} out of turn")),
            None if counts.len() < *times => {
                faults.push(format!("`{word}`, {times} times, is counted {} times", counts.len()));
            }
            None => {}
        }
    }
    faults
        .extend(counted.keys().filter(|word| !wanted.contains_key(*word)).map(|word| format!("nobody wrote `{word}`")));
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(counts: &[usize]) -> BTreeMap<String, Vec<usize>> {
        BTreeMap::from([("word".to_owned(), counts.to_vec())])
    }

    #[test]
    fn a_count_that_is_lost_or_there_twice_is_a_fault() {
        let wanted = BTreeMap::from([("word".to_owned(), 3)]);
        assert_eq!(faults(&wanted, &counted(&[1, 2, 3])), Vec::<String>::new());
        for wrong in [&[1, 2][..], &[1, 3], &[1, 2, 2, 3], &[1, 2, 3, 3], &[2, 1, 3], &[1, 2, 3, 4], &[]] {
            assert_eq!(faults(&wanted, &counted(wrong)).len(), 1, "{wrong:?}");
        }
        assert_eq!(faults(&BTreeMap::new(), &counted(&[1])).len(), 1, "a word that nobody wrote");
    }
}
