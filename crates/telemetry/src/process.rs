//! The figures of this process, read from `/proc/self` when somebody scrapes.
//!
//! Names are those of the Prometheus client libraries (`process_resident_memory_bytes`, ...), so that any process
//! dashboard works. A file that cannot be read (another system than Linux) leaves its figure at zero.

use std::fs;
use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge};

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
}

impl ProcessCollector {
    pub(crate) fn new() -> Self {
        let gauge = |name: &str, help: &str| Gauge::new(name, help).expect("names of process metrics are valid");
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
            }),
        }
    }
}

impl Figures {
    fn refresh(&self) {
        if let Some(status) = read("status") {
            self.resident_bytes.set(number_after(&status, "VmRSS:") * 1024.0);
            self.virtual_bytes.set(number_after(&status, "VmSize:") * 1024.0);
            self.threads.set(number_after(&status, "Threads:"));
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

    fn collectors(&self) -> [&dyn Collector; 7] {
        [
            &self.cpu_seconds,
            &self.resident_bytes,
            &self.virtual_bytes,
            &self.open_fds,
            &self.max_fds,
            &self.threads,
            &self.start_seconds,
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
