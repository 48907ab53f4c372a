//! Tracing set-up, the metrics registry and the /metrics endpoint.
