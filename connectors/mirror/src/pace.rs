//! Limits on bytes per second: of a whole link, of classes of topics, and of partitions that are far behind.
//!
//! Picture: token buckets that may go into debt. What an answer brought is taken out afterwards, as nobody knows before how much
//! it brings; while a bucket is in debt, partitions that it counts for are not fetched. So no limit is exceeded for longer than
//! one answer takes, and none splits a batch. A partition that is far behind counts for the backfill as well, and so cannot
//! crowd out those that are live.
//! Invariants: P1 over any time longer than that of one answer, a bucket lets through its rate and the burst of a quarter of a
//! second. P2 the tasks of a link in one process share its buckets; each worker has its own.
//! Not here: what a partition is fetched for (`engine`), and how it is held back (`copying`).

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use regex::Regex;
use tokio::time::Instant;
use twinstream_model::TopicName;

use crate::engine::At;
use crate::policy::full_match;

/// What may be saved up while nothing comes.
const BURST: Duration = Duration::from_millis(250);

/// What the settings allow, in bytes per second.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits {
    pub link: Option<u64>,
    /// The first that matches a topic counts.
    pub topics: Vec<(Regex, u64)>,
    pub backfill: Option<u64>,
    /// So many records behind is far behind.
    pub backfill_lag: i64,
}

impl PartialEq for Limits {
    fn eq(&self, other: &Limits) -> bool {
        let topics =
            |limits: &Limits| limits.topics.iter().map(|(regex, rate)| (regex.to_string(), *rate)).collect::<Vec<_>>();
        let numbers = |limits: &Limits| (limits.link, limits.backfill, limits.backfill_lag);
        numbers(self) == numbers(other) && topics(self) == topics(other)
    }
}

impl Limits {
    /// Entries `regex=bytes`, each for the whole name of a topic; the error names the entry.
    pub(crate) fn classes(entries: &[String]) -> Result<Vec<(Regex, u64)>, String> {
        let read = |entry: &String| {
            let (pattern, rate) =
                entry.rsplit_once('=').ok_or_else(|| format!("'{entry}' is not REGEX=BYTES, as in logs-.*=1000000"))?;
            let rate: u64 =
                rate.trim().parse().map_err(|_| format!("'{entry}': '{rate}' is no number of bytes per second"))?;
            if rate == 0 {
                return Err(format!(
                    "'{entry}': at least 1 byte per second; take the topic out of topics to copy nothing"
                ));
            }
            Ok((full_match(&[pattern.trim().to_owned()])?, rate))
        };
        entries.iter().map(read).collect()
    }

    fn is_none(&self) -> bool {
        self.link.is_none() && self.topics.is_empty() && self.backfill.is_none()
    }
}

#[derive(Debug)]
struct Bucket {
    rate: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    fn new(rate: u64, now: Instant) -> Bucket {
        let rate = rate.max(1) as f64;
        Bucket { rate, level: rate * BURST.as_secs_f64(), at: now }
    }

    fn take(&mut self, bytes: usize, now: Instant) {
        let past = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = (self.level + past * self.rate).min(self.rate * BURST.as_secs_f64()) - bytes as f64;
        self.at = self.at.max(now);
    }

    /// When its debt is paid.
    fn free_at(&self) -> Instant {
        let debt = Duration::try_from_secs_f64(-self.level / self.rate);
        self.at + debt.unwrap_or_default() // not in debt
    }
}

/// The buckets of one link in this process.
#[derive(Debug)]
struct Buckets {
    limits: Limits,
    link: Option<Bucket>,
    topics: Vec<Bucket>,
    backfill: Option<Bucket>,
}

/// What a partition counts for, beside the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Flow {
    class: Option<usize>,
    is_backfill: bool,
}

impl Buckets {
    fn new(limits: Limits, now: Instant) -> Buckets {
        let bucket = |rate: &u64| Bucket::new(*rate, now);
        Buckets {
            link: limits.link.as_ref().map(bucket),
            topics: limits.topics.iter().map(|(_, rate)| bucket(rate)).collect(),
            backfill: limits.backfill.as_ref().map(bucket),
            limits,
        }
    }

