//! What a trial tells while it runs.
//!
//! A person who runs a trial reads it line by line. A test that fails shows its reason first, and then only the last lines:
//! a long story would push the reason out of what a report of CI has room for.

use std::collections::VecDeque;

use parking_lot::Mutex;

/// Lines that a test that failed shows.
const LAST: usize = 25;

/// Of the test whose turn it is; none where a person reads.
static KEPT: Mutex<Option<VecDeque<String>>> = Mutex::new(None);

/// Tells one line, or keeps it for the end.
pub(super) fn tell(line: String) {
    match &mut *KEPT.lock() {
        None => eprintln!("{line}"),
        Some(kept) => {
            // A complaint is told at once: it is why the test will fail.
            if line.contains(super::trial::COMPLAINT) {
                eprintln!("{line}");
            }
            if kept.len() == LAST {
                kept.pop_front();
            }
            kept.push_back(line);
        }
    }
}

/// From now on lines are kept, until this is dropped.
pub(super) struct Kept;

impl Kept {
    pub(super) fn begin() -> Self {
        *KEPT.lock() = Some(VecDeque::new());
        Self
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let lines = KEPT.lock().take().unwrap_or_default();
        if std::thread::panicking() {
            eprintln!("the last steps:");
            lines.iter().for_each(|line| eprintln!("{line}"));
        }
    }
}
