//! What a run takes: time, and processor time of this client, of brokers, and of everybody else on the machine.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::proc;

/// Read it once before and once after.
#[derive(Debug)]
pub struct Meter {
    brokers: Vec<u32>,
    start: Reading,
}

#[derive(Debug)]
struct Reading {
    at: Instant,
    client: f64,
    threads: Vec<(String, f64)>,
    brokers: Vec<f64>,
    machine: f64,
}

/// Between two readings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Took {
    pub seconds: f64,
    pub client: ClientUse,
    pub brokers: Option<BrokerUse>,
    pub machine: MachineUse,
}

/// This process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClientUse {
    pub cpu_seconds: f64,
    /// The busiest thread and how much of a processor it had: near 1, the client is the limit.
    pub busiest_thread: String,
    pub busiest_share: f64,
}

/// The processes that the client was told of, together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BrokerUse {
    pub cpu_seconds: f64,
    pub resident_bytes: u64,
    /// The most during the run.
    pub peak_bytes: u64,
    pub open_files: usize,
}

/// All processors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MachineUse {
    pub processors: usize,
    /// Processor seconds of everything.
    pub busy_seconds: f64,
    /// Processor seconds of what is neither the client nor one of the brokers it knows.
    pub others_seconds: f64,
    pub load_average: f64,
}

impl Meter {
    /// Starts, with the brokers' process ids if they run on this machine.
    pub fn start(brokers: &[u32]) -> Self {
        for pid in brokers {
            proc::forget_peak(*pid);
        }
        Self { brokers: brokers.to_vec(), start: Reading::take(brokers) }
    }

    pub fn stop(self) -> Took {
        let (start, end) = (self.start, Reading::take(&self.brokers));
        let seconds = (end.at - start.at).as_secs_f64();
        let busiest = busiest(&start.threads, &end.threads);
        let client = end.client - start.client;
        let brokers: f64 = start.brokers.iter().zip(&end.brokers).map(|(start, end)| end - start).sum();
        let busy_seconds = end.machine - start.machine;
        Took {
            seconds,
            client: ClientUse {
                cpu_seconds: client,
                busiest_thread: busiest.0,
                busiest_share: if seconds > 0.0 { busiest.1 / seconds } else { 0.0 },
            },
            brokers: (!self.brokers.is_empty()).then(|| broker_use(&self.brokers, brokers)),
            machine: MachineUse {
                processors: proc::processors(),
                busy_seconds,
                others_seconds: (busy_seconds - client - brokers).max(0.0),
                load_average: proc::load_average().unwrap_or(0.0),
            },
        }
    }
}

fn broker_use(brokers: &[u32], cpu_seconds: f64) -> BrokerUse {
    let memories: Vec<proc::Memory> = brokers.iter().filter_map(|pid| proc::memory(*pid)).collect();
    BrokerUse {
        cpu_seconds,
        resident_bytes: memories.iter().map(|memory| memory.resident).sum(),
        peak_bytes: memories.iter().map(|memory| memory.peak).sum(),
        open_files: brokers.iter().filter_map(|pid| proc::open_files(*pid)).sum(),
    }
}

impl Reading {
    fn take(brokers: &[u32]) -> Self {
        Self {
            at: Instant::now(),
            client: proc::cpu_seconds(std::process::id()).unwrap_or(0.0),
            threads: proc::own_threads(),
            brokers: brokers.iter().map(|pid| proc::cpu_seconds(*pid).unwrap_or(0.0)).collect(),
            machine: proc::machine_busy_seconds().unwrap_or(0.0),
        }
    }
}

/// Threads have no stable name to be found by, so each end is held against the starts of threads of the same name, in
/// order; those that began in between start at zero.
fn busiest(start: &[(String, f64)], end: &[(String, f64)]) -> (String, f64) {
    let mut starts = start.to_vec();
    let mut most = (String::new(), 0.0);
    for (name, seconds) in end {
        let before = starts.iter().position(|(other, _)| other == name).map_or(0.0, |at| starts.remove(at).1);
        if seconds - before > most.1 {
            most = (name.clone(), seconds - before);
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::busiest;

    #[test]
    fn busiest_thread_is_the_one_that_gained_most() {
        let at = |name: &str, seconds: f64| (name.to_owned(), seconds);
        let start = [at("main", 5.0), at("rdk:broker1", 1.0)];
        let end = [at("main", 6.0), at("rdk:broker1", 3.5), at("late", 2.0)];
        assert_eq!(busiest(&start, &end), at("rdk:broker1", 2.5));
    }
}
