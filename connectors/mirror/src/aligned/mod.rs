//! Topics of the target that keep the source's offsets (the broker's docs/008-aligned-links.md).
//!
//! Picture: a target that knows the feature `twinstream.mirror` lets a link make topics that are a *mirror* from their first
//! moment: they take batches only from that link, as the source has them, at the offsets of the source. The mirror's own log
//! end is the link's position, so nothing comes twice and nothing is left out, whatever is killed. [`marks`] says which topics
//! are copied so, [`footing`] where the copy of one stands, [`parting`] where two logs went different ways, [`run`] makes
//! appends of what a fetch brought.
//! Not here: when what is asked (`engine`), carrying it out (`copying`).

pub(crate) mod footing; // what the target says of its side
pub(crate) mod marks; // which topics
pub(crate) mod parting; // where source and mirror part
pub(crate) mod run; // from an answer to appends

pub(crate) use self::marks::LinkMode;
