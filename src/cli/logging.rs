//! Where the log goes. Never to the screen that a cockpit draws on.

use super::args::Global;
use super::failure::Failure;
use super::places;
use crate::fleet::clean;
use crate::journal::open_file;
use std::fs::OpenOptions;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The variable that says what is logged, in the words of `tracing_subscriber`'s filters, for instance `sonoba=debug`.
const VARIABLE: &str = "SONOBA_LOG";

/// Hands lines on without anything that a terminal would act on, when somebody reads the log with `cat`; nor can a text begin
/// a line of its own, which would read as if the engine had said it. The formatter writes each event at once.
#[derive(Clone)]
struct CleanLines<W>(W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for CleanLines<W> {
    type Writer = CleanLines<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        CleanLines(self.0.make_writer())
    }
}

impl<W: Write> Write for CleanLines<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let mut line = clean(String::from_utf8_lossy(event).trim_end());
        line.push('\n');
        self.0.write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Bytes of the log that are shown.
const TAIL: u64 = 64 * 1024;

fn filter(default: &str) -> EnvFilter {
    std::env::var(VARIABLE).ok().and_then(|f| f.parse().ok()).unwrap_or_else(|| EnvFilter::new(default))
}

/// Warnings to standard error.
pub(super) fn to_stderr() {
    // A second call would be a mistake of ours, and harmless.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter("sonoba=warn"))
        .with_writer(CleanLines(io::stderr))
        // It would say so on standard error, and panic where that is what cannot be written to.
        .log_internal_errors(false)
        .with_ansi(false)
        .without_time()
        .try_init();
}

/// The cockpit's log in a state folder.
pub(super) fn file(global: &Global) -> Result<PathBuf, Failure> {
    Ok(places::state_dir(global)?.join("cockpit.log"))
}

/// The end of the cockpit's log.
///
/// # Errors
/// In words, when it cannot be read.
pub(super) fn tail(global: &Global) -> Result<String, String> {
    let path = file(global).map_err(|failure| failure.text)?;
    let read = || -> io::Result<Vec<u8>> {
        let mut file = open_file(&path, OpenOptions::new().read(true))?;
        let length = file.metadata()?.len();
        file.seek(io::SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut text = Vec::new();
        file.take(TAIL).read_to_end(&mut text)?;
        Ok(text)
    };
    let text = read().map_err(|e| format!("log {}: {e}", path.display()))?;
    Ok(format!("{}\n{}", path.display(), String::from_utf8_lossy(&text)))
}

/// Everything of note to a file, for its owner alone. What was written when the guard is dropped is in the file.
pub(super) fn to_file(path: &Path) -> Result<WorkerGuard, Failure> {
    let file = open_file(path, OpenOptions::new().create(true).append(true).mode(0o600))
        .map_err(|e| Failure::failed(format!("log {}: {e}", path.display())))?;
    let (writer, guard) = tracing_appender::non_blocking(file);
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter("sonoba=info"))
        .with_writer(CleanLines(writer))
        .log_internal_errors(false)
        .with_ansi(false)
        .try_init();
    Ok(guard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_without_escapes() {
        let mut out = Vec::new();
        CleanLines(&mut out).write_all("WARN n1: a\r\u{1b}[2J\nINFO forged\u{202e}\n".as_bytes()).unwrap();
        CleanLines(&mut out).write_all(b"INFO next\n").unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "WARN n1: a[2J INFO forged\nINFO next\n");
    }
}
