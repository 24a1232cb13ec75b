//! The `sonoba` program: the library's command line, nothing more.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Only changes how a panic or a report would look; sonoba works without it.
    let _ = color_eyre::install();
    sonoba::cli::run()
}
