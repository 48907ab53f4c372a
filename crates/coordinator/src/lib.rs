//! The shard engine and the group shard.
