//! What processes take, as Linux counts it in `/proc`: processor time, memory, open files; and the whole machine.

use std::fs;

use serde::{Deserialize, Serialize};

/// `/proc` counts time in hundredths of a second on every Linux that we build for (USER_HZ).
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor seconds of a process so far, all threads, dead ones too; `None` when it is gone.
pub fn cpu_seconds(pid: u32) -> Option<f64> {
    cpu_of(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Processor seconds of each living thread of this process, with its name.
pub fn own_threads() -> Vec<(String, f64)> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let thread = |path: std::path::PathBuf| {
        let stat = fs::read_to_string(path.join("stat")).ok()?;
        let name = stat.split_once('(')?.1.rsplit_once(')')?.0.to_owned();
        Some((name, cpu_of(&stat)?))
    };
    tasks.filter_map(|task| thread(task.path())).collect()
}

/// Fields 14 and 15 of a `stat` line; the name in the second one may hold anything.
fn cpu_of(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

/// Memory of a process in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    pub resident: u64,
    /// The most it ever was, or since [`forget_peak`].
    pub peak: u64,
}

pub fn memory(pid: u32) -> Option<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(Memory { resident: status_bytes(&status, "VmRSS:")?, peak: status_bytes(&status, "VmHWM:")? })
}

fn status_bytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// Lets the peak start from what is resident now.
pub fn forget_peak(pid: u32) {
    // Without the right to write there, the peak is that of the whole life, which is never too small.
    fs::write(format!("/proc/{pid}/clear_refs"), "5").ok();
}

/// How many files, sockets included, a process has open.
pub fn open_files(pid: u32) -> Option<usize> {
    Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())
}

/// How many ranges of memory a process has mapped; the kernel bounds them at 65,530.
pub fn maps(pid: u32) -> Option<usize> {
    Some(fs::read_to_string(format!("/proc/{pid}/maps")).ok()?.lines().count())
}

/// Processor seconds that all processors were busy since boot.
pub fn machine_busy_seconds() -> Option<f64> {
    busy_of(&fs::read_to_string("/proc/stat").ok()?)
}

/// user, nice, system, irq and softirq of the first line; not idle, iowait, steal, and not guest, which user holds.
fn busy_of(stat: &str) -> Option<f64> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let fields: Vec<f64> = line.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    let busy = [0, 1, 2, 5, 6].iter().filter_map(|index| fields.get(*index)).sum::<f64>();
    (fields.len() >= 7).then_some(busy / TICKS_PER_SECOND)
}

/// The load average of the last minute.
pub fn load_average() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}

#[cfg(test)]
mod tests;
