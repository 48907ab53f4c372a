//! A small embedded Elasticsearch-compatible index.
