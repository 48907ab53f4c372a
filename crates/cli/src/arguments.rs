//! The command tree, as clap sees it.
//!
//! Invariants: every flag has an effect; a flag that several commands share is one struct here; defaults are named
//! constants or shown in the help. Not here: what a command does.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::engine::ArgValueCandidates;
use twinstream_telemetry::LogFormat;

use crate::complete;
pub(crate) use crate::context::reach::{Cluster, Registry, Worker};
use crate::watch::Watch;

/// Two Kafka-compatible sites, a mirror between them, a schema registry and a search sink in one binary.
#[derive(Debug, Parser)]
#[command(name = "twinstream", version, max_term_width = 110, propagate_version = true, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub command: Command,

    /// What the command prints on stdout.
    #[arg(short, long, global = true, value_enum, default_value_t = OutputFormat::Table)]
    pub output: OutputFormat,

    #[command(flatten)]
    pub context: crate::context::reach::ContextFlag,

    /// Filter of log events on stderr: a level, or e.g. `info,twinstream_broker=debug`. Else TWINSTREAM_LOG, else `info`
    /// for servers and `error` for other commands.
    #[arg(long, global = true, value_name = "FILTER")]
    pub log: Option<String>,

    /// Shape of log events: auto, compact, plain or json.
    #[arg(long, global = true, value_name = "FORMAT", default_value = "auto")]
    pub log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// Aligned columns with a header.
    Table,
    /// A table with more columns.
    Wide,
    Json,
    Yaml,
    /// Names only, one a line.
    Name,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start two clusters, a registry, a worker and a search index here, and mirror real data through them.
    Quickstart(Quickstart),
    /// Run one broker.
    Broker(Role),
    /// Tie a broker's empty log directories to a cluster before its first start. A broker does it by itself unless you
    /// want to choose the cluster id.
    Format(Format),
    /// Run a schema registry.
    Registry(Role),
    /// Run a Connect worker.
    Worker(Role),
    /// Run the flows of a dedicated-mode file of MirrorMaker 2 (connect-mirror-maker.properties) in one process.
    Mirror(Mirror),
    /// Run the embedded search index (the default of the quick start; not a product).
    Search(Search),
    /// Name the sites that commands go to, and choose one.
    #[command(subcommand)]
    Context(crate::context::ContextCommand),
    /// Create, list, describe, change, empty and delete topics.
    #[command(subcommand)]
    Topic(Topic),
    /// Write the lines of stdin to a topic.
    Produce(Produce),
    /// Print the records of topics.
    Consume(Consume),
    /// List and describe consumer groups, and move where they go on.
    #[command(subcommand)]
    Group(Group),
    /// Look at a cluster as a whole: health, settings, disks, quorum, who leads.
    #[command(subcommand)]
    Cluster(crate::cluster::ClusterCommand),
    /// List access rules.
    #[command(subcommand)]
    Acl(crate::security::Acl),
    /// List the users that have SCRAM credentials.
    #[command(subcommand)]
    User(crate::security::User),
    /// List the quotas of clients.
    #[command(subcommand)]
    Quota(crate::security::Quota),
    /// List, describe and abort transactions.
    #[command(subcommand)]
    Txn(crate::txn::Txn),
    /// List, register, compare and delete schemas.
    #[command(subcommand)]
    Schema(crate::schema::Schema),
    /// List, apply, pause, restart and delete connectors.
    #[command(subcommand)]
    Connect(crate::connect::Connect),
    /// Create, watch, pause and delete links: the mirror connectors of a source and a target.
    #[command(subcommand)]
    Link(Link),
    /// Read the settings of a server as its start would, say what is wrong with them, and start nothing.
    CheckConfig(CheckConfig),
    /// Print what makes a shell complete commands and flags.
    Completion(Completion),
    /// Print the manual page, or write those of all commands.
    Man(Man),
    /// Print the version.
    Version,
}

impl Command {
    pub(crate) fn is_server(&self) -> bool {
        match self {
            Self::Broker(_) | Self::Registry(_) | Self::Worker(_) | Self::Search(_) => true,
            Self::Mirror(mirror) => !mirror.dry_run,
            _ => false,
        }
    }
}

