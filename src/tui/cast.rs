//! A replay as an asciicast, for players on web pages: the same screens, painted into a file.
//!
//! Format: <https://docs.asciinema.org/manual/asciicast/v2/>.

use super::app::App;
use super::draw::draw;
use super::driver::TuiError;
use super::looks::Looks;
use super::msg::Msg;
use super::replay::Tape;
use super::update::update;
use jiff::{SignedDuration, Timestamp};
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Rect;
use ratatui::{Terminal, TerminalOptions, Viewport};
use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;

/// Between two pictures, by the viewer's clock.
const STEP: SignedDuration = SignedDuration::from_millis(200);
/// A film is not longer than this, by the viewer's clock: nobody would see its end.
const LONGEST: SignedDuration = SignedDuration::from_hours(4);
/// How long the last picture stands. Seconds.
const LAST: f64 = 3.0;

/// What the terminal would have got.
#[derive(Clone, Default)]
struct Paper(Rc<RefCell<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The whole of a tape, at its speed, on a screen of `columns` by `rows`.
///
/// # Errors
/// When there is nothing on the tape.
pub fn cast(tape: Tape, (columns, rows): (u16, u16)) -> Result<String, TuiError> {
    let title = format!("sonoba: run {} on {}", tape.recording.about.run, tape.recording.about.cluster);
    let mut now = Timestamp::UNIX_EPOCH;
    let mut app = App::for_tape(Looks::default().with_theme("dark"), tape, now).ok_or(TuiError::EmptyTape)?;
    let failed = |source| TuiError::Terminal { doing: "a picture was painted", source };
    let paper = Paper::default();
    let viewport = Viewport::Fixed(Rect::new(0, 0, columns, rows));
    let mut terminal =
        Terminal::with_options(CrosstermBackend::new(paper.clone()), TerminalOptions { viewport }).map_err(failed)?;
    let head = serde_json::json!({"version": 2, "width": columns, "height": rows, "title": title,
        "env": {"TERM": "xterm-256color"}});
    let mut text = format!("{head}\n");
    let mut event = |at: f64, bytes: Vec<u8>| {
        if !bytes.is_empty() {
            let line = serde_json::json!([(at * 1e3).round() / 1e3, "o", String::from_utf8_lossy(&bytes)]);
            text += &format!("{line}\n");
        }
    };
    event(0.0, b"\x1b[2J\x1b[H\x1b[?25l".to_vec());
    update(&mut app, Msg::Resize(columns, rows));
    let begun = now;
    loop {
        update(&mut app, Msg::Tick(now));
        let at = now.duration_since(begun).as_secs_f64();
        if app.dirty() {
            terminal.draw(|frame| draw(&app, frame)).map_err(failed)?;
            app.painted();
            event(at, paper.0.take());
        }
        if app.player.as_ref().is_none_or(|player| !player.playing()) {
            event(at + LAST, b"\x1b[?25h\x1b[0m\r\n".to_vec());
            return Ok(text);
        }
        now = now.checked_add(STEP).unwrap_or(Timestamp::MAX);
        if now.duration_since(begun) > LONGEST {
            return Err(TuiError::LongTape);
        }
    }
}
