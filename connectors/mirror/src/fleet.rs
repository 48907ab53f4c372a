//! The fetches: one fetcher for each leader of the source, with at most one fetch under way.
//!
//! Picture: a fetcher (its connection, its session of KIP-227) is at home, or away with a fetch in a tokio task of its own.
//! Orders for one that is away wait until it is back. A fetch survives a dropped `poll`. Mirrors that keep the source's
//! offsets have fetches of their own ([`Desk`]) where others read committed records only.
//! Bounds: a fetch brings at most `fetch.max.bytes`, so a task holds at most twice that for each leader: one answer that is
//! made ready while the next one is fetched. An answer's memory is one piece, which lives until the last batch of it has
//! left.

use std::collections::{BTreeMap, BTreeSet};

use twinstream_client::raw::{FetchFrom, FetchOptions, FetchedPartition, Fetcher};
use twinstream_client::{ClientError, RawClient};
use twinstream_model::{NodeId, Offset, TopicPartition};

use crate::engine::{At, Desk, Order};

#[derive(Default)]
pub(crate) struct Fleet {
    leaders: BTreeMap<Place, Leader>,
}

/// Whom a fetcher asks, and for what kind of records.
type Place = (NodeId, Desk);

#[derive(Default)]
struct Leader {
    /// `None` while it is away.
    at_home: Option<Box<Fetcher>>,
    is_away: bool,
    wanted: BTreeSet<At>,
    /// What the fetch that is under way asks for, and the next one unless orders say otherwise.
    asks: BTreeMap<At, Offset>,
    /// In order, for when it is back.
    orders: Vec<(TopicPartition, Order)>,
}

/// A fetcher that is ready to leave.
pub(crate) struct Trip {
    place: Place,
    fetcher: Box<Fetcher>,
}

/// One that is back.
pub(crate) struct Return {
    pub place: Place,
    fetcher: Box<Fetcher>,
    pub result: Result<Vec<FetchedPartition>, ClientError>,
}

impl Trip {
    pub(crate) async fn fetch(mut self) -> Return {
        let result = self.fetcher.fetch_next().await;
        Return { place: self.place, fetcher: self.fetcher, result }
    }
}

impl Return {
    pub(crate) fn take_result(&mut self) -> Result<Vec<FetchedPartition>, ClientError> {
        std::mem::replace(&mut self.result, Ok(Vec::new()))
    }
}

impl Fleet {
    pub(crate) fn order(&mut self, name: &TopicPartition, order: Order) {
        let (place, at, wants) = match &order {
            Order::Want { leader, at, desk, .. } => ((*leader, *desk), *at, true),
            Order::Unwant { leader, at, desk } => ((*leader, *desk), *at, false),
        };
        let leader = self.leaders.entry(place).or_default();
        if wants {
            leader.wanted.insert(at);
        } else {
            leader.wanted.remove(&at);
        }
        leader.orders.push((name.clone(), order));
    }

    /// Fetchers that are at home and have something to ask, with their orders.
    pub(crate) fn trips(&mut self, client: &RawClient, options: &FetchOptions) -> Vec<Trip> {
        let mut trips = Vec::new();
        for (place, leader) in &mut self.leaders {
            if leader.is_away || leader.wanted.is_empty() {
                continue;
            }
            let fetcher = leader.at_home.take();
            let begin = || {
                let read_committed = options.read_committed && place.1 == Desk::Generic;
                Box::new(Fetcher::new(client.clone(), place.0, FetchOptions { read_committed, ..options.clone() }))
            };
            let mut fetcher = fetcher.unwrap_or_else(begin);
            for (name, order) in leader.orders.drain(..) {
                match &order {
                    Order::Want { at, offset, .. } => _ = leader.asks.insert(*at, *offset),
                    Order::Unwant { at, .. } => _ = leader.asks.remove(at),
                }
                carry_out(&mut fetcher, name, &order);
            }
            leader.is_away = true;
            trips.push(Trip { place: *place, fetcher });
        }
        trips
    }

    pub(crate) fn back(&mut self, back: Return) {
        let leader = self.leaders.entry(back.place).or_default();
        leader.is_away = false;
        leader.at_home = Some(back.fetcher);
    }

    /// The offset that the last fetch of a leader asked for.
    pub(crate) fn asked(&self, place: Place, at: At) -> Option<Offset> {
        self.leaders.get(&place)?.asks.get(&at).copied()
    }

    /// The broker did not answer: the next fetch begins on a new connection. What was asked of it is ordered anew.
    pub(crate) fn lost(&mut self, back: Return) {
        self.leaders.remove(&back.place);
    }
}

fn carry_out(fetcher: &mut Fetcher, name: TopicPartition, order: &Order) {
    match order {
        Order::Want { offset, last_epoch, topic_id, .. } => {
            let mut from = FetchFrom::new(name, *offset);
            (from.last_epoch, from.topic_id) = (*last_epoch, *topic_id);
            fetcher.want(from);
        }
        Order::Unwant { .. } => fetcher.unwant(&name),
    }
}
