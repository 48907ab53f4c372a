//! Inputs that are kept: one text file for each target, one input in hexadecimal on each line.
//!
//! Text, so that a change shows in a diff and a finding can be pasted. A line may end with ` # ` and a word about it;
//! lines that begin with `#` are about the file. The bound keeps the tree small: what libFuzzer found is minimised by
//! coverage first (`cargo xtask fuzz --keep`), and then the shortest inputs win.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Bytes of input that a corpus may hold, all together.
const BYTES_MAX: usize = 16 * 1024;
/// An input beyond this tells nothing that a shorter one does not.
const INPUT_BYTES_MAX: usize = 2048;

/// Reads the inputs of a target; none if it has no file.
pub fn read(target: &str) -> Result<Vec<Vec<u8>>> {
    let path = path(target);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.starts_with('#') && !line.trim().is_empty());
    lines.map(|(at, line)| parse(line).with_context(|| format!("{} line {}", path.display(), at + 1))).collect()
}

/// Adds inputs to a target's file: all of `known` stay, of `found` the shortest that still fit. Returns how many.
pub fn add(target: &str, found: Vec<Vec<u8>>) -> Result<usize> {
    let path = path(target);
    let mut text = fs::read_to_string(&path).unwrap_or_else(|_| "# one input a line, in hexadecimal\n".to_owned());
    let mut known: BTreeSet<Vec<u8>> = read(target)?.into_iter().collect();
    let mut room = BYTES_MAX.saturating_sub(known.iter().map(Vec::len).sum());
    let mut found: Vec<Vec<u8>> = found.into_iter().filter(|input| input.len() <= INPUT_BYTES_MAX).collect();
    found.sort_by_key(|input| (input.len(), input.clone()));
    let mut added = 0;
    for input in found {
        if input.len() > room || !known.insert(input.clone()) {
            continue;
        }
        room -= input.len();
        added += 1;
        text.push_str(&format(&input));
        text.push('\n');
    }
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    Ok(added)
}

/// Where a target's inputs lie.
pub fn path(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(format!("{target}.txt"))
}

/// An input as a line of a corpus.
pub fn format(input: &[u8]) -> String {
    let mut line = String::with_capacity(input.len() * 2);
    for byte in input {
        // Writing to a string cannot fail.
        let _infallible = write!(line, "{byte:02x}");
    }
    if line.is_empty() { "-".to_owned() } else { line }
}

pub(crate) fn parse(line: &str) -> Result<Vec<u8>> {
    let hex = line.split('#').next().unwrap_or_default().trim();
    if hex == "-" {
        return Ok(Vec::new());
    }
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        bail!("an odd number of digits");
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).context("not a hexadecimal digit");
    pairs.iter().map(|[high, low]| Ok((digit(*high)? << 4 | digit(*low)?) as u8)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_read_back_from_their_lines() {
        for input in [&b""[..], b"\x00", b"\xff\x10 text"] {
            assert_eq!(parse(&format(input)).unwrap(), input);
        }
        assert_eq!(parse("0aff # a finding").unwrap(), [10, 255]);
        assert!(parse("0").is_err() && parse("zz").is_err());
    }
}
