//! The Elasticsearch sink connector.
