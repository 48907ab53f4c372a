use super::*;

fn entry(producer: i64, first: i64, last: i64, last_stable: i64) -> AbortedEntry {
    AbortedEntry {
        producer_id: ProducerId(producer),
        first: Offset(first),
        last: Offset(last),
        last_stable: Offset(last_stable),
    }
}

fn firsts(indexes: &TxnIndexes, dir: &Path, base: i64, from: i64, upper: i64) -> Vec<i64> {
    let found = indexes.collect(&RwLock::new(dir.to_owned()), Offset(base), Offset(from), Offset(upper)).unwrap();
    found.iter().map(|aborted| aborted.first_offset.0).collect()
}

#[test]
fn entry_has_golden_bytes_and_reads_back() {
    let mut bytes = Vec::new();
    entry(7, 10, 20, 15).encode(&mut bytes);
    let golden =
        [0u8, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 15];
    assert_eq!(bytes, golden);
    assert_eq!(decode(&bytes, Offset(0)).unwrap(), [entry(7, 10, 20, 15)]);
}

#[test]
fn cut_disordered_foreign_and_newer_files_do_not_fit() {
    let encode = |entries: &[AbortedEntry]| {
        let mut bytes = Vec::new();
        entries.iter().for_each(|entry| entry.encode(&mut bytes));
        bytes
    };
    assert!(decode(&encode(&[entry(1, 0, 5, 3), entry(2, 3, 9, 10)]), Offset(5)).is_ok());
    assert!(decode(&encode(&[entry(1, 0, 5, 6), entry(2, 3, 5, 10)]), Offset(0)).is_err());
    assert!(decode(&encode(&[entry(1, 0, 5, 6)]), Offset(6)).is_err());
    assert!(decode(&encode(&[entry(1, 8, 5, 6)]), Offset(0)).is_err());
    assert!(decode(&encode(&[entry(1, 0, 5, 6)])[..33], Offset(0)).is_err());
    assert!(decode(&[], Offset(0)).is_err());
    assert!(decode(&encode(&[entry(1, 0, 5, 7)]), Offset(0)).is_err(), "stable behind its own marker");
    assert!(decode(&encode(&[entry(1, 0, 5, 6), entry(2, 3, 9, 10)]), Offset(0)).is_err(), "though 3 was open");
    let mut newer = encode(&[entry(1, 0, 5, 6)]);
    newer[1] = 1;
    assert!(decode(&newer, Offset(0)).is_err());
}

#[test]
fn reader_hears_of_what_overlaps_his_range_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut indexes = TxnIndexes::default();
    for (base, entry) in
        [(0, entry(1, 0, 5, 6)), (0, entry(2, 2, 9, 10)), (0, entry(3, 12, 19, 20)), (20, entry(4, 18, 25, 26))]
    {
        indexes.append(dir, Offset(base), entry).unwrap();
    }
    assert_eq!(firsts(&indexes, dir, 0, 0, 1), [0]);
    assert_eq!(firsts(&indexes, dir, 0, 0, 11), [0, 2]);
    assert_eq!(firsts(&indexes, dir, 0, 6, 11), [2]);
    assert_eq!(firsts(&indexes, dir, 0, 13, 19), [12]);
    assert_eq!(firsts(&indexes, dir, 20, 20, 26), [18]);
    assert!(firsts(&indexes, dir, 20, 26, 40).is_empty());
}

#[test]
fn files_survive_a_restart_and_take_no_entry_twice() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut indexes = TxnIndexes::default();
    indexes.append(dir, Offset(0), entry(1, 0, 5, 6)).unwrap();
    let mut again = TxnIndexes::of([Offset(0)]);
    assert!(again.check(dir, &|_, _| Ok(Ok(()))).unwrap().is_empty());
    again.append(dir, Offset(0), entry(1, 0, 5, 6)).unwrap();
    again.append(dir, Offset(0), entry(1, 7, 9, 10)).unwrap();
    assert_eq!(std::fs::metadata(path(dir, Offset(0))).unwrap().len(), 68);
    let dirty: Vec<PathBuf> = again.take_dirty(dir).unwrap().into_iter().map(|(path, _)| path).collect();
    assert_eq!(dirty, [path(dir, Offset(0))]);
    assert!(again.take_dirty(dir).unwrap().is_empty());
}

#[test]
fn damaged_file_is_told_of() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(path(dir.path(), Offset(3)), [0; 40]).unwrap();
    let unfit = TxnIndexes::of([Offset(3)]).check(dir.path(), &|_, _| Ok(Ok(()))).unwrap();
    assert_eq!(unfit[0].base, Offset(3));
}

#[test]
fn cut_takes_markers_behind_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut indexes = TxnIndexes::default();
    for (base, entry) in [(0, entry(1, 0, 5, 2)), (0, entry(2, 2, 9, 10)), (20, entry(4, 18, 25, 26))] {
        indexes.append(dir, Offset(base), entry).unwrap();
    }
    assert_eq!(indexes.truncate(dir, Offset(9)).unwrap(), None);
    assert_eq!(firsts(&indexes, dir, 0, 0, 40), [0]);
    assert!(!path(dir, Offset(20)).exists());
    indexes.truncate(dir, Offset(3)).unwrap();
    assert!(indexes.is_empty() && !path(dir, Offset(0)).exists());
}
