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
}

/// Who has lost a partition is told so late; but a coordinator takes commits only of those who have it.
#[test]
fn partition_that_was_lost_counts_up_to_the_last_commit_that_its_coordinator_took() {
    let folder = tempfile::tempdir().unwrap();
    let one = book(folder.path(), "one", "1000 assigned 0\n9000 revoked 0\n", None);
    let told = |text: &str| shared(&[one.clone(), book(folder.path(), "lost", text, None)]);
    assert_eq!(told("500 assigned 0\n8000 lost 0\n"), Vec::<String>::new());
    assert_eq!(told("500 assigned 0\n1100 committed 0 7 900\n8000 lost 0\n"), Vec::<String>::new());
    let both = ["lost and one both had partition 0 for 1 ms"];
    assert_eq!(told("500 assigned 0\n2100 committed 0 7 2000\n8000 lost 0\n"), both);
    let anew = "100 assigned 0\n400 committed 0 7 300\n450 revoked 0\n500 assigned 0\n8000 lost 0\n";
    assert_eq!(told(anew), Vec::<String>::new(), "what was committed before counts for nothing");
}

#[test]
fn line_without_an_end_does_not_count() {
    let folder = tempfile::tempdir().unwrap();
    let text = "1 assigned 0\n2 read 0 7\n3 committed 0 8 2\n4 read 0 8\n5 read 0";
    let entries = book(folder.path(), "one", text, None).entries();
    assert_eq!((entries.owned, entries.reads), ([0].into(), 2));
    assert_eq!((entries.read, entries.committed), ([(0, 7), (0, 8)].into(), [(0, 8)].into()));
}