/// A server that reads a file of `name=value` lines.
#[derive(Debug, Args)]
pub(crate) struct Role {
    /// Settings, as `name=value` lines (Java properties).
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// A setting that wins over the file; may be given many times.
    #[arg(long = "override", value_name = "NAME=VALUE", value_parser = name_and_value)]
    pub overrides: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub(crate) struct CheckConfig {
    /// Whose settings they are.
    #[arg(value_enum)]
    pub server: Server,

    #[command(flatten)]
    pub role: Role,
}

/// Servers with settings files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Server {
    Broker,
    Registry,
    Worker,
}

#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// The shell. Its documentation says where the script belongs, e.g. /etc/bash_completion.d/twinstream.
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Where to write one page for each command, as `twinstream-link-failover.1`. Without it the first page goes to stdout.
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Format {
    /// The id of the cluster, the same for all of its nodes.
    #[arg(short = 't', long, value_name = "ID")]
    pub cluster_id: String,

    /// Pass over directories that this cluster formatted before, instead of failing.
    #[arg(short = 'g', long)]
    pub ignore_formatted: bool,

    #[command(flatten)]
    pub role: Role,
}

#[derive(Debug, Args)]
pub(crate) struct Search {
    /// Address of the REST API.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:9200")]
    pub listen: SocketAddr,

    /// Where the indexes are kept.
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Mirror {
    /// Clusters and the flows between them, as MirrorMaker 2 has them in its dedicated mode.
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,

    /// A setting that wins over the file; may be given many times.
    #[arg(long = "override", value_name = "NAME=VALUE", value_parser = name_and_value)]
    pub overrides: Vec<(String, String)>,

    /// Only flows into these clusters, the ones nearby.
    #[arg(long, value_name = "ALIAS", num_args = 1.., value_delimiter = ',')]
    pub clusters: Vec<String>,

    /// Check the file, show what would run, and end.
    #[arg(long)]
    pub dry_run: bool,
}

/// Ports a site may use, so that the two sites and the other servers never meet.
pub(crate) const BROKERS_PER_SITE_MAX: u16 = 10;

#[derive(Debug, Args)]
pub(crate) struct Quickstart {
    /// Where everything is kept. Started again on the same directory, it goes on where it was.
    #[arg(long, value_name = "DIR", default_value = "twinstream-data")]
    pub data_dir: PathBuf,

    /// First port. Upstream brokers take it and those behind it, downstream brokers +10, then registry +20, worker +21,
    /// search +22.
    #[arg(long, value_name = "PORT", default_value_t = 9092, value_parser = clap::value_parser!(u16).range(1024..65500))]
    pub port_base: u16,

    /// An Elasticsearch or OpenSearch to index into, instead of the embedded one.
    #[arg(long, value_name = "URL")]
    pub search: Option<String>,

    /// Brokers per site.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=BROKERS_PER_SITE_MAX as i64))]
    pub brokers: u16,

