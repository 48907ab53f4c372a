//! The raft crate logs through slog; this turns its lines into tracing events of the target `quorum::raft`.
//!
//! Raft calls routine steps "info"; they are debug for an operator, so everything below a warning goes one level down.

use std::fmt::Write as _;

use slog::{Drain, KV as _, Level, Logger, OwnedKVList, Record, Serializer};

pub(crate) fn logger() -> Logger {
    Logger::root(Bridge, slog::o!())
}

struct Bridge;

impl Drain for Bridge {
    type Ok = ();
    type Err = slog::Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), slog::Never> {
        if !enabled(record.level()) {
            return Ok(());
        }
        let mut fields = Fields(String::new());
        // Writing into a string cannot fail; a value that does not format is left out.
        let shown = record.kv().serialize(record, &mut fields).and_then(|()| values.serialize(record, &mut fields));
        if shown.is_err() {
            fields.0.push_str(" (incomplete)");
        }
        let (message, facts) = (record.msg(), fields.0.as_str());
        match record.level() {
            Level::Critical | Level::Error => tracing::error!(target: "quorum::raft", facts, "{message}"),
            Level::Warning => tracing::warn!(target: "quorum::raft", facts, "{message}"),
            Level::Info => tracing::debug!(target: "quorum::raft", facts, "{message}"),
            Level::Debug | Level::Trace => tracing::trace!(target: "quorum::raft", facts, "{message}"),
        }
        Ok(())
    }
}

fn enabled(level: Level) -> bool {
    match level {
        Level::Critical | Level::Error | Level::Warning => true,
        Level::Info => tracing::enabled!(target: "quorum::raft", tracing::Level::DEBUG),
        Level::Debug | Level::Trace => tracing::enabled!(target: "quorum::raft", tracing::Level::TRACE),
    }
}

struct Fields(String);

impl Serializer for Fields {
    fn emit_arguments(&mut self, key: slog::Key, value: &std::fmt::Arguments<'_>) -> slog::Result {
        let gap = if self.0.is_empty() { "" } else { " " };
        let value = value.to_string();
        // Operators know nodes, not the numbers that Raft has for them.
        if key == "raft_id"
            && let Some(node) = value.parse().ok().and_then(crate::node_id)
        {
            return write!(self.0, "{gap}node={node}").map_err(slog::Error::from);
        }
        write!(self.0, "{gap}{key}={value}").map_err(slog::Error::from)
    }
}
