//! Consumers: which group is behind, whether it gets further, whether it has members at all.

use crate::dashboards::board::{Board, Panel, Unit, Variable};

pub(super) fn board() -> Board {
    Board {
        name: "groups",
        title: "Twinstream / Groups",
        description: "Consumer groups: which is behind, whether it gets further, whether it has members at all.",
        selection: r#"site=~"$site",consumergroup=~"$group",topic=~"$topic""#,
        variables: vec![
            Variable::site("kafka_consumergroup_lag"),
            Variable::label("group", "Group", "kafka_consumergroup_lag").of("consumergroup"),
            Variable::label("topic", "Topic", "kafka_consumergroup_lag"),
        ],
        rows: Vec::new(),
    }
    .row("Is all well?", well())
    .row("Who is behind", behind())
    .row("Who reads", reading())
    .row("Coordinators", coordinators())
}

fn well() -> Vec<Panel> {
    vec![
        Panel::stat(
            "Furthest behind, in time",
            Unit::Seconds,
            "max(twinstream_group_lag_seconds{@})",
            "Age of the oldest record that one of the groups chosen has not committed.",
        )
        .rising(60.0, 600.0),
        Panel::stat(
            "Furthest behind, in records",
            Unit::Count,
            "max(sum by (consumergroup, topic) (kafka_consumergroup_lag{@}))",
            "Records of one topic that one of the groups chosen has not committed.",
        )
        .rising(10_000.0, 1_000_000.0),
        Panel::stat(
            "Behind and standing",
            Unit::Count,
            "count((sum by (site, consumergroup, topic) (kafka_consumergroup_lag{@}) > 0) unless (sum by (site, consumergroup, topic) (changes(kafka_consumergroup_current_offset{@}[10m])) > 0)) or on() vector(0)",
            "Groups and topics with records to read, whose committed offsets have not moved for ten minutes.",
        )
        .zero_is_good(),
        Panel::stat(
            "Behind and without members",
            Unit::Count,
            r#"count((sum by (site, consumergroup) (kafka_consumergroup_lag{@}) > 0) and (max by (site, consumergroup) (kafka_consumergroup_members{@site,consumergroup=~"$group"}) == 0)) or on() vector(0)"#,
            "Groups with records to read and nobody who reads. A group that was given up counts until its offsets expire.",
        )
        .zero_is_usual(),
        Panel::stat(
            "Not measured",
            Unit::Count,
            "sum(twinstream_group_lag_left_out{@site})",
            "Groups and offsets that have no lag here, because they are too many or were not known in time.",
        )
        .zero_is_usual(),
        Panel::stat(
            "Groups",
            Unit::Count,
            "count(count by (site, consumergroup) (kafka_consumergroup_current_offset{@}))",
            "Groups with committed offsets.",
        ),
    ]
}

fn behind() -> Vec<Panel> {
    vec![
        Panel::graph(
            "In time",
            Unit::Seconds,
            "Age of the oldest record that a group has not committed; the ten worst.",
        )
        .line(
            "{{consumergroup}} {{topic}}",
            "topk(10, max by (consumergroup, topic) (twinstream_group_lag_seconds{@}))",
        ),
        Panel::graph("In records", Unit::Count, "Records that a group has not committed; the ten worst.").line(
            "{{consumergroup}} {{topic}}",
            "topk(10, sum by (consumergroup, topic) (kafka_consumergroup_lag{@}))",
        ),
        Panel::graph(
            "Partitions furthest behind",
            Unit::Count,
            "The ten worst. One alone is a hot key, or a record that cannot be processed.",
        )
        .line(
            "{{consumergroup}} {{topic}}-{{partition}}",
            "topk(10, max by (consumergroup, topic, partition) (kafka_consumergroup_lag{@}))",
        ),
        Panel::table("All", "Each group and topic, with what is left to read and who is there to read it.")
            .column("Behind, records", Unit::Count, "sum by (site, consumergroup, topic) (kafka_consumergroup_lag{@})")
            .column(
                "Behind, time",
                Unit::Seconds,
                "max by (site, consumergroup, topic) (twinstream_group_lag_seconds{@})",
            )
            .column(
                "Committed",
                Unit::Count,
                "sum by (site, consumergroup, topic) (kafka_consumergroup_current_offset{@})",
            )
            .column(
                "Partitions",
                Unit::Count,
                "count by (site, consumergroup, topic) (kafka_consumergroup_current_offset{@})",
            ),
    ]
}

fn reading() -> Vec<Panel> {
    vec![
        Panel::graph(
            "Records committed",
            Unit::RecordsPerSecond,
            "How fast groups get on. It jumps at each commit; a rewind shows as nothing.",
        )
        .line(
            "{{consumergroup}} {{topic}}",
            "sum by (consumergroup, topic) (rate(kafka_consumergroup_current_offset{@}[$__rate_interval]))",
        ),
        Panel::graph(
            "Records written",
            Unit::RecordsPerSecond,
            "What is written to the same topics; more than is committed means that lag grows.",
        )
        .line(
            "{{topic}}",
            r#"sum by (topic) (rate(kafka_topic_partition_current_offset{@site,topic=~"$topic"}[$__rate_interval]))"#,
        ),
        Panel::graph(
            "Members",
            Unit::Count,
            "Consumers of each group. One that goes up and down rebalances again and again.",
        )
        .line(
            "{{consumergroup}}",
            r#"max by (consumergroup) (kafka_consumergroup_members{@site,consumergroup=~"$group"})"#,
        ),
    ]
}

fn coordinators() -> Vec<Panel> {
    vec![
        Panel::stack(
            "Classic groups by state",
            Unit::Count,
            "Those that stay in PreparingRebalance wait for a member that does not come back.",
        )
        .line("stable", "sum(kafka_coordinator_group_groupmetadatamanager_numgroupsstable{@site})")
        .line(
            "preparing rebalance",
            "sum(kafka_coordinator_group_groupmetadatamanager_numgroupspreparingrebalance{@site})",
        )
        .line(
            "completing rebalance",
            "sum(kafka_coordinator_group_groupmetadatamanager_numgroupscompletingrebalance{@site})",
        )
        .line("empty", "sum(kafka_coordinator_group_groupmetadatamanager_numgroupsempty{@site})"),
        Panel::stack(
            "Consumer groups by state",
            Unit::Count,
            "Groups of the newer protocol, in which the broker assigns.",
        )
        .line("stable", "sum(kafka_server_group_coordinator_metrics_consumer_group_count_stable{@site})")
        .line("assigning", "sum(kafka_server_group_coordinator_metrics_consumer_group_count_assigning{@site})")
        .line("reconciling", "sum(kafka_server_group_coordinator_metrics_consumer_group_count_reconciling{@site})")
        .line("empty", "sum(kafka_server_group_coordinator_metrics_consumer_group_count_empty{@site})"),
        Panel::graph("Groups by broker", Unit::Count, "Which broker coordinates how many.")
            .line("{{instance}}", "kafka_coordinator_group_groupmetadatamanager_numgroups{@site}"),
    ]
}
