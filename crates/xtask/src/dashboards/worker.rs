//! Processes that run connectors: do all run, which fail, do workers agree who runs what.

use crate::dashboards::board::{Board, Panel, Unit, Variable};

pub(super) fn board() -> Board {
    Board {
        name: "worker",
        title: "Twinstream / Worker",
        description: "Processes that run connectors: do all tasks run, what fails, do the workers agree who runs what.",
        selection: r#"site=~"$site",instance=~"$instance""#,
        variables: vec![
            Variable::site(r#"up{job="worker"}"#),
            Variable::instance(r#"up{job="worker"}"#),
            Variable::label("connector", "Connector", "kafka_connect_connector_status"),
        ],
        rows: Vec::new(),
    }
    .row("Is all well?", well())
    .row("Connectors and tasks", connectors())
    .row("Errors of records", errors())
    .row("Source connectors", sources())
    .row("Sink connectors", sinks())
    .row("Workers together", together())
    .row("Process", process())
}

fn well() -> Vec<Panel> {
    vec![
        Panel::stat(
            "Workers not scraped",
            Unit::Count,
            r#"sum(up{job="worker",@} == bool 0)"#,
            "Workers that Prometheus knows and cannot reach.",
        )
        .zero_is_good(),
        Panel::stat(
            "Tasks that failed",
            Unit::Count,
            r#"sum(kafka_connect_worker_connector_failed_task_count{@,connector=~"$connector"}) or on() vector(0)"#,
            "They do nothing until somebody starts them again; GET /connectors/NAME/status has the trace.",
        )
        .zero_is_good(),
        Panel::stat(
            "Tasks that start again",
            Unit::Count,
            r#"sum(kafka_connect_worker_connector_restarting_task_count{@,connector=~"$connector"}) or on() vector(0)"#,
            "After an error that may pass.",
        )
        .zero_is_usual(),
        Panel::stat(
            "Tasks without worker",
            Unit::Count,
            r#"sum(kafka_connect_worker_connector_unassigned_task_count{@,connector=~"$connector"}) or on() vector(0)"#,
            "Usual for the moment of a rebalance.",
        )
        .zero_is_usual(),
        Panel::stat(
            "Records that failed",
            Unit::Count,
            r#"sum(increase(kafka_connect_task_error_metrics_total_record_failures{@,connector=~"$connector"}[$__range])) or on() vector(0)"#,
            "In the range of time shown.",
        )
        .zero_is_good(),
        Panel::stat(
            "Rebalancing",
            Unit::Count,
            "sum(kafka_connect_worker_rebalance_rebalancing{@})",
            "Workers that join their group again.",
        )
        .zero_is_usual(),
        Panel::stat("Connectors", Unit::Count, "sum(kafka_connect_worker_metrics_connector_count{@})", "Run by the workers chosen."),
        Panel::stat("Tasks", Unit::Count, "sum(kafka_connect_worker_metrics_task_count{@})", "Run by the workers chosen."),
    ]
}

fn connectors() -> Vec<Panel> {
    vec![
        Panel::table("Connectors", "What each connector is, and the state that it is in.")
            .column("Connector", Unit::Count, r#"max by (connector, status) (kafka_connect_connector_status{@,connector=~"$connector"})"#),
        Panel::table("Tasks", "Tasks of each connector by state.")
            .column("All", Unit::Count, r#"sum by (connector) (kafka_connect_worker_connector_total_task_count{@,connector=~"$connector"})"#)
            .column("Running", Unit::Count, r#"sum by (connector) (kafka_connect_worker_connector_running_task_count{@,connector=~"$connector"})"#)
            .column("Paused", Unit::Count, r#"sum by (connector) (kafka_connect_worker_connector_paused_task_count{@,connector=~"$connector"})"#)
            .column("Failed", Unit::Count, r#"sum by (connector) (kafka_connect_worker_connector_failed_task_count{@,connector=~"$connector"})"#)
            .column("Restarting", Unit::Count, r#"sum by (connector) (kafka_connect_worker_connector_restarting_task_count{@,connector=~"$connector"})"#),
        Panel::stack("Tasks by state", Unit::Count, "Of the connectors chosen.")
            .line("{{status}}", r#"sum by (status) (kafka_connect_connector_task_metrics_status{@,connector=~"$connector"})"#),
        Panel::graph("Commits of offsets", Unit::OpsPerSecond, "A task that cannot commit does its work again after a restart.")
            .line("{{connector}}", r#"sum by (connector) (rate(kafka_connect_connector_task_metrics_offset_commit_success_total{@,connector=~"$connector"}[$__rate_interval]))"#)
            .line("{{connector}} failed", r#"sum by (connector) (rate(kafka_connect_connector_task_metrics_offset_commit_failure_total{@,connector=~"$connector"}[$__rate_interval]))"#),
        Panel::graph("Time of a commit", Unit::Milliseconds, "On average of the last ones, and the longest of them.")
            .line("{{connector}}", r#"max by (connector) (kafka_connect_connector_task_metrics_offset_commit_avg_time_ms{@,connector=~"$connector"})"#)
            .line("{{connector}} longest", r#"max by (connector) (kafka_connect_connector_task_metrics_offset_commit_max_time_ms{@,connector=~"$connector"})"#),
    ]
}

fn errors() -> Vec<Panel> {
    vec![
        Panel::graph("Errors", Unit::OpsPerSecond, "Of records, tries included.")
            .line("{{connector}}", r#"sum by (connector) (rate(kafka_connect_task_error_metrics_total_record_errors{@,connector=~"$connector"}[$__rate_interval]))"#),
        Panel::graph("Failures and skips", Unit::RecordsPerSecond, "Records that could not be processed, and records left out because of errors.")
            .line("{{connector}} failed", r#"sum by (connector) (rate(kafka_connect_task_error_metrics_total_record_failures{@,connector=~"$connector"}[$__rate_interval]))"#)
            .line("{{connector}} skipped", r#"sum by (connector) (rate(kafka_connect_task_error_metrics_total_records_skipped{@,connector=~"$connector"}[$__rate_interval]))"#),
        Panel::graph("Retries", Unit::OpsPerSecond, "Operations tried again.")
            .line("{{connector}}", r#"sum by (connector) (rate(kafka_connect_task_error_metrics_total_retries{@,connector=~"$connector"}[$__rate_interval]))"#),
    ]
}

fn sources() -> Vec<Panel> {
    vec![
        Panel::graph("Records", Unit::RecordsPerSecond, "Polled from the source, and acknowledged by Kafka.")
            .line("{{connector}} polled", r#"sum by (connector) (rate(kafka_connect_source_task_metrics_source_record_poll_total{@,connector=~"$connector"}[$__rate_interval]))"#)
            .line("{{connector}} written", r#"sum by (connector) (rate(kafka_connect_source_task_metrics_source_record_write_total{@,connector=~"$connector"}[$__rate_interval]))"#),
        Panel::graph("Whole batches", Unit::BytesPerSecond, "Bytes that mirrors hand on without opening the batches.")
            .line("{{connector}}", r#"sum by (connector) (rate(twinstream_connect_source_raw_byte_write_total{@,connector=~"$connector"}[$__rate_interval]))"#),
        Panel::graph("Under way", Unit::Bytes, "Bytes of source tasks that Kafka has not acknowledged. At its bound, the target is too slow.")
            .line("{{instance}}", "twinstream_connect_source_in_flight_bytes{@}"),
    ]
}

fn sinks() -> Vec<Panel> {
    vec![
        Panel::graph("Records", Unit::RecordsPerSecond, "Read from Kafka, and given to the task behind its transforms.")
            .line("{{connector}} read", r#"sum by (connector) (rate(kafka_connect_sink_task_metrics_sink_record_read_total{@,connector=~"$connector"}[$__rate_interval]))"#)
            .line("{{connector}} given", r#"sum by (connector) (rate(kafka_connect_sink_task_metrics_sink_record_send_total{@,connector=~"$connector"}[$__rate_interval]))"#),
        Panel::graph("Partitions", Unit::Count, "Assigned to the tasks of each connector.")
            .line("{{connector}}", r#"sum by (connector) (kafka_connect_sink_task_metrics_partition_count{@,connector=~"$connector"})"#),
    ]
}

fn together() -> Vec<Panel> {
    vec![
        Panel::graph("Tasks by worker", Unit::Count, "Even is good.")
            .line("{{instance}}", "kafka_connect_coordinator_assigned_tasks{@}"),
        Panel::graph("Connectors by worker", Unit::Count, "Even is good.")
            .line("{{instance}}", "kafka_connect_coordinator_assigned_connectors{@}"),
        Panel::graph(
            "Generation of the group",
            Unit::Count,
            "Each step is a rebalance; workers of one group have the same one.",
        )
        .line("{{instance}}", "kafka_connect_worker_rebalance_epoch{@}"),
        Panel::graph("Starts that failed", Unit::OpsPerSecond, "Of connectors and of tasks.")
            .line(
                "{{instance}} connectors",
                "rate(kafka_connect_worker_metrics_connector_startup_failure_total{@}[$__rate_interval])",
            )
            .line(
                "{{instance}} tasks",
                "rate(kafka_connect_worker_metrics_task_startup_failure_total{@}[$__rate_interval])",
            ),
    ]
}

fn process() -> Vec<Panel> {
    vec![
        Panel::graph("Processors", Unit::Count, "Processors that the worker keeps busy.")
            .line("{{instance}}", r#"rate(process_cpu_seconds_total{job="worker",@}[$__rate_interval])"#),
        Panel::graph("Memory", Unit::Bytes, "Memory held in RAM.")
            .line("{{instance}}", r#"process_resident_memory_bytes{job="worker",@}"#),
        Panel::graph("Open files", Unit::Count, "Mostly connections.")
            .line("{{instance}}", r#"process_open_fds{job="worker",@}"#),
    ]
}
