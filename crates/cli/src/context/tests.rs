//! Claims about the file of contexts and about who wins.

use super::file::{Context, Contexts};
use super::reach::{Given, Known};

#[test]
fn file_is_replaced_as_a_whole_and_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep").join("contexts.yaml");
    assert_eq!(Contexts::read_from(&path).unwrap(), Contexts::default(), "no file is no contexts");
    let east = Context { bootstrap_servers: Some("east:9092".to_owned()), ..Context::default() };
    Contexts::change_in(&path, |contexts| {
        contexts.contexts.insert("east".to_owned(), east.clone());
        Ok(())
    })
    .unwrap();
    Contexts::change_in(&path, |contexts| {
        contexts.current = Some("east".to_owned());
        Ok(())
    })
    .unwrap();
    let read = Contexts::read_from(&path).unwrap();
    assert_eq!((read.current.as_deref(), &read.contexts["east"]), (Some("east"), &east));
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, "current: east\ncontexts:\n  east:\n    bootstrap_servers: east:9092\n");
}

#[test]
fn a_file_that_is_wrong_is_named_with_its_place_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("contexts.yaml");
    for (text, named) in [
        ("contexts: [", "line 1"),
        ("contexts:\n  a:\n    bootstrap: x:1\n", "unknown field `bootstrap`"),
        ("contexts:\n  a:\n    bootstrap_servers: nowhere\n", "context a: "),
        ("contexts:\n  a:\n    worker: there\n", "is not an http:// or https:// address"),
        ("contexts:\n  a:\n    properties:\n      client.ids: x\n", "client.id"),
    ] {
        std::fs::write(&path, text).unwrap();
        for refused in [Contexts::read_from(&path).map(drop), Contexts::change_in(&path, |_| Ok(()))] {
            let told = refused.unwrap_err().text();
            assert!(told.contains(named) && told.contains("contexts.yaml"), "{told}");
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn flag_wins_over_property_and_property_over_the_rest() {
    let known = Known::read(None).unwrap();
    let properties = [("bootstrap.servers".to_owned(), "x:1".to_owned()), ("client.id".to_owned(), "me".to_owned())];
    let both = known.bootstrap(&Given { flag: Some("f:1"), properties: &properties });
    assert_eq!((both.is.as_deref(), both.source.as_str()), (Some("f:1"), "flag -b"));
    let property = known.bootstrap(&Given { flag: None, properties: &properties });
    assert_eq!((property.is.as_deref(), property.source.as_str()), (Some("x:1"), "flag -X bootstrap.servers"));
    let names: Vec<String> = known.properties(&properties).into_iter().map(|(name, _)| name).collect();
    assert!(names.contains(&"client.id".to_owned()) && !names.contains(&"bootstrap.servers".to_owned()));
}
