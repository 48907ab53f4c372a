//! What runs beside the tasks: looks for new topics, compares settings, deletes copies of what is gone.
//!
//! Invariants: a look that fails is told once until the next one that does not, and changes nothing. What a look finds is not
//! acted on here, but by the connector that deals out anew; only deletions are made from here, by one task.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{error, info, warn};
use twinstream_connect_api::TaskError;
use twinstream_model::{ErrorCode, TopicId, TopicName};

use super::deletions::{Grace, Source, looks_wiped, mirrors_gone};
use super::{Link, Topics};
use crate::acls::{AclSettings, AclSync};
use crate::aligned::marks::Marking;
use crate::figures::{self, Mode};

/// How often mirrors whose source is gone are looked for.
const DELETIONS_EVERY: Duration = Duration::from_secs(5);
/// How often copies are looked after, however seldom new topics are looked for, if at all.
const COPIES_EVERY: Duration = Duration::from_secs(5);

/// Looks for topics that came, went or grew at the source, if that is wished; and for those that are gone from the target, or that
/// may be taken by now, in any case.
pub(super) async fn topics(link: Arc<Link>) {
    let (mut away, mut rounds) = (false, Rounds::new(link.settings.refresh));
    loop {
        tokio::time::sleep(rounds.pause).await;
        match look(&link, rounds.looks_for_new_ones(link.since_start())).await {
            Err(cause) if away => tracing::debug!(cause = %cause.trace(), "still away"),
            Err(cause) => {
                away = true;
                warn!(connector = link.context.connector(), cause = %cause.trace(), "new topics cannot be looked for");
            }
            Ok(is_to_deal) => {
                if std::mem::take(&mut away) {
                    info!(connector = link.context.connector(), "both clusters are back, topics are looked for again");
                }
                if is_to_deal {
                    link.context.request_task_reconfiguration();
                }
            }
        }
    }
}

/// When what is looked for. Pure.
#[derive(Debug)]
struct Rounds {
    pause: Duration,
    /// How often new topics are looked for, and when next; `None`: never.
    new_ones: Option<(Duration, Duration)>,
}

impl Rounds {
    fn new(refresh: Option<Duration>) -> Rounds {
        Rounds {
            pause: refresh.map_or(COPIES_EVERY, |refresh| refresh.min(COPIES_EVERY)),
            new_ones: refresh.map(|refresh| (refresh, refresh)),
        }
    }

    /// Whether this round is one for new topics.
    fn looks_for_new_ones(&mut self, now: Duration) -> bool {
        let Some((every, due)) = &mut self.new_ones else { return false };
        let is_due = now >= *due;
        if is_due {
            *due = now + *every;
        }
        is_due
    }
}

/// Whether partitions are to be dealt out anew.
async fn look(link: &Link, is_for_new_ones: bool) -> Result<bool, TaskError> {
    let mut differs = false;
    if is_for_new_ones {
        let topics = link.look().await?;
        let before = link.dealt().clone();
        link.miss(&before, &topics).await?;
        differs = topics != before;
        if differs {
            log_difference(link, &before, &topics);
        }
    }
    let lost = link.lost().await?;
    for (topic, remote) in &lost {
        error!(
            connector = link.context.connector(),
            %topic,
            %remote,
            "the copy is gone from the target and is made again; a mirror at the source's offsets is filled from its beginning, a copy as any producer makes it goes on at its position"
        );
    }
    let is_over = link.is_a_promotion_over().await?;
    Ok(differs || is_over || !lost.is_empty() || link.refusals().is_due(link.since_start()))
}

fn log_difference(link: &Link, before: &Topics, now: &Topics) {
    let connector = link.context.connector();
    let (old, new): (BTreeSet<_>, BTreeSet<_>) = (before.keys().collect(), now.keys().collect());
    for topic in old.difference(&new) {
        match link.settings.deletes_after {
            None => {
                error!(connector, %topic, "topic is gone from the source, its copy stays on the target and gets nothing more")
            }
            Some(_) => error!(connector, %topic, "topic is gone from the source, its copy gets nothing more"),
        }
    }
    for topic in new.difference(&old) {
        info!(connector, %topic, "new topic on the source");
    }
    for topic in old.intersection(&new).filter(|topic| before.get(**topic) != now.get(**topic)) {
        info!(connector, %topic, partitions = now.get(*topic), "topic has another number of partitions");
    }
}

/// Compares settings.
pub(super) async fn configs(link: Arc<Link>, interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        if let Err(cause) = link.sync().await {
            warn!(
                connector = link.context.connector(),
                cause = twinstream_connect_api::error::trace_of(&cause),
                "topic settings are not compared"
            );
        }
    }
}

/// Brings rules about topics over.
pub(super) async fn acls(link: Arc<Link>, acls: AclSettings) {
    let sync = AclSync::new(acls, &link.settings, link.context.connector(), &link.source, &link.target);
    sync.run(|| link.dealt().keys().cloned().collect()).await;
}

