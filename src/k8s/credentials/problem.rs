//! What can be wrong with credentials, in words.

use std::path::Path;

/// Why the API server does not learn, or does not accept, who sonoba is. Never quotes a secret, nor what a plugin printed. Travels
/// through kube as the source of its errors.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::k8s) enum CredentialProblem {
    /// They were shown, and the API server does not accept them.
    #[error("credentials refused: {0}")]
    Refused(String),
    /// There is nothing to show: a file, a plugin or a value is not as it must be.
    #[error("no credentials: {0}")]
    Missing(String),
}

/// A secret's value from outside: blanks and ends of lines at its end are passed over, as kubectl does.
///
/// # Errors
/// In words, without the value, when it is empty or cannot be part of a request.
pub(super) fn token(what: &str, value: &str) -> Result<String, CredentialProblem> {
    let value = value.trim();
    if value.is_empty() {
        return Err(CredentialProblem::Missing(format!("{what} is empty; put a token there")));
    }
    match value.chars().position(|c| !c.is_ascii_graphic()) {
        None => Ok(value.to_owned()),
        Some(at) => Err(CredentialProblem::Missing(format!(
            "{what} has {} inside, after {at} characters, which no token has: it was cut, wrapped or put together wrongly; \
             put the token there as one line",
            kind(value, at)
        ))),
    }
}

/// A name that is sent in a header (whom to act as). Ends of lines at its end are passed over.
///
/// # Errors
/// In words, when it cannot be part of a request.
pub(super) fn name(what: &str, value: &str) -> Result<String, CredentialProblem> {
    let value = value.trim_end_matches(['\n', '\r']);
    match value.chars().position(|c| c.is_control()) {
        None => Ok(value.to_owned()),
        Some(at) => Err(CredentialProblem::Missing(format!(
            "{what} has {} inside, after {at} characters, and cannot be sent; correct it",
            kind(value, at)
        ))),
    }
}

/// What kind of character stands there, without showing it.
fn kind(value: &str, at: usize) -> &'static str {
    match value.chars().nth(at) {
        Some('\n' | '\r') => "an end of line",
        Some(c) if c.is_whitespace() => "a blank",
        Some(c) if c.is_control() => "a control character",
        _ => "a character that is not ASCII",
    }
}

/// Reads a file that credentials stand in.
///
/// # Errors
/// In words, when it is no regular file (a pipe would be waited for without end, and could be read once only), is too long, or
/// cannot be read.
pub(super) fn read(what: &str, path: &Path) -> Result<Vec<u8>, CredentialProblem> {
    /// A kubeconfig with a hundred clusters has a tenth of it.
    const LONGEST: u64 = 16 << 20;
    let failed = |why: String| CredentialProblem::Missing(format!("{what} {} {why}", shown(path)));
    let found = std::fs::metadata(path).map_err(|e| failed(format!("cannot be read: {e}")))?;
    if !found.is_file() {
        return Err(failed("is not a regular file; it is read again when it changes, so name one that is".into()));
    }
    if found.len() > LONGEST {
        return Err(failed(format!("is {} bytes long; nothing of this kind is", found.len())));
    }
    std::fs::read(path).map_err(|e| failed(format!("cannot be read: {e}")))
}

/// A path as text that a line bears.
pub(super) fn shown(path: &Path) -> String {
    crate::k8s::patience::shown(&path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_trimmed_at_its_ends_and_refused_inside_without_being_shown() {
        assert_eq!(token("token", "s3cret\r\n").unwrap(), "s3cret");
        assert_eq!(token("token", "  s3cret \n\n").unwrap(), "s3cret");
        for (bad, kind) in [
            ("s3\ncret", "an end of line"),
            ("s3 cret", "a blank"),
            ("s3\u{0}cret", "a control character"),
            ("s3é", "not ASCII"),
        ] {
            let told = token("the token of user \"u\"", bad).unwrap_err().to_string();
            assert!(told.contains(kind) && told.contains("after 2 characters"), "{told}");
            assert!(told.contains("the token of user \"u\"") && !told.contains("cret "), "{told}");
        }
        for empty in ["", " \n"] {
            assert!(token("token", empty).unwrap_err().to_string().contains("is empty"), "{empty:?}");
        }
    }

    #[test]
    fn a_name_may_have_blanks_and_no_control_character() {
        assert_eq!(name("as", "system:serviceaccount:a:b\n").unwrap(), "system:serviceaccount:a:b");
        assert_eq!(name("as", "Ann Smith").unwrap(), "Ann Smith");
        assert!(name("as", "a\nb").unwrap_err().to_string().contains("as has an end of line inside"));
        assert!(name("as", "a\u{7f}").is_err() && name("as", "a\u{1b}[2J").is_err());
    }
}
