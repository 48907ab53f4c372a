use crate::settings::sources::gather;

use super::*;

fn values(pairs: &[(&str, &str)]) -> Values {
    let pairs: Vec<(String, String)> = pairs.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect();
    Values::check(gather(None, [], &pairs).unwrap()).unwrap()
}

fn refusal(pairs: &[(&str, &str)]) -> String {
    parse(&values(pairs)).unwrap_err().to_string()
}

#[test]
fn controller_listeners_are_bound_and_not_advertised() {
    let listeners = parse(&values(&[
        ("listeners", "PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093"),
        ("controller.listener.names", "CONTROLLER"),
    ]))
    .unwrap();
    assert_eq!(listeners.bound.len(), 2);
    assert!(listeners.bound[1].is_controller);
    let advertised = AdvertisedListener { name: "PLAINTEXT".into(), host: "127.0.0.1".into(), port: 9092 };
    assert_eq!(listeners.advertised, [advertised]);
    assert_eq!(listeners.inter_broker, "PLAINTEXT");
}

#[test]
fn kafkas_own_example_file_is_accepted() {
    let pairs = [
        ("process.roles", "broker,controller"),
        ("node.id", "1"),
        ("controller.quorum.bootstrap.servers", "localhost:9093"),
        ("listeners", "PLAINTEXT://:9092,CONTROLLER://:9093"),
        ("inter.broker.listener.name", "PLAINTEXT"),
        ("advertised.listeners", "PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093"),
        ("controller.listener.names", "CONTROLLER"),
        (
            "listener.security.protocol.map",
            "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL",
        ),
        ("num.network.threads", "3"),
        ("num.io.threads", "8"),
        ("socket.send.buffer.bytes", "102400"),
        ("socket.receive.buffer.bytes", "102400"),
        ("socket.request.max.bytes", "104857600"),
        ("log.dirs", "/tmp/kraft-combined-logs"),
        ("num.partitions", "1"),
        ("num.recovery.threads.per.data.dir", "2"),
        ("offsets.topic.replication.factor", "1"),
        ("share.coordinator.state.topic.replication.factor", "1"),
        ("share.coordinator.state.topic.min.isr", "1"),
        ("transaction.state.log.replication.factor", "1"),
        ("transaction.state.log.min.isr", "1"),
        ("log.retention.hours", "168"),
        ("log.segment.bytes", "1073741824"),
        ("log.retention.check.interval.ms", "300000"),
    ];
    let pairs: Vec<(String, String)> = pairs.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect();
    let settings = crate::settings::Settings::new(gather(None, [], &pairs).unwrap()).unwrap();
    assert!(settings.node.is_controller);
    assert_eq!(settings.network.listeners.len(), 2);
    assert_eq!(settings.network.advertised.len(), 1);
}

#[test]
fn an_open_host_is_advertised_as_an_ipv4_literal() {
    for text in ["PLAINTEXT://:9092", "PLAINTEXT://0.0.0.0:9092"] {
        let listeners = parse(&values(&[("listeners", text)])).unwrap();
        let ip: Ipv4Addr = listeners.advertised[0].host.parse().unwrap();
        assert!(!ip.is_unspecified());
    }
}

#[test]
fn advertised_listeners_replace_what_clients_are_told() {
    let listeners = parse(&values(&[
        ("listeners", "INSIDE://10.0.0.1:9092,OUTSIDE://[::1]:9094"),
        ("advertised.listeners", "INSIDE://broker-1:9092,OUTSIDE://example.org:19094"),
        ("listener.security.protocol.map", "INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT"),
        ("inter.broker.listener.name", "INSIDE"),
    ]))
    .unwrap();
    assert_eq!(listeners.bound[1].host, "::1");
    assert_eq!(listeners.advertised[1].host, "example.org");
    assert_eq!(listeners.advertised[1].port, 19094);
    assert_eq!(listeners.inter_broker, "INSIDE");
}

#[test]
fn listeners_that_we_cannot_secure_are_refused() {
    let reason = refusal(&[("listeners", "SASL_SSL://:9092")]);
    assert!(reason.contains("SASL_SSL") && reason.contains("later release"), "{reason}");
    let reason = refusal(&[("listeners", "CLIENT://:9092"), ("listener.security.protocol.map", "CLIENT:SSL")]);
    assert!(reason.contains("asks for SSL"), "{reason}");
}

#[test]
fn mistakes_in_listeners_name_what_is_allowed() {
    assert!(refusal(&[("listeners", "127.0.0.1:9092")]).contains("NAME://host:port"));
    assert!(refusal(&[("listeners", "A://:9092")]).contains("A:PLAINTEXT"));
    assert!(refusal(&[("listeners", "PLAINTEXT://:1,PLAINTEXT://:2")]).contains("once"));
    let unusable = refusal(&[("listeners", "PLAINTEXT://:9092"), ("advertised.listeners", "PLAINTEXT://0.0.0.0:9092")]);
    assert!(unusable.contains("clients can connect to"), "{unusable}");
    let unknown = refusal(&[("listeners", "PLAINTEXT://:9092"), ("advertised.listeners", "OTHER://h:1")]);
    assert!(unknown.contains("advertised.listeners"), "{unknown}");
}

