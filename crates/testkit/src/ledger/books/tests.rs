use super::*;

fn told(text: &str) -> Told {
    let mut told = Told::default();
    told.add(text);
    told
}

fn reading(text: &str) -> Reading {
    Reading::of("reader", text)
}

#[test]
fn whole_and_absent_transactions_are_no_faults() {
    let told =
        told("told committed a:1 2\n# a remark\ntold aborted a:2 2\ntold unknown b:1 2\ntold unknown b:2 2\nend");
    let seen = reading("saw 0 0 a:1 0\nsaw 1 0 a:1 1\nsaw 0 4 b:2 0\nsaw 1 3 b:2 1\nend");
    assert_eq!(told.faults(&seen), Vec::<String>::new());
    assert_eq!([Outcome::Committed, Outcome::Aborted, Outcome::Unknown].map(|o| told.count(o)), [1, 1, 2]);
}

#[test]
fn each_fault_of_a_transaction_has_its_name() {
    let told = told("told committed a:1 2\ntold aborted b:1 2\ntold unknown c:1 2\ntold committed d:1 1");
    let seen = reading("saw 0 0 a:1 0\nsaw 0 1 b:1 1\nsaw 0 2 c:1 1\nsaw 0 3 d:1 0\nsaw 1 0 d:1 0\nsaw 0 5 e:1 0");
    let faults = told.faults(&seen);
    let names = ["lost write: a:1", "aborted read: b:1", "torn transaction", "duplicate", "nobody wrote"];
    assert_eq!(faults.len(), names.len(), "{faults:?}");
    for (fault, name) in faults.iter().zip(names) {
        assert!(fault.contains(name), "{fault}");
    }
}

#[test]
fn order_within_a_partition_is_judged() {
    let back = reading("saw 0 4 a:1 0\nsaw 0 3 b:1 0");
    assert!(back.faults_of_order()[0].starts_with("nonmonotonic poll"), "{:?}", back.faults_of_order());
    let values = reading("saw 0 4 a:1 3\nsaw 0 5 a:1 0");
    assert!(values.faults_of_order()[0].starts_with("nonmonotonic send"), "{:?}", values.faults_of_order());
    let numbers = reading("saw 0 4 a:2 0\nsaw 0 5 a:1 9");
    assert_eq!(numbers.faults_of_order().len(), 1);
    assert_eq!(reading("saw 0 4 a:9 0\nsaw 1 4 a:1 0\nsaw 0 5 a:10 0").faults_of_order(), Vec::<String>::new());
}

#[test]
fn one_place_has_one_record() {
    let all = reading("saw 0 0 a:1 0\nsaw 0 1 b:1 0");
    assert_eq!(faults_between(&all, &[&reading("saw 0 1 b:1 0")]), Vec::<String>::new());
    let faults = faults_between(&all, &[&reading("saw 0 0 b:1 0\nsaw 0 7 c:1 0")]);
    assert!(faults[0].starts_with("inconsistent offsets: 0@0"), "{faults:?}");
    assert!(faults[1].starts_with("lost write: reader saw 0@7"), "{faults:?}");
}

#[test]
fn copy_has_everything_once_and_in_order() {
    let original = reading("saw 0 0 a:1 0\nsaw 0 2 b:1 0\nsaw 1 0 c:1 0");
    let good = reading("saw 1 9 c:1 0\nsaw 0 5 a:1 0\nsaw 0 9 b:1 0");
    assert_eq!(faults_of_copy(&original, &good), Vec::<String>::new());
    for bad in [
        "saw 0 5 a:1 0\nsaw 1 9 c:1 0",
        "saw 0 5 a:1 0\nsaw 0 6 a:1 0\nsaw 0 9 b:1 0\nsaw 1 9 c:1 0",
        "saw 0 5 b:1 0\nsaw 0 9 a:1 0\nsaw 1 9 c:1 0",
    ] {
        assert_eq!(faults_of_copy(&original, &reading(bad)).len(), 1, "{bad}");
    }
}
