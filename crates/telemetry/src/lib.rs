//! What every role tells about itself: logs on stderr, metrics under `/metrics`.
//!
//! Picture: a process calls [`logging::init`] once, makes one [`Metrics`], and hands it down. Each crate declares its own
//! metrics in a file `metrics.rs` with the constructors of `Metrics`; whoever owns a listener serves them, either with
//! [`Metrics::serve`] (a listener of its own) or by merging [`Metrics::router`] into a REST server that is there anyway.
//!
//! Invariants: stdout is never written (it belongs to the data of the command line). A metric name is declared once per
//! `Metrics`. Nothing here is global but the tracing subscriber, so a test may run several brokers in one process.
//!
//! Not here: the names of the metrics (each crate's `metrics.rs`), traces over the network.

mod figures;
pub mod logging;
mod metrics;
mod process;
mod reference;
pub mod service;

pub use figures::Reading;
pub use logging::{LogError, LogFormat, LogOptions};
pub use metrics::{Metrics, MetricsError};
pub use reference::Entry;
