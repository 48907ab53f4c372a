//! Mirrors from one cluster to another: what a fail-over now would lose, what stands, how late records arrive.

use crate::dashboards::board::{Board, Panel, Unit, Variable};

/// Any series of a link; it exists as soon as the link copies a partition.
const OF_LINKS: &str = "kafka_connect_mirror_mirrorsourceconnector_record_count";

pub(super) fn board() -> Board {
    Board {
        name: "links",
        title: "Twinstream / Links",
        description: "Mirrors from one cluster to another: what a fail-over now would lose, what stands, how late records arrive.",
        selection: r#"source=~"$source",target=~"$target",topic=~"$topic""#,
        variables: vec![
            Variable::label("source", "Source", OF_LINKS),
            Variable::label("target", "Target", OF_LINKS),
            Variable::label("topic", "Topic", OF_LINKS),
        ],
        rows: Vec::new(),
    }
    .row("Is all well?", well())
    .row("Is anything lost or different?", losses())
    .row("How late", late())
    .row("How much", much())
    .row("Partitions", partitions())
    .row("Offsets of groups", groups())
}

fn well() -> Vec<Panel> {
    vec![
        Panel::stat(
            "A fail-over now would lose",
            Unit::Milliseconds,
            r#"max(twinstream_mirror_link_rpo_ms{source=~"$source",target=~"$target"})"#,
            "Of the worst partition: how long its next record has waited, or how long the source has been silent.",
        )
        .rising(60_000.0, 300_000.0),
        Panel::stat(
            "That is, in records",
            Unit::Count,
            r#"sum(twinstream_mirror_link_rpo_records{source=~"$source",target=~"$target"})"#,
            "Records known at the source that the target does not have.",
        )
        .rising(10_000.0, 100_000.0),
        Panel::stat(
            "Partitions that stand",
            Unit::Count,
            r#"count(kafka_connect_mirror_mirrorsourceconnector_partition_state{@,state!~"COPYING|STARTING|PROMOTED"} == 1) or on() vector(0)"#,
            "Partitions that are neither copied nor promoted; the table below says why.",
        )
        .zero_is_good(),
        Panel::stat(
            "Topics refused",
            Unit::Count,
            r#"sum(max by (source, target) (twinstream_mirror_link_topics_refused{source=~"$source",target=~"$target"}))"#,
            "Topics that the link is to copy and the target does not take. GET /links/A->B names the causes.",
        )
        .zero_is_good(),
        Panel::stat(
            "Topics gone",
            Unit::Count,
            r#"sum(max by (source, target) (twinstream_mirror_link_topics_gone{source=~"$source",target=~"$target"}))"#,
            "Topics that have a copy and that the source does not show any more.",
        )
        .zero_is_usual(),
        Panel::stat(
            "Groups furthest behind",
            Unit::Milliseconds,
            "max(twinstream_mirror_group_lag_ms{@}) or on() vector(0)",
            "For how long a group has had another position on the target than at the source.",
        )
        .rising(60_000.0, 300_000.0),
        Panel::stat(
            "Access rules not in step",
            Unit::Count,
            r#"max(twinstream_mirror_acl_failing{source=~"$source",target=~"$target"}) or on() vector(0)"#,
            "1 while the ACLs of topics cannot be brought in step; 0 where they are not mirrored.",
        )
        .zero_is_good(),
    ]
}

