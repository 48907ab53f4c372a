//! Limits on bytes per second: of a whole link, of classes of topics, and of partitions that are far behind; others at other times.
//!
//! Picture: token buckets that may go into debt. What an answer brought is taken out afterwards, as nobody knows before how much
//! it brings; while a bucket is in debt, partitions that it counts for are not fetched. So no limit is exceeded for longer than
//! one answer takes, and none splits a batch. A partition that is far behind counts for the backfill as well, and so cannot
//! crowd out those that are live. When a window of time begins or ends, the buckets get their new rates before anything else is
//! asked of them: a debt stays, and is paid at the new rate.
//! Invariants: P1 over any time longer than that of one answer, a bucket lets through its rate and the burst of a quarter of a
//! second. P2 the tasks of a link in one process share its buckets; each worker has its own. P3 what counts follows from the
//! settings and the time of day alone, so a clock that is set, or a machine that slept, needs no care.
//! Not here: what a partition is fetched for (`engine`), and how it is held back (`copying`).

pub(crate) mod limits; // what the settings allow
pub(crate) mod settings; // their keys
pub(crate) mod windows; // times of the week

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use twinstream_model::TopicName;

pub(crate) use self::limits::Limits;
use self::limits::{Class, Rate};
use crate::engine::At;
use crate::observer::now_ms;

/// What may be saved up while nothing comes.
const BURST: Duration = Duration::from_millis(250);

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

    /// From now on at another rate; what is owed stays owed.
    fn turned(mut self, rate: u64, now: Instant) -> Bucket {
        self.take(0, now);
        self.rate = rate.max(1) as f64;
        self.level = self.level.min(self.rate * BURST.as_secs_f64());
        self
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
    /// Unix times in seconds for which the buckets are as they have to be.
    good_for: Range<i64>,
    link: Option<Bucket>,
    /// By class; one without a limit has none.
    topics: Vec<(Class, Option<Bucket>)>,
    /// Counts how often there were other classes.
    edition: u64,
    backfill: Option<Bucket>,
}

/// What a partition counts for, beside the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Flow {
    class: Option<usize>,
    is_backfill: bool,
}

impl Buckets {
    fn new(limits: Limits, unix_s: i64, now: Instant) -> Buckets {
        let mut buckets =
            Buckets { limits, good_for: 0..0, link: None, topics: Vec::new(), edition: 0, backfill: None };
        buckets.turn(unix_s, now);
        buckets
    }

    /// Gives the buckets the rates of this time of the week.
    fn turn(&mut self, unix_s: i64, now: Instant) {
        if self.good_for.contains(&unix_s) {
            return;
        }
        let (link, topics, backfill) =
            (self.limits.link.at(unix_s), self.limits.topics.at(unix_s), self.limits.backfill.at(unix_s));
        let until = [link.until, topics.until, backfill.until].into_iter().flatten().min();
        self.good_for = unix_s..until.unwrap_or(i64::MAX);
        self.link = turned(self.link.take(), *link.value, now);
        self.backfill = turned(self.backfill.take(), *backfill.value, now);
        if !self.topics.iter().map(|(class, _)| class).eq(topics.value) {
            let mut before = std::mem::take(&mut self.topics);
            let mut bucket = |class: &Class| {
                let known = before.iter_mut().find(|(known, _)| known.text == class.text);
                turned(known.and_then(|(_, bucket)| bucket.take()), class.rate, now)
            };
            self.topics = topics.value.iter().map(|class| (class.clone(), bucket(class))).collect();
            self.edition += 1;
        }
    }

    /// The class of a topic: the first that has it.
    fn class(&self, topic: &TopicName) -> Option<usize> {
        self.topics.iter().position(|(class, _)| class.pattern.is_match(topic.as_str()))
    }