    /// Stop when all is shown: exit 0 if the three counts are equal, else 1.
    #[arg(long)]
    pub once: bool,
}

pub(crate) const DEFAULT_BOOTSTRAP: &str = "127.0.0.1:9092";
pub(crate) const BOOTSTRAP_VARIABLE: &str = "TWINSTREAM_BOOTSTRAP";
pub(crate) const REGISTRY_VARIABLE: &str = "TWINSTREAM_REGISTRY";
pub(crate) const DEFAULT_REGISTRY: &str = "http://127.0.0.1:8081";

#[derive(Debug, Subcommand)]
pub(crate) enum Topic {
    /// Create a topic.
    Create {
        name: String,
        /// Partitions; the broker's num.partitions if absent.
        #[arg(short, long, value_parser = clap::value_parser!(i32).range(1..))]
        partitions: Option<i32>,
        /// Copies of each partition; the broker's default if absent.
        #[arg(short, long, value_parser = clap::value_parser!(i16).range(1..))]
        replication_factor: Option<i16>,
        /// A setting of the topic; may be given many times.
        #[arg(short, long, value_name = "NAME=VALUE", value_parser = name_and_value)]
        config: Vec<(String, String)>,
        /// A topic of this name is fine.
        #[arg(long)]
        if_not_exists: bool,
        #[command(flatten)]
        cluster: Cluster,
    },
    /// List topics.
    List {
        /// Also those that start with two underscores.
        #[arg(long)]
        internal: bool,
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        cluster: Cluster,
    },
    /// Show partitions with leader, replicas, ISR, ELR and offsets, and the settings of its own.
    Describe {
        #[arg(required = true, add = ArgValueCandidates::new(complete::topics))]
        names: Vec<String>,
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        cluster: Cluster,
    },
    /// Delete topics and their records.
    Delete {
        #[arg(required = true, add = ArgValueCandidates::new(complete::topics))]
        names: Vec<String>,
        /// Tell what would be deleted, and delete nothing.
        #[arg(long)]
        dry_run: bool,
        /// Do not ask on the terminal.
        #[arg(short, long)]
        yes: bool,
        #[command(flatten)]
        cluster: Cluster,
    },
    /// Change settings of a topic.
    Alter(crate::topic_change::Alter),
    /// Give a topic more partitions.
    AddPartitions(crate::topic_change::AddPartitions),
    /// Delete the oldest records of a topic.
    Trim(crate::topic_change::Trim),
    /// Make a topic with the partitions, replicas and settings of another one, without its records.
    Clone(crate::topic_change::CloneTopic),
    /// Delete all records of a topic; the topic, its offsets and its settings stay.
    Purge(crate::topic_change::Purge),
}

#[derive(Debug, Args)]
pub(crate) struct Produce {
    #[arg(add = ArgValueCandidates::new(complete::topics))]
    pub topic: String,

    /// What stands between key and value on a line; without it a line is a value without key.
    #[arg(short = 'K', long, value_name = "TEXT")]
    pub key_separator: Option<String>,

    /// An Avro schema file: each value is a JSON object that fits it, sent in the registry's format.
    #[arg(long, value_name = "FILE")]
    pub schema: Option<PathBuf>,

    #[command(flatten)]
    pub registry: Registry,

    /// The partition; chosen by key if absent.
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(0..))]
    pub partition: Option<i32>,

    /// A header of each record; may be given many times.
    #[arg(short = 'H', long, value_name = "NAME=VALUE", value_parser = name_and_value)]
    pub header: Vec<(String, String)>,

    /// none, gzip, snappy, lz4 or zstd.
    #[arg(short = 'z', long, value_name = "CODEC")]
    pub compression: Option<String>,

    /// Send an empty key or value as null (a tombstone).
    #[arg(short = 'Z', long)]
    pub null_if_empty: bool,

    #[command(flatten)]
    pub cluster: Cluster,
}

#[derive(Debug, Args)]
pub(crate) struct Consume {
    #[arg(required = true, add = ArgValueCandidates::new(complete::topics))]
    pub topics: Vec<String>,

    /// Start at the first record rather than behind the last.
    #[arg(long)]
    pub from_beginning: bool,

    /// Stop after this many records.
    #[arg(short, long, value_name = "N")]
    pub max: Option<u64>,

    /// Stop at the end of all partitions.
    #[arg(short = 'e', long)]
    pub exit: bool,

    /// kcat's format: %t topic, %p partition, %o offset, %k key, %s value, %h headers, %T timestamp, %K and %S lengths,
    /// \n \t \r \xNN.
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,

    /// Join this group and commit what was printed.
    #[arg(short, long, value_name = "NAME", add = ArgValueCandidates::new(complete::groups))]
    pub group: Option<String>,

    /// Where keys and values in its format get their schemas from; they are shown as JSON then.
    #[command(flatten)]
    pub registry: Registry,

