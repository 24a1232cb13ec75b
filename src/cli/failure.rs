//! What a command ends with when it is not done, and the exit code that scripts read.

use super::say;
use std::process::ExitCode;

/// Exit codes (besides 0: done). Stable: others script against them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// It failed.
    Failed = 1,
    /// The command was not understood.
    Usage = 2,
    /// The plan is refused: preflight errors, edited, or the cluster is not as planned.
    Refused = 3,
    /// The run ended paused or aborted.
    Stopped = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// A command that is not done: what happened, where, and what to do next.
#[derive(Debug)]
pub(super) struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// Lines for standard error; empty when the reader of standard output has gone and nobody listens.
    pub text: String,
}

impl Failure {
    /// Exit 1.
    pub fn failed(text: impl ToString) -> Failure {
        Failure { exit: Exit::Failed, text: text.to_string() }
    }

    /// Exit 2.
    pub fn usage(text: impl ToString) -> Failure {
        Failure { exit: Exit::Usage, text: text.to_string() }
    }

    /// Exit 3.
    pub fn refused(text: impl ToString) -> Failure {
        Failure { exit: Exit::Refused, text: text.to_string() }
    }

    /// Exit 4.
    pub fn stopped(text: impl ToString) -> Failure {
        Failure { exit: Exit::Stopped, text: text.to_string() }
    }

    /// Prints it to standard error.
    pub fn print(&self) {
        let mut lines = self.text.lines();
        if let Some(first) = lines.next() {
            say::err(format!("error: {first}"));
        }
        for line in lines {
            say::err(line);
        }
    }
}

impl From<std::io::Error> for Failure {
    /// Only for standard output: files have errors with names.
    fn from(error: std::io::Error) -> Failure {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Failure { exit: Exit::Failed, text: String::new() },
            _ => Failure::failed(format!("standard output cannot be written: {error}")),
        }
    }
}