    fn of(&mut self, flow: Flow) -> impl Iterator<Item = &mut Bucket> {
        let class = flow.class.and_then(|class| self.topics.get_mut(class));
        let backfill = self.backfill.as_mut().filter(|_| flow.is_backfill);
        self.link.iter_mut().chain(class).chain(backfill)
    }

    /// When the flow goes on after these bytes.
    fn take(&mut self, flow: Flow, bytes: usize, now: Instant) -> Instant {
        self.of(flow).for_each(|bucket| bucket.take(bytes, now));
        self.free_at(flow, now)
    }

    fn free_at(&mut self, flow: Flow, now: Instant) -> Instant {
        self.of(flow).map(|bucket| bucket.free_at()).fold(now, Instant::max)
    }
}

type LinkKey = (String, String);

static LINKS: LazyLock<Mutex<BTreeMap<LinkKey, Arc<Mutex<Buckets>>>>> = LazyLock::new(Mutex::default);

/// The limits of one task. Without any it does nothing.
pub(crate) struct Pace {
    buckets: Option<Arc<Mutex<Buckets>>>,
    classes: Vec<Option<usize>>,
    /// Partitions that wait for their turn.
    waiting: BTreeMap<At, Flow>,
}

impl Pace {
    /// Shares the buckets of the link, or makes new ones if its limits have changed.
    pub(crate) fn new(source: &str, target: &str, limits: &Limits) -> Pace {
        let key = (source.to_owned(), target.to_owned());
        let mut links = lock(&LINKS);
        if limits.is_none() {
            links.remove(&key);
            return Pace { buckets: None, classes: Vec::new(), waiting: BTreeMap::new() };
        }
        let known = links.get(&key).filter(|known| lock(known).limits == *limits).map(Arc::clone);
        let buckets = known.unwrap_or_else(|| Arc::new(Mutex::new(Buckets::new(limits.clone(), Instant::now()))));
        links.insert(key, Arc::clone(&buckets));
        Pace { buckets: Some(buckets), classes: Vec::new(), waiting: BTreeMap::new() }
    }

    /// Takes on the next partition.
    pub(crate) fn add(&mut self, topic: &TopicName) {
        let class = self.buckets.as_ref().and_then(|buckets| {
            let buckets = lock(buckets);
            buckets.limits.topics.iter().position(|(regex, _)| regex.is_match(topic.as_str()))
        });
        self.classes.push(class);
    }

    /// A fetch brought so many bytes of a partition that is so many records behind. Whether it has to wait.
    pub(crate) fn took(&mut self, at: At, behind: i64, bytes: usize) -> bool {
        let Some(buckets) = &self.buckets else { return false };
        let (now, mut buckets) = (Instant::now(), lock(buckets));
        let is_backfill = behind > buckets.limits.backfill_lag;
        let flow = Flow { class: self.classes.get(at).copied().flatten(), is_backfill };
        let waits = buckets.take(flow, bytes, now) > now;
        if waits {
            self.waiting.insert(at, flow);
        }
        waits
    }

    /// Whether a partition may be fetched again.
    pub(crate) fn is_free(&mut self, at: At) -> bool {
        let (Some(buckets), Some(flow)) = (&self.buckets, self.waiting.get(&at)) else { return true };
        let now = Instant::now();
        let is_free = lock(buckets).free_at(*flow, now) <= now;
        if is_free {
            self.waiting.remove(&at);
        }
        is_free
    }

    pub(crate) fn forget(&mut self, at: At) {
        self.waiting.remove(&at);
    }

    /// Until when no partition at all is fetched.
    pub(crate) fn whole_link_waits(&self) -> Option<Instant> {
        let free_at = lock(self.buckets.as_ref()?).link.as_ref()?.free_at();
        Some(free_at).filter(|free_at| *free_at > Instant::now())
    }

