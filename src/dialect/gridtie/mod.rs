//! `gridtie.v1`: the project's own typed dialect. Generated messages, and their translation to and from the domain.
//!
//! Pure. The generated types are seen here, in the gRPC edges and in the gRPC upstream, and nowhere else: what the
//! generator is may change without the rest noticing.

pub mod answer;
pub mod request;

#[expect(missing_docs, reason = "generated")]
#[allow(clippy::all, clippy::pedantic, reason = "generated")]
pub mod v1 {
    tonic::include_proto!("gridtie.v1");
}

/// The encoded `FileDescriptorSet` of every file of the dialect: what server reflection serves.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/gridtie.fds"));

#[cfg(test)]
mod tests;
