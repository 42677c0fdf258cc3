//! What operators and their machines use: the admin listener.

pub mod configs;
pub mod grpc;
pub mod http;
