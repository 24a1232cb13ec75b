//! The real binary in a (pseudo) terminal: keys in, screens out.

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A terminal with sonoba in it.
pub struct Terminal {
    parser: Arc<Mutex<vt100::Parser>>,
    raw: Arc<Mutex<Vec<u8>>>,
    keys: Box<dyn Write + Send>,
    child: Box<dyn Child + Send + Sync>,
    master: Box<dyn MasterPty + Send>,
}

impl Terminal {
    /// Starts sonoba in `folder` on a terminal of this size.
    pub fn open(folder: &Path, (columns, rows): (u16, u16), args: &[&str]) -> Terminal {
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_sonoba"));
        command.args(args);
        Terminal::spawn(folder, (columns, rows), command)
    }

    /// Starts a shell with job control, and sonoba in it; when sonoba stops, the shell says so and goes on with it.
    pub fn open_in_a_shell(folder: &Path, size: (u16, u16), args: &[&str]) -> Terminal {
        let program = env!("CARGO_BIN_EXE_sonoba");
        let mut command = CommandBuilder::new("/bin/bash");
        let line = format!("{program} {}; echo the shell is back; read -r word; fg >/dev/null", args.join(" "));
        command.args(["--norc", "-m", "-c", &line]);
        Terminal::spawn(folder, size, command)
    }

    fn spawn(folder: &Path, (columns, rows): (u16, u16), mut command: CommandBuilder) -> Terminal {
        let size = PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        command.env_clear();
        command.cwd(folder);
        for (name, value) in
            [("TERM", "xterm-256color"), ("USER", "tester"), ("PATH", "/usr/bin:/bin"), ("LANG", "C.UTF-8")]
        {
            command.env(name, value);
        }
        command.env("HOME", folder);
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let n = |n: u16| std::num::NonZero::new(n).unwrap();
        let parser = Arc::new(Mutex::new(vt100::Parser::new(n(rows), n(columns), 0)));
        let mut reader = pair.master.try_clone_reader().unwrap();
        let (to, bytes_to) = (parser.clone(), Arc::new(Mutex::new(Vec::new())));
        let raw = bytes_to.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = reader.read(&mut bytes) {
                bytes_to.lock().unwrap().extend_from_slice(&bytes[..n]);
                to.lock().unwrap().process(&bytes[..n]);
            }
        });
        let keys = pair.master.take_writer().unwrap();
        Terminal { parser, raw, keys, child, master: pair.master }
    }

    /// What stands on the screen.
    pub fn text(&self) -> String {
        self.parser.lock().unwrap().screen().contents()
    }

    /// Waits until these words stand on the screen.
    #[track_caller]
    pub fn until(&self, words: &str) {
        self.until_it(words, |text| text.contains(words));
    }

    /// Waits until the screen is so.
    #[track_caller]
    pub fn until_it(&self, what: &str, holds: impl Fn(&str) -> bool) {
        let patience = Instant::now() + Duration::from_secs(240);
        while !holds(&self.text()) {
            assert!(Instant::now() < patience, "{what:?} never came:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the terminal was sent these bytes, which need not show.
    #[track_caller]
    pub fn until_sent(&self, bytes: &[u8]) {
        self.until_it(&String::from_utf8_lossy(bytes), |_| {
            let raw = self.raw.lock().unwrap();
            raw.windows(bytes.len()).any(|window| window == bytes)
        });
    }

    /// Whether the terminal is as a shell has it: its own screen, its cursor, no clicks taken.
    pub fn is_the_shells(&self) -> bool {
        let parser = self.parser.lock().unwrap();
        let screen = parser.screen();
        let mouse = screen.mouse_protocol_mode() != vt100::MouseProtocolMode::None;
        !screen.alternate_screen() && !screen.hide_cursor() && !mouse
    }

    /// Clicks with the left button; columns and rows from 1.
    pub fn click(&mut self, (column, row): (u16, u16)) {
        self.press(&format!("\x1b[<0;{column};{row}M\x1b[<0;{column};{row}m"));
    }

    /// Types.
    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Makes the terminal another size.
    pub fn resize(&mut self, (columns, rows): (u16, u16)) {
        let n = |n: u16| std::num::NonZero::new(n).unwrap();
        self.parser.lock().unwrap().screen_mut().set_size(n(rows), n(columns));
        self.master.resize(PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 }).unwrap();
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.process_id().unwrap()
    }

    /// Waits for the end: its exit code. The terminal must have been given back.
    #[track_caller]
    pub fn ended(mut self) -> u32 {
        let patience = Instant::now() + Duration::from_secs(30);
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < patience, "it never ended:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(20));
        };
        while !self.is_the_shells() {
            assert!(Instant::now() < patience, "the terminal was not given back:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(20));
        }
        status.exit_code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It has ended, or its test has failed.
        let _ = self.child.kill();
    }
}
