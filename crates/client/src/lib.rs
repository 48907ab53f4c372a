//! Kafka and registry clients.
