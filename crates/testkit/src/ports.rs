//! Free ports on 127.0.0.1, reserved across test processes.
//!
//! Why not port 0: a server is restarted on its port, and between two lives an outgoing connection of somebody else must
//! not take it. So ports come from below the range of outgoing connections, and a locked file says who has which.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST: u16 = 27_000;
const COUNT: u16 = 2_000;

static NEXT: AtomicU16 = AtomicU16::new(0);
/// Locks of the ports that this process has; held until it ends.
static HELD: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A port that nobody listens on and that no other test gets.
pub fn free_port() -> u16 {
    let start = (std::process::id() as u16).wrapping_mul(37);
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + start.wrapping_add(step) % COUNT;
        if let Some(lock) = reserve(port) {
            HELD.lock().expect("list of held ports").push(lock);
            return port;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
}

/// The first of so many ports in a row that nobody listens on and that no other test gets.
pub fn free_port_range(count: u16) -> u16 {
    let start = (std::process::id() as u16).wrapping_mul(37) % COUNT;
    for step in (0..COUNT).step_by(usize::from(count)) {
        let offset = (start + step) % COUNT;
        if offset + count > COUNT {
            continue; // would leave our range
        }
        let locks: Option<Vec<File>> = (offset..offset + count).map(|offset| reserve(FIRST + offset)).collect();
        if let Some(locks) = locks {
            HELD.lock().expect("list of held ports").extend(locks);
            return FIRST + offset;
        }
    }
    panic!("no {count} free ports in a row between {FIRST} and {}", FIRST + COUNT);
}

/// A port of this range, for programs that take no other.
pub(crate) fn free_port_of(mut range: RangeInclusive<u16>) -> u16 {
    let lock = range.find_map(|port| Some((port, reserve(port)?)));
    let (port, lock) = lock.expect("a free port in the range");
    HELD.lock().expect("list of held ports").push(lock);
    port
}

fn reserve(port: u16) -> Option<File> {
    let folder = std::env::temp_dir().join("twinstream-ports");
    fs::create_dir_all(&folder).expect("folder of port locks");
    let file = File::create(folder.join(port.to_string())).expect("file of a port lock");
    file.try_lock().ok()?;
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
    Some(file)
}
