//! Lines for people. What was done stays done when nobody reads about it: a reader that has gone is no error here.

use crate::fleet::clean;
use std::fmt::Display;
use std::io::Write;

/// A line on standard output.
pub(super) fn out(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{}", clean(&line.to_string()));
}

/// A line on standard error.
pub(super) fn err(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{}", clean(&line.to_string()));
}
