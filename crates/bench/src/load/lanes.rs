//! Connections with one request in flight each, and a thread that goes round them.
//!
//! Picture: at each connection the thread waits for the answer and sends the next request. In the steady state every
//! connection has a request in flight, the client makes two system calls for each, and it waits only where the broker has
//! not answered yet.

use std::time::Instant;

use anyhow::Result;

use super::meter::Took;
use super::together;
use crate::wire::Wire;

/// A connection with its one request.
pub(super) struct Lane {
    wire: Wire,
    frame: Vec<u8>,
    /// Reads one answer; an error code in it is an error.
    answered: fn(&mut Wire) -> Result<()>,
    sent: Instant,
}

impl Lane {
    pub(super) fn new(wire: Wire, frame: Vec<u8>, answered: fn(&mut Wire) -> Result<()>) -> Self {
        Self { wire, frame, answered, sent: Instant::now() }
    }
}

/// Deals the lanes out among threads that share the requests. How long each took, in microseconds.
pub(super) fn drive(lanes: Vec<Lane>, threads: usize, requests: u64, brokers: &[u32]) -> Result<(Vec<f64>, Took)> {
    let threads = threads.clamp(1, lanes.len().max(1));
    let mut shares: Vec<Vec<Lane>> = (0..threads).map(|_| Vec::new()).collect();
    for (number, lane) in lanes.into_iter().enumerate() {
        shares[number % threads].push(lane);
    }
    let share = requests / threads as u64;
    let jobs = shares.into_iter().map(|lanes| move || go_round(lanes, share)).collect();
    let (latencies, took) = together("request", jobs, brokers)?;
    Ok((latencies.into_iter().flatten().collect(), took))
}

/// Each round sends what is due and waits for what was sent in the round before.
fn go_round(mut lanes: Vec<Lane>, requests: u64) -> Result<Vec<f64>> {
    let mut latencies = Vec::with_capacity(usize::try_from(requests).unwrap_or(0));
    let count = lanes.len();
    for number in 0..requests as usize + count {
        let lane = &mut lanes[number % count];
        if number >= count {
            (lane.answered)(&mut lane.wire)?;
            latencies.push(lane.sent.elapsed().as_nanos() as f64 / 1_000.0);
        }
        if (number as u64) < requests {
            lane.sent = Instant::now();
            lane.wire.send(&lane.frame)?;
        }
    }
    Ok(latencies)
}
