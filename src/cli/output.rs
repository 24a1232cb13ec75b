//! Where a command's output file goes. A regular file is written whole or not at all: beside its place, and moved there. What is no
//! regular file (a device, a FIFO, a pipe under `/dev/fd`) is written to as it stands, and `-` is standard output.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Error, ErrorKind, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Links that are followed from one to the next, as the kernel does.
const LINKS: usize = 40;

/// Where an output goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// Standard output.
    Standard,
    /// What is there already and is no regular file.
    Open(PathBuf),
    /// A regular file, or none yet. A link to it stays one.
    File(PathBuf),
}

impl Output {
    /// What this path leads to.
    ///
    /// # Errors
    /// When nothing can be written there.
    pub fn at(path: &Path) -> io::Result<Output> {
        if is_standard(path) {
            return Ok(Output::Standard);
        }
        let mut place = path.to_owned();
        for _ in 0..LINKS {
            // What is open already has no name that something could be moved to.
            if is_open_already(&place) {
                return Ok(Output::Open(place));
            }
            match fs::symlink_metadata(&place) {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Output::File(place)),
                Err(error) => return Err(error),
                Ok(meta) if meta.is_symlink() => {
                    let target = fs::read_link(&place)?;
                    place = folder_of(&place).join(target);
                }
                Ok(meta) if meta.is_dir() => return Err(Error::other("is a folder; name a file in it")),
                Ok(meta) if meta.file_type().is_socket() => return Err(Error::other("is a socket; name a file")),
                Ok(meta) if meta.is_file() => return Ok(Output::File(place)),
                Ok(_) => return Ok(Output::Open(place)),
            }
        }
        Err(Error::other("too many symbolic links lead from one to the next"))
    }

    /// Writes it. A file is for its owner alone: it says how a cluster is built.
    ///
    /// # Errors
    /// When it cannot be written; a file is as it was before then.
    pub fn write(&self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Output::Standard => {
                let mut out = io::stdout().lock();
                out.write_all(bytes)?;
                out.flush()
            }
            Output::Open(path) => {
                let mut file = OpenOptions::new().write(true).open(path)?;
                file.write_all(bytes)
            }
            Output::File(path) => {
                // Its default mode is 0600.
                let mut file = tempfile::NamedTempFile::new_in(folder_of(path))?;
                file.write_all(bytes)?;
                file.as_file().sync_all()?;
                file.persist(path)?;
                // The name is on disk when its folder is; that this fails leaves a whole file all the same.
                let _ = File::open(folder_of(path)).and_then(|folder| folder.sync_all());
                Ok(())
            }
        }
    }
}

/// Writes a command's output to where this path leads.
///
/// # Errors
/// When nothing can be written there.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    Output::at(path)?.write(bytes)
}

/// Whether this is standard output: then nothing else must be printed there.
pub(super) fn is_standard(path: &Path) -> bool {
    ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"].iter().any(|name| path == Path::new(name))
}

/// Whether this is one of the files that some process holds open, by the kernel's name for it.
fn is_open_already(path: &Path) -> bool {
    let text = path.to_string_lossy();
    text == "/dev/stderr"
        || text.starts_with("/dev/fd/")
        || text.strip_prefix("/proc/").is_some_and(|rest| rest.contains("/fd/"))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use std::io::Read;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_device_is_written_to_and_stays_one() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("null");
        symlink("/dev/null", &link).unwrap();
        for path in [Path::new("/dev/null"), &link] {
            assert_eq!(Output::at(path).unwrap(), Output::Open("/dev/null".into()));
            write(path, b"x").unwrap();
        }
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        // Nothing is left beside it.
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(write(Path::new("/dev/full"), b"x").is_err());
    }

    #[test]
    fn a_fifo_is_written_to_and_stays_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
        let reader = {
            let path = path.clone();
            std::thread::spawn(move || {
                let mut text = String::new();
                File::open(path).unwrap().read_to_string(&mut text).unwrap();
                text
            })
        };
        write(&path, b"whole").unwrap();
        assert_eq!(reader.join().unwrap(), "whole");
        assert!(fs::metadata(&path).unwrap().file_type().is_fifo());
    }

    #[test]
    fn a_link_stays_one_and_its_file_is_replaced_or_made() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("real")).unwrap();
        let (file, link, first) = (dir.path().join("real/file"), dir.path().join("link"), dir.path().join("first"));
        symlink("real/file", &link).unwrap();
        symlink("link", &first).unwrap();
        for (path, text) in [(&first, "one"), (&link, "two"), (&file, "three")] {
            write(path, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
        assert!(
            fs::symlink_metadata(&link).unwrap().is_symlink() && fs::symlink_metadata(&first).unwrap().is_symlink()
        );
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path().join("real")).unwrap().count(), 1);
        symlink("round", dir.path().join("round")).unwrap();
        assert!(write(&dir.path().join("round"), b"x").unwrap_err().to_string().contains("links"));
    }

    #[test]
    fn what_cannot_be_written_is_said_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(write(dir.path(), b"x").unwrap_err().to_string().contains("is a folder"));
        assert!(write(&socket, b"x").unwrap_err().to_string().contains("is a socket"));
        assert!(write(&dir.path().join("none/file"), b"x").is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn standard_output_has_many_names() {
        for name in ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"] {
            assert_eq!(Output::at(Path::new(name)).unwrap(), Output::Standard, "{name}");
        }
        assert_eq!(Output::at(Path::new("/dev/fd/2")).unwrap(), Output::Open("/dev/fd/2".into()));
    }
}
