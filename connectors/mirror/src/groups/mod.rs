//! Groups on both sides: what they have committed at the source, and bringing that to the target.

pub(crate) mod ask; // offsets of many groups at once
pub(crate) mod decide; // what becomes of one offset

#[cfg(test)]
mod tests;
