//! Settings that Kafka does not have.

use super::{Kind, Setting};

#[rustfmt::skip]
pub(super) const SETTINGS: &[Setting] = &[
    Setting::new("twinstream.metrics.listener", Kind::String, None)
        .effect("Address and port on which /metrics is served in Prometheus' format; none unless set."),
    Setting::new("twinstream.flush", Kind::String, Some("os")).one_of(&["os", "ack"])
        .effect("ack: acks=all is answered when the in-sync replicas have the records on their disks, flushed together with others that wait. os: when they have them in memory; the system and flush.messages decide when they come to the disk."),
    Setting::new("twinstream.log.flush.lag.bytes", Kind::Long, Some("268435456")).at_least(1048576)
        .effect("Bytes that all logs of a directory together may have in memory only, before they are flushed in the background. Bounds what a start after a crash has to check."),
    Setting::new("twinstream.log.reserve.bytes", Kind::Long, Some("16777216")).at_least(0)
        .effect("Free bytes of each log directory's file system that records may not take, at most a sixteenth of it: metadata, committed offsets and checkpoints can be written when records have filled the disk."),
    Setting::new("twinstream.log.open.files.max", Kind::Int, Some("6000")).at_least(16)
        .effect("Segment and index files that all logs together keep open. Never more than half of the process's limit of open files."),
    Setting::new("twinstream.record.checks", Kind::String, Some("headers")).one_of(&["headers", "records"])
        .effect("How much of a produced batch is looked at: headers checks the sum and the header, and the records where the topic or the header asks for it; records walks over every record, unpacking compressed ones, as Kafka does."),
    Setting::new("twinstream.scrub.bytes.per.second", Kind::Long, Some("4194304")).at_least(0)
        .effect("Rate at which stored records are read again and checked in the background; 0 turns that off."),
    Setting::new("twinstream.cluster.id", Kind::String, None)
        .effect("The cluster id that a new cluster gets; the voter makes one unless set."),
];
