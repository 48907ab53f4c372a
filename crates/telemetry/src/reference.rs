//! What a role's `/metrics` may show: every declared metric, whether it has a series now or not.
//!
//! Picture: `GET /metrics/reference` lists one metric a line, its name, type, labels and help text, separated by tabs. The
//! documentation is made from it, so it says what the programs say.

use std::collections::BTreeMap;

use prometheus::core::Collector;
use prometheus::proto::MetricType;

/// One metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub kind: &'static str,
    pub labels: Vec<String>,
    pub help: String,
}

impl Entry {
    /// A line of the page.
    pub(crate) fn line(&self) -> String {
        format!("{}\t{}\t{}\t{}\n", self.name, self.kind, self.labels.join(","), self.help)
    }
}

/// What a collector declares. The type of a metric is that of its family; a collector of our own that shows no family
/// while it has no members is one of gauges.
pub(crate) fn entries(collector: &dyn Collector) -> Vec<Entry> {
    let families = collector.collect();
    let kinds: BTreeMap<&str, MetricType> =
        families.iter().map(|family| (family.name(), family.get_field_type())).collect();
    let entry = |desc: &prometheus::core::Desc| {
        let kind = kinds.get(desc.fq_name.as_str()).copied().unwrap_or(MetricType::GAUGE);
        let mut labels = desc.variable_labels.clone();
        labels.extend(desc.const_label_pairs.iter().map(|label| label.name().to_owned()));
        labels.sort();
        Entry { name: desc.fq_name.clone(), kind: name_of(kind), labels, help: desc.help.clone() }
    };
    collector.desc().into_iter().map(entry).collect()
}

fn name_of(kind: MetricType) -> &'static str {
    match kind {
        MetricType::COUNTER => "counter",
        MetricType::GAUGE => "gauge",
        MetricType::SUMMARY => "summary",
        MetricType::HISTOGRAM => "histogram",
        MetricType::UNTYPED => "untyped",
    }
}
