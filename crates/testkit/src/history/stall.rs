//! How long nobody was told "written".

use std::time::Duration;

use super::{Event, What};

/// The longest silence between `from_us` and `to_us`. It begins with the last acknowledgement before `from_us`, so that a
/// kill that falls into a silence does not make it look shorter; one that has not ended by `to_us` lasts until then.
/// Events must be in order of time.
pub fn longest_stall(events: &[Event], from_us: u64, to_us: u64) -> Duration {
    let acknowledged = events.iter().filter(|event| matches!(event.what, What::Sent { .. })).map(|event| event.at_us);
    let mut last = from_us;
    let mut longest = 0;
    for at in acknowledged {
        if at <= from_us {
            last = at;
            continue;
        }
        if at > to_us {
            break;
        }
        longest = longest.max(at - last);
        last = at;
    }
    Duration::from_micros(longest.max(to_us.saturating_sub(last)))
}