fn losses() -> Vec<Panel> {
    let count = |title, expression, description| Panel::stat(title, Unit::Count, expression, description);
    vec![
        count(
            "Removed before they were copied",
            "sum(increase(kafka_connect_mirror_mirrorsourceconnector_record_lost{@}[$__range])) or on() vector(0)",
            "Records that retention at the source took before the link had them, in the range of time shown.",
        )
        .zero_is_good(),
        count(
            "Lost by the source afterwards",
            "sum(increase(kafka_connect_mirror_mirrorsourceconnector_record_diverged{@}[$__range])) or on() vector(0)",
            "Records that were copied and that the source lost then, as by an unclean election.",
        )
        .zero_is_good(),
        count(
            "Different on both sides",
            "sum(increase(twinstream_mirror_verify_difference_total{@}[$__range])) or on() vector(0)",
            "What the comparison of both sides found. Only compared records count, see the row of partitions.",
        )
        .zero_is_good(),
        count(
            "Offsets of groups refused",
            r#"sum(increase(kafka_connect_mirror_mirrorcheckpointconnector_group_offset_failure_count{source=~"$source",target=~"$target"}[$__range])) or on() vector(0)"#,
            "Groups whose offsets the target did not take; each is tried again.",
        )
        .zero_is_good(),
        count(
            "Echoes left out",
            "sum(increase(kafka_connect_mirror_mirrorsourceconnector_record_echo{@}[$__range])) or on() vector(0)",
            "Records that have been at the target before. Usual where two links mirror both ways.",
        ),
        count(
            "Of aborted transactions",
            "sum(increase(kafka_connect_mirror_mirrorsourceconnector_record_aborted{@}[$__range])) or on() vector(0)",
            "Records that no reader may see and that were left out.",
        ),
    ]
}

fn late() -> Vec<Panel> {
    vec![
        Panel::graph(
            "A fail-over would lose",
            Unit::Milliseconds,
            "It grows by a second each second while the source cannot be reached.",
        )
        .line(
            "{{source}} to {{target}}",
            r#"max by (source, target) (twinstream_mirror_link_rpo_ms{source=~"$source",target=~"$target"})"#,
        ),
        Panel::graph("Next record has waited", Unit::Milliseconds, "At the source, at most; the ten worst topics.")
            .line(
                "{{source}} to {{target}} {{topic}}",
                "topk(10, max by (source, target, topic) (twinstream_mirror_partition_lag_ms{@}))",
            ),
        Panel::graph(
            "Behind",
            Unit::Count,
            "Records of the source that the target has not acknowledged; the ten worst topics.",
        )
        .line(
            "{{source}} to {{target}} {{topic}}",
            "topk(10, sum by (source, target, topic) (kafka_connect_mirror_mirrorsourceconnector_record_lag{@}))",
        ),
        Panel::graph(
            "Age when handed on",
            Unit::Milliseconds,
            "Mean and largest age of records of the last minute when the link handed them on.",
        )
        .line(
            "mean {{source}} to {{target}}",
            "avg by (source, target) (kafka_connect_mirror_mirrorsourceconnector_record_age_ms_avg{@} >= 0)",
        )
        .line(
            "largest {{source}} to {{target}}",
            "max by (source, target) (kafka_connect_mirror_mirrorsourceconnector_record_age_ms_max{@} >= 0)",
        ),
        Panel::graph(
            "Age when acknowledged",
            Unit::Milliseconds,
            "The same when the target had them. The difference is the way to the target.",
        )
        .line(
            "mean {{source}} to {{target}}",
            "avg by (source, target) (kafka_connect_mirror_mirrorsourceconnector_replication_latency_ms_avg{@} >= 0)",
        )
        .line(
            "largest {{source}} to {{target}}",
            "max by (source, target) (kafka_connect_mirror_mirrorsourceconnector_replication_latency_ms_max{@} >= 0)",
        ),
        Panel::graph(
            "Bytes to copy",
            Unit::Bytes,
            "Bytes that the target has not acknowledged, estimated from the last records.",
        )
        .line("{{source}} to {{target}}", "sum by (source, target) (twinstream_mirror_partition_lag_bytes{@})"),
    ]
}

fn much() -> Vec<Panel> {
    vec![
        Panel::graph("Records copied", Unit::RecordsPerSecond, "Records that the target acknowledged.")
            .line("{{source}} to {{target}}", "sum by (source, target) (rate(kafka_connect_mirror_mirrorsourceconnector_record_count{@}[$__rate_interval]))"),
        Panel::graph("Bytes copied", Unit::BytesPerSecond, "Batches as they travel; this is what the line between the sites carries.")
            .line("{{source}} to {{target}}", "sum by (source, target) (rate(kafka_connect_mirror_mirrorsourceconnector_byte_count{@}[$__rate_interval]))"),
        Panel::graph("Busiest topics", Unit::BytesPerSecond, "The ten topics of which most is copied.").line(
            "{{source}} to {{target}} {{topic}}",
            "topk(10, sum by (source, target, topic) (rate(kafka_connect_mirror_mirrorsourceconnector_byte_count{@}[$__rate_interval])))",
        ),
    ]
}

