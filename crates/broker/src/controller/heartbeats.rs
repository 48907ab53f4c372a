//! A heartbeat on its way to the active controller, which may run an older release.
//!
//! Picture: what older releases know is the *plain* form; newer facts are a tail behind it. A controller that does not know the tail
//! refuses the whole request (INVALID_REQUEST), and a broker whose heartbeats are refused is fenced. So it then says the plain
//! form, as long as the same node leads, and the next leader is told everything again.
//!
//! Invariants: the plain form is understood by every release; what the tail says is lost on an older controller, nothing else.

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
    /// The term whose leader did not understand the whole form.
    plain_in: Option<u64>,
}

impl Forms {
    /// What the leader of this term is told first.
    pub(super) fn of(&self, term: u64) -> Form {
        if self.plain_in == Some(term) { Form::Plain } else { Form::Whole }
    }

    /// Looks at the answer to a heartbeat of this form. Whether the plain one shall be said now.
    pub(super) fn must_be_plain<T>(&mut self, term: u64, form: Form, answered: &Result<T, ForwardError>) -> bool {
        let refused = matches!(answered, Err(ForwardError::Refused { code: ErrorCode::InvalidRequest, .. }));
        let must_be_plain = form == Form::Whole && refused;
        if must_be_plain {
            self.plain_in = Some(term);
        }
        must_be_plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The forms in which a heartbeat is said to a controller that refuses some.
    fn said(forms: &mut Forms, term: u64, refused: &[Form], code: ErrorCode) -> Vec<Form> {
        let answer = |form: Form| match refused.contains(&form) {
            true => Err(ForwardError::Refused { code, message: String::new() }),
            false => Ok(()),
        };
        let first = forms.of(term);
        match forms.must_be_plain(term, first, &answer(first)) {
            true => vec![first, Form::Plain],
            false => vec![first],
        }
    }

    #[test]
    fn an_older_controller_hears_the_plain_form_and_the_next_one_everything() {
        let mut forms = Forms::default();
        let code = ErrorCode::InvalidRequest;
        assert_eq!(said(&mut forms, 1, &[Form::Whole], code), [Form::Whole, Form::Plain]);
        assert_eq!(said(&mut forms, 1, &[Form::Whole], code), [Form::Plain]);
        assert_eq!(said(&mut forms, 2, &[], code), [Form::Whole]);
    }

    #[test]
    fn another_refusal_says_nothing_about_the_form() {
        let mut forms = Forms::default();
        assert_eq!(said(&mut forms, 1, &[Form::Whole], ErrorCode::StaleBrokerEpoch), [Form::Whole]);
        assert_eq!(said(&mut forms, 1, &[], ErrorCode::InvalidRequest), [Form::Whole]);
    }
}