/// Deletes copies whose topic has been gone for the grace.
pub(super) async fn deletions(link: Arc<Link>, grace: Duration) {
    let (mut waiting, started, mut held_back) = (Grace::default(), Instant::now(), false);
    // Copies that carry no mark, by what this connector has dealt out itself.
    let mut copies: BTreeMap<TopicName, TopicName> = BTreeMap::new();
    loop {
        tokio::time::sleep(DELETIONS_EVERY.min(grace.max(Duration::from_millis(100)))).await;
        let connector = link.context.connector();
        copies.extend(copied(&link));
        let (gone, all) = match gone(&link, &copies).await {
            Ok(gone) => gone,
            Err(cause) => {
                tracing::debug!(connector, cause = %cause.trace(), "what is gone cannot be looked for");
                continue;
            }
        };
        let (news, due) = waiting.looked(&gone, started.elapsed(), grace);
        for topic in news {
            warn!(connector, %topic, grace_ms = grace.as_millis(), "its topic is gone from the source, this copy is deleted when that is still so after the grace");
        }
        if due.is_empty() {
            held_back = false;
            continue;
        }
        if looks_wiped(gone.len(), all) {
            if !std::mem::replace(&mut held_back, true) {
                error!(
                    connector,
                    gone = gone.len(),
                    copies = all,
                    "most copies of this link have lost their topics at once, as if the source had been wiped or set up anew: none is deleted; delete those by hand that are not wanted"
                );
            }
            continue;
        }
        match link.target.delete_topics(&due).await {
            Err(cause) => warn!(connector, %cause, "copies cannot be deleted, tried again"),
            Ok(answers) => {
                for (topic, deleted) in answers {
                    match deleted {
                        Ok(()) => {
                            warn!(connector, %topic, "copy is deleted: its topic has been gone from the source for the grace");
                            waiting.deleted(&topic);
                            copies.remove(&topic);
                        }
                        Err(cause) => {
                            warn!(connector, %topic, %cause, "the target does not delete the copy, tried again")
                        }
                    }
                }
            }
        }
    }
}

/// Copies without a mark that are certainly this link's: copied by its tasks here, and under a name that only it gives.
fn copied(link: &Link) -> BTreeMap<TopicName, TopicName> {
    if link.settings.policy.is_identity() {
        return BTreeMap::new();
    }
    let seen = figures::link(&link.settings.source_alias, &link.settings.target_alias).partitions();
    let copied = seen.into_iter().filter(|seen| seen.mode == Some(Mode::Generic) && seen.arrived.is_some());
    copied.map(|seen| (seen.target.topic, seen.source.topic)).collect()
}

/// Topics of the target whose source is gone, by what both clusters answer now; and how many copies the link has there.
async fn gone(link: &Link, copies: &BTreeMap<TopicName, TopicName>) -> Result<(BTreeSet<TopicName>, usize), TaskError> {
    let failed = |what: &'static str| move |cause| TaskError::retriable(what).caused_by(cause);
    let there = link.source.refresh_all().await.map_err(failed("list topics of the source"))?;
    let here = link.target.refresh_all().await.map_err(failed("list topics of the target"))?;
    let Some(cluster) = link.source.cluster_id() else { return Ok((BTreeSet::new(), 0)) };
    let topics: BTreeMap<TopicName, TopicId> =
        there.topics.values().map(|topic| (topic.name.clone(), topic.id)).collect();
    // Whether it is known as a copy that carries no mark; the ones that do are judged by those.
    let names: Vec<TopicName> = here.topics.keys().cloned().collect();
    let aliases = (link.settings.source_alias.as_str(), link.settings.target_alias.as_str());
    let marking = Marking::learn(link.settings.link_mode, aliases, &link.target).await;
    let marking = marking.map_err(failed("ask the target for its features"))?;
    let marks = match link.target.knows_mirrors().await.map_err(failed("ask the target for its features"))? {
        true => link.target.mirror_marks(&names).await.map_err(failed("ask the target for its mirrors"))?,
        false => BTreeMap::new(),
    };
    let mirrors = mirrors_gone(&Source { cluster: &cluster, topics: &topics }, &marks, marking.link(&cluster));
    let mut gone: BTreeMap<TopicName, TopicName> = mirrors
        .into_iter()
        .filter_map(|remote| Some((remote.clone(), marks.get(&remote)?.source_topic.clone())))
        .collect();
    let is_copy = |remote: &TopicName| here.topics.contains_key(remote) && !marks.contains_key(remote);
    let own = marking.link(&cluster);
    let mirrors = marks.values().filter(|mark| mark.link == own && !mark.promoted && mark.source_cluster == cluster);
    let all = mirrors.count() + copies.keys().filter(|remote| is_copy(remote)).count();
    let copies = copies.iter().filter(|(remote, topic)| is_copy(remote) && !topics.contains_key(*topic));
    gone.extend(copies.map(|(remote, topic)| (remote.clone(), topic.clone())));
    // A list leaves out what we may not see; asked by name, the source says so.
    let names: Vec<TopicName> = gone.values().cloned().collect();
    if names.is_empty() {
        return Ok((BTreeSet::new(), all));
    }
    let view = link.source.refresh(&names).await.map_err(failed("look for a topic at the source"))?;
    let is_gone = |topic: &TopicName| match view.topics.get(topic) {
        None => view.topic_error(topic) == ErrorCode::UnknownTopicOrPartition,
        // Made anew meanwhile, or all the time.
        Some(now) => topics.get(topic) == Some(&now.id),
    };
    Ok((gone.into_iter().filter(|(_, topic)| is_gone(topic)).map(|(remote, _)| remote).collect(), all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_looked_after_also_where_no_new_topics_are_looked_for() {
        let second = Duration::from_secs;
        let never = &mut Rounds::new(None);
        assert_eq!(never.pause, COPIES_EVERY);
        assert!((0..1_000).all(|now| !never.looks_for_new_ones(second(now))));
        let seldom = &mut Rounds::new(Some(second(600)));
        assert_eq!(seldom.pause, COPIES_EVERY);
        let looked: Vec<u64> = (0..1_300).step_by(5).filter(|now| seldom.looks_for_new_ones(second(*now))).collect();
        assert_eq!(looked, [600, 1_200]);
        let often = &mut Rounds::new(Some(second(2)));
        assert!(often.pause == second(2) && (1..50).all(|round| often.looks_for_new_ones(second(round * 2))));
    }
}
