use twinstream_metadata::{Endpoint, Record};
use uuid::Uuid;

use super::*;

/// What is known of nodes 1 to 3, the first of which is in the settings.
fn addresses() -> Addresses {
    let voter = Voter { id: NodeId(1), host: "settings".to_owned(), port: 1 };
    Addresses::new("PLAINTEXT".to_owned(), vec![voter])
}

/// Metadata in which nodes 1 to 3 registered with this epoch.
fn registered(epoch: i64) -> Image {
    let mut image = Image::default();
    for node in 1..=3 {
        let endpoint =
            Endpoint { listener: "PLAINTEXT".into(), host: "metadata".into(), port: 1, security_protocol: 0 };
        let record = Record::RegisterBroker {
            node_id: NodeId(node),
            incarnation: Uuid::from_u128(1),
            epoch,
            endpoints: vec![endpoint],
            rack: None,
            controller: true,
            directories: Vec::new(),
            metadata_directory: None,
            boot_id: String::new(),
        };
        image.apply(&record).unwrap();
    }
    image
}

fn told(node: i32, epoch: i64) -> NodeAddress {
    NodeAddress { node: NodeId(node), epoch, host: "told".to_owned(), port: 1 }
}

fn host(addresses: &Addresses, node: i32, image: &Image) -> Option<String> {
    addresses.of(NodeId(node), image).map(|address| address.host)
}

#[test]
fn voter_of_the_settings_is_where_the_settings_say() {
    let addresses = addresses();
    addresses.learn([told(1, 99)]);
    assert_eq!(host(&addresses, 1, &registered(5)).as_deref(), Some("settings"));
    assert_eq!(host(&addresses, 1, &Image::default()).as_deref(), Some("settings"));
}

#[test]
fn address_that_was_told_counts_until_the_metadata_has_a_later_registration() {
    let addresses = addresses();
    assert_eq!(host(&addresses, 2, &Image::default()), None);
    addresses.learn([told(2, 7)]);
    assert_eq!(host(&addresses, 2, &Image::default()).as_deref(), Some("told"));
    assert_eq!(host(&addresses, 2, &registered(5)).as_deref(), Some("told"), "the node has moved since");
    assert_eq!(host(&addresses, 2, &registered(7)).as_deref(), Some("told"));
    assert_eq!(host(&addresses, 2, &registered(8)).as_deref(), Some("metadata"));
    assert_eq!(host(&addresses, 3, &registered(5)).as_deref(), Some("metadata"));
}

#[test]
fn a_voter_that_has_not_registered_is_where_others_say() {
    let addresses = addresses();
    addresses.learn([told(2, UNREGISTERED)]);
    assert_eq!(host(&addresses, 2, &Image::default()).as_deref(), Some("told"));
    assert_eq!(host(&addresses, 2, &registered(0)).as_deref(), Some("metadata"));
}

#[test]
fn of_two_that_tell_the_later_registration_counts_and_silence_changes_nothing() {
    let addresses = addresses();
    addresses.learn([told(2, 7), NodeAddress { host: "older".to_owned(), ..told(2, 6) }, told(3, 1)]);
    assert_eq!(host(&addresses, 2, &Image::default()).as_deref(), Some("told"));
    addresses.learn([]);
    assert_eq!(addresses.told(), [NodeId(2), NodeId(3)]);
    addresses.learn([NodeAddress { host: "new".to_owned(), ..told(2, 9) }]);
    assert_eq!(host(&addresses, 2, &Image::default()).as_deref(), Some("new"));
    assert_eq!(addresses.told(), [NodeId(2)]);
}

#[test]
fn what_is_told_has_a_bound() {
    let addresses = addresses();
    addresses.learn((0..10 * NODES_MAX as i32).map(|node| told(node, 1)));
    assert_eq!(addresses.told().len(), NODES_MAX);
}
