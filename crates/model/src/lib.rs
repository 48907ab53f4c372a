//! Ids and value types that all crates share, and the one table of Kafka error codes.
