//! All indices of one data directory.
//!
//! Layout, version 1:
//! `.lock` (held while a process serves the directory), `layout.json` (`{"version":1}`), `indices/<name>/` (one tantivy
//! index each), `making/` and `trash/` (half-made and half-deleted indices; emptied at start). Creation and deletion
//! are one rename each, so a crash leaves an index whole or absent.
//! Lock order: `changes` (async, one creation or deletion at a time), then `indices`.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::RwLock;
use tokio::sync::Mutex;
use tracing::info;

use crate::error::ApiError;
use crate::index::Index;
use crate::meta::{Meta, MetaError};

const LAYOUT_VERSION: u64 = 1;
/// Each index has its own writer thread and up to 15 MB of write buffer.
const INDICES_MAX: usize = 128;
const NAME_BYTES_MAX: usize = 255;

#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    #[error("data directory {path} is in use by another process; stop it or choose another directory", path = path.display())]
    Locked { path: PathBuf },
    #[error("{path} has layout version {found}, this program reads up to {LAYOUT_VERSION}; start the newer program on it", path = path.display())]
    NewerLayout { path: PathBuf, found: String },
    #[error("open index {path}: {cause}", path = path.display())]
    Meta { path: PathBuf, cause: MetaError },
    #[error("index {path} was not written by this program", path = path.display())]
    ForeignSchema { path: PathBuf },
    #[error("{what} {path}", path = path.display())]
    File { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Tantivy(#[from] tantivy::TantivyError),
}

impl From<CatalogError> for ApiError {
    fn from(error: CatalogError) -> ApiError {
        ApiError::internal(error.to_string())
    }
}

pub(crate) struct Catalog {
    root: PathBuf,
    indices: RwLock<BTreeMap<String, Arc<Index>>>,
    changes: Mutex<u64>,
    _lock: File,
}

impl Catalog {
    pub(crate) fn open(root: &Path) -> Result<Catalog, CatalogError> {
        for folder in ["indices", "making", "trash"] {
            let path = root.join(folder);
            fs::create_dir_all(&path).map_err(|source| CatalogError::File { what: "create folder", path, source })?;
        }
        let lock = lock(root)?;
        check_layout(root)?;
        for folder in ["making", "trash"] {
            for entry in fs::read_dir(root.join(folder))? {
                fs::remove_dir_all(entry?.path())?;
            }
        }
        let mut indices = BTreeMap::new();
        for entry in fs::read_dir(root.join("indices"))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let index = Index::open(&name, &entry.path())?;
            info!(index = %name, documents = index.doc_count(), "index opened");
            indices.insert(name, Arc::new(index));
        }
        Ok(Catalog { root: root.to_owned(), indices: RwLock::new(indices), changes: Mutex::new(0), _lock: lock })
    }

    pub(crate) fn get(&self, name: &str) -> Result<Arc<Index>, ApiError> {
        self.indices.read().get(name).cloned().ok_or_else(|| ApiError::index_not_found(name))
    }

    /// Indices that an expression means: names and `*` patterns by comma, `_all`, or nothing for all.
    pub(crate) fn select(&self, expression: &str) -> Result<Vec<Arc<Index>>, ApiError> {
        let indices = self.indices.read();
        let mut chosen: BTreeMap<&str, Arc<Index>> = BTreeMap::new();
        for part in expression.split(',') {
            if part.is_empty() || part == "_all" || part.contains('*') {
                let pattern = if part.contains('*') { part } else { "*" };
                chosen.extend(
                    indices
                        .iter()
                        .filter(|(name, _)| wildcard_matches(pattern, name))
                        .map(|(name, index)| (name.as_str(), Arc::clone(index))),
                );
            } else {
                let (name, index) = indices.get_key_value(part).ok_or_else(|| ApiError::index_not_found(part))?;
                chosen.insert(name, Arc::clone(index));
            }
        }
        Ok(chosen.into_values().collect())
    }

    /// `Err` with resource_already_exists_exception when it is there.
    pub(crate) async fn create(&self, name: &str, meta: Meta) -> Result<Arc<Index>, ApiError> {
        check_index_name(name)?;
        let mut serial = self.changes.lock().await;
        if let Ok(index) = self.get(name) {
            let reason = format!("index [{name}/{}] already exists", index.shared.meta().uuid);
            return Err(ApiError::new(400, "resource_already_exists_exception", reason).at(name));
        }
        if self.indices.read().len() >= INDICES_MAX {
            return Err(ApiError::new(
                400,
                "validation_exception",
                format!("this index server holds at most {INDICES_MAX} indices; delete one first"),
            ));
        }
        *serial += 1;
        let (making, place) = (self.root.join("making").join(serial.to_string()), self.root.join("indices").join(name));
        let owned = name.to_owned();
        let index = blocking(move || {
            fs::create_dir_all(&making)?;
            Index::create(&making, &meta)?;
            fs::rename(&making, &place)?;
            sync_folder(&place)?;
            Index::open(&owned, &place)
        })
        .await?;
        let index = Arc::new(index);
        self.indices.write().insert(name.to_owned(), Arc::clone(&index));
        info!(index = %name, "index created");
        Ok(index)
    }

    /// The index that a write goes to, made on first use.
    pub(crate) async fn get_or_create(&self, name: &str) -> Result<Arc<Index>, ApiError> {
        if let Ok(index) = self.get(name) {
            return Ok(index);
        }
        match self.create(name, new_meta(name)).await {
            Err(error) if error.kind == "resource_already_exists_exception" => self.get(name),
            other => other,
        }
    }

    pub(crate) async fn delete(&self, name: &str) -> Result<(), ApiError> {
        let mut serial = self.changes.lock().await;
        let index = self.get(name)?;
        *serial += 1;
        let (place, trash) = (self.root.join("indices").join(name), self.root.join("trash").join(serial.to_string()));
        fs::rename(&place, &trash).and_then(|()| sync_folder(&place)).map_err(CatalogError::from)?;
        self.indices.write().remove(name);
        info!(index = %name, "index deleted");
        // Searches under way keep their mapped files; the last one to leave closes the writer.
        blocking(move || {
            drop(index);
            Ok(fs::remove_dir_all(&trash)?)
        })
        .await?;
        Ok(())
    }

    /// Ends all writers after what is queued; used at shutdown.
    pub(crate) fn close(&self) {
        let indices = std::mem::take(&mut *self.indices.write());
        drop(indices);
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CatalogError> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(ApiError::from),
        Err(cause) => Err(ApiError::internal(format!("background work failed: {cause}"))),
    }
}

