//! The binary under test: built in the same profile as the test that asks.

use std::env;
use std::path::PathBuf;

/// Names another binary, for tests of a release build.
const VARIABLE: &str = "TWINSTREAM_BIN";

/// The path of `twinstream`: beside the folder `deps` that the running test lies in.
pub fn twinstream() -> PathBuf {
    if let Some(path) = env::var_os(VARIABLE) {
        return PathBuf::from(path);
    }
    let test = env::current_exe().expect("path of the running test");
    let deps = test.parent().expect("folder of the running test");
    let path = deps.parent().unwrap_or(deps).join("twinstream");
    assert!(
        path.exists(),
        "{} is not there: build it with `cargo build -p twinstream`, or name one with {VARIABLE}",
        path.display()
    );
    path
}
