//! The brokers of a site together: is anything unavailable or at risk, who decides, what goes through, where it lies.

use crate::dashboards::board::{Board, Panel, Unit, Variable};

pub(super) fn board() -> Board {
    Board {
        name: "cluster",
        title: "Twinstream / Cluster",
        description: "The brokers of a site together: is anything unavailable or at risk, what goes through, where it lies.",
        selection: r#"site=~"$site""#,
        variables: vec![Variable::site(r#"up{job="broker"}"#)],
        rows: Vec::new(),
    }
    .row("Is all well?", well())
    .row("Traffic", traffic())
    .row("Requests", requests())
    .row("Partitions and replicas", replicas())
    .row("Metadata quorum", quorum())
    .row("Storage", storage())
}

fn well() -> Vec<Panel> {
    let count = |title, expression, description| Panel::stat(title, Unit::Count, expression, description);
    vec![
        count(
            "Brokers not scraped",
            r#"sum(up{job="broker",@} == bool 0)"#,
            "Brokers that Prometheus knows and cannot reach. What a broker does not tell is missing in all other panels.",
        )
        .zero_is_good(),
        count(
            "Partitions without leader",
            "sum(max by (site) (kafka_controller_kafkacontroller_offlinepartitionscount{@}))",
            "Nobody can write to them or read from them.",
        )
        .zero_is_good(),
        count(
            "Partitions that refuse writes",
            "sum(kafka_server_replicamanager_underminisrpartitioncount{@})",
            "Fewer replicas are in sync than min.insync.replicas: producers with acks=all are refused.",
        )
        .zero_is_good(),
        count(
            "Under-replicated partitions",
            "sum(kafka_server_replicamanager_underreplicatedpartitions{@})",
            "A replica is not in sync. Usual for a moment after a restart.",
        )
        .zero_is_usual(),
        Panel::stat(
            "Active controllers",
            Unit::Count,
            "sum by (site) (kafka_controller_kafkacontroller_activecontrollercount{@})",
            "Exactly one node of a site decides.",
        )
        .one_is_good(),
        count(
            "Fenced brokers",
            "sum(max by (site) (kafka_controller_kafkacontroller_fencedbrokercount{@}))",
            "Registered and not serving: stopped, starting, or cut off from the controller.",
        )
        .zero_is_good(),
        count(
            "Unclean elections",
            "sum(increase(kafka_controller_controllerstats_uncleanleaderelections_total{@}[$__range]))",
            "Leaders elected in the range of time shown that may lack acknowledged records.",
        )
        .zero_is_good(),
        count(
            "Alerts that fire",
            r#"count(ALERTS{alertstate="firing",@}) or on() vector(0)"#,
            "What Prometheus complains about; monitoring/runbooks.md says what to do.",
        )
        .zero_is_good(),
    ]
}

fn traffic() -> Vec<Panel> {
    vec![
        Panel::graph("Bytes in", Unit::BytesPerSecond, "Records that clients produce, as they travel.")
            .line("{{site}}", r#"sum by (site) (rate(kafka_server_brokertopicmetrics_bytesin_total{@,topic!=""}[$__rate_interval]))"#),
        Panel::graph("Bytes out", Unit::BytesPerSecond, "Records that clients fetch; replicas are not clients.")
            .line("{{site}}", r#"sum by (site) (rate(kafka_server_brokertopicmetrics_bytesout_total{@,topic!=""}[$__rate_interval]))"#),
        Panel::graph("Records in", Unit::RecordsPerSecond, "Records that clients produce.")
            .line("{{site}}", r#"sum by (site) (rate(kafka_server_brokertopicmetrics_messagesin_total{@,topic!=""}[$__rate_interval]))"#),
        Panel::stack("Bytes in by broker", Unit::BytesPerSecond, "One much thicker than the others leads too much.")
            .line("{{instance}}", r#"sum by (instance) (rate(kafka_server_brokertopicmetrics_bytesin_total{@,topic!=""}[$__rate_interval]))"#),
        Panel::graph("Busiest topics", Unit::BytesPerSecond, "The ten topics that clients write most to.").line(
            "{{topic}}",
            r#"topk(10, sum by (topic) (rate(kafka_server_brokertopicmetrics_bytesin_total{@,topic!=""}[$__rate_interval])))"#,
        ),
        Panel::graph("Replication", Unit::BytesPerSecond, "What brokers send each other to keep replicas in sync.")
            .line("{{site}} in", "sum by (site) (rate(kafka_server_brokertopicmetrics_replicationbytesin_total{@}[$__rate_interval]))")
            .line("{{site}} out", "sum by (site) (rate(kafka_server_brokertopicmetrics_replicationbytesout_total{@}[$__rate_interval]))"),
    ]
}

fn requests() -> Vec<Panel> {
    vec![
        Panel::graph("Requests", Unit::RequestsPerSecond, "Requests served, by API; the ten most frequent ones.").line(
            "{{request}}",
            "topk(10, sum by (request) (rate(kafka_network_requestmetrics_requests_total{@}[$__rate_interval])))",
        ),
        Panel::graph(
            "Errors",
            Unit::OpsPerSecond,
            "Error codes answered. NOT_LEADER_OR_FOLLOWER for moments is usual, UNKNOWN_SERVER_ERROR is a fault of ours.",
        )
        .line(
            "{{request}} {{error}}",
            r#"sum by (request, error) (rate(kafka_network_requestmetrics_errors_total{@,error!="NONE"}[$__rate_interval])) or on() vector(0)"#,
        ),
        Panel::graph("Idle of request threads", Unit::Share, "Below 0.3 a broker soon answers late.")
            .line("{{instance}}", "kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent{@}"),
    ]
}

fn replicas() -> Vec<Panel> {
    vec![
        Panel::graph("Topics and partitions", Unit::Count, "How many there are, as the controller knows them.")
            .line("{{site}} topics", "max by (site) (kafka_controller_kafkacontroller_globaltopiccount{@})")
            .line("{{site}} partitions", "max by (site) (kafka_controller_kafkacontroller_globalpartitioncount{@})"),
        Panel::graph(
            "Under-replicated by leader",
            Unit::Count,
            "Partitions led by this broker that lack a replica in sync.",
        )
        .line("{{instance}}", "kafka_server_replicamanager_underreplicatedpartitions{@}"),
        Panel::graph(
            "Changes of in-sync replicas",
            Unit::OpsPerSecond,
            "Followers that fell behind, and that came back.",
        )
        .line(
            "{{site}} left",
            "sum by (site) (rate(kafka_server_replicamanager_isrshrinks_total{@}[$__rate_interval]))",
        )
        .line(
            "{{site}} joined",
            "sum by (site) (rate(kafka_server_replicamanager_isrexpands_total{@}[$__rate_interval]))",
        ),
        Panel::graph("Leaders by broker", Unit::Count, "Partitions that each broker leads; even is good.")
            .line("{{instance}}", "kafka_server_replicamanager_leadercount{@}"),
        Panel::graph("Replicas by broker", Unit::Count, "Partitions of which each broker has a replica.")
            .line("{{instance}}", "kafka_server_replicamanager_partitioncount{@}"),
        Panel::graph(
            "Moves",
            Unit::Count,
            "Partitions not led by their preferred replica, and whose replicas are exchanged.",
        )
        .line(
            "{{site}} not preferred",
            "max by (site) (kafka_controller_kafkacontroller_preferredreplicaimbalancecount{@})",
        )
        .line("{{site}} reassigning", "sum by (site) (kafka_server_replicamanager_reassigningpartitions{@})"),
    ]
}

fn quorum() -> Vec<Panel> {
    vec![
        Panel::graph("Term", Unit::Count, "Each step is an election of the node that decides.")
            .line("{{site}}", "max by (site) (kafka_server_raftmetrics_current_epoch{@})"),
        Panel::graph("Voters", Unit::Count, "Nodes that vote, and those that the leader does not hear of.")
            .line("{{site}}", "max by (site) (kafka_server_raftmetrics_number_of_voters{@})")
            .line("{{site}} away", "max by (site) (kafka_server_raftmetrics_number_of_offline_voters{@})"),
        Panel::graph("Behind in the metadata log", Unit::Count, "Entries that a node lacks of those that are committed.").line(
            "{{instance}}",
            "clamp_min(scalar(max(kafka_server_raftmetrics_high_watermark{@})) - kafka_server_raftmetrics_log_end_offset{@}, 0)",
        ),
        Panel::graph("Time to commit a decision", Unit::Milliseconds, "On average of the last minute; 0 without any.")
            .line("{{instance}}", "kafka_server_raftmetrics_commit_latency_avg{@}"),
        Panel::graph("Decisions", Unit::RecordsPerSecond, "Entries that the leader put into the metadata log.")
            .line("{{instance}}", "kafka_server_raftmetrics_append_records_rate{@}"),
        Panel::table("Nodes", "Who votes for whom, and how far each node's log is.")
            .column("Leader", Unit::Count, "max by (site, instance) (kafka_server_raftmetrics_current_leader{@})")
            .column("Voted for", Unit::Count, "max by (site, instance) (kafka_server_raftmetrics_current_vote{@})")
            .column("Term", Unit::Count, "max by (site, instance) (kafka_server_raftmetrics_current_epoch{@})")
            .column("Committed", Unit::Count, "max by (site, instance) (kafka_server_raftmetrics_high_watermark{@})")
            .column("Log end", Unit::Count, "max by (site, instance) (kafka_server_raftmetrics_log_end_offset{@})"),
    ]
}

fn storage() -> Vec<Panel> {
    vec![
        Panel::stack("Log bytes by broker", Unit::Bytes, "Segments of all replicas that a broker holds.")
            .line("{{instance}}", "sum by (instance) (kafka_log_log_size{@})"),
        Panel::graph("Largest topics", Unit::Bytes, "The ten topics with most bytes, all replicas together.")
            .line("{{topic}}", "topk(10, sum by (topic) (kafka_log_log_size{@}))"),
        Panel::graph(
            "Damage",
            Unit::Count,
            "Log directories that failed, logs that take no writes, damaged stretches that wait for a repair. All are 0 when all is well.",
        )
        .line("{{instance}} directories", "kafka_log_logmanager_offlinelogdirectorycount{@}")
        .line("{{instance}} poisoned logs", "twinstream_log_poisoned_count{@}")
        .line("{{instance}} damaged stretches", "twinstream_log_damaged_ranges_count{@}"),
    ]
}
