//! From committed batches to the image.
//!
//! Picture: a loop over the quorum's events. Batches are replayed into a private copy, which is then published whole; who waits for an
//! entry is woken after that. Now and then the image goes back to the quorum as a snapshot.
//!
//! Invariants: nothing is published that was not replayed whole; a batch that cannot be replayed ends the node's part, because going
//! on without it would serve a different cluster.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};
use twinstream_metadata::{Image, decode_batch};
use twinstream_quorum::{Event, QuorumEntry, QuorumHandle};

use super::addresses::Addresses;
use super::departed::Departed;
use super::transport::{Identity, PeerTransport};
use super::{ControllerError, address};

pub(super) struct Inputs {
    pub(super) image: Arc<ArcSwap<Image>>,
    pub(super) events: mpsc::Receiver<Event>,
    pub(super) quorum: QuorumHandle,
    pub(super) identity: Arc<Identity>,
    pub(super) transport: Arc<PeerTransport>,
    pub(super) departed: Arc<Departed>,
    /// Metadata may still hold the address of before a move, and a node that follows it there never gets the entry that
    /// corrects it.
    pub(super) addresses: Arc<Addresses>,
}

/// What others can follow.
pub(super) struct Outputs {
    /// The last replayed entry.
    pub(super) applied: watch::Receiver<u64>,
    /// The term in which this node leads, once it has replayed what came before.
    pub(super) leading: watch::Receiver<Option<u64>>,
    pub(super) failure: watch::Receiver<Option<ControllerError>>,
}

pub(super) fn spawn(inputs: Inputs) -> Outputs {
    let applied = watch::Sender::new(0);
    let leading = watch::Sender::new(None);
    let failure = watch::Sender::new(None);
    let outputs = Outputs { applied: applied.subscribe(), leading: leading.subscribe(), failure: failure.subscribe() };
    let image = Image::clone(&inputs.image.load());
    let mut applier = Applier { inputs, image, applied, leading, last_snapshot: 0 };
    tokio::spawn(async move {
        if let Err(error) = applier.run().await {
            tracing::error!(%error, "replaying of the metadata log has ended");
            failure.send_replace(Some(error));
        }
    });
    outputs
}

struct Applier {
    inputs: Inputs,
    image: Image,
    applied: watch::Sender<u64>,
    leading: watch::Sender<Option<u64>>,
    last_snapshot: u64,
}

impl Applier {
    async fn run(&mut self) -> Result<(), ControllerError> {
        while let Some(event) = self.inputs.events.recv().await {
            match event {
                Event::Entries { entries, through } => {
                    for entry in &entries {
                        self.replay(entry)?;
                    }
                    self.publish(through)?;
                    self.snapshot_if_due(through);
                }
                Event::Snapshot { index, data } => {
                    let loaded = Image::from_snapshot(&data);
                    self.image =
                        loaded.map_err(|error| ControllerError::Replay { index, reason: error.to_string() })?;
                    self.last_snapshot = index;
                    self.publish(index)?;
                }
                Event::Leading { term } => {
                    self.leading.send_replace(Some(term));
                }
                Event::Resigned => {
                    self.leading.send_replace(None);
                }
            }
        }
        self.leading.send_replace(None);
        Ok(())
    }

    fn replay(&mut self, entry: &QuorumEntry) -> Result<(), ControllerError> {
        let failed = |reason: String| ControllerError::Replay { index: entry.index, reason };
        let records = decode_batch(&entry.data).map_err(|error| failed(error.to_string()))?;
        self.image.apply_batch(&records).map_err(|error| failed(error.to_string()))
    }

    fn publish(&mut self, through: u64) -> Result<(), ControllerError> {
        self.check_cluster()?;
        self.inputs.departed.note(&self.inputs.image.load(), &self.image, Instant::now());
        self.inputs.image.store(Arc::new(self.image.clone()));
        for broker in self.image.brokers() {
            if let Some(at) = self.inputs.addresses.of(broker.node_id, &self.image) {
                self.inputs.transport.set_address(at.node, address(&at.host, at.port));
            }
        }
        self.applied.send_replace(through);
        Ok(())
    }

    fn check_cluster(&self) -> Result<(), ControllerError> {
        let Some(found) = self.image.cluster_id() else { return Ok(()) };
        let own = self.inputs.identity.cluster.get_or_init(|| found.clone());
        if own == found {
            return Ok(());
        }
        Err(ControllerError::OtherCluster { own: own.clone(), found: found.clone() })
    }

    fn snapshot_if_due(&mut self, through: u64) {
        if self.inputs.quorum.wants_snapshot(through, self.last_snapshot) {
            self.inputs.quorum.save_snapshot(through, self.image.to_snapshot().into());
            self.last_snapshot = through;
        }
    }
}

#[cfg(test)]
mod tests;
