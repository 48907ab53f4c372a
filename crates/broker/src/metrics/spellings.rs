//! The second spelling of metrics that users know in two.
//!
//! Kafka names its metrics for JMX, and two sets of rules turn them into names for Prometheus: that of the exporter's
//! examples and of Strimzi (`_total`, `_percent`), under which everything here is declared, and Confluent's (`persec`).

/// Declared name, other name.
pub(super) const SPELLINGS: [(&str, &str); 38] = [
    ("kafka_server_brokertopicmetrics_messagesin_total", "kafka_server_brokertopicmetrics_messagesinpersec"),
    ("kafka_server_brokertopicmetrics_bytesin_total", "kafka_server_brokertopicmetrics_bytesinpersec"),
    ("kafka_server_brokertopicmetrics_bytesout_total", "kafka_server_brokertopicmetrics_bytesoutpersec"),
    ("kafka_server_brokertopicmetrics_bytesrejected_total", "kafka_server_brokertopicmetrics_bytesrejectedpersec"),
    (
        "kafka_server_brokertopicmetrics_totalproducerequests_total",
        "kafka_server_brokertopicmetrics_totalproducerequestspersec",
    ),
    (
        "kafka_server_brokertopicmetrics_totalfetchrequests_total",
        "kafka_server_brokertopicmetrics_totalfetchrequestspersec",
    ),
    (
        "kafka_server_brokertopicmetrics_failedproducerequests_total",
        "kafka_server_brokertopicmetrics_failedproducerequestspersec",
    ),
    (
        "kafka_server_brokertopicmetrics_failedfetchrequests_total",
        "kafka_server_brokertopicmetrics_failedfetchrequestspersec",
    ),
    (
        "kafka_server_brokertopicmetrics_replicationbytesin_total",
        "kafka_server_brokertopicmetrics_replicationbytesinpersec",
    ),
    (
        "kafka_server_brokertopicmetrics_replicationbytesout_total",
        "kafka_server_brokertopicmetrics_replicationbytesoutpersec",
    ),
    ("kafka_server_replicamanager_isrshrinks_total", "kafka_server_replicamanager_isrshrinkspersec"),
    ("kafka_server_replicamanager_isrexpands_total", "kafka_server_replicamanager_isrexpandspersec"),
    ("kafka_server_replicamanager_failedisrupdates_total", "kafka_server_replicamanager_failedisrupdatespersec"),
    (
        "kafka_controller_controllerstats_uncleanleaderelections_total",
        "kafka_controller_controllerstats_uncleanleaderelectionspersec",
    ),
    ("kafka_network_requestmetrics_requests_total", "kafka_network_requestmetrics_requestspersec"),
    ("kafka_network_requestmetrics_errors_total", "kafka_network_requestmetrics_errorspersec"),
    (
        "kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent",
        "kafka_server_kafkarequesthandlerpool_requesthandleravgidlepercent_oneminuterate",
    ),
    (
        "kafka_network_socketserver_networkprocessoravgidle_percent",
        "kafka_network_socketserver_networkprocessoravgidlepercent",
    ),
    ("kafka_server_socket_server_metrics_connection_count", "kafka_server_socketservermetrics_connection_count"),
    (
        "kafka_server_socket_server_metrics_connection_creation_total",
        "kafka_server_socketservermetrics_connection_creation_total",
    ),
    (
        "kafka_server_socket_server_metrics_connection_close_total",
        "kafka_server_socketservermetrics_connection_close_total",
    ),
    ("kafka_server_raftmetrics_current_state", "kafka_server_raft_metrics_current_state"),
    ("kafka_server_raftmetrics_current_leader", "kafka_server_raft_metrics_current_leader"),
    ("kafka_server_raftmetrics_current_vote", "kafka_server_raft_metrics_current_vote"),
    ("kafka_server_raftmetrics_current_epoch", "kafka_server_raft_metrics_current_epoch"),
    ("kafka_server_raftmetrics_high_watermark", "kafka_server_raft_metrics_high_watermark"),
    ("kafka_server_raftmetrics_log_end_offset", "kafka_server_raft_metrics_log_end_offset"),
    ("kafka_server_raftmetrics_append_records_rate", "kafka_server_raft_metrics_append_records_rate"),
    ("kafka_server_raftmetrics_fetch_records_rate", "kafka_server_raft_metrics_fetch_records_rate"),
    ("kafka_server_raftmetrics_commit_latency_avg", "kafka_server_raft_metrics_commit_latency_avg"),
    ("kafka_server_raftmetrics_number_of_voters", "kafka_server_raft_metrics_number_of_voters"),
    ("kafka_server_raftmetrics_number_of_observers", "kafka_server_raft_metrics_number_of_observers"),
    ("kafka_server_raftmetrics_number_of_offline_voters", "kafka_server_raft_metrics_number_of_offline_voters"),
    ("kafka_server_raftchannelmetrics_incoming_byte_total", "kafka_server_raft_channel_metrics_incoming_byte_total"),
    ("kafka_server_raftchannelmetrics_outgoing_byte_total", "kafka_server_raft_channel_metrics_outgoing_byte_total"),
    ("kafka_server_raftchannelmetrics_request_total", "kafka_server_raft_channel_metrics_request_total"),
    ("kafka_server_raftchannelmetrics_response_total", "kafka_server_raft_channel_metrics_response_total"),
    (
        "kafka_server_fetchsessioncache_incrementalfetchsessionevictions_total",
        "kafka_server_fetchsessioncache_incrementalfetchsessionevictionspersec",
    ),
];
