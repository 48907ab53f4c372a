//! `load`: one client process that loads a Kafka cluster and tells what that took.
#![expect(clippy::print_stdout, reason = "a report is what this program is for")]

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};
use twinstream_bench::load::commits::Commits;
use twinstream_bench::load::fetch::Fetch;
use twinstream_bench::load::produce::Produce;
use twinstream_bench::load::requests::Requests;
use twinstream_bench::load::topics::Topics;
use twinstream_bench::load::transactional::Transactional;
use twinstream_bench::load::transactions::Transactions;
use twinstream_bench::load::trickle::Trickle;
use twinstream_bench::load::{Run, Target};
use twinstream_bench::payload::Content;
use twinstream_client::{ClientSettings, NewTopic};
use twinstream_model::TopicName;

/// Loads a Kafka cluster and tells what that took: of this client, and of the brokers whose process ids it is given.
///
/// Typical use, with a broker on port 9092:
///
///   load -b 127.0.0.1:9092 --pid $(pidof twinstream) produce --records 2000000
///   load -b 127.0.0.1:9092 --pid $(pidof twinstream) --topic t --keep produce --records 2000000
///   load -b 127.0.0.1:9092 --pid $(pidof twinstream) --topic t --keep fetch
///   load -b 127.0.0.1:9092 --pid $(pidof twinstream) requests --requests 300000
///   load -b 127.0.0.1:9092 --pid $(pidof twinstream) commits --commits 300000
///   load -b 127.0.0.1:9092 --pid $(pidof twinstream) transactional --transactions 10000
///   load -b 127.0.0.1:9092 --pid $(pidof twinstream) transactions --each 100
///   load -b 127.0.0.1:9092 --pid $(pidof twinstream) trickle --rate 1000 --seconds 20
///
/// Without --topic a topic with 6 partitions is made, and deleted at the end. A topic that is named is made if it is not
/// there, and deleted at the end unless --keep is given. Compare CPU seconds, not rates, while others use the machine;
/// `others` tells how many processors they had.
#[derive(Parser)]
#[command(verbatim_doc_comment, disable_help_subcommand = true)]
struct Arguments {
    /// host:port of at least one broker.
    #[arg(short, long, value_name = "HOST:PORT")]
    bootstrap: String,
    /// Process ids of brokers on this machine, whose processor time and memory are told.
    #[arg(long, value_delimiter = ',', value_name = "PID")]
    pid: Vec<u32>,
    /// The topic to load.
    #[arg(long)]
    topic: Option<String>,
    /// Partitions of a topic that is made.
    #[arg(long, default_value_t = 6)]
    partitions: i32,
    /// Replicas of a topic that is made.
    #[arg(long, default_value_t = 1)]
    replicas: i16,
    /// Keep the topic.
    #[arg(long)]
    keep: bool,
    /// A client setting by Kafka's name, or librdkafka's after `librdkafka.`; wins over what the mode chooses.
    #[arg(short = 'X', long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Subcommand)]
enum Mode {
    /// As many records as librdkafka can send; batches of up to 1 MB, acks=1 unless told otherwise.
    Produce(ProduceArguments),
    /// Reads everything that is in the topic.
    Fetch {
        /// Each with its own librdkafka; partitions are dealt out among them.
        #[arg(long, default_value_t = 1)]
        clients: usize,
    },
    /// One record a request, one request in flight on each connection, over plain sockets.
    Requests {
        #[arg(long, default_value_t = 300_000)]
        requests: u64,
        #[arg(long, default_value_t = 32)]
        connections: usize,
        #[arg(long, default_value_t = 1)]
        threads: usize,
        #[arg(long, default_value_t = 100)]
        size: usize,
        #[arg(long, default_value_t = 1, allow_negative_numbers = true)]
        acks: i16,
    },
    /// Offset commits, one in flight on each connection, which is the only one of its group.
    Commits {
        #[arg(long, default_value_t = 200_000)]
        commits: u64,
        #[arg(long, default_value_t = 64)]
        connections: usize,
        #[arg(long, default_value_t = 1)]
        threads: usize,
        /// That each commit names.
        #[arg(long = "each", default_value_t = 1)]
        partitions: usize,
    },
    /// Transactions of some records in one partition, of many producers, over plain sockets.
    Transactions {
        #[arg(long, default_value_t = 20_000)]
        transactions: u64,
        #[arg(long, default_value_t = 10)]
        producers: usize,
        /// Of each transaction.
        #[arg(long = "each", default_value_t = 100)]
        records: usize,
        #[arg(long, default_value_t = 100)]
        size: usize,
    },
    /// Transactions with librdkafka, which speaks the first protocol, one after the other from each producer.
    Transactional {
        #[arg(long, default_value_t = 10_000)]
        transactions: u64,
        /// Of each transaction.
        #[arg(long, default_value_t = 100)]
        records: u64,
        #[arg(long, default_value_t = 1_024)]
        size: usize,
        /// Each with its own librdkafka and transactional id.
        #[arg(long, default_value_t = 10)]
        producers: usize,
        /// Partitions that each transaction writes to; all if nothing is said.
        #[arg(long = "each", value_name = "PARTITIONS")]
        partitions: Option<i32>,
    },
    /// Records at a steady rate; how long each took from when it was due, in microseconds.
    Trickle {
        /// Records a second.
        #[arg(long, default_value_t = 1_000.0)]
        rate: f64,
        #[arg(long, default_value_t = 20.0)]
        seconds: f64,
        #[arg(long, default_value_t = 100)]
        size: usize,
        /// Do not consume, only look at acknowledgements.
        #[arg(long)]
        no_consumer: bool,
        #[arg(long, default_value = "all")]
        acks: String,
        /// Say `ready` when warm, begin with a line on stdin, end early when stdin is closed.
        #[arg(long)]
        on_orders: bool,
        /// Consume from this cluster instead, to which somebody copies.
        #[arg(long, value_name = "HOST:PORT", requires = "copy", conflicts_with = "no_consumer")]
        downstream: Option<String>,
        /// The topic there that is the copy.
        #[arg(long, value_name = "TOPIC", requires = "downstream")]
        copy: Option<String>,
    },
}

#[derive(Args)]
struct ProduceArguments {
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    #[arg(long, default_value_t = 1_024)]
    size: usize,
    /// Each with its own librdkafka.
    #[arg(long, default_value_t = 1)]
    clients: usize,
    #[arg(long, default_value = "1")]
    acks: String,
    #[arg(long, default_value = "none")]
    compression: String,
    /// An idempotent producer; takes acks=all.
    #[arg(long)]
    idempotence: bool,
    /// What records are made of: noise, text that codecs shrink, or events, each its own JSON object of its own length
    /// (--size means nothing then); text if there is a codec.
    #[arg(long)]
    content: Option<Kind>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Random,
    Text,
    Events,
}

/// Large enough for all that is there when a batch is sent.
const BATCHES: [(&str, &str); 2] = [("linger.ms", "5"), ("batch.size", "1000000")];

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(run) => {
            println!("{}", if arguments.json { json(&run) } else { text(&run) });
            ExitCode::SUCCESS
        }
        Err(error) => {
            use std::io::Write as _;
            writeln!(std::io::stderr(), "load: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<Run> {
    let settings = settings(arguments)?;
    let name = arguments.topic.clone().unwrap_or_else(|| format!("load-{}", std::process::id()));
    let topic = TopicName::parse(&name)?;
    let topics = Topics::connect(&ClientSettings::new(&arguments.bootstrap)?)?;
    let new = NewTopic::new(topic.clone(), arguments.partitions, arguments.replicas);
    topics.ensure(&new.with_config("file.delete.delay.ms", "1000"))?;
    let result = load(&arguments.mode, &Target { settings, topic: topic.clone() }, &arguments.pid);
    if !arguments.keep {
        topics.delete(&topic)?;
    }
    result
}

fn settings(arguments: &Arguments) -> Result<ClientSettings> {
    let mut settings = ClientSettings::new(&arguments.bootstrap)?;
    for (name, value) in arguments.mode.settings() {
        settings.set(name, &value)?;
    }
    for entry in &arguments.set {
        let (name, value) = entry.split_once('=').with_context(|| format!("--set {entry}: write NAME=VALUE"))?;
        settings.set(name, value)?;
    }
    Ok(settings)
}

impl Mode {
    fn settings(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Produce(produce) => produce.settings(),
            // As librdkafka has it by default: the client must not be the limit.
            Self::Fetch { .. } => vec![("check.crcs", "false".to_owned())],
            Self::Requests { .. } | Self::Commits { .. } | Self::Transactions { .. } => Vec::new(),
            Self::Transactional { .. } => BATCHES.map(|(name, value)| (name, value.to_owned())).into(),
            Self::Trickle { acks, .. } => vec![
                ("acks", acks.clone()),
                ("enable.idempotence", "false".to_owned()),
                ("linger.ms", "0".to_owned()),
                ("check.crcs", "false".to_owned()),
            ],
        }
    }
}

impl ProduceArguments {
    fn settings(&self) -> Vec<(&'static str, String)> {
        let mut settings = vec![
            ("acks", if self.idempotence { "all".to_owned() } else { self.acks.clone() }),
            ("enable.idempotence", self.idempotence.to_string()),
            ("compression.type", self.compression.clone()),
        ];
        settings.extend(BATCHES.map(|(name, value)| (name, value.to_owned())));
        settings
    }

