//! The faces of the router: wire in, [`flow`](crate::flow) in the middle, wire out.
//!
//! An edge decodes, authenticates, calls, and encodes. It knows nothing of pools beyond their names in an answer, and
//! decides nothing about routing.

pub mod admin;
pub mod auth;
pub mod grpc;
pub mod listen;
pub mod openai;
pub mod room;
pub mod status;