#[test]
fn a_node_needs_one_number() {
    assert_eq!(node_id(&values(&[("node.id", "3")])).unwrap(), NodeId(3));
    assert_eq!(node_id(&values(&[("broker.id", "4")])).unwrap(), NodeId(4));
    assert!(node_id(&values(&[("node.id", "3"), ("broker.id", "4")])).is_err());
    assert!(node_id(&values(&[])).unwrap_err().to_string().contains("node.id=1"));
}

#[test]
fn a_node_without_voters_is_its_own_voter_unless_it_is_only_a_broker() {
    let alone = values(&[("node.id", "1")]);
    assert!(is_controller(&alone, NodeId(1)).unwrap());
    assert_eq!(voters(&alone, NodeId(1), true).unwrap(), [Voter { id: NodeId(1), host: String::new(), port: 0 }]);
    let lost = voters(&values(&[("process.roles", "broker")]), NodeId(1), false).unwrap_err().to_string();
    assert!(
        lost.contains("controller.quorum.voters") && lost.contains("controller.quorum.bootstrap.servers"),
        "{lost}"
    );
}

#[test]
fn roles_follow_from_the_voters_when_they_are_not_given() {
    let values = values(&[("controller.quorum.voters", "1@127.0.0.1:9092")]);
    assert!(is_controller(&values, NodeId(1)).unwrap());
    assert!(!is_controller(&values, NodeId(2)).unwrap());
    let told = self::values(&[("controller.quorum.bootstrap.servers", "127.0.0.1:9092")]);
    assert!(!is_controller(&told, NodeId(1)).unwrap());
}

#[test]
fn bootstrap_servers_name_addresses_and_no_voters() {
    let servers = |text: &str| bootstrap_servers(&values(&[("controller.quorum.bootstrap.servers", text)]));
    assert_eq!(servers("a:9092, [::1]:9093").unwrap(), ["a:9092", "[::1]:9093"]);
    assert!(servers("").unwrap().is_empty());
    for wrong in ["1@a:9092", "PLAINTEXT://a:9092", "a", ":9092", "a:0", "a:70000"] {
        let refused = servers(wrong).map_err(|error| error.to_string());
        assert!(refused.as_ref().is_err_and(|reason| reason.contains("host:port")), "{wrong}: {refused:?}");
    }
    let told = values(&[("controller.quorum.bootstrap.servers", "a:9092")]);
    for is_controller in [true, false] {
        assert!(voters(&told, NodeId(1), is_controller).unwrap().is_empty());
    }
}

#[test]
fn roles_and_voters_must_agree() {
    let list = ("controller.quorum.voters", "1@127.0.0.1:9092");
    assert!(voters(&values(&[list]), NodeId(1), false).is_err());
    assert_eq!(voters(&values(&[list]), NodeId(2), true).unwrap().len(), 1, "a controller that comes later");
    let malformed = values(&[("controller.quorum.voters", "a:9092")]);
    assert!(voters(&malformed, NodeId(1), true).unwrap_err().to_string().contains("id@host:port"));
    assert!(is_controller(&values(&[("process.roles", "controller")]), NodeId(1)).is_err());
}

#[test]
fn a_quorum_has_one_three_or_five_voters() {
    let of = |count: usize| {
        let list: Vec<String> = (1..=count).map(|node| format!("{node}@host{node}:9092")).collect();
        voters(&values(&[("controller.quorum.voters", &list.join(","))]), NodeId(1), true)
    };
    for count in [1, 3, 5] {
        assert_eq!(of(count).unwrap().len(), count);
    }
    for (count, reason) in [(2, "survive no more failures than 1"), (4, "than 3"), (7, "wait for 4")] {
        let refused = of(count).unwrap_err().to_string();
        assert!(refused.contains(reason) && refused.contains("list 1, 3 or 5"), "{refused}");
    }
    let twice = values(&[("controller.quorum.voters", "1@a:1,2@b:1,2@c:1")]);
    assert!(voters(&twice, NodeId(1), true).unwrap_err().to_string().contains("node 2 is not"));
}

#[test]
fn the_metrics_listener_is_an_address() {
    let read = metrics_listener(&values(&[("twinstream.metrics.listener", "127.0.0.1:9308")])).unwrap();
    assert_eq!(read, Some("127.0.0.1:9308".parse().unwrap()));
    assert!(metrics_listener(&values(&[("twinstream.metrics.listener", "9308")])).is_err());
}
