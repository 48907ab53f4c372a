//! Corpora as files: `corpus list`, `corpus seed`, `corpus unpack TARGET FOLDER`, `corpus add TARGET FOLDER`.
//!
//! For `cargo xtask fuzz`, which lays a corpus out as libFuzzer wants it and takes in what that found.
#![expect(clippy::print_stdout, reason = "xtask and a person read it")]

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use twinstream_fuzz::{TARGETS, corpus, seeds, target};

const USAGE: &str = "usage: corpus list | seed | unpack TARGET FOLDER | add TARGET FOLDER";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["list"] => TARGETS.iter().for_each(|target| println!("{} {}", target.name, target.len_max)),
        ["seed"] => {
            for target in TARGETS {
                println!("{}: {} added", target.name, corpus::add(target.name, seeds::of(target.name))?);
            }
        }
        ["unpack", name, folder] => unpack(known(name)?, Path::new(folder))?,
        ["add", name, folder] => {
            let name = known(name)?;
            println!("{name}: {} added", corpus::add(name, files_of(Path::new(folder))?)?);
        }
        _ => bail!(USAGE),
    }
    Ok(())
}

fn known(name: &str) -> Result<&'static str> {
    target(name)
        .map(|target| target.name)
        .with_context(|| format!("no target is called {name}; `corpus list` has them"))
}

fn unpack(target: &str, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    for (at, input) in corpus::read(target)?.iter().enumerate() {
        let path = folder.join(format!("kept-{at:04}"));
        fs::write(&path, input).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

fn files_of(folder: &Path) -> Result<Vec<Vec<u8>>> {
    let mut inputs = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry?.path();
        inputs.push(fs::read(&path).with_context(|| format!("read {}", path.display()))?);
    }
    Ok(inputs)
}
