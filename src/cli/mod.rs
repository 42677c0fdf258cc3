//! The commands, one file each. A command gets its arguments parsed and writes to what it is given, so that a test can
//! read it; what it returns is the exit code.

pub mod admin;
pub mod check;
pub mod drain;
pub mod key;
pub mod mock;
pub mod schema;
pub mod status;

/// Exit code of a config that is refused.
pub const EXIT_CONFIG: u8 = 2;

/// Whether to colour what is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Paint {
    /// Text only.
    Plain,
    /// With terminal colours.
    Colour,
}

impl Paint {
    /// Colours for a terminal whose user did not say `NO_COLOR`.
    pub fn of(stream: &impl std::io::IsTerminal) -> Self {
        if stream.is_terminal() && !crate::config::no_color() { Self::Colour } else { Self::Plain }
    }
}
