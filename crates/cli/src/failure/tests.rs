//! Claims about the text of a failure.

use super::*;

#[test]
fn failure_tells_cause_then_what_was_tried_then_the_next_command() {
    let failure = Failure::new("no broker").tried("127.0.0.1:1 for 5 s").next("twinstream quickstart");
    assert_eq!(failure.text(), "error: no broker\n  tried: 127.0.0.1:1 for 5 s\n  next:  twinstream quickstart");
}

#[derive(Debug)]

struct Outer(std::io::Error);

impl Display for Outer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("open file")
    }
}

impl std::error::Error for Outer {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

#[test]
fn chain_joins_sources_once() {
    let error = Outer(std::io::Error::other("disk gone"));
    assert_eq!(chain(&error), "open file: disk gone");
}
