//! Names without `_metrics`, as Strimzi's rules and its boards have them.

/// Declared name, other name.
pub(super) const SPELLINGS: [(&str, &str); 26] = [
    ("kafka_connect_worker_metrics_connector_count", "kafka_connect_worker_connector_count"),
    ("kafka_connect_worker_metrics_task_count", "kafka_connect_worker_task_count"),
    (
        "kafka_connect_worker_metrics_connector_startup_attempts_total",
        "kafka_connect_worker_connector_startup_attempts_total",
    ),
    (
        "kafka_connect_worker_metrics_connector_startup_failure_total",
        "kafka_connect_worker_connector_startup_failure_total",
    ),
    ("kafka_connect_worker_metrics_task_startup_attempts_total", "kafka_connect_worker_task_startup_attempts_total"),
    ("kafka_connect_worker_metrics_task_startup_failure_total", "kafka_connect_worker_task_startup_failure_total"),
    (
        "kafka_connect_source_task_metrics_source_record_poll_total",
        "kafka_connect_source_task_source_record_poll_total",
    ),
    (
        "kafka_connect_source_task_metrics_source_record_write_total",
        "kafka_connect_source_task_source_record_write_total",
    ),
    (
        "kafka_connect_source_task_metrics_source_record_active_count",
        "kafka_connect_source_task_source_record_active_count",
    ),
    ("kafka_connect_source_task_metrics_transaction_size_min", "kafka_connect_source_task_transaction_size_min"),
    ("kafka_connect_source_task_metrics_transaction_size_max", "kafka_connect_source_task_transaction_size_max"),
    ("kafka_connect_source_task_metrics_transaction_size_avg", "kafka_connect_source_task_transaction_size_avg"),
    ("kafka_connect_sink_task_metrics_sink_record_read_total", "kafka_connect_sink_task_sink_record_read_total"),
    ("kafka_connect_sink_task_metrics_sink_record_send_total", "kafka_connect_sink_task_sink_record_send_total"),
    ("kafka_connect_sink_task_metrics_partition_count", "kafka_connect_sink_task_partition_count"),
    (
        "kafka_connect_connector_task_metrics_offset_commit_success_total",
        "kafka_connect_connector_task_offset_commit_success_total",
    ),
    (
        "kafka_connect_connector_task_metrics_offset_commit_failure_total",
        "kafka_connect_connector_task_offset_commit_failure_total",
    ),
    (
        "kafka_connect_connector_task_metrics_offset_commit_avg_time_ms",
        "kafka_connect_connector_task_offset_commit_avg_time_ms",
    ),
    (
        "kafka_connect_connector_task_metrics_offset_commit_max_time_ms",
        "kafka_connect_connector_task_offset_commit_max_time_ms",
    ),
    ("kafka_connect_task_error_metrics_total_record_errors", "kafka_connect_task_error_total_record_errors"),
    ("kafka_connect_task_error_metrics_total_record_failures", "kafka_connect_task_error_total_record_failures"),
    ("kafka_connect_task_error_metrics_total_records_skipped", "kafka_connect_task_error_total_records_skipped"),
    ("kafka_connect_task_error_metrics_total_retries", "kafka_connect_task_error_total_retries"),
    ("kafka_connect_task_error_metrics_total_errors_logged", "kafka_connect_task_error_total_errors_logged"),
    (
        "kafka_connect_task_error_metrics_deadletterqueue_produce_requests",
        "kafka_connect_task_error_deadletterqueue_produce_requests",
    ),
    (
        "kafka_connect_task_error_metrics_deadletterqueue_produce_failures",
        "kafka_connect_task_error_deadletterqueue_produce_failures",
    ),
];
