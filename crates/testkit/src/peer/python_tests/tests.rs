use super::*;
use crate::folder::Folder;

/// Two files of a checkout that says that it is of the right version.
fn checkout(folder: &Folder, text: &str) -> PathBuf {
    let home = folder.sub("checkout");
    for below in CONFLUENT_FOLDERS {
        create(&home.join(below)).expect("a folder");
    }
    write(&home.join("pyproject.toml"), &format!("[project]\nversion = \"{CONFLUENT_VERSION}\"\n")).expect("a file");
    write(&home.join("tests/common/a.py"), text).expect("a file");
    write(&home.join("tests/integration/b.py"), "assert True\n").expect("a file");
    home
}

#[test]
fn tests_that_were_changed_are_not_those_of_the_version() {
    let folder = Folder::new();
    let refused = check_confluent_checkout(&checkout(&folder, "assert True\n")).expect_err("it is not Confluent's");
    assert!(refused.contains("are not as in v2.15.0"), "{refused}");
    let nothing = check_confluent_checkout(folder.path()).expect_err("nothing is there");
    assert!(nothing.contains("pyproject.toml"), "{nothing}");
}

#[test]
fn a_digest_tells_contents_and_names_and_no_leftovers_of_python() {
    let folder = Folder::new();
    let home = checkout(&folder, "one\n");
    let first = digest(&home, &CONFLUENT_FOLDERS).expect("a digest");
    // What the command above says of the same two files.
    assert_eq!(first, "9632db8d5eec4163fccf832aee1d0d076dbe13834f5ecd79f1a2fc4c7ddb5a8b");
    create(&home.join("tests/common/__pycache__")).expect("a folder");
    write(&home.join("tests/common/__pycache__/a.pyc"), "").expect("a file");
    assert_eq!(digest(&home, &CONFLUENT_FOLDERS).expect("a digest"), first);
    write(&home.join("tests/common/a.py"), "two\n").expect("a file");
    assert_ne!(digest(&home, &CONFLUENT_FOLDERS).expect("a digest"), first);
    write(&home.join("tests/common/a.py"), "one\n").expect("a file");
    std::fs::rename(home.join("tests/common/a.py"), home.join("tests/common/c.py")).expect("another name");
    assert_ne!(digest(&home, &CONFLUENT_FOLDERS).expect("a digest"), first);
}
