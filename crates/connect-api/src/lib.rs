//! What a connector sees.
