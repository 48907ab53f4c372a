//! One number of in-sync replicas for the cluster: where it comes from and where it stays.

use super::*;

const NAME: &str = rules::MIN_ISR;

fn default_of(cluster: &Cluster) -> Option<&str> {
    cluster.controller.image().config(&ConfigResource::BrokerDefault, NAME)
}

impl Cluster {
    /// A heartbeat that tells what the broker's settings say.
    fn tell(&mut self, node: i32, min_insync_replicas: usize) {
        self.heartbeat(Heartbeat {
            caught_up: false,
            min_insync_replicas: Some(min_insync_replicas),
            ..beat_of(node, self.epoch_of(node))
        })
        .expect("a registered broker");
    }
}

fn wanting(min_insync_replicas: usize) -> ControllerSettings {
    ControllerSettings { min_insync_replicas, ..ControllerSettings::default() }
}

#[test]
fn a_new_cluster_takes_the_number_of_its_first_controller() {
    let controller = Controller::new(Image::default(), wanting(2), Instant::now());
    let mut cluster = Cluster { controller, now: Instant::now(), next_id: 1 };
    let decision = cluster.controller.found_cluster(ClusterId::from("c1"));
    cluster.commit(decision);
    assert_eq!(default_of(&cluster), Some("2"));
    assert!(cluster.controller.adopt_min_isr().records.is_empty(), "there is nothing left to do");
}

#[test]
fn a_cluster_of_an_older_release_goes_on_with_what_counted() {
    let mut cluster = Cluster::with(3, wanting(2));
    cluster.create_one(assigned("a", &[(0, &[1, 2, 3])])).expect("a good topic");
    cluster.kill(3);
    cluster.kill(2);
    assert_eq!(cluster.state("a"), "isr 1 | elr 2 | leader 1");
    for node in 1..=3 {
        assert_eq!(default_of(&cluster), None);
        cluster.tell(node, 2);
    }
    assert_eq!(default_of(&cluster), Some("2"));
    assert_eq!(cluster.state("a"), "isr 1 | elr 2 | leader 1");
}

#[test]
fn the_largest_number_in_the_settings_of_any_broker_becomes_that_of_all() {
    let mut cluster = Cluster::of(3);
    cluster.tell(1, 1);
    cluster.tell(2, 3);
    assert!(cluster.controller.adopt_min_isr().records.is_empty(), "broker 3 may wait for more");
    let image = cluster.controller.image().clone();
    cluster.controller = Controller::new(image, ControllerSettings::default(), cluster.now);
    assert_eq!(cluster.controller.min_isr_awaited_of(), nodes(&[1, 2, 3]), "each controller hears it anew");
    cluster.tell(2, 3);
    cluster.tell(3, 2);
    cluster.tell(1, 1);
    assert_eq!(default_of(&cluster), Some("3"), "who waited for three replicas still does");
    cluster.tell(1, 5);
    assert_eq!(default_of(&cluster), Some("3"), "from then on settings do not count");
}

#[test]
fn a_broker_that_does_not_tell_holds_the_default_up_until_somebody_sets_it() {
    let mut cluster = Cluster::of(3);
    cluster.tell(1, 2);
    cluster.tell(2, 2);
    assert_eq!((default_of(&cluster), cluster.controller.min_isr_awaited_of()), (None, nodes(&[3])));
    cluster.set(ConfigResource::BrokerDefault, NAME, "1");
    assert_eq!(cluster.controller.min_isr_awaited_of(), []);
    cluster.tell(3, 3);
    assert_eq!(default_of(&cluster), Some("1"), "what somebody decided stays");
}

#[test]
fn a_broker_that_is_unregistered_does_not_hold_the_default_up() {
    let mut cluster = Cluster::of(3);
    cluster.tell(3, 3);
    cluster.kill(3);
    cluster.tell(1, 1);
    assert_eq!(default_of(&cluster), None);
    let decision = cluster.controller.unregister_broker(NodeId(3));
    cluster.commit(decision).expect("it is down");
    cluster.tell(2, 2);
    assert_eq!(default_of(&cluster), Some("2"), "nor does its number count");
}

#[test]
fn the_largest_number_that_was_set_on_a_broker_becomes_that_of_all() {
    let mut cluster = Cluster::of(3);
    for (node, value) in [(1, "1"), (2, "3")] {
        let resource = ConfigResource::Broker(NodeId(node));
        let record = Record::Config { resource, name: NAME.to_owned(), value: Some(value.to_owned()) };
        cluster.controller.replay(&[record]).expect("as an older release stored it");
    }
    assert_eq!(cluster.controller.min_isr_awaited_of(), nodes(&[3]), "the settings of the others did not count");
    cluster.tell(3, 2);
    assert_eq!(default_of(&cluster), Some("3"), "who waited for three replicas still does");
    assert_eq!(cluster.controller.image().config_resources().count(), 1, "no broker has one of its own");
}

#[test]
fn the_number_changes_for_all_and_is_never_taken_away() {
    use ConfigOperation::{Delete, Set};
    let mut cluster = Cluster::of(1);
    cluster.tell(1, 1);
    cluster.alter(ConfigResource::BrokerDefault, &[(NAME, Set, Some("2"))]).expect("a good value");
    assert_eq!(default_of(&cluster), Some("2"));
    let all = cluster.alter(ConfigResource::BrokerDefault, &[(NAME, Delete, None)]).unwrap_err();
    let one = cluster.alter(ConfigResource::Broker(NodeId(1)), &[(NAME, Set, Some("1"))]).unwrap_err();
    assert_eq!((all.code(), one.code()), (ErrorCode::InvalidConfig, ErrorCode::InvalidConfig));
    let whole = alteration(ConfigResource::BrokerDefault, &[("some.setting", Set, Some("1"))]);
    let decision = cluster.controller.replace_configs(&[whole], Mode::Apply, &AnyBrokerConfig, &NoBrokerDefaults);
    assert!(decision.answer[0].is_err(), "what is not named would go, too");
    assert_eq!(default_of(&cluster), Some("2"));
}
