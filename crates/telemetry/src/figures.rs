//! Figures that are read when somebody scrapes, as collectors.
//!
//! Picture: a [`Reading`] is a gauge or a counter without labels whose value is asked for at scrape time, so that nothing
//! can drift from what it speaks of, and nothing is counted along the way.

use std::collections::HashMap;
use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, Metric, MetricFamily, MetricType};

/// One value, read off whatever knows it.
#[derive(Clone)]
pub struct Reading {
    desc: Desc,
    kind: MetricType,
    read: Arc<dyn Fn() -> f64 + Send + Sync>,
}

impl Reading {
    /// What may go up and down.
    pub fn gauge(name: &str, help: &str, read: impl Fn() -> f64 + Send + Sync + 'static) -> Reading {
        Reading::new(name, help, MetricType::GAUGE, read)
    }

    /// What only goes up.
    pub fn counter(name: &str, help: &str, read: impl Fn() -> f64 + Send + Sync + 'static) -> Reading {
        Reading::new(name, help, MetricType::COUNTER, read)
    }

    fn new(name: &str, help: &str, kind: MetricType, read: impl Fn() -> f64 + Send + Sync + 'static) -> Reading {
        let desc = Desc::new(name.to_owned(), help.to_owned(), Vec::new(), HashMap::new());
        let desc = desc.unwrap_or_else(|error| panic!("metric `{name}` is declared wrongly: {error}"));
        Reading { desc, kind, read: Arc::new(read) }
    }
}

impl Collector for Reading {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let value = (self.read)();
        let mut metric = Metric::default();
        if self.kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        let mut family = MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(self.desc.help.clone());
        family.set_field_type(self.kind);
        family.set_metric(vec![metric]);
        vec![family]
    }
}
