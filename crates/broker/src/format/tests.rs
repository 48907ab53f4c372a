use super::*;

const CLUSTER: &str = "q1Sh-9_ISia_zwGINzRvyQ";

fn options(dirs: &[&Path]) -> BrokerOptions {
    let dirs: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
    let overrides = vec![("node.id".to_owned(), "4".to_owned()), ("log.dirs".to_owned(), dirs.join(","))];
    BrokerOptions { config: None, overrides }
}

fn meta_of(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("meta.properties")).unwrap_or_default()
}

#[test]
fn empty_and_missing_directories_are_formatted() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("a"), folder.path().join("b"));
    std::fs::create_dir_all(second.join("lost+found")).unwrap();
    let formatted = format(&options(&[&first, &second]), CLUSTER, IfFormatted::Refuse).unwrap();
    assert_eq!(formatted.len(), 2);
    assert_ne!(formatted[0].directory_id, formatted[1].directory_id);
    for (dir, formatted) in [(&first, &formatted[0]), (&second, &formatted[1])] {
        let text = meta_of(dir);
        assert!(text.contains(&format!("cluster.id={CLUSTER}")) && text.contains("node.id=4"), "{text}");
        assert!(text.contains(formatted.directory_id.as_str()), "{text}");
    }
}

#[test]
fn nothing_is_formatted_when_one_directory_cannot_be() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("a"), folder.path().join("b"));
    std::fs::create_dir_all(second.join("photos")).unwrap();
    let error = format(&options(&[&first, &second]), CLUSTER, IfFormatted::Refuse).unwrap_err().to_string();
    assert!(error.contains("b is not empty, it has photos"), "{error}");
    assert_eq!(meta_of(&first), "");
}

#[test]
fn formatted_directories_are_refused_or_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("a"), folder.path().join("b"));
    format(&options(&[&first]), CLUSTER, IfFormatted::Refuse).unwrap();
    let before = meta_of(&first);
    let error = format(&options(&[&first]), CLUSTER, IfFormatted::Refuse).unwrap_err().to_string();
    assert!(error.contains(&format!("is formatted for cluster {CLUSTER} already")), "{error}");
    let both = format(&options(&[&first, &second]), CLUSTER, IfFormatted::PassOver).unwrap();
    assert_eq!([both[0].was_formatted, both[1].was_formatted], [true, false]);
    assert_eq!(meta_of(&first), before);
    let error = format(&options(&[&first]), "other", IfFormatted::PassOver).unwrap_err().to_string();
    assert!(error.contains("belongs to cluster q1Sh"), "{error}");
}

#[test]
fn a_cluster_id_with_spaces_is_refused_with_an_example() {
    let folder = tempfile::tempdir().unwrap();
    let error = format(&options(&[&folder.path().join("a")]), "my cluster", IfFormatted::Refuse).unwrap_err();
    assert!(error.to_string().contains("`my cluster` is not"), "{error}");
}