    fn content(&self) -> Content {
        match self.content {
            Some(Kind::Random) => Content::Random,
            Some(Kind::Text) => Content::Text,
            Some(Kind::Events) => Content::Events,
            None if self.compression == "none" => Content::Random,
            None => Content::Text,
        }
    }
}

fn load(mode: &Mode, target: &Target, pids: &[u32]) -> Result<Run> {
    match mode {
        Mode::Produce(arguments) => {
            let (records, size, clients) = (arguments.records, arguments.size, arguments.clients);
            Produce { records, size, content: arguments.content(), clients }.run(target, pids)
        }
        Mode::Fetch { clients } => Fetch { clients: *clients }.run(target, pids),
        Mode::Requests { requests, connections, threads, size, acks } => {
            let (requests, connections, threads) = (*requests, *connections, *threads);
            Requests { requests, connections, threads, size: *size, acks: *acks }.run(target, pids)
        }
        Mode::Commits { commits, connections, threads, partitions } => {
            let (commits, connections, threads) = (*commits, *connections, *threads);
            Commits { commits, connections, threads, partitions: *partitions }.run(target, pids)
        }
        Mode::Transactions { transactions, producers, records, size } => {
            let (transactions, producers, records) = (*transactions, *producers, *records);
            Transactions { transactions, producers, records, size: *size }.run(target, pids)
        }
        Mode::Transactional { transactions, records, size, producers, partitions } => {
            let (transactions, records, size) = (*transactions, *records, *size);
            Transactional { transactions, records, size, producers: *producers, partitions: *partitions }
                .run(target, pids)
        }
        Mode::Trickle { rate, seconds, size, no_consumer, on_orders, downstream, copy, .. } => {
            let (per_second, seconds, size, on_orders) = (*rate, *seconds, *size, *on_orders);
            let copy = downstream.as_ref().zip(copy.as_ref()).map(|(bootstrap, topic)| copy_at(mode, bootstrap, topic));
            let copy = copy.transpose()?;
            Trickle { per_second, seconds, size, consume: !no_consumer, copy, on_orders }.run(target, pids)
        }
    }
}

fn copy_at(mode: &Mode, bootstrap: &str, topic: &str) -> Result<Target> {
    let mut settings = ClientSettings::new(bootstrap)?;
    for (name, value) in mode.settings() {
        settings.set(name, &value)?;
    }
    Ok(Target { settings, topic: TopicName::parse(topic)? })
}

fn json(run: &Run) -> String {
    serde_json::to_string(run).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
}

fn text(run: &Run) -> String {
    let took = &run.took;
    let mut text = format!(
        "{} records, {:.3} GB in {:.3} s: {:.1} MB/s, {:.0} records/s\n",
        run.records,
        run.gigabytes(),
        took.seconds,
        run.megabytes_per_second(),
        run.records_per_second(),
    );
    if let Some(brokers) = &took.brokers {
        text += &format!(
            "brokers: {:.2} CPU s = {:.3} s/GB = {:.2} s per million records; {:.1} MB resident, {:.1} MB at most, {} files\n",
            brokers.cpu_seconds,
            brokers.cpu_seconds / run.gigabytes(),
            brokers.cpu_seconds / run.million_records(),
            brokers.resident_bytes as f64 / 1e6,
            brokers.peak_bytes as f64 / 1e6,
            brokers.open_files,
        );
    }
    text += &format!(
        "client: {:.2} CPU s = {:.3} s/GB; its busiest thread, {}, had {:.2} of a processor\n",
        took.client.cpu_seconds,
        took.client.cpu_seconds / run.gigabytes(),
        took.client.busiest_thread,
        took.client.busiest_share,
    );
    text += &format!(
        "machine: {} processors, {:.2} busy, of which others {:.2}; load average {:.2}",
        took.machine.processors,
        took.machine.busy_seconds / took.seconds,
        took.machine.others_seconds / took.seconds,
        took.machine.load_average,
    );
    let latencies = [
        ("sent", &run.sent),
        ("acknowledged", &run.acknowledged),
        ("end to end", &run.end_to_end),
        ("relayed", &run.relayed),
    ];
    for (name, latency) in latencies {
        if let Some(latency) = latency {
            text += &format!(
                "\n{name}, us: mean {:.0}, p50 {:.0}, p90 {:.0}, p99 {:.0}, p99.9 {:.0}, max {:.0} of {}",
                latency.mean, latency.p50, latency.p90, latency.p99, latency.p999, latency.max, latency.count
            );
        }
    }
    text
}
