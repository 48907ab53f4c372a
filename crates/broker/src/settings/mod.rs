//! The broker's settings: Kafka's names, one table, typed values.
//!
//! Picture: [`table`] lists every name with type, default, bounds, fate and text. [`sources`] gathers what the user
//! gave (file, environment, command line) with its provenance. [`values`] checks that against the table. [`Settings`]
//! is the typed result that the rest of the broker reads. [`live`] puts on top what was altered while the broker runs.
//!
//! Invariants: an unknown name or a malformed value stops the start with a message that names it; a setting without
//! effect is reported once at start, never silently swallowed; names that start with `twinstream.` are ours.

pub(crate) mod connections; // how many may be open
pub(crate) mod listeners; // listeners, advertised addresses, voters
pub(crate) mod live; // with what was altered at run time
pub(crate) mod sources; // file, environment, overrides
pub(crate) mod table; // every name with its fate
pub(crate) mod values; // checked texts by name

mod cleaner; // compaction
mod replication; // how replicas follow their leaders
mod transactions; // the transaction coordinator
mod typed;

pub(crate) use cleaner::CleanerSettings;
pub(crate) use replication::ReplicationSettings;
pub(crate) use transactions::TransactionSettings;
pub(crate) use typed::{BalanceSettings, ConsumerGroupSettings, NetworkSettings, OffsetsSettings, Settings};
pub(crate) use values::SettingsError;
