//! Copies with holes that nobody could fill: how a broker steps aside with them, and comes back.
//!
//! Picture: one question to the active controller, whose answer only says that it was decided about; what became of a copy is in
//! the image. See `twinstream_metadata`'s `controller::holes` for when it is refused without a word.

use std::sync::Arc;

use twinstream_metadata::Controller;
use twinstream_metadata::codec::{DecodeError, Writer};
use twinstream_metadata::controller::{CopyMove, Reported, SeenCopy};
use twinstream_model::NodeId;

use super::ask::{ForwardError, Question, Refusal, ask};
use super::messages::{self, InternalApi};
use super::{ControllerClient, Shared, serving};

struct MoveCopies<'a> {
    node_id: NodeId,
    epoch: i64,
    wanted: CopyMove,
    copies: &'a [SeenCopy],
}

impl Question for MoveCopies<'_> {
    const API: InternalApi = InternalApi::MoveCopies;
    /// It counts for one state of a partition, which the first one ends.
    const REPEATABLE: bool = true;
    type Answer = Reported;

    fn write(&self, out: &mut Writer) {
        messages::write_copy_moves(out, self.epoch, self.wanted, self.copies);
    }

    fn read_answer(payload: &[u8]) -> Result<Reported, DecodeError> {
        messages::read_reported(payload)
    }

    async fn decide_here(&self, shared: &Arc<Shared>) -> Result<Reported, Refusal> {
        move_copies_here(shared, self.node_id, self.epoch, self.wanted, self.copies.to_vec()).await
    }
}

async fn move_copies_here(
    shared: &Arc<Shared>,
    node_id: NodeId,
    epoch: i64,
    wanted: CopyMove,
    copies: Vec<SeenCopy>,
) -> Result<Reported, Refusal> {
    let count = copies.len();
    let verb = move |controller: &mut Controller, _| controller.move_copies(node_id, epoch, wanted, &copies);
    let decided = shared.decide(verb).await.map_err(serving::undecided)?.map_err(serving::refused)?;
    tracing::debug!(node = %node_id, partitions = count, ?wanted, "a broker moves copies with holes");
    Ok(decided)
}

impl ControllerClient {
    /// Tells the active controller that this broker steps aside with a copy, or comes back with it, given the state of the partition
    /// that it has seen.
    pub(crate) async fn move_copy(&self, wanted: CopyMove, copy: SeenCopy) -> Result<(), ForwardError> {
        let shared = &self.shared;
        let (node_id, epoch) = (shared.identity.node_id, shared.registered_epoch()?);
        let question = MoveCopies { node_id, epoch, wanted, copies: &[copy] };
        ask(shared, &question, shared.settings.node.request_timeout).await.map(|_| ())
    }

    /// Another broker steps aside with copies, or comes back.
    pub(crate) async fn serve_copy_moves(
        &self,
        from: NodeId,
        epoch: i64,
        wanted: CopyMove,
        copies: Vec<SeenCopy>,
    ) -> Result<Reported, Refusal> {
        move_copies_here(&self.shared, from, epoch, wanted, copies).await
    }
}
