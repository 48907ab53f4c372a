//! Settings that Kafka does not have.

use super::{Kind, Setting};

#[rustfmt::skip]
pub(super) const SETTINGS: &[Setting] = &[
    Setting::new("twinstream.metrics.listener", Kind::String, None)
        .effect("Address and port on which /metrics is served in Prometheus' format; none unless set."),
    Setting::new("twinstream.log.open.files.max", Kind::Int, Some("6000")).at_least(16)
        .effect("Segment and index files that all logs together keep open. Never more than half of the process's limit of open files."),
    Setting::new("twinstream.cluster.id", Kind::String, None)
        .effect("The cluster id that a new cluster gets; the voter makes one unless set."),
];
