//! One verb at a time. Two that work on the same two clusters at once would undo each other's steps: a fail-over that promotes
//! what a fail-back has just fenced leaves both sides written to.
//!
//! Picture: who begins takes the turn of the two sites, whichever way the link leads, and gives it back when it ends, also when
//! its caller goes away in the middle. Whoever comes meanwhile is told what is under way; dry runs change nothing and need no
//! turn. Not here: workers of other processes. A verb that ends among changes by somebody else says so by the marks.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use twinstream_connect_api::ApiRefusal;

use super::Verb;
use crate::link::LinkName;

/// The aliases of two sites, the smaller one first.
type Sites = (String, String);

#[derive(Debug)]
struct UnderWay {
    verb: Verb,
    link: LinkName,
    since: Instant,
}

/// At most one entry for each pair of sites that has a verb under way.
static TURNS: LazyLock<Mutex<BTreeMap<Sites, UnderWay>>> = LazyLock::new(Mutex::default);

/// The right to change who leads among two sites, as long as it lives.
#[derive(Debug)]
pub(super) struct Turn {
    sites: Sites,
}

/// Takes the turn, or says who has it.
pub(super) fn take(verb: Verb, link: &LinkName) -> Result<Turn, ApiRefusal> {
    let sites = match link.source <= link.target {
        true => (link.source.clone(), link.target.clone()),
        false => (link.target.clone(), link.source.clone()),
    };
    let mut turns = turns();
    if let Some(other) = turns.get(&sites) {
        return Err(ApiRefusal::conflict(format!(
            "{} of link {} is under way for {} s, and {} of link {link} has changed nothing: wait until it has answered, or end the call that asked for it, then call again",
            other.verb.name(),
            other.link,
            other.since.elapsed().as_secs(),
            verb.name()
        )));
    }
    turns.insert(sites.clone(), UnderWay { verb, link: link.clone(), since: Instant::now() });
    Ok(Turn { sites })
}

impl Drop for Turn {
    fn drop(&mut self) {
        turns().remove(&self.sites);
    }
}

fn turns() -> MutexGuard<'static, BTreeMap<Sites, UnderWay>> {
    TURNS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verb_that_comes_while_another_works_on_the_same_sites_is_told_which_until_that_one_is_gone() {
        let (east, back) = (LinkName::parse("t-east->t-west").unwrap(), LinkName::parse("t-west->t-east").unwrap());
        let turn = take(Verb::Failback, &east).unwrap();
        for link in [&east, &back] {
            let refused = take(Verb::Failover, link).unwrap_err();
            assert_eq!(refused.status, 409);
            assert!(refused.message.contains("failback of link t-east->t-west is under way"), "{refused:?}");
        }
        let other = take(Verb::Failover, &LinkName::parse("t-east->t-north").unwrap());
        assert!(other.is_ok(), "other sites are another matter");
        drop(turn);
        assert!(take(Verb::Failover, &back).is_ok());
    }
}
