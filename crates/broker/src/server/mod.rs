//! The network side: listeners, connections, frames in, responses out.
//!
//! Picture: a [`listener`] accepts sockets within its limits and at its [`pace`], and gives each to a [`connection`] task, which reads one
//! [`frame`] after the other within the bound of request [`memory`], hands it to the handler table and writes the
//! [`response`], which may be a [`promise`] while it reads the next. While a handler waits, [`departure`] notices that the
//! client has gone.

pub(crate) mod bind;
pub(crate) mod connection;
mod departure;
pub(crate) mod frame;
pub(crate) mod listener;
pub(crate) mod memory;
mod pace;
mod promise;
pub(crate) mod response;
pub(crate) mod warnings;