    /// When the next one that waits may go on.
    pub(crate) fn next_free(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut buckets = lock(self.buckets.as_ref()?);
        let waiting = self.waiting.values().map(|flow| buckets.free_at(*flow, now)).min();
        drop(buckets);
        waiting.into_iter().chain(self.whole_link_waits()).min()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIVE: Flow = Flow { class: None, is_backfill: false };
    const LATE: Flow = Flow { class: None, is_backfill: true };

    fn limits(link: Option<u64>, topics: &[&str], backfill: Option<u64>) -> Limits {
        let entries: Vec<String> = topics.iter().map(|entry| (*entry).to_owned()).collect();
        Limits { link, topics: Limits::classes(&entries).unwrap(), backfill, backfill_lag: 100 }
    }

    #[test]
    fn a_bucket_lets_its_rate_through_however_large_the_answers_are() {
        let began = Instant::now();
        for answer in [1_000, 50_000, 3_000_000] {
            let mut buckets = Buckets::new(limits(Some(1_000_000), &[], None), began);
            let (mut now, mut bytes) = (began, 0_usize);
            while now < began + Duration::from_secs(60) {
                bytes += answer;
                now = buckets.take(LIVE, answer, now).max(now);
            }
            let rate = bytes as f64 / (now - began).as_secs_f64();
            assert!((0.99e6..1.01e6).contains(&rate), "{rate} with answers of {answer}");
        }
    }

    #[test]
    fn what_rests_saves_up_no_more_than_a_burst() {
        let began = Instant::now();
        let mut buckets = Buckets::new(limits(Some(1_000), &[], None), began);
        let later = began + Duration::from_secs(3_600);
        assert_eq!(buckets.take(LIVE, 250, later), later);
        assert_eq!(buckets.take(LIVE, 1_000, later), later + Duration::from_secs(1));
    }

    #[test]
    fn what_is_far_behind_waits_and_what_is_live_does_not() {
        let now = Instant::now();
        let mut buckets = Buckets::new(limits(None, &[], Some(1_000)), now);
        assert!(buckets.take(LATE, 10_000, now) > now + Duration::from_secs(9));
        assert_eq!(buckets.take(LIVE, 10_000_000, now), now);
    }

    #[test]
    fn a_topic_counts_for_the_first_class_that_has_it() {
        let mut pace = Pace::new("pace-a", "pace-b", &limits(None, &["logs-.*=1000", ".*=1000000000"], None));
        for topic in ["logs-web", "orders"] {
            pace.add(&TopicName::parse(topic).unwrap());
        }
        assert!(pace.took(0, 0, 100_000) && !pace.took(1, 0, 100_000));
        assert!(!pace.is_free(0) && pace.is_free(1) && pace.whole_link_waits().is_none());
        assert!(pace.next_free().is_some_and(|at| at > Instant::now() + Duration::from_secs(90)));
        pace.forget(0);
        assert_eq!(pace.next_free(), None);
    }

    #[test]
    fn tasks_of_a_link_share_its_limit_until_it_changes() {
        let limit = limits(Some(1_000), &[], None);
        let (mut one, other) = (Pace::new("pace-c", "pace-d", &limit), Pace::new("pace-c", "pace-d", &limit));
        one.add(&TopicName::parse("t").unwrap());
        assert!(one.took(0, 0, 50_000) && other.whole_link_waits().is_some());
        let changed = Pace::new("pace-c", "pace-d", &limits(Some(2_000), &[], None));
        assert!(changed.whole_link_waits().is_none());
        let none = Pace::new("pace-c", "pace-d", &Limits::default());
        assert!(none.whole_link_waits().is_none() && none.next_free().is_none());
    }

    #[test]
    fn wrong_classes_are_named() {
        let refused = |entry: &str| Limits::classes(&[entry.to_owned()]).unwrap_err();
        assert!(refused("logs").contains("REGEX=BYTES"));
        assert!(refused("logs=fast").contains("fast"));
        assert!(refused("logs=0").contains("at least 1"));
        assert!(refused("(=5").contains("regular expression"));
    }
}
