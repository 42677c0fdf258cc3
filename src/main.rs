//! The `gridtie` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    gridtie::cli::main()
}
