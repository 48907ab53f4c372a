//! Settings that change while the broker runs reach the parts that have them in hand.
//!
//! Picture: what is altered with IncrementalAlterConfigs is in the image. Most parts look there whenever they need a
//! value (configs of topics, threads of a recovery, the cleaner); the few that keep one are told here, with each image
//! in which the configs of this broker or of all brokers differ.
//!
//! Not here: which settings may change (`settings::table`), rates of throttled replication (`replication::throttles`).

use twinstream_metadata::Image;

use crate::context::Broker;
use crate::settings::live::LiveSettings;

/// Tells the parts what an image says, if it says something else than the one before.
pub(crate) fn take_over(broker: &Broker, before: &Image, image: &Image) {
    if !LiveSettings::differ(before, image, broker.settings.node.id) {
        return;
    }
    let live = LiveSettings::new(&broker.settings, image);
    broker.connection_limits.set(live.connection_bounds());
    broker.replication.fetchers.resize(live.integer("num.replica.fetchers", broker.settings.replication.fetchers));
    let strangers = live.strange_cordons();
    if !strangers.is_empty() {
        tracing::warn!(directories = ?strangers, "cordoned.log.dirs names directories that are not in log.dirs of this broker");
    }
    tracing::debug!("took settings over that were altered at run time");
}
