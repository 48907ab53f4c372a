//! One partition's log.
