//! Asking another broker where partitions end that it leads.
//!
//! Not here: when that is asked and what becomes of it (`metrics::group_lag`), how it is answered (`handlers::internal`).

use std::time::Duration;

use twinstream_model::NodeId;

use super::messages::{InternalApi, Position, Standing, read_answer, read_standings, write_positions};
use super::peers::PeerError;
use super::{ControllerClient, ForwardError};

impl ControllerClient {
    /// What a broker says of at most [`POSITIONS_MAX`](super::messages::POSITIONS_MAX) positions, in their
    /// order. A broker of the release before this one does not know the question and closes the connection.
    pub(crate) async fn ask_standings(
        &self,
        node: NodeId,
        positions: &[Position],
        limit: Duration,
    ) -> Result<Vec<Standing>, ForwardError> {
        let unreachable = |error: PeerError| ForwardError::Unreachable(error.to_string());
        let mut out = self.shared.identity.envelope(node).write();
        write_positions(&mut out, positions);
        let unknown = || ForwardError::Unreachable(format!("nobody knows where node {node} is"));
        let pool = self.shared.pool(node).ok_or_else(unknown)?;
        let answer = pool.ask(InternalApi::Positions, &out.bytes, limit).await.map_err(unreachable)?;
        let nonsense = |error: twinstream_metadata::codec::DecodeError| ForwardError::Lost(error.to_string());
        let payload = read_answer(&answer).map_err(nonsense)?;
        let payload = payload.map_err(|(code, message)| ForwardError::Refused { code, message })?;
        let standings = read_standings(payload).map_err(nonsense)?;
        match standings.len() == positions.len() {
            true => Ok(standings),
            false => Err(ForwardError::Lost(format!("{} answers to {}", standings.len(), positions.len()))),
        }
    }
}
