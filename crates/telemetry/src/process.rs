//! The figures of this process, read from `/proc/self` when somebody scrapes.
//!
//! Boards of Kafka's read a JVM's figures, too. There is none here: `jvm_*` shows what comes next to it, or nothing at all
//! (the collection of garbage), and says so in its help text, so that such boards are not empty.
//!
//! Names are those of the Prometheus client libraries (`process_resident_memory_bytes`, ...), so that any process
//! dashboard works. A file that cannot be read (another system than Linux) leaves its figure at zero.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType, Summary};
use prometheus::{Counter, Gauge, GaugeVec, Opts};

/// Ticks per second in `/proc/<pid>/stat`: a constant of the kernel's interface, whatever its own timer frequency is.
const USER_HZ: f64 = 100.0;

#[derive(Clone)]
pub(crate) struct ProcessCollector {
    figures: Arc<Figures>,
}

struct Figures {
    cpu_seconds: Counter,
    resident_bytes: Gauge,
    virtual_bytes: Gauge,
    open_fds: Gauge,
    max_fds: Gauge,
    threads: Gauge,
    start_seconds: Gauge,
    jvm_memory: GaugeVec,
    jvm_threads: Gauge,
    jvm_garbage: NoGarbage,
}

impl ProcessCollector {
    pub(crate) fn new() -> Self {
        let gauge = |name: &str, help: &str| Gauge::new(name, help).expect("names of process metrics are valid");
        let memory = Opts::new(
            "jvm_memory_used_bytes",
            "Memory held in RAM, for boards of a JVM: there is none here, and no heap apart from the rest",
        );
        let cpu = Counter::new("process_cpu_seconds_total", "Time on CPU in user and kernel mode, in seconds");
        Self {
            figures: Arc::new(Figures {
                cpu_seconds: cpu.expect("names of process metrics are valid"),
                resident_bytes: gauge("process_resident_memory_bytes", "Memory held in RAM, in bytes"),
                virtual_bytes: gauge("process_virtual_memory_bytes", "Address space, in bytes"),
                open_fds: gauge("process_open_fds", "Open file descriptors"),
                max_fds: gauge("process_max_fds", "Limit of open file descriptors"),
                threads: gauge("process_threads", "Threads"),
                start_seconds: gauge("process_start_time_seconds", "Start of the process, in seconds since the epoch"),
                jvm_memory: GaugeVec::new(memory, &["area"]).expect("names of process metrics are valid"),
                jvm_threads: gauge("jvm_threads_current", "Threads, for boards of a JVM: there is none here"),
                jvm_garbage: NoGarbage::new(),
            }),
        }
    }
}

impl Figures {
    fn refresh(&self) {
        if let Some(status) = read("status") {
            let resident = number_after(&status, "VmRSS:") * 1024.0;
            self.resident_bytes.set(resident);
            self.jvm_memory.with_label_values(&["heap"]).set(resident);
            self.virtual_bytes.set(number_after(&status, "VmSize:") * 1024.0);
            let threads = number_after(&status, "Threads:");
            self.threads.set(threads);
            self.jvm_threads.set(threads);
        }
        if let Some(limits) = read("limits") {
            self.max_fds.set(number_after(&limits, "Max open files"));
        }
        if let Some(stat) = read("stat").as_deref().and_then(Stat::parse) {
            self.cpu_seconds.reset();
            self.cpu_seconds.inc_by(stat.cpu_seconds);
            self.start_seconds.set(boot_seconds() + stat.started_after_boot_seconds);
        }
        self.open_fds.set(fs::read_dir("/proc/self/fd").map_or(0.0, |entries| entries.count() as f64));
    }

    fn collectors(&self) -> [&dyn Collector; 10] {
        [
            &self.cpu_seconds,
            &self.resident_bytes,
            &self.virtual_bytes,
            &self.open_fds,
            &self.max_fds,
            &self.threads,
            &self.start_seconds,
            &self.jvm_memory,
            &self.jvm_threads,
            &self.jvm_garbage,
        ]
    }
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.figures.collectors().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.figures.refresh();
        self.figures.collectors().into_iter().flat_map(Collector::collect).collect()
    }
}

/// The garbage collection that a process without a JVM does not do.
struct NoGarbage {
    desc: Desc,
}

impl NoGarbage {
    fn new() -> Self {
        let help = "Always 0, for boards of a JVM: nothing here collects garbage";
        let desc =
            Desc::new("jvm_gc_collection_seconds".to_owned(), help.to_owned(), vec!["gc".to_owned()], HashMap::new());
        Self { desc: desc.expect("names of process metrics are valid") }
    }
}

impl Collector for NoGarbage {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut label = LabelPair::default();
        label.set_name("gc".to_owned());
        label.set_value("none".to_owned());
        let mut metric = Metric::from_label(vec![label]);
        metric.set_summary(Summary::default());
        let mut family = MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(self.desc.help.clone());
        family.set_field_type(MetricType::SUMMARY);
        family.set_metric(vec![metric]);
        vec![family]
    }
}

/// The two times of `/proc/<pid>/stat` that we use.
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_seconds: f64,
    started_after_boot_seconds: f64,
}

impl Stat {
    /// The second field is the command in parentheses and may hold anything, so counting starts behind the last one.
    fn parse(text: &str) -> Option<Self> {
        let (_, behind) = text.rsplit_once(')')?;
        let fields: Vec<&str> = behind.split_whitespace().collect();
        let ticks = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self {
            cpu_seconds: (ticks(14)? + ticks(15)?) / USER_HZ,
            started_after_boot_seconds: ticks(22)? / USER_HZ,
        })
    }
}

fn read(name: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/self/{name}")).ok()
}

fn number_after(text: &str, label: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(label));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

fn boot_seconds() -> f64 {
    fs::read_to_string("/proc/stat").map_or(0.0, |text| number_after(&text, "btime"))
}

#[cfg(test)]
mod tests;
