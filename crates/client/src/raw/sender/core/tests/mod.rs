//! The core against a model of a cluster that loses connections, moves leaders and answers late, for many seeds.

mod cases;
mod transactions;
mod world;
