//! Durations by API, shown as Kafka's JMX exporter shows them: quantiles in milliseconds and a count.
//!
//! Picture: one row of counters per API, one counter per bucket; buckets grow by an eighth of a power of two, so a
//! quantile is off by at most 9 %. Observing is one atomic add; the arithmetic happens at scrape time.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType, Quantile, Summary};

/// Eight buckets per power of two of microseconds, up to about 70 minutes.
const STEPS: u32 = 8;
const POWERS: u32 = 32;
const BUCKETS: usize = (STEPS * POWERS) as usize;

const QUANTILES: [f64; 6] = [0.5, 0.75, 0.95, 0.98, 0.99, 0.999];

pub(super) struct Row {
    buckets: Vec<AtomicU64>,
    sum_micros: AtomicU64,
}

impl Row {
    fn new() -> Self {
        Self { buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(), sum_micros: AtomicU64::new(0) }
    }

    pub(super) fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket_of(micros)].fetch_add(1, Ordering::Relaxed);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }
}

/// A metric family with one summary per API.
#[derive(Clone)]
pub(crate) struct RequestTimes {
    name: &'static str,
    help: &'static str,
    desc: Desc,
    rows: Arc<parking_lot::RwLock<HashMap<&'static str, Arc<Row>>>>,
}

impl RequestTimes {
    pub(crate) fn new(name: &'static str, help: &'static str) -> Self {
        let desc = Desc::new(name.to_owned(), help.to_owned(), vec!["request".to_owned()], HashMap::new())
            .expect("a metric of ours has a legal name");
        Self { name, help, desc, rows: Arc::default() }
    }

    /// The row of an API, for those who observe often.
    pub(super) fn row(&self, api_name: &'static str) -> Arc<Row> {
        if let Some(row) = self.rows.read().get(api_name) {
            return Arc::clone(row);
        }
        Arc::clone(self.rows.write().entry(api_name).or_insert_with(|| Arc::new(Row::new())))
    }
}

fn bucket_of(micros: u64) -> usize {
    let value = micros.max(1);
    let power = value.ilog2();
    // The three bits below the highest one choose the step within the power.
    let step = if power >= 3 { (value >> (power - 3)) & 7 } else { (value << (3 - power)) & 7 };
    let index = u64::from(power * STEPS) + step;
    usize::try_from(index).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

/// The upper end of a bucket in milliseconds.
fn bucket_ms(index: usize) -> f64 {
    let power = (index / STEPS as usize) as i32;
    let step = (index % STEPS as usize) as f64;
    2f64.powi(power) * (1.0 + (step + 1.0) / f64::from(STEPS)) / 1000.0
}

fn quantile_ms(counts: &[u64], total: u64, quantile: f64) -> f64 {
    let wanted = (total as f64 * quantile).ceil() as u64;
    let mut seen = 0;
    for (index, count) in counts.iter().enumerate() {
        seen += count;
        if seen >= wanted.max(1) {
            return bucket_ms(index);
        }
    }
    0.0
}

impl Collector for RequestTimes {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut rows: Vec<(&'static str, Arc<Row>)> =
            self.rows.read().iter().map(|(name, row)| (*name, Arc::clone(row))).collect();
        rows.sort_by_key(|(name, _)| *name);
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(MetricType::SUMMARY);
        family.set_metric(rows.iter().map(|(name, row)| summary(name, row)).collect());
        vec![family]
    }
}

fn summary(api_name: &str, row: &Row) -> Metric {
    let counts: Vec<u64> = row.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
    let total: u64 = counts.iter().sum();
    let mut summary = Summary::default();
    summary.set_sample_count(total);
    summary.set_sample_sum(row.sum_micros.load(Ordering::Relaxed) as f64 / 1000.0);
    let quantiles = QUANTILES.iter().map(|quantile| {
        let mut value = Quantile::default();
        value.set_quantile(*quantile);
        value.set_value(quantile_ms(&counts, total, *quantile));
        value
    });
    summary.set_quantile(quantiles.collect());
    let mut label = LabelPair::default();
    label.set_name("request".to_owned());
    label.set_value(api_name.to_owned());
    let mut metric = Metric::from_label(vec![label]);
    metric.set_summary(summary);
    metric
}

#[cfg(test)]
mod tests;
