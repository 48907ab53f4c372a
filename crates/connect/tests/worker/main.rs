//! The worker against Apache Kafka, with connectors that live in the test: one binary, so that it is linked once.

mod support;

mod exactly_once;
mod lives;
mod raw;
mod rest;
mod sinks;
mod sources;