pub(crate) fn new_meta(name: &str) -> Meta {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Meta {
        uuid: format!("{:x}-{}", now.as_nanos(), name.len()),
        created_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
        settings: serde_json::Map::new(),
        mapping: crate::mapping::Mapping::default(),
        next_seq_no: 0,
    }
}

fn lock(root: &Path) -> Result<File, CatalogError> {
    let path = root.join(".lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|source| CatalogError::File { what: "open lock file", path, source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(CatalogError::Locked { path: root.to_owned() }),
        Err(TryLockError::Error(source)) => Err(source.into()),
    }
}

fn check_layout(root: &Path) -> Result<(), CatalogError> {
    let path = root.join("layout.json");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let draft = root.join("layout.json.new");
            fs::write(&draft, format!("{{\"version\":{LAYOUT_VERSION}}}\n"))?;
            File::open(&draft)?.sync_all()?;
            fs::rename(&draft, &path)?;
            return Ok(sync_folder(&path)?);
        }
        Err(source) => return Err(CatalogError::File { what: "read", path, source }),
    };
    let version = serde_json::from_str::<serde_json::Value>(&text).ok().and_then(|body| body["version"].as_u64());
    match version {
        Some(LAYOUT_VERSION) => Ok(()),
        other => Err(CatalogError::NewerLayout {
            path,
            found: other.map_or_else(|| text.trim().to_owned(), |version| version.to_string()),
        }),
    }
}

/// Makes a rename in the folder of `path` durable.
fn sync_folder(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Elasticsearch's rules for index names; they also make the name a safe folder name.
pub(crate) fn check_index_name(name: &str) -> Result<(), ApiError> {
    let invalid = |why: &str| {
        Err(ApiError::new(400, "invalid_index_name_exception", format!("Invalid index name [{name}], {why}")).at(name))
    };
    if name.is_empty() || name == "." || name == ".." {
        return invalid("must not be empty, '.' or '..'");
    }
    if name.len() > NAME_BYTES_MAX {
        return invalid("must not be longer than 255 bytes");
    }
    if name.starts_with(['-', '_', '+']) {
        return invalid("must not start with '_', '-', or '+'");
    }
    if name.contains(['\\', '/', '*', '?', '"', '<', '>', '|', ' ', ',', '#', ':']) || name.contains(char::is_control) {
        return invalid(
            "must not contain the following characters ['\\','/','*','?','\"','<','>','|',' ',',','#',':'] or control characters",
        );
    }
    if name.to_lowercase() != name {
        return invalid("must be lowercase");
    }
    Ok(())
}

/// `*` stands for any run of characters.
pub(crate) fn wildcard_matches(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = pieces.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut pieces: Vec<&str> = pieces.collect();
    let Some(last) = pieces.pop() else { return rest.is_empty() };
    for piece in pieces {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}
