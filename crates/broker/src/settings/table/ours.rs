//! Settings that Kafka does not have.

use super::{Kind, Setting};

#[rustfmt::skip]
pub(super) const SETTINGS: &[Setting] = &[
    Setting::new("twinstream.metrics.listener", Kind::String, None)
        .effect("Address and port on which /metrics is served in Prometheus' format; none unless set."),
    Setting::new("twinstream.cluster.id", Kind::String, None)
        .effect("The cluster id that a new cluster gets; the voter makes one unless set."),
];
