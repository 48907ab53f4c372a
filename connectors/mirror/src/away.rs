//! Since when a cluster has not answered, and what is to be shown of it. Pure, but for [`patiently`].
//!
//! Picture: whoever asks a cluster tells here what came of it. The first failure begins an absence, any answer ends it. One
//! that is short (an election, a broker that is started again) is nobody's business. One that lasts is told with each poll,
//! so that the worker shows the task as RESTARTING with the cause, until there is an answer again, however late. What a task
//! needs before it can begin is asked for patiently, told, and asked for again in its next life.
//! Invariants: A1 an absence has no end but an answer: a link heals by itself. A2 pauses grow to [`PAUSE_MAX`], so a cluster
//! that is back is noticed within seconds. A3 what is shown is the newest cause, and since when.
//! Not here: which errors may pass ([`may_pass`] asks the client), clocks (`now` counts from any point).

use std::time::Duration;

use tokio::time::{Instant, sleep};
use twinstream_client::ClientError;
use twinstream_connect_api::TaskError;
use twinstream_model::ErrorCode;

/// Elections and restarts of a broker take less.
pub(crate) const SHOWN_AFTER: Duration = Duration::from_secs(5);
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// What a task needs to begin is asked for so long before the worker is told, and after this pause each time.
const BEGIN_WITHIN: Duration = Duration::from_secs(10);
const BEGIN_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct Absence {
    lasting: Option<Lasting>,
}

#[derive(Debug)]
struct Lasting {
    since: Duration,
    pause: Duration,
    cause: String,
}

impl Absence {
    /// No answer. Whether that is news.
    pub(crate) fn failed(&mut self, now: Duration, cause: String) -> bool {
        match &mut self.lasting {
            Some(lasting) => {
                lasting.cause = cause;
                false
            }
            None => {
                self.lasting = Some(Lasting { since: now, pause: PAUSE_FIRST, cause });
                true
            }
        }
    }

    /// There is an answer; for how long there was none.
    pub(crate) fn answered(&mut self, now: Duration) -> Option<Duration> {
        self.lasting.take().map(|lasting| now.saturating_sub(lasting.since))
    }

    /// An absence that lasts: for how long by now, and its cause.
    pub(crate) fn shown(&self, now: Duration) -> Option<(Duration, &str)> {
        let lasting = self.lasting.as_ref()?;
        let by_now = now.saturating_sub(lasting.since);
        (by_now >= SHOWN_AFTER).then_some((by_now, lasting.cause.as_str()))
    }

    /// How long to wait before whoever is away is asked again.
    pub(crate) fn next_pause(&mut self) -> Duration {
        let Some(lasting) = &mut self.lasting else { return PAUSE_FIRST };
        let pause = lasting.pause;
        lasting.pause = (pause * 2).min(PAUSE_MAX);
        pause
    }
}

/// Whether asking again may help. An error that a broker did not expect itself is none of those that stay: readers of Kafka
/// ask again as well.
pub(crate) fn may_pass(cause: &ClientError) -> bool {
    cause.is_retriable() || cause.code() == Some(ErrorCode::UnknownServerError)
}

/// Asks for what a task needs to begin, a little longer than elections take. An error that may pass is retriable, soon: whoever
/// is back is noticed within seconds.
pub(crate) async fn patiently<T, F>(what: impl FnOnce() -> String, mut ask: impl FnMut() -> F) -> Result<T, TaskError>
where
    F: Future<Output = Result<T, ClientError>>,
{
    let began = Instant::now();
    loop {
        match ask().await {
            Ok(found) => return Ok(found),
            Err(cause) => match not_begun(&cause, began.elapsed()) {
                Next::Again => sleep(BEGIN_PAUSE).await,
                Next::Tell => return Err(TaskError::retriable(what()).caused_by(cause).retry_after(BEGIN_PAUSE)),
                Next::Fail => return Err(TaskError::fatal(what()).caused_by(cause)),
            },
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Next {
    Again,
    Tell,
    Fail,
}

fn not_begun(cause: &ClientError, after: Duration) -> Next {
    match may_pass(cause) {
        false => Next::Fail,
        true if after + BEGIN_PAUSE >= BEGIN_WITHIN => Next::Tell,
        true => Next::Again,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn a_short_absence_is_nobodys_business_and_one_that_lasts_is_told_with_its_newest_cause() {
        let mut absence = Absence::default();
        assert!(absence.failed(10 * SECOND, "refused".to_owned()), "news");
        assert!(!absence.failed(12 * SECOND, "refused".to_owned()), "known");
        assert_eq!(absence.shown(14 * SECOND), None);
        assert_eq!(absence.shown(15 * SECOND), Some((5 * SECOND, "refused")));
        absence.failed(16 * SECOND, "no route".to_owned());
        assert_eq!(absence.shown(17 * SECOND), Some((7 * SECOND, "no route")));
        assert_eq!(absence.answered(20 * SECOND), Some(10 * SECOND));
        assert!(absence.shown(DAY).is_none() && absence.answered(DAY).is_none(), "it is over");
        assert!(absence.failed(DAY, "refused".to_owned()) && absence.shown(DAY + SECOND).is_none(), "a new one");
    }

    #[test]
    fn it_is_tried_for_ever_with_pauses_that_have_a_bound() {
        let mut absence = Absence::default();
        let (mut now, mut tries) = (Duration::ZERO, 0_u64);
        while now < 7 * DAY {
            absence.failed(now, "refused".to_owned());
            let pause = absence.next_pause();
            assert!(Duration::ZERO < pause && pause <= PAUSE_MAX, "{pause:?}");
            now += pause;
            tries += 1;
        }
        assert!(tries >= 7 * 86_400 / 2, "after a week it is asked as often as after a minute");
        assert_eq!(absence.shown(now).map(|(by_now, _)| by_now), Some(now), "and says so");
        absence.answered(now);
        absence.failed(now, "refused".to_owned());
        assert_eq!(absence.next_pause(), PAUSE_FIRST, "pauses begin anew");
    }

    #[test]
    fn what_a_broker_did_not_expect_itself_may_pass_and_a_refusal_does_not() {
        let broker = |code| ClientError::broker("ask", code);
        assert!(may_pass(&broker(ErrorCode::UnknownServerError)) && may_pass(&broker(ErrorCode::LeaderNotAvailable)));
        assert!(may_pass(&ClientError::Timeout { what: "ask".to_owned(), after: SECOND }));
        assert!(!may_pass(&broker(ErrorCode::TopicAuthorizationFailed)));
    }

    #[test]
    fn what_a_task_needs_to_begin_is_waited_for_and_told_when_that_takes_long() {
        let away = ClientError::Timeout { what: "connect".to_owned(), after: SECOND };
        let refused = ClientError::broker("connect", ErrorCode::ClusterAuthorizationFailed);
        let next = |seconds: u32| not_begun(&away, seconds * SECOND);
        assert_eq!([next(0), next(8), next(9), next(600)], [Next::Again, Next::Again, Next::Tell, Next::Tell]);
        assert_eq!(not_begun(&refused, Duration::ZERO), Next::Fail);
    }

    #[tokio::test]
    async fn the_first_answer_is_taken() {
        assert_eq!(patiently(String::new, || async { Ok(7) }).await.unwrap(), 7);
        let refused = || async { Err::<(), _>(ClientError::broker("begin", ErrorCode::ClusterAuthorizationFailed)) };
        let error = patiently(|| "reach the source".to_owned(), refused).await.unwrap_err();
        assert!(!error.is_retriable() && error.message() == "reach the source");
    }
}
