//! What every target does with its bytes.

use sonoba::fuzzing::Door;

/// Lets a door read, and fails when what it would tell a person is not one short line that no terminal acts on.
pub fn knock(door: Door, bytes: &[u8]) {
    if let Err(error) = door(bytes) {
        assert!(!error.is_empty() && error.chars().count() <= 1_000 && !error.contains(sonoba::fleet::is_unclean), "{error:?}");
    }
}