    fn of(&mut self, flow: Flow) -> impl Iterator<Item = &mut Bucket> {
        let class = flow.class.and_then(|class| self.topics.get_mut(class)).and_then(|(_, bucket)| bucket.as_mut());
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

/// The bucket of a limit from now on. Where there was no limit nothing is owed.
fn turned(bucket: Option<Bucket>, rate: Rate, now: Instant) -> Option<Bucket> {
    let rate = rate?;
    Some(match bucket {
        Some(bucket) => bucket.turned(rate, now),
        None => Bucket::new(rate, now),
    })
}

type LinkKey = (String, String);

static LINKS: LazyLock<Mutex<BTreeMap<LinkKey, Arc<Mutex<Buckets>>>>> = LazyLock::new(Mutex::default);

/// The limits of one task. Without any it does nothing.
pub(crate) struct Pace {
    buckets: Option<Arc<Mutex<Buckets>>>,
    topics: Vec<TopicName>,
    /// By partition, as of this edition of the classes.
    classes: Vec<Option<usize>>,
    edition: u64,
    /// Partitions that wait for their turn, and whether they are far behind.
    waiting: BTreeMap<At, bool>,
}

impl Pace {
    /// Shares the buckets of the link, or makes new ones if its limits have changed.
    pub(crate) fn new(source: &str, target: &str, limits: &Limits) -> Pace {
        let key = (source.to_owned(), target.to_owned());
        let mut links = lock(&LINKS);
        if limits.is_none() {
            links.remove(&key);
            return Pace::of(None);
        }
        let known = links.get(&key).filter(|known| lock(known).limits == *limits).map(Arc::clone);
        let made = || Arc::new(Mutex::new(Buckets::new(limits.clone(), unix_s(), Instant::now())));
        let buckets = known.unwrap_or_else(made);
        links.insert(key, Arc::clone(&buckets));
        Pace::of(Some(buckets))
    }

    fn of(buckets: Option<Arc<Mutex<Buckets>>>) -> Pace {
        Pace { buckets, topics: Vec::new(), classes: Vec::new(), edition: 0, waiting: BTreeMap::new() }
    }

    /// Takes on the next partition.
    pub(crate) fn add(&mut self, topic: &TopicName) {
        if self.buckets.is_some() {
            self.topics.push(topic.clone());
        }
    }

    /// A fetch brought so many bytes of a partition that is so many records behind. Whether it has to wait.
    pub(crate) fn took(&mut self, at: At, behind: i64, bytes: usize) -> bool {
        let Some(buckets) = &self.buckets else { return false };
        let now = Instant::now();
        let mut buckets = turned_now(buckets, now);
        renew(&mut self.classes, &mut self.edition, &self.topics, &buckets);
        let is_backfill = behind > buckets.limits.backfill_lag;
        let flow = Flow { class: self.classes.get(at).copied().flatten(), is_backfill };
        let waits = buckets.take(flow, bytes, now) > now;
        if waits {
            self.waiting.insert(at, is_backfill);
        }
        waits
    }

    /// Whether a partition may be fetched again.
    pub(crate) fn is_free(&mut self, at: At) -> bool {
        let (Some(buckets), Some(is_backfill)) = (&self.buckets, self.waiting.get(&at).copied()) else { return true };
        let now = Instant::now();
        let mut buckets = turned_now(buckets, now);
        renew(&mut self.classes, &mut self.edition, &self.topics, &buckets);
        let flow = Flow { class: self.classes.get(at).copied().flatten(), is_backfill };
        let is_free = buckets.free_at(flow, now) <= now;
        drop(buckets);
        if is_free {
            self.waiting.remove(&at);
        }
        is_free
    }

    pub(crate) fn forget(&mut self, at: At) {
        self.waiting.remove(&at);
    }

    /// Whether anything waits for its turn.
    pub(crate) fn holds(&self) -> bool {
        !self.waiting.is_empty() || self.whole_link_waits().is_some()
    }

    pub(crate) fn is_waiting(&self, at: At) -> bool {
        self.waiting.contains_key(&at)
    }

    /// Until when no partition at all is fetched.
    pub(crate) fn whole_link_waits(&self) -> Option<Instant> {
        let now = Instant::now();
        let free_at = turned_now(self.buckets.as_ref()?, now).link.as_ref()?.free_at();
        Some(free_at).filter(|free_at| *free_at > now)
    }

    /// When the next one that waits may go on. A window that begins earlier is noticed by who asks again: a poll takes a second.
    pub(crate) fn next_free(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let mut buckets = turned_now(self.buckets.as_ref()?, now);
        renew(&mut self.classes, &mut self.edition, &self.topics, &buckets);
        let flow = |(at, is_backfill): (&At, &bool)| Flow {
            class: self.classes.get(*at).copied().flatten(),
            is_backfill: *is_backfill,
        };
        let waiting = self.waiting.iter().map(|one| buckets.free_at(flow(one), now)).min();
        drop(buckets);
        waiting.into_iter().chain(self.whole_link_waits()).min()
    }
}

/// The buckets with the rates of this moment.
fn turned_now(buckets: &Arc<Mutex<Buckets>>, now: Instant) -> MutexGuard<'_, Buckets> {
    let mut buckets = lock(buckets);
    buckets.turn(unix_s(), now);
    buckets
}

/// Looks the classes of partitions up that were not looked up yet, and of all when there are other classes.
fn renew(classes: &mut Vec<Option<usize>>, edition: &mut u64, topics: &[TopicName], buckets: &Buckets) {
    if *edition != buckets.edition {
        classes.clear();
        *edition = buckets.edition;
    }
    let new = topics.iter().skip(classes.len()).map(|topic| buckets.class(topic));
    classes.extend(new);
}

fn unix_s() -> i64 {
    now_ms().div_euclid(1_000)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::limits::{classes, windows_of_classes, windows_of_rates};
    use super::windows::Timed;
    use super::*;

    /// 2026-11-23T09:00:00Z, a Monday.
    const MORNING: i64 = 1_795_424_400;
    const EVENING: i64 = MORNING + 10 * 3_600;
    const LIVE: Flow = Flow { class: None, is_backfill: false };
    const LATE: Flow = Flow { class: None, is_backfill: true };

    fn limits(link: Option<u64>, topics: &[&str], backfill: Option<u64>) -> Limits {
        let entries: Vec<String> = topics.iter().map(|entry| (*entry).to_owned()).collect();
        let plain = |plain| Timed { plain, windows: Vec::new() };
        let topics = Timed { plain: classes(&entries).unwrap(), windows: Vec::new() };
        Limits { link: plain(link), topics, backfill: plain(backfill), backfill_lag: 100 }
    }

    fn name(topic: &str) -> TopicName {
        TopicName::parse(topic).unwrap()
    }

    #[test]
    fn a_bucket_lets_its_rate_through_however_large_the_answers_are() {
        let began = Instant::now();
        for answer in [1_000, 50_000, 3_000_000] {
            let mut buckets = Buckets::new(limits(Some(1_000_000), &[], None), MORNING, began);
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
        let mut buckets = Buckets::new(limits(Some(1_000), &[], None), MORNING, began);
        let later = began + Duration::from_secs(3_600);
        assert_eq!(buckets.take(LIVE, 250, later), later);
        assert_eq!(buckets.take(LIVE, 1_000, later), later + Duration::from_secs(1));
    }

    #[test]
    fn what_is_far_behind_waits_and_what_is_live_does_not() {
        let now = Instant::now();
        let mut buckets = Buckets::new(limits(None, &[], Some(1_000)), MORNING, now);
        assert!(buckets.take(LATE, 10_000, now) > now + Duration::from_secs(9));
        assert_eq!(buckets.take(LIVE, 10_000_000, now), now);
    }

    #[test]
    fn a_topic_counts_for_the_first_class_that_has_it() {
        let mut pace = Pace::new("pace-a", "pace-b", &limits(None, &["logs-.*=1000", ".*=1000000000"], None));
        for topic in ["logs-web", "orders"] {
            pace.add(&name(topic));
        }
        assert!(pace.took(0, 0, 100_000) && !pace.took(1, 0, 100_000));
        assert!(!pace.is_free(0) && pace.is_free(1) && pace.whole_link_waits().is_none());
        assert!(pace.holds() && pace.is_waiting(0) && !pace.is_waiting(1));
        assert!(pace.next_free().is_some_and(|at| at > Instant::now() + Duration::from_secs(90)));
        pace.forget(0);
        assert!(pace.next_free().is_none() && !pace.holds());
    }

    #[test]
    fn tasks_of_a_link_share_its_limit_until_it_changes() {
        let limit = limits(Some(1_000), &[], None);
        let (mut one, other) = (Pace::new("pace-c", "pace-d", &limit), Pace::new("pace-c", "pace-d", &limit));
        one.add(&name("t"));
        assert!(one.took(0, 0, 50_000) && other.whole_link_waits().is_some() && other.holds());
        let changed = Pace::new("pace-c", "pace-d", &limits(Some(2_000), &[], None));
        assert!(changed.whole_link_waits().is_none());
        let mut none = Pace::new("pace-c", "pace-d", &Limits::default());
        assert!(none.whole_link_waits().is_none() && none.next_free().is_none());
    }

    #[test]
    fn a_window_changes_the_rate_when_it_begins_and_a_debt_is_paid_at_the_new_one() {
        let mut timed = limits(Some(1_000), &[], None);
        timed.link.windows = windows_of_rates("mon 08:00-18:00 10KB; mon 19:00-20:00 unlimited").unwrap();
        let began = Instant::now();
        let mut buckets = Buckets::new(timed, MORNING, began);
        let (hours, second) = (|hours: u64| began + Duration::from_secs(hours * 3_600), Duration::from_secs(1));
        // In the morning a second brings ten thousand, beyond what was saved up.
        assert_eq!(buckets.take(LIVE, 12_500, began), began + second);
        buckets.turn(MORNING + 9 * 3_600 - 1, hours(9) - second);
        assert_eq!(buckets.take(LIVE, 22_500, hours(9) - second), hours(9) + second, "until 18:00");
        // 10,000 are still owed at 18:00, and cost ten seconds now.
        buckets.turn(MORNING + 9 * 3_600, hours(9));
        assert_eq!(buckets.free_at(LIVE, hours(9)), hours(9) + 10 * second);
        buckets.turn(EVENING, hours(10));
        assert_eq!(buckets.take(LIVE, usize::MAX, hours(10)), hours(10), "nothing limits it");
        buckets.turn(EVENING + 3_600, hours(11));
        assert_eq!(buckets.take(LIVE, 1_250, hours(11)), hours(11) + second, "and nothing is owed for that");
        // A clock that is set back is believed.
        buckets.turn(MORNING, hours(12));
        assert_eq!(buckets.take(LIVE, 10_250, hours(12)), hours(12) + second);
    }

    #[test]
    fn in_a_window_its_classes_count_and_topics_find_theirs() {
        let mut timed = limits(None, &["logs-.*=1000"], None);
        timed.topics.windows = windows_of_classes("mon 08:00-18:00 orders=2000, logs-.*=500").unwrap();
        let now = Instant::now();
        let mut buckets = Buckets::new(timed, MORNING, now);
        let topics = [name("logs-web"), name("orders"), name("other")];
        let (mut classes, mut edition) = (Vec::new(), 0);
        renew(&mut classes, &mut edition, &topics[..2], &buckets);
        assert_eq!(classes, [Some(1), Some(0)]);
        let flow = |class| Flow { class, is_backfill: false };
        let late = buckets.take(flow(Some(1)), 500_125, now) - now;
        assert_eq!(late, Duration::from_secs(1_000));
        buckets.turn(EVENING, now);
        renew(&mut classes, &mut edition, &topics, &buckets);
        assert_eq!(classes, [Some(0), None, None]);
        assert_eq!(buckets.free_at(flow(classes[0]), now) - now, Duration::from_secs(500), "owed by the same class");
        assert_eq!(buckets.take(flow(classes[1]), usize::MAX, now), now);
    }
}
