//! libFuzzer on one target, which `TWINSTREAM_FUZZ_TARGET` names. Built and run by `cargo xtask fuzz`.
#![no_main]

use std::sync::OnceLock;

use twinstream_fuzz::{Target, target};

const VARIABLE: &str = "TWINSTREAM_FUZZ_TARGET";

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    static TARGET: OnceLock<&'static Target> = OnceLock::new();
    let target = TARGET.get_or_init(|| {
        let name = std::env::var(VARIABLE).unwrap_or_default();
        target(&name).unwrap_or_else(|| panic!("{VARIABLE} names no target: {name:?}"))
    });
    (target.run)(bytes);
});
