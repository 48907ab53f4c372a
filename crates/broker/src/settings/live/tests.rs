use std::net::Ipv4Addr;

use twinstream_metadata::Record;

use super::*;
use crate::settings::sources::gather;

const NODE: NodeId = NodeId(1);

fn settings(pairs: &[(&str, &str)]) -> Settings {
    let mut given = vec![("node.id".to_owned(), "1".to_owned())];
    given.extend(
        [("listeners", "PLAINTEXT://127.0.0.1:9092"), ("controller.quorum.voters", "1@127.0.0.1:9092")].map(own),
    );
    given.extend(pairs.iter().copied().map(own));
    Settings::new(gather(None, [], &given).unwrap()).unwrap()
}

fn own((name, text): (&str, &str)) -> (String, String) {
    (name.to_owned(), text.to_owned())
}

fn image(altered: &[(ConfigResource, &str, &str)]) -> Image {
    let mut image = Image::default();
    for (resource, name, value) in altered {
        let (resource, name, value) = (resource.clone(), (*name).to_owned(), Some((*value).to_owned()));
        image.apply(&Record::Config { resource, name, value }).unwrap();
    }
    image
}

#[test]
fn what_was_set_on_the_broker_counts_before_what_was_set_on_all() {
    let settings = settings(&[("num.replica.fetchers", "3")]);
    let fetchers =
        |altered: &[_]| LiveSettings::new(&settings, &image(altered)).integer("num.replica.fetchers", 3usize);
    let on = |resource, value| (resource, "num.replica.fetchers", value);
    assert_eq!(fetchers(&[]), 3);
    assert_eq!(fetchers(&[on(ConfigResource::BrokerDefault, "5")]), 5);
    assert_eq!(fetchers(&[on(ConfigResource::BrokerDefault, "5"), on(ConfigResource::Broker(NODE), "7")]), 7);
    assert_eq!(fetchers(&[on(ConfigResource::Broker(NodeId(2)), "7")]), 3, "another broker's");
    assert_eq!(fetchers(&[on(ConfigResource::Broker(NODE), "0")]), 3, "no longer allowed");
}

#[test]
fn limits_of_connections_follow_the_image() {
    let settings = settings(&[("max.connections", "100"), ("max.connections.per.ip.overrides", "10.0.0.1:4")]);
    let here = Ipv4Addr::new(10, 0, 0, 1).into();
    let bounds = |altered: &[_]| LiveSettings::new(&settings, &image(altered)).connection_bounds();
    assert_eq!(bounds(&[]), settings.network.connections);
    let altered = bounds(&[
        (ConfigResource::BrokerDefault, "max.connections", "9"),
        (ConfigResource::BrokerDefault, "max.connections.per.ip.overrides", "[::ffff:10.0.0.1]:2"),
    ]);
    assert_eq!((altered.max, altered.per_ip_overrides[&here]), (9, 2));
    assert!(check("max.connections.per.ip.overrides", "somewhere").is_err());
}

#[test]
fn cordoned_directories_are_those_that_are_named() {
    let settings = settings(&[("log.dirs", "/a,/b,/c"), ("cordoned.log.dirs", "/b")]);
    let named = |value: &str| {
        let image = image(&[(ConfigResource::Broker(NODE), "cordoned.log.dirs", value)]);
        let live = LiveSettings::new(&settings, &image);
        (live.cordoned_dirs(), live.strange_cordons().len())
    };
    let start = LiveSettings::new(&settings, &image(&[])).cordoned_dirs();
    assert_eq!(start, [false, true, false]);
    assert_eq!(named("/a, /c"), (vec![true, false, true], 0));
    assert_eq!(named("*"), (vec![true, true, true], 0));
    assert_eq!(named(""), (vec![false, false, false], 0), "lifted at run time");
    assert_eq!(named("/d"), (vec![false, false, false], 1));
}
