//! The mirror source connector.
