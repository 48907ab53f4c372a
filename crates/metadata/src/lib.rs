//! Cluster metadata: records, image, controller decisions.
