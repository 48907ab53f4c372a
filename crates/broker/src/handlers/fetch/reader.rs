//! Who asks: a consumer, or a replica of the cluster.

use kafka_protocol::messages::FetchRequest;
use twinstream_model::NodeId;

use super::follower::Follower;
use crate::context::RequestContext;
use crate::partitions::Served;

const REPLICA_STATE_SINCE: i16 = 15;
const RACK_SINCE: i16 = 11;
/// Replica ids below 0 are consumers: -1 any, -2 the tools that look into a replica.
const CONSUMERS_END: i32 = 0;
/// A follower that does not say under which registration it fetches.
const NO_BROKER_EPOCH: i64 = -1;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    Consumer(Consumer),
    Follower(Follower),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Consumer {
    /// Its rack, if it says one.
    pub(super) rack: Option<String>,
    /// Consumers that know of racks may read followers (KIP-392).
    pub(super) served: Served,
}

impl Reader {
    pub(super) fn of(ctx: &RequestContext, request: &FetchRequest) -> Reader {
        let (replica, broker_epoch) = match ctx.api_version >= REPLICA_STATE_SINCE {
            true => (request.replica_state.replica_id.0, request.replica_state.replica_epoch),
            false => (request.replica_id.0, NO_BROKER_EPOCH),
        };
        if replica >= CONSUMERS_END {
            return Reader::Follower(Follower { node: NodeId(replica), broker_epoch });
        }
        let knows_racks = ctx.api_version >= RACK_SINCE;
        Reader::Consumer(Consumer {
            rack: Some(request.rack_id.to_string()).filter(|rack| knows_racks && !rack.is_empty()),
            served: if knows_racks { Served::ByAnyReplica } else { Served::ByLeader },
        })
    }
}
