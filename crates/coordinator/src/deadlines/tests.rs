use super::Deadlines;

#[test]
fn keys_come_out_in_order_of_time_then_name() {
    let mut deadlines = Deadlines::default();
    deadlines.set("late", 30);
    deadlines.set("b", 10);
    deadlines.set("a", 10);
    assert_eq!(deadlines.next(), Some(10));
    assert_eq!(deadlines.pop_due(20), Some("a"));
    assert_eq!(deadlines.pop_due(20), Some("b"));
    assert_eq!(deadlines.pop_due(20), None);
    assert_eq!(deadlines.next(), Some(30));
}

#[test]
fn setting_a_key_again_moves_its_deadline() {
    let mut deadlines = Deadlines::default();
    deadlines.set("session", 10);
    deadlines.set("session", 50);
    assert_eq!(deadlines.len(), 1);
    assert_eq!(deadlines.pop_due(49), None);
    assert_eq!(deadlines.pop_due(50), Some("session"));
    assert!(deadlines.is_empty());
}

#[test]
fn cancelled_key_never_fires() {
    let mut deadlines = Deadlines::default();
    deadlines.set("session", 10);
    deadlines.cancel(&"session");
    deadlines.cancel(&"unknown");
    assert_eq!(deadlines.next(), None);
    assert_eq!(deadlines.pop_due(u64::MAX), None);
}
