//! A heartbeat on its way to the active controller, which may run an older release.
//!
//! Picture: what older releases know is the *plain* form; newer facts are a tail behind it. A controller that does not know the tail
//! refuses the whole request (INVALID_REQUEST), and a broker whose heartbeats are refused is fenced. So it then says the plain
//! form. When that is accepted, it stays with it as long as the same node leads, and the next leader is told everything again.
//! A request may be refused for another reason, for instance because another node has the address now; then so is the plain form.
//!
//! Invariants: the plain form is understood by every release; what the tail says is lost on a controller that refused it and took
//! the plain form in the same term, on no other.

use std::sync::Arc;

use twinstream_metadata::codec::{DecodeError, Writer};
use twinstream_metadata::controller::{Heartbeat, HeartbeatAnswer};
use twinstream_model::ErrorCode;

use super::Shared;
use super::ask::{ForwardError, Question, Refusal};
use super::messages::{self, InternalApi};
use super::serving::heartbeat_here;

/// How much of a heartbeat is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Whole,
    /// What every release understands.
    Plain,
}

/// A heartbeat as it is sent.
pub(super) struct Beat {
    pub(super) heartbeat: Heartbeat,
    pub(super) form: Form,
}

impl Question for Beat {
    const API: InternalApi = InternalApi::Heartbeat;
    const REPEATABLE: bool = true;
    type Answer = HeartbeatAnswer;

    fn write(&self, out: &mut Writer) {
        messages::write_heartbeat(out, &self.heartbeat, self.form);
    }

    fn read_answer(payload: &[u8]) -> Result<HeartbeatAnswer, DecodeError> {
        messages::read_heartbeat_answer(payload)
    }

    async fn decide_here(&self, shared: &Arc<Shared>) -> Result<HeartbeatAnswer, Refusal> {
        heartbeat_here(shared, self.heartbeat).await
    }
}

/// Which form the leaders of the quorum understand.
#[derive(Debug, Default)]
pub(super) struct Forms {
    /// The term whose leader refused the whole form and took the plain one.
    plain_in: Option<u64>,
}

impl Forms {
    /// What the leader of this term is told first.
    fn of(&self, term: u64) -> Form {
        if self.plain_in == Some(term) { Form::Plain } else { Form::Whole }
    }

    /// Says a heartbeat to the leader of this term, in the form that it understands.
    pub(super) async fn say<T, F>(&mut self, term: u64, mut say: impl FnMut(Form) -> F) -> Result<T, ForwardError>
    where
        F: Future<Output = Result<T, ForwardError>>,
    {
        let form = self.of(term);
        let answered = say(form).await;
        let is_refused = matches!(answered, Err(ForwardError::Refused { code: ErrorCode::InvalidRequest, .. }));
        if form == Form::Plain || !is_refused {
            return answered;
        }
        let answered = say(Form::Plain).await;
        if answered.is_ok() {
            self.plain_in = Some(term);
        }
        answered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The forms in which a heartbeat is said to a controller that refuses some.
    async fn said(forms: &mut Forms, term: u64, refused: &[Form], code: ErrorCode) -> Vec<Form> {
        let mut said = Vec::new();
        let answer = |form: Form| {
            said.push(form);
            std::future::ready(match refused.contains(&form) {
                true => Err(ForwardError::Refused { code, message: String::new() }),
                false => Ok(()),
            })
        };
        forms.say(term, answer).await.ok();
        said
    }

    #[tokio::test]
    async fn an_older_controller_hears_the_plain_form_and_the_next_one_everything() {
        let mut forms = Forms::default();
        let code = ErrorCode::InvalidRequest;
        assert_eq!(said(&mut forms, 1, &[Form::Whole], code).await, [Form::Whole, Form::Plain]);
        assert_eq!(said(&mut forms, 1, &[Form::Whole], code).await, [Form::Plain]);
        assert_eq!(said(&mut forms, 2, &[], code).await, [Form::Whole]);
    }

    #[tokio::test]
    async fn another_refusal_says_nothing_about_the_form() {
        let mut forms = Forms::default();
        assert_eq!(said(&mut forms, 1, &[Form::Whole], ErrorCode::StaleBrokerEpoch).await, [Form::Whole]);
        assert_eq!(said(&mut forms, 1, &[], ErrorCode::InvalidRequest).await, [Form::Whole]);
    }

    #[tokio::test]
    async fn node_that_takes_neither_form_leaves_the_leader_of_its_term_the_whole_one() {
        let mut forms = Forms::default();
        let (code, both) = (ErrorCode::InvalidRequest, [Form::Whole, Form::Plain]);
        assert_eq!(said(&mut forms, 1, &both, code).await, both, "another node has the leader's address");
        assert_eq!(said(&mut forms, 1, &[], code).await, [Form::Whole]);
    }
}
