//! The schema registry.
