//! How much a request may be answered with that has many things described.
//!
//! Picture: as in Kafka a thing is described as often as a request names it, and groups and subscriptions have configs under any name.
//! A request of a few MB could so ask for an answer of many GB. [`described`] describes a few things at once and counts what their
//! answers take; what is named when [`ANSWER_BYTES_MAX`] are reached is refused, which costs no more than its name.
//!
//! Not here: one thing that is larger than that by itself is described, as far as it is the first beyond the bound.

use futures::future::join_all;
use kafka_protocol::protocol::Encodable;

/// What librdkafka takes at most, unless it is set up otherwise (`receive.message.max.bytes`).
pub(super) const ANSWER_BYTES_MAX: usize = 100_000_000;
/// So many things are described at the same time. The bound is looked at before each of these groups.
const AT_ONCE: usize = 64;

/// Why the rest is refused.
pub(super) const TOO_MUCH: &str = "The answer would be too large, ask for less at a time.";

/// One answer for each that is named, in the order of the request.
pub(super) async fn described<T, D: Encodable, F: Future<Output = D>>(
    named: Vec<T>,
    version: i16,
    bytes_max: usize,
    describe: impl Fn(T) -> F,
    refuse: impl Fn(T) -> D,
) -> Vec<D> {
    let mut left = bytes_max;
    let mut answers = Vec::with_capacity(named.len());
    let mut named = named.into_iter();
    loop {
        let few: Vec<T> = named.by_ref().take(if left > 0 { AT_ONCE } else { usize::MAX }).collect();
        if few.is_empty() {
            return answers;
        }
        if left == 0 {
            answers.extend(few.into_iter().map(&refuse));
            continue;
        }
        let asked: Vec<F> = few.into_iter().map(&describe).collect();
        for answer in join_all(asked).await {
            // What cannot be encoded fails with the whole answer.
            left = left.saturating_sub(answer.compute_size(version).unwrap_or(usize::MAX));
            answers.push(answer);
        }
        // Some descriptions wait for nobody, and other requests want their turn.
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use kafka_protocol::messages::describe_configs_response::DescribeConfigsResult;
    use kafka_protocol::protocol::StrBytes;

    use super::*;

    fn answer(name: usize, code: i16) -> DescribeConfigsResult {
        let name = StrBytes::from_string(format!("{name:0>100}"));
        DescribeConfigsResult::default().with_error_code(code).with_resource_name(name)
    }

    async fn ask(count: usize, bytes_max: usize) -> (Vec<i16>, usize) {
        let calls = Cell::new(0);
        let describe = |name| {
            calls.set(calls.get() + 1);
            std::future::ready(answer(name, 0))
        };
        let answers = described((0..count).collect(), 4, bytes_max, describe, |name| answer(name, 42)).await;
        for (at, found) in answers.iter().enumerate() {
            assert_eq!(found.resource_name, answer(at, 0).resource_name, "in the order of the request");
        }
        (answers.iter().map(|answer| answer.error_code).collect(), calls.get())
    }

    #[tokio::test]
    async fn what_is_named_beyond_the_bytes_of_an_answer_is_refused_and_not_described() {
        let (codes, calls) = ask(100_000, 20_000).await;
        let good = codes.iter().position(|code| *code == 42).unwrap();
        assert!((170..170 + 2 * AT_ONCE).contains(&good), "{good} of more than 100 bytes each");
        assert_eq!((codes.len(), calls), (100_000, good));
        assert!(codes[good..].iter().all(|code| *code == 42), "all behind it are refused");
    }

    #[tokio::test]
    async fn everything_is_described_that_an_answer_has_room_for() {
        for count in [0, 1, AT_ONCE, 3 * AT_ONCE + 1] {
            assert_eq!(ask(count, ANSWER_BYTES_MAX).await, (vec![0; count], count));
        }
    }
}
