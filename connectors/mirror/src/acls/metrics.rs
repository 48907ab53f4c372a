//! What is counted of rules.

use std::sync::{Arc, LazyLock};

use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts};

const LABELS: [&str; 2] = ["source", "target"];

struct Metrics {
    created: IntCounterVec,
    deleted: IntCounterVec,
    failing: IntGaugeVec,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    created: counter("twinstream_mirror_acl_created_total", "ACLs of topics made on the target."),
    deleted: counter("twinstream_mirror_acl_deleted_total", "ACLs of topics deleted on the target."),
    failing: IntGaugeVec::new(
        Opts::new("twinstream_mirror_acl_failing", "1 while ACLs cannot be brought in step."),
        &LABELS,
    )
    .expect("constant metric name"),
});

fn counter(name: &str, help: &str) -> IntCounterVec {
    IntCounterVec::new(Opts::new(name, help), &LABELS).expect("constant metric name")
}

pub(crate) fn collectors() -> [Arc<dyn Collector>; 3] {
    [Arc::new(METRICS.created.clone()), Arc::new(METRICS.deleted.clone()), Arc::new(METRICS.failing.clone())]
}

/// The figures of one link.
pub(super) struct AclMetrics {
    created: IntCounter,
    deleted: IntCounter,
    failing: IntGauge,
}

impl AclMetrics {
    pub(super) fn of(source: &str, target: &str) -> Self {
        let labels = [source, target];
        Self {
            created: METRICS.created.with_label_values(&labels),
            deleted: METRICS.deleted.with_label_values(&labels),
            failing: METRICS.failing.with_label_values(&labels),
        }
    }

    pub(super) fn changed(&self, created: usize, deleted: usize) {
        self.created.inc_by(created as u64);
        self.deleted.inc_by(deleted as u64);
    }

    pub(super) fn failing(&self, is_failing: bool) {
        self.failing.set(i64::from(is_failing));
    }
}

impl Drop for AclMetrics {
    /// The gauge speaks of now.
    fn drop(&mut self) {
        self.failing.set(0);
    }
}
