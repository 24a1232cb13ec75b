//! Opens what must be a file. A FIFO in its place would hold up whoever opens it, for as long as nobody writes there; a device or a
//! link leads to something else than what sonoba put there.

use rustix::fs::OFlags;
use std::fs::{File, Metadata, OpenOptions, symlink_metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// Opens a regular file with these options: at once, and never through a symbolic link.
///
/// # Errors
/// When it cannot be opened, or is no regular file; the error says what it is.
pub fn open_file(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    // Without waiting: what kind it is can be asked of the open file alone, or another could take its place in between.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    match options.custom_flags(flags.bits().cast_signed()).open(path) {
        Ok(file) => match no_file(&file.metadata()?) {
            None => Ok(file),
            Some(kind) => Err(is(kind)),
        },
        // A link, a socket and a FIFO without a reader cannot be opened so; the kernel's words for that are no help.
        Err(error) => match symlink_metadata(path).ok().as_ref().and_then(no_file) {
            Some(kind) => Err(is(kind)),
            None => Err(error),
        },
    }
}

fn is(kind: &str) -> io::Error {
    io::Error::other(format!("it is {kind}, and no file; look at who put it there"))
}

/// What it is, where it is no regular file.
fn no_file(meta: &Metadata) -> Option<&'static str> {
    let kind = meta.file_type();
    Some(match () {
        () if kind.is_file() => return None,
        () if kind.is_dir() => "a folder",
        () if kind.is_symlink() => "a symbolic link",
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_socket() => "a socket",
        () => "a device",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    #[test]
    fn what_is_no_file_is_refused_at_once_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        mknodat(CWD, at("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        std::fs::create_dir(at("dir")).unwrap();
        std::fs::write(at("file"), "x").unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        std::os::unix::fs::symlink("/dev/null", at("device")).unwrap();
        for (name, kind) in
            [("fifo", "a FIFO"), ("socket", "a socket"), ("dir", "a folder"), ("link", "a symbolic link")]
        {
            for options in [OpenOptions::new().read(true), OpenOptions::new().append(true)] {
                let error = open_file(&at(name), options).unwrap_err().to_string();
                assert!(error.contains(kind), "{name}: {error}");
            }
        }
        assert!(
            open_file(Path::new("/dev/null"), OpenOptions::new().read(true))
                .unwrap_err()
                .to_string()
                .contains("a device")
        );
        open_file(&at("file"), OpenOptions::new().read(true)).unwrap();
        assert_eq!(open_file(&at("none"), OpenOptions::new().read(true)).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
