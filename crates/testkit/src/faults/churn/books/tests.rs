//! Books of two members, and what is read out of them.

use super::*;

fn book(folder: &std::path::Path, member: &str, text: &str, killed_us: Option<i64>) -> Book {
    let path = folder.join(member);
    std::fs::write(&path, text).unwrap();
    Book { member: member.to_owned(), path, killed_us }
}

#[test]
fn partition_of_two_living_members_is_a_fault_and_one_of_the_dead_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let one = book(folder.path(), "one", "1000 assigned 0\n2000 assigned 1\n9000 revoked 0\n", Some(10_000));
    let two = book(folder.path(), "two", "5000 assigned 0\n11000 assigned 1\n20000 leaves\n", None);
    assert_eq!(shared(&[one.clone(), two]), ["one and two both had partition 0 for 4 ms"]);
    let lost = book(folder.path(), "lost", "5000 assigned 0\n8000 lost 0\n", None);
    assert_eq!(shared(&[one, lost]), Vec::<String>::new(), "who lost it was told so late");
}

#[test]
fn line_without_an_end_does_not_count() {
    let folder = tempfile::tempdir().unwrap();
    let text = "1 assigned 0\n2 read 0 7\n3 committed 0 8\n4 read 0 8\n5 read 0";
    let entries = book(folder.path(), "one", text, None).entries();
    assert_eq!((entries.owned, entries.reads), ([0].into(), 2));
    assert_eq!((entries.read, entries.committed), ([(0, 7), (0, 8)].into(), [(0, 8)].into()));
}
