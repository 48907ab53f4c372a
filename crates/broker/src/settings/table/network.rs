//! Listeners, connections, requests.

use super::{Kind, Setting};

#[rustfmt::skip]
pub(super) const SETTINGS: &[Setting] = &[
    Setting::new("listeners", Kind::List, Some("PLAINTEXT://:9092"))
        .effect("Sockets to open, as NAME://host:port; an empty host is every address."),
    Setting::new("advertised.listeners", Kind::List, None)
        .effect("Addresses that clients and other brokers are told, as NAME://host:port; those of listeners unless set."),
    Setting::new("listener.security.protocol.map", Kind::String, Some("SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT"))
        .effect("Security protocol of each listener name."),
    Setting::new("inter.broker.listener.name", Kind::String, None)
        .effect("The listener that other brokers use."),
    Setting::new("security.inter.broker.protocol", Kind::String, Some("PLAINTEXT"))
        .one_of(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"])
        .effect("The protocol by which other brokers connect, when no listener name is given."),
    Setting::new("socket.request.max.bytes", Kind::Int, Some("104857600"))
        .at_least(1)
        .effect("Largest request; a larger one closes its connection, and so does one of more than 16 MiB that brings no records."),
    Setting::new("socket.listen.backlog.size", Kind::Int, Some("50"))
        .at_least(1)
        .effect("Connections that may wait to be accepted."),
    Setting::new("socket.receive.buffer.bytes", Kind::Int, Some("102400"))
        .no_such_part("The system sizes receive buffers by itself."),
    Setting::new("socket.send.buffer.bytes", Kind::Int, Some("102400"))
        .no_such_part("The system sizes send buffers by itself."),
    Setting::new("socket.connection.setup.timeout.ms", Kind::Long, Some("10000"))
        .no_such_part("Connections to other nodes have a fixed time limit."),
    Setting::new("socket.connection.setup.timeout.max.ms", Kind::Long, Some("30000"))
        .no_such_part("Connections to other nodes have a fixed time limit."),
    Setting::new("max.connections", Kind::Int, Some("2147483647"))
        .at_least(0)
        .effect("Open connections at most; more are closed at once.")
        .at_run_time(),
    Setting::new("max.connections.per.ip", Kind::Int, Some("2147483647"))
        .at_least(0)
        .effect("Open connections of one address at most.")
        .at_run_time(),
    Setting::new("max.connections.per.ip.overrides", Kind::String, Some(""))
        .effect("Other limits for single addresses, as address:limit.")
        .at_run_time(),
    Setting::new("max.connection.creation.rate", Kind::Int, Some("2147483647"))
        .at_least(0)
        .effect("New connections per second at most, over all listeners but one that only nodes use; more wait to be accepted.")
        .at_run_time(),
    Setting::new("connections.max.idle.ms", Kind::Long, Some("600000"))
        .at_least(-1)
        .effect("A connection without a request for this long is closed."),
    Setting::new("connections.max.reauth.ms", Kind::Long, Some("0"))
        .not_yet("Longest life of an authenticated session."),
    Setting::new("connection.failed.authentication.delay.ms", Kind::Int, Some("100"))
        .at_least(0)
        .not_yet("Pause before a failed authentication is answered."),
    Setting::new("queued.max.requests", Kind::Int, Some("500"))
        .at_least(1)
        .no_such_part("A connection has one request in work, and at most 16 that wait for followers; queued.max.request.bytes bounds them together."),
    Setting::new("queued.max.request.bytes", Kind::Long, Some("268435456"))
        .effect("Bytes of requests in memory at most, over all connections; more wait in the sockets. An eighth is for requests of up to 64 KiB, which count only until they are read unless they bring records; another eighth for larger ones without records."),
    Setting::new("num.network.threads", Kind::Int, Some("3"))
        .at_least(1)
        .no_such_part("One runtime with a thread per processor serves all sockets.")
        .at_run_time(),
    Setting::new("num.io.threads", Kind::Int, Some("8"))
        .at_least(1)
        .no_such_part("One runtime with a thread per processor serves all requests.")
        .at_run_time(),
    Setting::new("background.threads", Kind::Int, Some("10"))
        .at_least(1)
        .no_such_part("Background work runs in the same runtime.")
        .at_run_time(),
    Setting::new("fetch.max.bytes", Kind::Int, Some("57671680"))
        .at_least(1024)
        .effect("Most bytes of records in one fetch response."),
    Setting::new("max.incremental.fetch.session.cache.slots", Kind::Int, Some("1000"))
        .at_least(0)
        .effect("Fetch sessions that are kept at most."),
    Setting::new("max.request.partition.size.limit", Kind::Int, Some("2000"))
        .at_least(1)
        .effect("Partitions in one answer of DescribeTopicPartitions at most."),
    Setting::new("fetch.purgatory.purge.interval.requests", Kind::Int, Some("1000"))
        .no_such_part("Waiting requests are woken directly, there is no purgatory."),
    Setting::new("producer.purgatory.purge.interval.requests", Kind::Int, Some("1000"))
        .no_such_part("Waiting requests are woken directly, there is no purgatory."),
    Setting::new("delete.records.purgatory.purge.interval.requests", Kind::Int, Some("1"))
        .no_such_part("Waiting requests are woken directly, there is no purgatory."),
    Setting::new("share.fetch.purgatory.purge.interval.requests", Kind::Int, Some("1000"))
        .no_such_part("Waiting requests are woken directly, there is no purgatory."),
    Setting::new("telemetry.max.bytes", Kind::Int, Some("1048576"))
        .at_least(1)
        .not_yet("Largest push of client telemetry."),
];
