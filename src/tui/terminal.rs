//! The terminal while it is the cockpit's, and what it can be asked beside pictures.

use super::driver::TuiError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crossterm::event::{DisableMouseCapture, EnableMouseCapture};
use crossterm::execute;
use crossterm::terminal::{EnterAlternateScreen, enable_raw_mode};
use ratatui::DefaultTerminal;
use rustix::process::{Signal, kill_current_process_group};
use std::io::Write;
use std::sync::Once;

/// Bytes that terminals take for a clipboard: xterm's own limit is of this order.
const CLIPBOARD: usize = 74_000;

/// The terminal. Given back on drop; a panic gives it back before its message is printed.
pub struct Screen {
    /// What is painted on.
    pub terminal: DefaultTerminal,
    mouse: bool,
}

impl Screen {
    /// Takes the terminal, and its mouse where that is wanted.
    ///
    /// # Errors
    /// When it cannot be set up; it is as before then.
    pub fn open(mouse: bool) -> Result<Screen, TuiError> {
        let failed = |source| TuiError::Terminal { doing: "the screen was set up", source };
        no_mouse_after_a_panic();
        let mut screen = Screen { terminal: ratatui::try_init().map_err(failed)?, mouse };
        screen.take_mouse().map_err(failed)?;
        Ok(screen)
    }

    /// Writes to the terminal what is no picture.
    ///
    /// # Errors
    /// When it is gone.
    pub fn say(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.terminal.backend_mut().write_all(bytes)?;
        self.terminal.backend_mut().flush()
    }

    /// Gives the terminal to the shell and stops, as any program does at Ctrl-Z; returns when the shell goes on with it.
    ///
    /// # Errors
    /// When the terminal cannot be taken again.
    pub fn suspend(&mut self) -> std::io::Result<()> {
        self.give_back();
        // The loop runs on the first thread, which takes the signal before this call returns. Where no shell is there to go
        // on with it, the system drops the signal, and nothing stops.
        kill_current_process_group(Signal::TSTP)?;
        enable_raw_mode()?;
        execute!(self.terminal.backend_mut(), EnterAlternateScreen)?;
        self.take_mouse()
    }

    fn take_mouse(&mut self) -> std::io::Result<()> {
        if self.mouse { execute!(self.terminal.backend_mut(), EnableMouseCapture) } else { Ok(()) }
    }

    fn give_back(&mut self) {
        // After a hang-up there is no terminal to give back to: no more can be done then.
        let _ = execute!(self.terminal.backend_mut(), DisableMouseCapture);
        let _ = self.terminal.show_cursor();
        let _ = ratatui::try_restore();
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// The panic hook of ratatui gives the screen back, not the mouse.
fn no_mouse_after_a_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let _ = execute!(std::io::stdout(), DisableMouseCapture);
            before(info);
        }));
    });
}

/// OSC 52: the terminal puts a text on the operator's clipboard, also over SSH
/// (<https://invisible-island.net/xterm/ctlseqs/ctlseqs.html>, "Manipulate Selection Data").
pub fn clipboard(text: &str) -> Vec<u8> {
    let mut end = text.len().min(CLIPBOARD);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("\x1b]52;c;{}\x07", STANDARD.encode(&text[..end])).into_bytes()
}

/// OSC 9, a notification of the desktop, and the bell for terminals that know none
/// (<https://iterm2.com/documentation-escape-codes.html>).
pub fn notification(text: &str) -> Vec<u8> {
    format!("\x1b]9;{}\x07\x07", crate::fleet::clean_short(text, 200)).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_copied_or_called_out_can_end_its_sequence() {
        let copied = clipboard("a\x07b\n");
        assert_eq!(copied, b"\x1b]52;c;YQdiCg==\x07");
        assert!(clipboard(&"é".repeat(100_000)).len() < 100_000);
        let called = String::from_utf8(notification("run 1 paused\x07\x1b]52;c;x")).unwrap();
        assert_eq!(called.matches('\x07').count(), 2, "{called:?}");
        assert_eq!(called.matches('\x1b').count(), 1, "{called:?}");
    }
}
