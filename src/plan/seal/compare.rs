//! Two skeletons of a plan, as it was made and as it is: which fields are different.

use super::{Edit, How};
use crate::fleet::clean;
use serde_json::Value;
use std::fmt::Write;

/// The differences, in the order of the fields' names.
pub(super) fn compare(made: &Value, is: &Value) -> Vec<Edit> {
    let mut edits = Vec::new();
    walk(made, is, &mut String::new(), &mut edits);
    edits
}

fn walk(made: &Value, is: &Value, path: &mut String, edits: &mut Vec<Edit>) {
    match (made, is) {
        _ if made == is => {}
        (Value::Object(was), Value::Object(now)) => {
            for (key, made) in was {
                below(path, &of_key(key), |path| match now.get(key) {
                    Some(is) => walk(made, is, path, edits),
                    None => note(path, How::Removed, edits),
                });
            }
            for key in now.keys().filter(|key| !was.contains_key(*key)) {
                below(path, &of_key(key), |path| note(path, How::Added, edits));
            }
        }
        (Value::Array(was), Value::Array(now)) => lists(was, now, path, edits),
        _ => note(path, How::Changed, edits),
    }
}

/// Entries that were put in or taken out move those after them, which are then not different. What is the same at both ends is
/// left out first.
fn lists(was: &[Value], now: &[Value], path: &mut String, edits: &mut Vec<Edit>) {
    let front = was.iter().zip(now).take_while(|(a, b)| a == b).count();
    let (was, now) = (&was[front..], &now[front..]);
    let back = was.iter().rev().zip(now.iter().rev()).take_while(|(a, b)| a == b).count();
    let (was, now) = (&was[..was.len() - back], &now[..now.len() - back]);
    for (at, (made, is)) in was.iter().zip(now).enumerate() {
        below(path, &format!("[{}]", front + at), |path| walk(made, is, path, edits));
    }
    for at in now.len()..was.len() {
        below(path, &format!("[{}]", front + at), |path| note(path, How::Removed, edits));
    }
    for at in was.len()..now.len() {
        below(path, &format!("[{}]", front + at), |path| note(path, How::Added, edits));
    }
}

fn below(path: &mut String, step: &str, then: impl FnOnce(&mut String)) {
    let length = path.len();
    path.push_str(step);
    then(path);
    path.truncate(length);
}

fn of_key(key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    let mut step = String::new();
    // Writing to a text cannot fail.
    let _ = if plain { write!(step, ".{key}") } else { write!(step, "[\"{}\"]", clean(key)) };
    step
}

fn note(path: &str, how: How, edits: &mut Vec<Edit>) {
    edits.push(Edit { field: path.trim_start_matches('.').to_owned(), how });
}
