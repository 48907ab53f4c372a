//! Quotas of clients follow, where that is wished (`twinstream.sync.quotas.enabled`): what a user or a client id may use at the source it
//! may use on the target.
//!
//! Picture: each look lists the quotas of both clusters and sets on the target the numbers that differ.
//! Invariants: the source's number wins; what only the target has stays, so nothing is ever taken away. Quotas of addresses are
//! left alone: the same client may come from another one there. A look that fails changes nothing and is told once. No
//! trouble here stops the copy of records.
//! Two links that lead against each other must not both do it: each would bring the other's numbers back.

use std::collections::BTreeMap;
use std::time::Duration;

use tracing::{info, warn};
use twinstream_client::raw::{QuotaEntity, Quotas, entity_text};
use twinstream_client::{ClientError, RawClient};
use twinstream_connect_api::error::trace_of;

/// Parts of entities that mean the same on both clusters.
const FOLLOWING: [&str; 2] = ["user", "client-id"];

pub(crate) struct QuotaSync {
    pub connector: String,
    pub source: RawClient,
    pub target: RawClient,
    pub every: Duration,
}

impl QuotaSync {
    pub(crate) async fn run(self) {
        let mut told = None;
        loop {
            let trouble = self.look().await.err();
            self.tell(trouble, &mut told);
            tokio::time::sleep(self.every).await;
        }
    }

    async fn look(&self) -> Result<(), ClientError> {
        let (source, target) = tokio::try_join!(self.source.client_quotas(), self.target.client_quotas())?;
        let changes = difference(&source, &target);
        let mut failed = None;
        for (entity, result) in self.target.set_client_quotas(&changes).await? {
            match result {
                Ok(()) => info!(connector = self.connector, entity = entity_text(&entity), "quotas set on the target"),
                // One of them is told, each is tried again.
                Err(cause) => failed = failed.or(Some(cause)),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Says what is in the way once, and that it is gone.
    fn tell(&self, trouble: Option<ClientError>, told: &mut Option<String>) {
        let connector = &self.connector;
        match trouble {
            Some(cause) => {
                let cause_text = trace_of(&cause);
                // How exactly a cluster is away changes from look to look.
                let key = if cause.is_retriable() { String::new() } else { cause_text.clone() };
                if told.as_ref() != Some(&key) {
                    warn!(connector, cause = cause_text, "quotas are not in step, which is tried again");
                    *told = Some(key);
                }
            }
            None if told.take().is_some() => info!(connector, "quotas are in step again"),
            None => {}
        }
    }
}

/// What is to be set on the target.
fn difference(source: &Quotas, target: &Quotas) -> Quotas {
    let follows = |entity: &QuotaEntity| entity.keys().all(|kind| FOLLOWING.contains(&kind.as_str()));
    let mut changes = Quotas::new();
    for (entity, values) in source.iter().filter(|(entity, _)| follows(entity)) {
        let there = target.get(entity);
        let differs = |key: &String, value: &f64| there.and_then(|there| there.get(key)) != Some(value);
        let values: BTreeMap<String, f64> = values
            .iter()
            .filter(|(key, value)| differs(key, value))
            .map(|(key, value)| (key.clone(), *value))
            .collect();
        if !values.is_empty() {
            changes.insert(entity.clone(), values);
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    type Parts<'a> = &'a [(&'a str, Option<&'a str>)];

    fn quotas(entries: &[(Parts<'_>, &[(&str, f64)])]) -> Quotas {
        let part = |(kind, name): &(&str, Option<&str>)| ((*kind).to_owned(), name.map(str::to_owned));
        let number = |(key, value): &(&str, f64)| ((*key).to_owned(), *value);
        let entries = entries
            .iter()
            .map(|(entity, values)| (entity.iter().map(part).collect(), values.iter().map(number).collect()));
        entries.collect()
    }

    #[test]
    fn only_numbers_that_differ_are_set_and_nothing_is_taken_away() {
        let source = quotas(&[
            (&[("user", Some("alice"))], &[("producer_byte_rate", 10.0), ("consumer_byte_rate", 20.0)]),
            (&[("user", None), ("client-id", Some("app"))], &[("request_percentage", 50.0)]),
        ]);
        let target = quotas(&[
            (
                &[("user", Some("alice"))],
                &[("producer_byte_rate", 10.0), ("consumer_byte_rate", 5.0), ("request_percentage", 1.0)],
            ),
            (&[("user", Some("bob"))], &[("producer_byte_rate", 1.0)]),
        ]);
        let expected = quotas(&[
            (&[("user", Some("alice"))], &[("consumer_byte_rate", 20.0)]),
            (&[("user", None), ("client-id", Some("app"))], &[("request_percentage", 50.0)]),
        ]);
        assert_eq!(difference(&source, &target), expected);
        assert!(difference(&source, &source).is_empty());
    }

    #[test]
    fn quotas_of_addresses_stay_where_they_are() {
        let source = quotas(&[(&[("ip", Some("10.0.0.1"))], &[("connection_creation_rate", 1.0)])]);
        assert!(difference(&source, &Quotas::new()).is_empty());
    }
}
