//! The files of the project, read once.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Not part of the project: build output, version control, what the quick start leaves.
const FOREIGN: [&str; 3] = ["target", ".git", "twinstream-data"];
/// Text beyond this is data.
const FILE_BYTES_MAX: u64 = 2 * 1024 * 1024;

pub(super) struct Tree {
    pub files: Vec<File>,
}

pub(super) struct File {
    /// Relative to the root, with forward slashes.
    pub path: String,
    pub text: String,
}

impl Tree {
    pub(super) fn read(root: &Path) -> Result<Self> {
        let mut files = Vec::new();
        collect(root, root, &mut files)?;
        files.sort_by(|a: &File, b| a.path.cmp(&b.path));
        Ok(Self { files })
    }

    pub(super) fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.path.ends_with(".rs"))
    }

    pub(super) fn get(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// The folders under `crates/` and `connectors/` that hold a crate, with their manifest.
    pub(super) fn crates(&self) -> impl Iterator<Item = (&str, &File)> {
        self.files.iter().filter_map(|file| {
            let folder = file.path.strip_suffix("/Cargo.toml")?;
            let (parent, _) = folder.split_once('/')?;
            (parent == "crates" || parent == "connectors").then_some((folder, file))
        })
    }
}

impl File {
    /// Whether this is code of tests: a test binary, or a sibling `tests.rs` or `.._tests.rs` with what lies below it.
    pub(super) fn is_test(&self) -> bool {
        let sibling = self.path.ends_with("/tests.rs") || self.path.ends_with("_tests.rs");
        sibling || self.path.contains("/tests/") || self.path.contains("_tests/")
    }

    pub(super) fn within(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<File>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let entry = entry?;
        let path: PathBuf = entry.path();
        let name = entry.file_name();
        let kind = entry.file_type()?;
        if kind.is_dir() && !FOREIGN.iter().any(|foreign| name == *foreign) {
            collect(root, &path, files)?;
        } else if kind.is_file() && entry.metadata()?.len() <= FILE_BYTES_MAX {
            // What is no text has no lines to complain about.
            let Ok(text) = fs::read_to_string(&path) else { continue };
            let path = path.strip_prefix(root)?.to_string_lossy().replace('\\', "/");
            files.push(File { path, text });
        }
    }
    Ok(())
}
