//! What the APIs share that only the active controller answers.
//!
//! Picture: [`handle`] sends the request on to the active controller, or executes it here if that is this node;
//! [`execute`] is also where a request that another node sent on arrives. An API of this kind has both functions from
//! here and says in [`ByController`] what is its own: whether the cluster must allow it, what it does, and how its
//! answer looks when nothing was done.

use std::collections::BTreeSet;
use std::sync::Arc;

use twinstream_model::ErrorCode;

use crate::context::{Broker, Operation, RequestContext, Resource};
use crate::controller::Forwardable;

pub(crate) trait ByController: Forwardable + Sized {
    /// What the client must be allowed to do with the cluster. `None` where each topic or resource is asked for on its
    /// own, which [`ByController::decide`] does.
    const NEEDS: Option<Operation>;

    /// Decides, or reads the metadata, on the active controller.
    async fn decide(self, broker: &Arc<Broker>, ctx: &RequestContext) -> Self::Response;

    /// The answer when nothing was done; counts its errors.
    fn failed(&self, ctx: &RequestContext, code: ErrorCode, message: &str) -> Self::Response;
}

pub(crate) async fn handle<R: ByController>(broker: &Arc<Broker>, ctx: &RequestContext, request: R) -> R::Response {
    match broker.controller.forward(ctx, &request).await {
        Ok(Some(response)) => response,
        Ok(None) => execute(broker, ctx, request).await,
        Err(error) => request.failed(ctx, error.code(), &error.to_string()),
    }
}

/// Serves the request here, on the active controller.
pub(crate) async fn execute<R: ByController>(broker: &Arc<Broker>, ctx: &RequestContext, request: R) -> R::Response {
    let denied = R::NEEDS.is_some_and(|operation| !broker.authorize(ctx, operation, Resource::Cluster));
    if denied {
        let code = ErrorCode::ClusterAuthorizationFailed;
        return request.failed(ctx, code, code.text());
    }
    request.decide(broker, ctx).await
}

pub(crate) fn error_response<R: ByController>(ctx: &RequestContext, request: R, code: ErrorCode) -> R::Response {
    request.failed(ctx, code, code.text())
}

/// What a request names twice has one answer, as in Kafka: the first of each key.
pub(super) fn once_each<T, K: Ord>(answers: Vec<T>, key: impl Fn(&T) -> K) -> Vec<T> {
    let mut told = BTreeSet::new();
    answers.into_iter().filter(|answer| told.insert(key(answer))).collect()
}
