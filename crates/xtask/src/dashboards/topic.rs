//! One topic, or some: who writes and reads, how much there is, how its partitions stand.

use crate::dashboards::board::{Board, Panel, Unit, Variable};

pub(super) fn board() -> Board {
    Board {
        name: "topic",
        title: "Twinstream / Topic",
        description: "One topic, or some: who writes and reads, how much there is, how its partitions stand.",
        selection: r#"site=~"$site",topic=~"$topic""#,
        variables: vec![
            Variable::site("kafka_topic_partitions"),
            Variable::label("topic", "Topic", "kafka_topic_partitions"),
        ],
        rows: Vec::new(),
    }
    .row("Is all well?", well())
    .row("Traffic", traffic())
    .row("Readers", readers())
    .row("Partitions", partitions())
}

fn well() -> Vec<Panel> {
    vec![
        Panel::stat(
            "Partitions that refuse writes",
            Unit::Count,
            "sum(kafka_cluster_partition_underminisr{@})",
            "Fewer replicas are in sync than min.insync.replicas.",
        )
        .zero_is_good(),
        Panel::stat(
            "Under-replicated partitions",
            Unit::Count,
            "sum(kafka_topic_partition_under_replicated_partition{@})",
            "A replica is not in sync.",
        )
        .zero_is_usual(),
        Panel::stat(
            "Failed produces",
            Unit::Count,
            "sum(increase(kafka_server_brokertopicmetrics_failedproducerequests_total{@}[$__range]))",
            "Partitions of produce requests that were answered with an error, in the range of time shown.",
        )
        .zero_is_usual(),
        Panel::stat(
            "Bytes over the size limit",
            Unit::Bytes,
            "sum(increase(kafka_server_brokertopicmetrics_bytesrejected_total{@}[$__range]))",
            "Batches that max.message.bytes does not let in, in the range of time shown.",
        )
        .zero_is_usual(),
        Panel::stat(
            "Group furthest behind",
            Unit::Seconds,
            "max(twinstream_group_lag_seconds{@}) or on() vector(0)",
            "Age of the oldest record that some group has not read; 0 without groups.",
        )
        .rising(60.0, 600.0),
        Panel::stat(
            "Partitions",
            Unit::Count,
            "sum(kafka_topic_partitions{@})",
            "Partitions with a leader of the topics chosen.",
        ),
        Panel::stat(
            "Records",
            Unit::Count,
            "sum(kafka_topic_partition_current_offset{@} - kafka_topic_partition_oldest_offset{@})",
            "Offsets between the oldest and the newest record. Compaction and markers of transactions leave fewer records.",
        ),
        Panel::stat("Bytes", Unit::Bytes, "sum(kafka_log_log_size{@})", "Segments of all replicas."),
    ]
}

fn traffic() -> Vec<Panel> {
    vec![
        Panel::graph("Records in", Unit::RecordsPerSecond, "Records that clients produce.")
            .line("{{topic}}", "sum by (topic) (rate(kafka_server_brokertopicmetrics_messagesin_total{@}[$__rate_interval]))"),
        Panel::graph("Bytes in", Unit::BytesPerSecond, "As they travel, so compressed bytes if the producer compresses.")
            .line("{{topic}}", "sum by (topic) (rate(kafka_server_brokertopicmetrics_bytesin_total{@}[$__rate_interval]))"),
        Panel::graph("Bytes out", Unit::BytesPerSecond, "Records that clients fetch; replicas are not clients.")
            .line("{{topic}}", "sum by (topic) (rate(kafka_server_brokertopicmetrics_bytesout_total{@}[$__rate_interval]))"),
        Panel::graph("Mean record", Unit::Bytes, "Bytes in for each record in, as they travel.").line(
            "{{topic}}",
            "sum by (topic) (rate(kafka_server_brokertopicmetrics_bytesin_total{@}[$__rate_interval])) / (sum by (topic) (rate(kafka_server_brokertopicmetrics_messagesin_total{@}[$__rate_interval])) > 0)",
        ),
        Panel::graph("Produces and fetches", Unit::OpsPerSecond, "Partitions in requests of clients.")
            .line("{{topic}} produce", "sum by (topic) (rate(kafka_server_brokertopicmetrics_totalproducerequests_total{@}[$__rate_interval]))")
            .line("{{topic}} fetch", "sum by (topic) (rate(kafka_server_brokertopicmetrics_totalfetchrequests_total{@}[$__rate_interval]))"),
        Panel::graph("Failed", Unit::OpsPerSecond, "Partitions in requests that were answered with an error.")
            .line("{{topic}} produce", "sum by (topic) (rate(kafka_server_brokertopicmetrics_failedproducerequests_total{@}[$__rate_interval]))")
            .line("{{topic}} fetch", "sum by (topic) (rate(kafka_server_brokertopicmetrics_failedfetchrequests_total{@}[$__rate_interval]))"),
    ]
}

fn readers() -> Vec<Panel> {
    vec![
        Panel::graph("Groups behind, in records", Unit::Count, "Records that a group has not committed.")
            .line("{{consumergroup}} {{topic}}", "sum by (consumergroup, topic) (kafka_consumergroup_lag{@})"),
        Panel::graph(
            "Groups behind, in time",
            Unit::Seconds,
            "Age of the oldest record that a group has not committed.",
        )
        .line("{{consumergroup}} {{topic}}", "max by (consumergroup, topic) (twinstream_group_lag_seconds{@})"),
    ]
}

fn partitions() -> Vec<Panel> {
    vec![
        Panel::graph(
            "Records in by partition",
            Unit::RecordsPerSecond,
            "The ten busiest. One above all others means keys that are not spread.",
        )
        .line(
            "{{topic}}-{{partition}}",
            "topk(10, sum by (topic, partition) (rate(kafka_topic_partition_current_offset{@}[$__rate_interval])))",
        ),
        Panel::graph("Largest partitions", Unit::Bytes, "The ten largest, of one replica.")
            .line("{{topic}}-{{partition}}", "topk(10, max by (topic, partition) (kafka_log_log_size{@}))"),
        Panel::graph("Segments", Unit::Count, "The ten partitions with most of them, of one replica.")
            .line("{{topic}}-{{partition}}", "topk(10, max by (topic, partition) (kafka_log_log_numlogsegments{@}))"),
        Panel::table("Partitions", "Who leads, how many replicas are in sync, and which records there are.")
            .column("Leader", Unit::Count, "max by (site, topic, partition) (kafka_topic_partition_leader{@})")
            .column(
                "Preferred leads",
                Unit::Count,
                "max by (site, topic, partition) (kafka_topic_partition_leader_is_preferred{@})",
            )
            .column("Replicas", Unit::Count, "max by (site, topic, partition) (kafka_topic_partition_replicas{@})")
            .column(
                "In sync",
                Unit::Count,
                "max by (site, topic, partition) (kafka_topic_partition_in_sync_replica{@})",
            )
            .column(
                "Oldest offset",
                Unit::Count,
                "max by (site, topic, partition) (kafka_topic_partition_oldest_offset{@})",
            )
            .column(
                "Next offset",
                Unit::Count,
                "max by (site, topic, partition) (kafka_topic_partition_current_offset{@})",
            )
            .column("Bytes", Unit::Bytes, "max by (site, topic, partition) (kafka_log_log_size{@})"),
    ]
}
