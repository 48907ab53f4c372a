//! Test suites that are not ours, run against our brokers and Apache Kafka's by the same script.
//!
//! Picture: a suite brings hundreds of tests that somebody else wrote for Kafka. A list in this crate (`judges/`) says
//! of each of them what it must do against our brokers, with a reason where that is not "pass". The judge runs the suite
//! on both sides and complains about whatever is not as the list says, and about tests that pass there and not here
//! without a reason. What was asked for by a name that nothing has is refused: a judge that ran nothing is not green.

pub mod applications; // Kafka Streams, MirrorMaker 2, Kafka Connect
pub mod librdkafka; // the suite of the C client
mod list; // what is expected of each test
pub mod python; // the suites of two Python clients
mod report; // what is said at the end
