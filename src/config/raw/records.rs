//! Decisions on record.

use super::super::read::{At, record};
use super::super::values::{Bytes, Share};

record! {
    /// Decisions on record: JSON lines that `gridtie explain --replay` explains and makes again. Without this table none
    /// are kept. They hold no prompt and no answer.
    Records as "records" {
        /// Where to: a relative path is relative to the config's folder.
        file: At<String>,
        /// The share of calls whose decisions are kept, all of each; default 0.01.
        share: Option<Share>,
        /// A file that would be larger is renamed to `<file>.1`, in place of the one before, and begun anew; default 64MiB.
        max_size: Option<At<Bytes>>,
    }
}
