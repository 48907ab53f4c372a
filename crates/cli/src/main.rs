//! The binary `twinstream`.

fn main() {}
