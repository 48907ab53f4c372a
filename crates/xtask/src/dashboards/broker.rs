//! One process of a cluster: does it serve, where does the time of a request go, does the disk keep up.

use crate::dashboards::board::{Board, Panel, Unit, Variable};

pub(super) fn board() -> Board {
    Board {
        name: "broker",
        title: "Twinstream / Broker",
        description: "One broker, or some beside each other: does it serve, where does the time of a request go, does its disk keep up.",
        selection: r#"site=~"$site",instance=~"$instance""#,
        variables: vec![Variable::site(r#"up{job="broker"}"#), Variable::instance(r#"up{job="broker"}"#)],
        rows: Vec::new(),
    }
    .row("Is all well?", well())
    .row("Traffic", traffic())
    .row("Where the time of a request goes", times())
    .row("Connections", connections())
    .row("Logs and disk", logs())
    .row("Replication", replication())
    .row("Coordinators", coordinators())
    .row("Process", process())
}

fn well() -> Vec<Panel> {
    vec![
        Panel::stat(
            "Scraped",
            Unit::Count,
            r#"min(up{job="broker",@})"#,
            "0 when one of those chosen cannot be reached.",
        )
        .at_least(1.0),
        Panel::stat(
            "Up for",
            Unit::Seconds,
            r#"min(time() - process_start_time_seconds{job="broker",@})"#,
            "Time since the last start, of the one that started last. Minutes mean that something restarts it.",
        )
        .falling(60.0, 600.0),
        Panel::stat(
            "Idle of request threads",
            Unit::Share,
            "min(kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent{@})",
            "Share of the last minute in which the threads that serve requests had nothing to do.",
        )
        .falling(0.1, 0.3),
        Panel::stat(
            "Directories and logs that failed",
            Unit::Count,
            "sum(kafka_log_logmanager_offlinelogdirectorycount{@}) + sum(twinstream_log_poisoned_count{@})",
            "A disk refused a write or a flush. Its replicas are offline, or take no writes.",
        )
        .zero_is_good(),
        Panel::stat(
            "Partitions not followed",
            Unit::Count,
            "sum(kafka_server_replicafetchermanager_failedpartitionscount{@})",
            "Replicas that stopped following their leader after an error.",
        )
        .zero_is_good(),
        Panel::stat(
            "Furthest behind its leader",
            Unit::Count,
            "max(kafka_server_replicafetchermanager_maxlag{@})",
            "Records that the slowest follower here has yet to fetch.",
        )
        .rising(10_000.0, 1_000_000.0),
        Panel::stat(
            "Open files",
            Unit::Share,
            r#"max(process_open_fds{job="broker",@} / process_max_fds{job="broker",@})"#,
            "Of the limit. At 1 the broker takes no connections and opens no segments.",
        )
        .rising(0.7, 0.85),
        Panel::stat(
            "Connections refused",
            Unit::Count,
            "sum(increase(kafka_network_acceptor_connections_refused_total{@}[$__range]))",
            "Closed at once because a limit was reached, in the range of time shown.",
        )
        .zero_is_good(),
    ]
}

fn traffic() -> Vec<Panel> {
    vec![
        Panel::graph("Bytes in and out", Unit::BytesPerSecond, "Records produced by clients, and fetched by them.")
            .line("{{instance}} in", r#"sum by (instance) (rate(kafka_server_brokertopicmetrics_bytesin_total{@,topic!=""}[$__rate_interval]))"#)
            .line("{{instance}} out", r#"sum by (instance) (rate(kafka_server_brokertopicmetrics_bytesout_total{@,topic!=""}[$__rate_interval]))"#),
        Panel::graph("Records in", Unit::RecordsPerSecond, "Records that clients produce.")
            .line("{{instance}}", r#"sum by (instance) (rate(kafka_server_brokertopicmetrics_messagesin_total{@,topic!=""}[$__rate_interval]))"#),
        Panel::graph("Failed produces and fetches", Unit::OpsPerSecond, "Partitions of requests that were answered with an error.")
            .line("{{instance}} produce", r#"sum by (instance) (rate(kafka_server_brokertopicmetrics_failedproducerequests_total{@,topic!=""}[$__rate_interval]))"#)
            .line("{{instance}} fetch", r#"sum by (instance) (rate(kafka_server_brokertopicmetrics_failedfetchrequests_total{@,topic!=""}[$__rate_interval]))"#),
    ]
}

fn times() -> Vec<Panel> {
    vec![
        Panel::graph("Requests", Unit::RequestsPerSecond, "By API.")
            .line("{{request}}", "sum by (request) (rate(kafka_network_requestmetrics_requests_total{@}[$__rate_interval]))"),
        Panel::graph(
            "Mean time",
            Unit::Milliseconds,
            "From a whole request to its sent answer. A fetch that waits for records takes fetch.max.wait.ms, which is no fault.",
        )
        .line(
            "{{request}}",
            "sum by (request) (rate(kafka_network_requestmetrics_totaltimems_sum{@}[$__rate_interval])) / (sum by (request) (rate(kafka_network_requestmetrics_totaltimems_count{@}[$__rate_interval])) > 0)",
        ),
        Panel::graph("Slowest of a hundred", Unit::Milliseconds, "The 99th percentile of the whole time, of the slowest broker chosen.")
            .line("{{request}}", r#"max by (request) (kafka_network_requestmetrics_totaltimems{@,quantile="0.99"}) >= 0"#),
        parts(
            "Parts of a produce",
            "Waiting for the handler, in the handler, waiting for followers, waiting for earlier answers, sending. Added up by API they are its time.",
            [
                r#"sum(rate(kafka_network_requestmetrics_requestqueuetimems_sum{@,request="Produce"}[$__rate_interval]))"#,
                r#"sum(rate(kafka_network_requestmetrics_localtimems_sum{@,request="Produce"}[$__rate_interval]))"#,
                r#"sum(rate(kafka_network_requestmetrics_remotetimems_sum{@,request="Produce"}[$__rate_interval]))"#,
                r#"sum(rate(kafka_network_requestmetrics_responsequeuetimems_sum{@,request="Produce"}[$__rate_interval]))"#,
                r#"sum(rate(kafka_network_requestmetrics_responsesendtimems_sum{@,request="Produce"}[$__rate_interval]))"#,
            ],
        ),
        parts(
            "Parts of a fetch",
            "The same of fetches; waiting for records is part of the time in the handler.",
            [
                r#"sum(rate(kafka_network_requestmetrics_requestqueuetimems_sum{@,request="Fetch"}[$__rate_interval]))"#,
                r#"sum(rate(kafka_network_requestmetrics_localtimems_sum{@,request="Fetch"}[$__rate_interval]))"#,
                r#"sum(rate(kafka_network_requestmetrics_remotetimems_sum{@,request="Fetch"}[$__rate_interval]))"#,
                r#"sum(rate(kafka_network_requestmetrics_responsequeuetimems_sum{@,request="Fetch"}[$__rate_interval]))"#,
                r#"sum(rate(kafka_network_requestmetrics_responsesendtimems_sum{@,request="Fetch"}[$__rate_interval]))"#,
            ],
        ),
        Panel::graph("Waiting", Unit::Count, "Requests that wait for memory or for something to happen, and answers that wait for their turn.")
            .line("{{instance}} requests", "kafka_network_requestchannel_requestqueuesize{@}")
            .line("{{instance}} answers", "kafka_network_requestchannel_responsequeuesize{@}")
            .line("{{instance}} {{delayedOperation}}", "kafka_server_delayedoperationpurgatory_purgatorysize{@}"),
    ]
}

/// Milliseconds spent in each second; they say which part it is, whatever the number of requests.
fn parts(title: &'static str, description: &'static str, expressions: [&'static str; 5]) -> Panel {
    let names = ["waits for handler", "in handler", "waits for followers", "waits for its turn", "is sent"];
    let panel = Panel::stack(title, Unit::Milliseconds, description);
    names.into_iter().zip(expressions).fold(panel, |panel, (name, expression)| panel.line(name, expression))
}

fn connections() -> Vec<Panel> {
    vec![
        Panel::graph("Open connections", Unit::Count, "Of clients and of other nodes.")
            .line("{{instance}} {{listener}}", "kafka_server_socket_server_metrics_connection_count{@}"),
        Panel::graph("New connections", Unit::OpsPerSecond, "Clients that connect anew for each request cost much.")
            .line(
                "{{instance}} {{listener}}",
                "rate(kafka_server_socket_server_metrics_connection_creation_total{@}[$__rate_interval])",
            ),
        Panel::graph(
            "Fetch sessions",
            Unit::Count,
            "Sessions that are kept; when they are too many, others make room.",
        )
        .line("{{instance}}", "kafka_server_fetchsessioncache_numincrementalfetchsessions{@}")
        .line(
            "{{instance}} evicted",
            "increase(kafka_server_fetchsessioncache_incrementalfetchsessionevictions_total{@}[$__rate_interval])",
        ),
    ]
}

fn logs() -> Vec<Panel> {
    vec![
        Panel::graph("Appended", Unit::BytesPerSecond, "Batches written to logs, as a leader and as a follower.")
            .line("{{instance}}", "rate(twinstream_log_appended_bytes_total{@}[$__rate_interval])"),
        Panel::graph("Disk", Unit::BytesPerSecond, "What the process reads from the disk beyond the page cache, and writes.")
            .line("{{instance}} read", "rate(kafka_server_kafkaserver_linux_disk_read_bytes{@}[$__rate_interval])")
            .line("{{instance}} written", "rate(kafka_server_kafkaserver_linux_disk_write_bytes{@}[$__rate_interval])"),
        Panel::graph("Flushes", Unit::OpsPerSecond, "How often a log is flushed to the disk.")
            .line("{{instance}}", "rate(twinstream_log_flush_seconds_count{@}[$__rate_interval])"),
        Panel::graph("Time of a flush", Unit::Seconds, "Mean. A disk that gets slow shows here first.").line(
            "{{instance}}",
            "rate(twinstream_log_flush_seconds_sum{@}[$__rate_interval]) / (rate(twinstream_log_flush_seconds_count{@}[$__rate_interval]) > 0)",
        ),
        Panel::graph("Segments", Unit::OpsPerSecond, "Closed for a new one, and removed by retention.")
            .line("{{instance}} rolled", "rate(twinstream_log_segments_rolled_total{@}[$__rate_interval])")
            .line("{{instance}} deleted", "rate(twinstream_log_segments_deleted_total{@}[$__rate_interval])"),
        Panel::graph("Reads of old records", Unit::OpsPerSecond, "Jobs that brought records from the disk; readers far behind cause them.")
            .line("{{instance}}", "rate(twinstream_broker_cold_reads_total{@}[$__rate_interval])")
            .line("{{instance}} waiting", "twinstream_broker_cold_reads_waiting{@}"),
        Panel::graph("Compaction", Unit::BytesPerSecond, "Read and written by the compaction of topics.")
            .line("{{instance}} read", "rate(twinstream_cleaner_read_bytes_total{@}[$__rate_interval])")
            .line("{{instance}} written", "rate(twinstream_cleaner_written_bytes_total{@}[$__rate_interval])"),
        Panel::graph("Most overdue for compaction", Unit::Seconds, "How long ago the most overdue record should have been compacted.")
            .line("{{instance}}", "kafka_log_logcleaner_max_compaction_delay_secs{@}"),
        Panel::graph("Damage", Unit::Count, "Stretches that wait for a repair, tails that a start cut, folders put aside. All are 0 when all is well.")
            .line("{{instance}} damaged", "twinstream_log_damaged_ranges_count{@}")
            .line("{{instance}} tails cut", "twinstream_log_tails_cut_total{@}")
            .line("{{instance}} strays", "twinstream_log_stray_folders_count{@}"),
    ]
}

fn replication() -> Vec<Panel> {
    vec![
        Panel::graph("Bytes", Unit::BytesPerSecond, "Fetched as a follower, and sent to followers.")
            .line(
                "{{instance}} in",
                "rate(kafka_server_brokertopicmetrics_replicationbytesin_total{@}[$__rate_interval])",
            )
            .line(
                "{{instance}} out",
                "rate(kafka_server_brokertopicmetrics_replicationbytesout_total{@}[$__rate_interval])",
            ),
        Panel::graph("Behind its leaders", Unit::Count, "Records that the slowest follower here has yet to fetch.")
            .line("{{instance}}", "max by (instance) (kafka_server_replicafetchermanager_maxlag{@})"),
        Panel::graph(
            "Changes of in-sync replicas",
            Unit::OpsPerSecond,
            "Followers of partitions led here that fell behind, and came back.",
        )
        .line("{{instance}} left", "rate(kafka_server_replicamanager_isrshrinks_total{@}[$__rate_interval])")
        .line("{{instance}} joined", "rate(kafka_server_replicamanager_isrexpands_total{@}[$__rate_interval])"),
    ]
}

fn coordinators() -> Vec<Panel> {
    vec![
        Panel::graph("Groups", Unit::Count, "Groups that this broker coordinates.")
            .line("{{instance}}", "kafka_coordinator_group_groupmetadatamanager_numgroups{@}"),
        Panel::graph("Committed offsets", Unit::Count, "Offsets of these groups that are kept.")
            .line("{{instance}}", "kafka_coordinator_group_groupmetadatamanager_numoffsets{@}"),
        Panel::graph(
            "Transactions",
            Unit::Count,
            "Those that are decided and not in all their partitions yet; they should pass quickly.",
        )
        .line("{{instance}} ending", "twinstream_transactions_ending_count{@}")
        .line(
            "{{instance}} markers that wait",
            "kafka_coordinator_transaction_transactionmarkerchannelmanager_unknowndestinationqueuesize{@}",
        ),
    ]
}

fn process() -> Vec<Panel> {
    vec![
        Panel::graph("Processors", Unit::Count, "Processors that the broker keeps busy.")
            .line("{{instance}}", r#"rate(process_cpu_seconds_total{job="broker",@}[$__rate_interval])"#),
        Panel::graph(
            "Memory",
            Unit::Bytes,
            "Memory held in RAM. Records are not in it: they are in the page cache of the kernel.",
        )
        .line("{{instance}}", r#"process_resident_memory_bytes{job="broker",@}"#),
        Panel::graph("Open files", Unit::Count, "Segments and connections.")
            .line("{{instance}}", r#"process_open_fds{job="broker",@}"#),
    ]
}
