//! What is written upstream: plain, idempotent and transactional producers, with every codec, each kind in a topic of its
//! own with a history of its own.
//!
//! Downstream the same histories get readers. A mirror has everything at the source's offsets, so the checker holds it
//! against what producers were told upstream, as if it were one cluster.

use crate::checker::{Kind, Verdict, judge};
use crate::history::Recorder;
use crate::load::{Load, LoadOptions, TransactionLoad, last_reading, quick_settings};

use super::world::Site;
use super::{Of, PARTITIONS};

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
/// Records per second of one codec, ...
const RATE: u32 = 20;
/// ... of which some make a batch.
const LINGER_MS: &str = "400";
/// What producers that are not idempotent may do when brokers die.
const NOT_IDEMPOTENT: &[Kind] = &[
    Kind::Duplicate,
    Kind::Reordered,
    Kind::NonmonotonicSend,
    Kind::IntNonmonotonicSend,
    Kind::IntSendSkip,
    Kind::PollSkip,
    Kind::IntPollSkip,
];

/// One kind of producers.
struct Part {
    options: LoadOptions,
    recorder: Recorder,
    loads: Vec<Load>,
    readers: Option<Load>,
    forgiven: &'static [Kind],
}

pub(super) struct Writing {
    parts: Vec<Part>,
}

impl Writing {
    /// Topics that have a history, in the order of [`Writing::start`].
    pub(super) fn topics(of: Of) -> Vec<&'static str> {
        match of {
            Of::Ours => vec!["links-idempotent", "links-transactions", "links-plain"],
            // Of a producer that may write a value twice, nobody can say how often a copy has it.
            Of::Generic => vec!["links-idempotent", "links-transactions"],
        }
    }

    pub(super) fn start(of: Of, source: &Site, folder: &std::path::Path) -> Self {
        let parts = Self::topics(of).into_iter().map(|topic| {
            let file = folder.join(format!("{topic}.jsonl"));
            let recorder = Recorder::create(&file).unwrap_or_else(|error| panic!("{error}"));
            let (options, loads) = match topic {
                "links-transactions" => {
                    let transactional = LoadOptions::transactional(topic, PARTITIONS);
                    let transactions = transactional.transactions.map(|load| TransactionLoad { members: 0, ..load });
                    let options = LoadOptions { readers: false, transactions, ..transactional };
                    (options.clone(), vec![options])
                }
                _ => {
                    let (nothing, is_idempotent) = (nothing(topic), topic == "links-idempotent");
                    let native = CODECS.map(|codec| LoadOptions {
                        native_rate: RATE,
                        native_settings: settings(codec, is_idempotent),
                        ..nothing.clone()
                    });
                    let raw = is_idempotent.then(|| LoadOptions { raw: true, ..nothing.clone() });
                    (nothing.clone(), native.into_iter().chain(raw).collect())
                }
            };
            let loads = loads.iter().map(|options| Load::start(&source.bootstrap, &recorder, options)).collect();
            let forgiven = if topic == "links-plain" { NOT_IDEMPOTENT } else { &[] };
            Part { options, recorder, loads, readers: None, forgiven }
        });
        Self { parts: parts.collect() }
    }

    /// Lets readers of committed records run along on the mirror.
    pub(super) fn read_along(&mut self, target: &Site) {
        for part in &mut self.parts {
            let readers = LoadOptions { readers: true, ..nothing(&part.options.topic) };
            part.readers = Some(Load::start(&target.bootstrap, &part.recorder, &readers));
        }
    }

    pub(super) fn acknowledged(&self) -> u64 {
        self.parts.iter().map(|part| part.recorder.acknowledged()).sum()
    }

    /// What breaks stands in the histories as well.
    pub(super) fn note(&self, step: &str) {
        self.parts.iter().for_each(|part| part.recorder.fault(step));
    }

    /// Ends producers, and waits until no transaction of theirs is open.
    pub(super) async fn stop(&mut self, source: &Site) {
        for part in &mut self.parts {
            for load in part.loads.drain(..) {
                load.stop().await;
            }
            if part.options.transactions.is_some() {
                until_nothing_is_open(source, &part.options.topic).await;
            }
        }
    }

    /// Reads everything of this cluster once more and lets the checker judge; figures and faults.
    pub(super) async fn judge(&mut self, site: &Site) -> (Vec<String>, Vec<String>) {
        let (mut figures, mut faults) = (Vec::new(), Vec::new());
        for part in &mut self.parts {
            if let Some(readers) = part.readers.take() {
                readers.stop().await;
            }
            last_reading(&site.bootstrap, &part.recorder, &part.options).await;
            let history = part.recorder.flushed().display().to_string();
            let events = part.recorder.events();
            // A long history takes a while.
            let verdict = tokio::task::spawn_blocking(move || judge(&events)).await.expect("a checker");
            let topic = &part.options.topic;
            figures.push(format!("{topic}, as the checker sees it: {verdict}"));
            let found = part.faults(&verdict).into_iter().map(|fault| format!("{topic}: {fault}; see {history}"));
            faults.extend(found);
        }
        (figures, faults)
    }
}

impl Part {
    fn faults(&self, verdict: &Verdict) -> Vec<String> {
        let is_fault = |kind: &Kind| !kind.is_allowed() && !self.forgiven.contains(kind);
        let mut faults: Vec<String> = verdict
            .kinds()
            .into_iter()
            .filter(is_fault)
            .map(|kind| {
                let first = verdict.anomalies.iter().find(|anomaly| anomaly.kind == kind);
                let detail = first.map(|anomaly| anomaly.detail.as_str()).unwrap_or_default();
                format!("{} x {}: {detail}", verdict.count(kind), kind.name())
            })
            .collect();
        if let Some(load) = self.options.transactions {
            faults.extend(load.missing(&verdict.counts));
        }
        if verdict.counts.acknowledged == 0 {
            faults.push("nothing was acknowledged".to_owned());
        }
        faults
    }
}

async fn until_nothing_is_open(source: &Site, topic: &str) {
    let what = format!("no transaction is open in {topic}");
    crate::wait::wait_until(&what, 2 * crate::operator::SETTLES_WITHIN, || async {
        source.operator.open_transactions(topic, super::world::BROKERS).await.is_some_and(|open| open.is_empty())
    })
    .await;
}

/// A load that does nothing, to be told what to do.
fn nothing(topic: &str) -> LoadOptions {
    LoadOptions { native_rate: 0, raw: false, readers: false, ..LoadOptions::new(topic, PARTITIONS) }
}

fn settings(codec: &str, is_idempotent: bool) -> Vec<(String, String)> {
    let own = [
        ("linger.ms", LINGER_MS),
        ("compression.type", codec),
        ("enable.idempotence", if is_idempotent { "true" } else { "false" }),
    ];
    let quick = quick_settings().into_iter().filter(|(name, _)| own.iter().all(|(other, _)| other != name));
    quick.chain(own).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
