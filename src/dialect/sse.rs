//! Server-sent events, framed without copying.
