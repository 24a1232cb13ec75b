//! What is wrong with a file of the operator's, and where.

use crate::fleet::{clean, clean_short};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Parsers repeat a wrong name in full, whatever its length. Characters.
const LONGEST: usize = 600;

/// Something in a profile, or in the inventory that it names, that must be mended. Shown as `FILE:LINE: WHAT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileError {
    file: PathBuf,
    line: Option<usize>,
    what: String,
}

impl ProfileError {
    /// An error about a file as a whole, or about one line of it (counted from 1).
    pub(super) fn new(file: &Path, line: Option<usize>, what: impl AsRef<str>) -> ProfileError {
        ProfileError { file: file.to_owned(), line, what: clean_short(what.as_ref(), LONGEST) }
    }

    /// An error about a place in `text`, which is the file's; quotes the line, which names the field.
    pub(super) fn at(file: &Path, text: &str, span: Option<Range<usize>>, what: &str) -> ProfileError {
        let Some(start) = span.map(|s| s.start.min(text.len())).filter(|s| text.is_char_boundary(*s)) else {
            return ProfileError::new(file, None, what);
        };
        let line = text[..start].matches('\n').count() + 1;
        let quoted: String = text.lines().nth(line - 1).unwrap_or("").trim().chars().take(100).collect();
        // Parsers spread some messages over lines.
        let what = clean_short(&what.trim().replace('\n', "; "), LONGEST - 110);
        let what = if quoted.is_empty() { what } else { format!("{what}, in `{quoted}`") };
        ProfileError::new(file, Some(line), what)
    }

    /// The line, counted from 1, where it is known.
    pub fn line(&self) -> Option<usize> {
        self.line
    }
}

impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = clean(&self.file.to_string_lossy());
        match self.line {
            Some(line) => write!(f, "{file}:{line}: {}", self.what),
            None => write!(f, "{file}: {}", self.what),
        }
    }
}

impl std::error::Error for ProfileError {}
