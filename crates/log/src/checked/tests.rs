use super::*;

fn damage(bytes: Range<u64>) -> Damage {
    Damage { base: Offset(0), offsets: Offset(bytes.start as i64)..Offset(bytes.end as i64), bytes }
}

#[test]
fn what_this_process_appends_is_checked() {
    let checked = Checked::from(100);
    assert!(checked.covers(&(100..10_000)));
    assert!(!checked.covers(&(99..101)));
    assert!(!checked.covers(&(0..1)));
}

#[test]
fn pieces_grow_together_until_they_reach_the_end() {
    let checked = Checked::from(100);
    checked.note(0..20);
    checked.note(60..100);
    assert!(checked.covers(&(60..5_000)));
    assert_eq!(checked.unchecked(&(10..90)), Some(20..60));
    checked.note(20..60);
    assert!(checked.covers(&(0..5_000)));
    assert_eq!(checked.unchecked(&(0..5_000)), None);
}

#[test]
fn number_of_pieces_is_bounded() {
    let checked = Checked::from(1_000_000);
    (0..10_000).for_each(|i| checked.note(i * 10..i * 10 + 5));
    assert!(checked.pieces.lock().ranges.len() <= RANGES_MAX);
}

#[test]
fn forgotten_bytes_are_checked_again_and_no_others() {
    let checked = Checked::from(0);
    checked.forget(&(40..60), 100);
    assert_eq!(checked.unchecked(&(0..100)), Some(40..60));
    assert!(checked.covers(&(0..40)));
    assert!(checked.covers(&(60..200)));
    checked.note(40..60);
    assert!(checked.covers(&(0..200)));
}

#[test]
fn cut_takes_damage_along() {
    let checked = Checked::from(0);
    checked.add_damage(damage(40..60), 100);
    assert_eq!(checked.damage_in(&(0..41)), Some(damage(40..60)));
    assert_eq!(checked.damage_in(&(0..40)), None);
    checked.cut(40);
    assert_eq!(checked.damage(), []);
    assert!(checked.covers(&(40..80)));
}

#[test]
fn adjoining_damage_is_one() {
    let checked = Checked::from(0);
    assert!(checked.add_damage(damage(40..60), 100));
    assert!(!checked.add_damage(damage(40..60), 100));
    assert!(checked.add_damage(damage(60..70), 100));
    assert_eq!(checked.damage(), [damage(40..70)]);
    checked.clear_damage(&damage(40..70));
    assert_eq!(checked.damage_in(&(0..100)), None);
}

#[test]
fn crowd_of_damage_becomes_one_stretch() {
    let checked = Checked::from(0);
    (0..1_000).for_each(|i| {
        checked.add_damage(damage(i * 10..i * 10 + 5), 100_000);
    });
    assert!(checked.damage().len() <= DAMAGES_MAX);
    assert!((0..1_000).all(|i| checked.damage_in(&(i * 10..i * 10 + 5)).is_some()));
}