fn partitions() -> Vec<Panel> {
    vec![
        Panel::stack("By state", Unit::Count, "Partitions in each state of a copy.")
            .line("{{state}}", "sum by (state) (kafka_connect_mirror_mirrorsourceconnector_partition_state{@})"),
        Panel::graph("Changes of state", Unit::OpsPerSecond, "A partition that comes into one state again and again has a cause that lasts.")
            .line("{{state}}", "sum by (state) (rate(kafka_connect_mirror_mirrorsourceconnector_partition_state_changes{@}[$__rate_interval]))"),
        Panel::graph("Not compared yet", Unit::Count, "Records on both sides that the comparison has not reached; 0 where none runs.")
            .line("{{source}} to {{target}}", "sum by (source, target) (twinstream_mirror_partition_verify_lag_records{@}) or on() vector(0)"),
        Panel::table("Partitions", "Topics by their names on the target.")
            .column("Behind, records", Unit::Count, "max by (source, target, topic, partition) (kafka_connect_mirror_mirrorsourceconnector_record_lag{@})")
            .column("Next has waited", Unit::Milliseconds, "max by (source, target, topic, partition) (twinstream_mirror_partition_lag_ms{@})")
            .column("Copied", Unit::Count, "sum by (source, target, topic, partition) (kafka_connect_mirror_mirrorsourceconnector_record_count{@})")
            .column("Copied bytes", Unit::Bytes, "sum by (source, target, topic, partition) (kafka_connect_mirror_mirrorsourceconnector_byte_count{@})"),
        Panel::table("States", "The state of each partition's copy.")
            .column("In it", Unit::Count, "max by (source, target, topic, partition, state) (kafka_connect_mirror_mirrorsourceconnector_partition_state{@} == 1)"),
    ]
}

fn groups() -> Vec<Panel> {
    vec![
        Panel::graph("Another position on the target", Unit::Milliseconds, "For how long; the ten worst groups.")
            .line("{{group}} {{topic}}", "topk(10, max by (group, topic) (twinstream_mirror_group_lag_ms{@}))"),
        Panel::graph("Position behind", Unit::Count, "Records that a group would read again after a fail-over; the ten worst groups.")
            .line("{{group}} {{topic}}", "topk(10, sum by (group, topic) (twinstream_mirror_group_lag_records{@}))"),
        Panel::graph("Time to carry an offset over", Unit::Milliseconds, "From reading a group's offset at the source until the target had it; mean and largest of the last minute.")
            .line("mean", "avg(kafka_connect_mirror_mirrorcheckpointconnector_checkpoint_latency_ms_avg{@} >= 0)")
            .line("largest", "max(kafka_connect_mirror_mirrorcheckpointconnector_checkpoint_latency_ms_max{@} >= 0)"),
        Panel::graph("Offsets", Unit::OpsPerSecond, "Written on the target, left because the group there is further by its own doing, refused.")
            .line("written", r#"sum(rate(kafka_connect_mirror_mirrorcheckpointconnector_group_offset_write_count{source=~"$source",target=~"$target"}[$__rate_interval])) or on() vector(0)"#)
            .line("left", r#"sum(rate(kafka_connect_mirror_mirrorcheckpointconnector_group_offset_left_count{source=~"$source",target=~"$target"}[$__rate_interval])) or on() vector(0)"#)
            .line("refused", r#"sum(rate(kafka_connect_mirror_mirrorcheckpointconnector_group_offset_failure_count{source=~"$source",target=~"$target"}[$__rate_interval])) or on() vector(0)"#),
    ]
}
