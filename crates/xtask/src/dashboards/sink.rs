//! From topics into an index of Elasticsearch or OpenSearch: does everything arrive, is the index the bottleneck.

use crate::dashboards::board::{Board, Panel, Unit, Variable};

pub(super) fn board() -> Board {
    Board {
        name: "sink",
        title: "Twinstream / Search sink",
        description: "From topics into an index of Elasticsearch or OpenSearch: does everything arrive, is the index the bottleneck.",
        selection: r#"site=~"$site",connector=~"$connector""#,
        variables: vec![
            Variable::site("twinstream_elasticsearch_buffered_records"),
            Variable::label("connector", "Connector", "twinstream_elasticsearch_buffered_records"),
        ],
        rows: Vec::new(),
    }
    .row("Is all well?", well())
    .row("What arrives", arrives())
    .row("How the index takes it", index())
    .row("How far behind", behind())
}

fn well() -> Vec<Panel> {
    vec![
        Panel::stat(
            "Tasks that failed",
            Unit::Count,
            "sum(kafka_connect_worker_connector_failed_task_count{@})",
            "They do nothing until somebody starts them again.",
        )
        .zero_is_good(),
        Panel::stat(
            "Documents refused",
            Unit::Count,
            r#"sum(increase(twinstream_elasticsearch_records_total{@,outcome="refused"}[$__range])) or on() vector(0)"#,
            "The index does not take them as they are, in the range of time shown; mostly a field of another type.",
        )
        .zero_is_good(),
        Panel::stat(
            "Dead letters",
            Unit::Count,
            "sum(increase(kafka_connect_task_error_metrics_deadletterqueue_produce_requests{@}[$__range])) or on() vector(0)",
            "Records sent to the dead-letter topic in the range of time shown.",
        )
        .zero_is_good(),
        Panel::stat(
            "Requests that failed",
            Unit::Count,
            r#"sum(increase(twinstream_elasticsearch_requests_total{@,result="failed"}[$__range])) or on() vector(0)"#,
            "Bulk requests without a usable answer; their documents are sent again.",
        )
        .zero_is_usual(),
        Panel::stat(
            "Requests when it was busy",
            Unit::Count,
            r#"sum(increase(twinstream_elasticsearch_requests_total{@,result="busy"}[$__range])) or on() vector(0)"#,
            "The index asked for patience. Often: it is too small for what is written.",
        )
        .zero_is_usual(),
        Panel::stat(
            "Records behind",
            Unit::Count,
            r#"sum(kafka_consumergroup_lag{site=~"$site",consumergroup=~"connect-($connector)"}) or on() vector(0)"#,
            "Records that the connectors have not committed, from the brokers of the same site.",
        )
        .rising(10_000.0, 1_000_000.0),
        Panel::stat(
            "Tasks that run",
            Unit::Count,
            "sum(kafka_connect_worker_connector_running_task_count{@})",
            "Of the connectors chosen.",
        )
        .at_least(1.0),
    ]
}

fn arrives() -> Vec<Panel> {
    vec![
        Panel::stack(
            "Documents by outcome",
            Unit::RecordsPerSecond,
            "Written; superseded by a newer one of the same key; refused by the index; ignored because they have no value.",
        )
        .line("{{outcome}}", "sum by (outcome) (rate(twinstream_elasticsearch_records_total{@}[$__rate_interval]))"),
        Panel::graph("Records read", Unit::RecordsPerSecond, "From Kafka.")
            .line("{{connector}}", r#"sum by (connector) (rate(kafka_connect_sink_task_metrics_sink_record_read_total{@}[$__rate_interval]))"#),
        Panel::graph("Errors of records", Unit::RecordsPerSecond, "Records that could not be processed, left out, or sent to the dead-letter topic.")
            .line("{{connector}} failed", "sum by (connector) (rate(kafka_connect_task_error_metrics_total_record_failures{@}[$__rate_interval]))")
            .line("{{connector}} skipped", "sum by (connector) (rate(kafka_connect_task_error_metrics_total_records_skipped{@}[$__rate_interval]))")
            .line("{{connector}} dead letters", "sum by (connector) (rate(kafka_connect_task_error_metrics_deadletterqueue_produce_requests{@}[$__rate_interval]))"),
    ]
}

fn index() -> Vec<Panel> {
    vec![
        Panel::stack("Bulk requests by result", Unit::RequestsPerSecond, "Busy: the index asked for patience. Failed: no usable answer.")
            .line("{{result}}", "sum by (result) (rate(twinstream_elasticsearch_requests_total{@}[$__rate_interval]))"),
        Panel::graph("Bytes sent", Unit::BytesPerSecond, "Of bulk requests, before compression.")
            .line("{{connector}}", "sum by (connector) (rate(twinstream_elasticsearch_request_bytes_total{@}[$__rate_interval]))"),
        Panel::graph("Documents sent again", Unit::RecordsPerSecond, "By cause. More than new ones: a storm of retries.")
            .line("{{cause}}", "sum by (cause) (rate(twinstream_elasticsearch_retries_total{@}[$__rate_interval])) or on() vector(0)"),
        Panel::graph("Mean bulk request", Unit::Bytes, "Small ones cost the index much; batch.size and linger.ms make them larger.").line(
            "{{connector}}",
            "sum by (connector) (rate(twinstream_elasticsearch_request_bytes_total{@}[$__rate_interval])) / (sum by (connector) (rate(twinstream_elasticsearch_requests_total{@}[$__rate_interval])) > 0)",
        ),
        Panel::graph("Waiting or under way", Unit::Count, "Records that tasks hold. At their bound, they stop reading.")
            .line("{{connector}}-{{task}}", "twinstream_elasticsearch_buffered_records{@}"),
    ]
}

fn behind() -> Vec<Panel> {
    vec![
        Panel::graph("Records behind", Unit::Count, "By topic, as the brokers of the same site see the group connect-NAME of a connector.")
            .line("{{consumergroup}} {{topic}}", r#"sum by (consumergroup, topic) (kafka_consumergroup_lag{site=~"$site",consumergroup=~"connect-($connector)"})"#),
        Panel::graph("Time behind", Unit::Seconds, "Age of the oldest record that is not in the index for sure.")
            .line("{{consumergroup}} {{topic}}", r#"max by (consumergroup, topic) (twinstream_group_lag_seconds{site=~"$site",consumergroup=~"connect-($connector)"})"#),
        Panel::graph("Commits of offsets that failed", Unit::OpsPerSecond, "After a restart these records are indexed again, to the same documents.")
            .line("{{connector}}", "sum by (connector) (rate(kafka_connect_connector_task_metrics_offset_commit_failure_total{@}[$__rate_interval]))"),
    ]
}
