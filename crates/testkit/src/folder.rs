//! The folder of one test: logs, data, settings.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;

/// Removed with its last clone, unless the test panics, wants to keep it, or `TWINSTREAM_KEEP` is set.
#[derive(Clone, Debug)]
pub struct Folder {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    folder: Option<TempDir>,
    path: PathBuf,
    keep: AtomicBool,
}

impl Folder {
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("twinstream-test-").tempdir().expect("temporary folder");
        let path = folder.path().to_path_buf();
        Self { inner: Arc::new(Inner { folder: Some(folder), path, keep: AtomicBool::new(false) }) }
    }

    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Keeps it when the test ends, for whoever looks into what went wrong.
    pub fn keep(&self) {
        self.inner.keep.store(true, Ordering::Relaxed);
    }

    /// A subfolder, made if it is not there.
    pub fn sub(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(&path).unwrap_or_else(|error| panic!("create {}: {error}", path.display()));
        path
    }
}

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let wanted = self.keep.load(Ordering::Relaxed) || std::env::var_os("TWINSTREAM_KEEP").is_some();
        if (std::thread::panicking() || wanted)
            && let Some(folder) = self.folder.take()
        {
            eprintln!("logs and data are kept in {}", folder.keep().display());
        }
    }
}
