//! The real binary in a (pseudo) terminal: keys in, screens out.

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A terminal with sonoba in it.
pub struct Terminal {
    parser: Arc<Mutex<vt100::Parser>>,
    keys: Box<dyn Write + Send>,
    child: Box<dyn Child + Send + Sync>,
    master: Box<dyn MasterPty + Send>,
}

impl Terminal {
    /// Starts sonoba in `folder` on a terminal of this size.
    pub fn open(folder: &Path, (columns, rows): (u16, u16), args: &[&str]) -> Terminal {
        let size = PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_sonoba"));
        command.args(args);
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
        let to = parser.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = reader.read(&mut bytes) {
                to.lock().unwrap().process(&bytes[..n]);
            }
        });
        let keys = pair.master.take_writer().unwrap();
        Terminal { parser, keys, child, master: pair.master }
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
        let patience = Instant::now() + Duration::from_secs(120);
        while !holds(&self.text()) {
            assert!(Instant::now() < patience, "{what:?} never came:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(20));
        }
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
        let given_back = || {
            let parser = self.parser.lock().unwrap();
            !parser.screen().alternate_screen() && !parser.screen().hide_cursor()
        };
        while !given_back() {
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
