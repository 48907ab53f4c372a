//! The binary `twinstream`: server roles, the quick start, operator commands.
//!
//! Picture: [`arguments`] is the command tree, `main` picks one module by command, the module does the work and returns
//! `Ok` or a [`failure::Failure`]. A failure is printed once, here, as cause, what was tried, and what to do next.
//!
//! Exit codes: 0 done, 1 the command failed, 2 the command line is wrong, 3 what it names does not exist, 4 it took too long,
//! 130 (a shell's word for SIGINT) interrupted.
//! Invariants: data goes to stdout and talk to stderr, both only through [`output`].
//!
//! Not here: any logic of brokers, workers or connectors; a role is a call of its crate's `run`.

mod arguments; // the command tree
mod failure; // how an error is told
mod output; // stdout, tables, JSON

mod complete; // names for a shell that completes
mod context; // sites by name
mod suggest; // did you mean?
mod watch; // again and again

mod roles; // broker, registry, worker, search

mod mirror; // a file of flows, as MirrorMaker runs it alone

mod check_config; // settings, without a start
mod manual; // completions and man pages

mod admin; // words of the wire for commands
mod bootstrap; // where operator commands connect
mod cluster;
mod confirm; // are you sure?
mod connect; // connectors of any worker
mod consume;
mod format; // log directories for a cluster id
mod group;
mod group_change; // seek, offsets, delete, clone
mod group_lag;
mod http; // JSON over HTTP
mod kcat_format; // the -f strings of consume
mod link;
mod link_describe; // how a link stands
mod link_ops; // who leads
mod link_verify;
mod produce;
mod quickstart;
mod schema;
mod security; // rules, users, quotas
mod topic;
mod topic_change; // alter, add-partitions, trim, clone, purge
mod txn;

use std::process::ExitCode;

use clap::Parser;
use twinstream_telemetry::{LogOptions, logging};

use crate::arguments::{Arguments, Command};
use crate::failure::Failure;

/// Brokers and workers allocate and free across threads all the time, where glibc's allocator keeps memory for good.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    complete::answer_shell();
    let arguments = Arguments::parse();
    let log = LogOptions { format: arguments.log_format, filter: log_filter(&arguments) };
    let result = logging::init(&log).map_err(|error| Failure::usage(error.to_string())).and_then(|()| run(arguments));
    match result {
        Ok(code) => code,
        Err(failure) => {
            failure.print();
            failure.exit_code()
        }
    }
}

/// Servers tell their state changes; operator commands speak through their own output unless asked.
fn log_filter(arguments: &Arguments) -> Option<String> {
    let asked = arguments.log.clone();
    let quiet = !arguments.command.is_server() && std::env::var_os(logging::FILTER_VARIABLE).is_none();
    asked.or_else(|| quiet.then(|| "error,librdkafka=off,rdkafka=off".to_owned()))
}

fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let format = arguments.output;
    match arguments.command {
        Command::Broker(role) => roles::broker(role),
        Command::Format(options) => format::run(options, format),
        Command::Registry(role) => roles::registry(role),
        Command::Worker(role) => roles::worker(role),
        Command::Search(search) => roles::search(search),
        Command::Mirror(options) => mirror::run(options, format),
        Command::Quickstart(options) => quickstart::run(options, format),
        Command::Context(command) => context::run(command, arguments.context.context, format),
        Command::Topic(command) => topic::run(command, format),
        Command::Produce(options) => produce::run(options),
        Command::Consume(options) => consume::run(options, format),
        Command::Group(command) => group::run(command, format),
        Command::Cluster(command) => cluster::run(command, format),
        Command::Acl(command) => security::acl(command, format),
        Command::User(command) => security::user(command, format),
        Command::Quota(command) => security::quota(command, format),
        Command::Txn(command) => txn::run(command, format),
        Command::Schema(command) => schema::run(command, format),
        Command::Connect(command) => connect::run(command, format),
        Command::Link(command) => link::run(command, format),
        Command::CheckConfig(options) => check_config::run(options, format),
        Command::Completion(options) => manual::completion(&options),
        Command::Man(options) => manual::man(&options),
        Command::Version => output::version(format),
    }
}
