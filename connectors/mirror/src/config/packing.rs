//! How copies are packed: the settings of a producer's compression, which for whole batches are no client's. Pure.
//!
//! Picture: where MirrorMaker's producer would take them from, the more special place first: what the connector sets of the
//! worker's producers, then what it says of any producer on the target, which is where dedicated mode puts the settings that
//! stand behind a cluster. Nothing said, or nothing at all: batches stay as they are stored, which is not the producer's
//! default (`none`).
//! Invariant: a value that Kafka's producer would refuse is refused, by the name that it was given under.

use twinstream_client::protocol::compression::{Compression, CompressionSpec};
use twinstream_connect_api::RawConfig;

use super::{LINK_MODE, MirrorConfigError};

const FAMILY: &str = "compression.";
/// The prefix and the whole name of the codec's setting, by what counts most.
const PLACES: [(&str, &str); 5] = [
    ("producer.override.", "producer.override.compression.type"),
    ("target.producer.", "target.producer.compression.type"),
    ("target.admin.", "target.admin.compression.type"),
    ("producer.", "producer.compression.type"),
    ("target.cluster.", "target.cluster.compression.type"),
];
/// Codecs with levels: the setting, the lowest and the highest, which are Kafka's.
const LEVELS: [(Compression, &str, i32, i32); 3] = [
    (Compression::Gzip, "compression.gzip.level", 1, 9),
    (Compression::Lz4, "compression.lz4.level", 1, 17),
    (Compression::Zstd, "compression.zstd.level", -131_072, 22),
];
/// gzip's way to say that it chooses itself.
const GZIP_CHOOSES: i32 = -1;

/// Whether a client's setting is read here.
pub(super) fn is_about(name: &str) -> bool {
    name.starts_with(FAMILY)
}

/// `None`: as batches are stored. `aligned`: all topics are to keep the source's bytes.
pub(super) fn read(raw: &RawConfig, aligned: bool) -> Result<Option<CompressionSpec>, MirrorConfigError> {
    let codec = PLACES.into_iter().find_map(|(_, key)| Some((key, raw.get(key)?.trim())));
    let Some((key, text)) = codec else { return Ok(None) };
    let wrong = |why: String| Err(MirrorConfigError::Value { key, why });
    // `uncompressed` is a topic's word, and none of a producer's.
    let Some(codec) = Compression::ALL.into_iter().find(|codec| codec.name() == text) else {
        return wrong(format!("'{text}' is no codec; use none, gzip, snappy, lz4 or zstd"));
    };
    if aligned {
        return wrong(format!(
            "mirrors keep the source's bytes, nothing of them is packed anew; remove it, or leave {LINK_MODE}=aligned out"
        ));
    }
    let Some((_, level, least, most)) = LEVELS.into_iter().find(|(of, ..)| *of == codec) else {
        return Ok(Some(codec.into()));
    };
    let given = PLACES.into_iter().find_map(|(prefix, _)| Some((prefix, raw.get(&format!("{prefix}{level}"))?.trim())));
    let Some((prefix, text)) = given else { return Ok(Some(codec.into())) };
    match text.parse() {
        Ok(GZIP_CHOOSES) if codec == Compression::Gzip => Ok(Some(codec.into())),
        Ok(number) if (least..=most).contains(&number) => Ok(Some(CompressionSpec { codec, level: Some(number) })),
        _ => wrong(format!("with {prefix}{level}={text}, which is not a number of {least} to {most}")),
    }
}