    #[command(flatten)]
    pub cluster: Cluster,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Group {
    /// List groups.
    List {
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        cluster: Cluster,
    },
    /// Show members, committed offsets and lag.
    Describe {
        #[arg(required = true, add = ArgValueCandidates::new(complete::groups))]
        names: Vec<String>,
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        cluster: Cluster,
    },
    /// Show how many records each group has left, by topic and partition.
    Lag(crate::group_lag::Lag),
    /// Move where a group goes on; nobody may be in it.
    Seek(crate::group_change::Seek),
    /// Show what a group has committed, or delete some of it.
    Offsets(crate::group_change::Offsets),
    /// Delete groups and what they have committed; nobody may be in them.
    Delete(crate::group_change::Delete),
    /// Let another group go on where this one is.
    Clone(crate::group_change::CloneGroup),
}

pub(crate) const DEFAULT_WORKER: &str = "http://127.0.0.1:8083";
pub(crate) const WORKER_VARIABLE: &str = "TWINSTREAM_WORKER";

/// Which link, and the worker that runs it.
#[derive(Debug, Args)]
pub(crate) struct OneLink {
    /// Aliases of source and target: east:west, or 'east->west' in quotes.
    #[arg(add = ArgValueCandidates::new(complete::links))]
    pub link: String,
    #[command(flatten)]
    pub worker: Worker,
}

/// A link to look at.
#[derive(Debug, Args)]
pub(crate) struct WatchedLink {
    #[command(flatten)]
    pub link: OneLink,
    #[command(flatten)]
    pub watch: Watch,
}

/// A link, and whether it is only told what would happen.
#[derive(Debug, Args)]
pub(crate) struct LinkChange {
    #[command(flatten)]
    pub link: OneLink,
    /// Check and tell, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LinkVerify {
    #[command(flatten)]
    pub change: LinkChange,
    /// Topics of the source: regular expressions by comma, each for the whole name.
    #[arg(long, value_name = "REGEX", default_value = ".*")]
    pub topics: String,
}

/// What changes who leads. It may be called again until it is done.
#[derive(Debug, Args)]
pub(crate) struct LinkVerb {
    #[command(flatten)]
    pub change: LinkChange,
    /// Wait so many seconds at most; what is not done by then is told, and done by the next call.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(..=3_600))]
    pub timeout: u64,
    /// Topics of the source: regular expressions by comma, each for the whole name; what one with a ! before it matches is left out.
    #[arg(long, value_name = "REGEX")]
    pub topics: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Link {
    /// List links with their states.
    List {
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        worker: Worker,
    },
    /// Show connectors, failures and settings.
    Describe(WatchedLink),
    /// Show how far each partition is behind its source.
    Lag(WatchedLink),
    /// Compare both sides and print each difference; exits with 1 if there is one.
    Verify(LinkVerify),
    /// Make a link, or give one new settings.
    Create {
        #[command(flatten)]
        change: LinkChange,
        /// Brokers of the source, as host:port, comma separated.
        #[arg(long, value_name = "HOST:PORT")]
        source: Option<String>,
        /// Brokers of the target, as host:port, comma separated.
        #[arg(long, value_name = "HOST:PORT")]
        target: Option<String>,
        /// Settings, as `name=value` lines (Java properties).
        #[arg(long, value_name = "FILE")]
        config_file: Option<PathBuf>,
        /// A setting that wins over the file's; may be given many times.
        #[arg(short, long, value_name = "NAME=VALUE", value_parser = name_and_value)]
        config: Vec<(String, String)>,
    },
    /// Delete a link; topics and offsets stay.
    Delete {
        #[command(flatten)]
        change: LinkChange,
        /// Do not ask on the terminal.
        #[arg(short, long)]
        yes: bool,
    },
    /// Copy nothing until it is resumed.
    Pause(LinkChange),
    /// Go on.
    Resume(LinkChange),
    /// End all tasks; resume starts them again.
    Stop(LinkChange),
    /// The source is lost: make its copies writable, and tell what is lost with it.
    Failover(LinkVerb),
    /// Make the copies writable without any loss; the source must answer, and its producers must have stopped.
    Promote(LinkVerb),
    /// Let source and target change places without any loss; needs our brokers on both sides.
    Reverse(LinkVerb),
    /// After a failover: bring home what the target got, and let the source lead again; needs our brokers on both sides.
    Failback(LinkVerb),
}

pub(crate) fn name_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.trim().to_owned())),
        _ => Err(format!("`{text}` is not NAME=VALUE")),
    }
}

#[cfg(test)]
mod tests;
