//! A plan's seal: whether its file still says what the planner wrote, and which field does not.
//!
//! The seal covers the meaning of the whole file: every field but the seal itself, whatever the white space and the order of
//! the keys. It has two parts. `sha256` says *whether* anything is different. `fields` says *what*: a short digest of every
//! value, each where the value stands, so that a field is found by its path even where it was added or removed. Most values of
//! a large plan are the same on many nodes, and so are their digests: packed, they add about 3 % to the file (44 KB for 300 nodes).
//!
//! It guards against edits by hand, and against mixed-up and damaged files. It is no signature: there is no secret in it, and
//! whoever can write the file and means to deceive can make a seal that fits.

mod canonical;
mod compare;
mod digests;

use super::Plan;
use crate::fleet::{count, read_clean};
use canonical::{canonical, sha256};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// The field of a plan that holds its seal.
const SEAL: &str = "seal";
/// So many fields are named; of more, how many they are.
const NAMED: usize = 5;

/// What a plan's file is checked against before it is carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    /// The SHA-256 of all other fields in canonical form, and of `fields`.
    sha256: String,
    /// The digests of all values: see [`digests`].
    fields: String,
}

/// Why a plan is not what the planner made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broken {
    /// There is no seal.
    Missing,
    /// Something was changed; never empty.
    Changed(Vec<Edit>),
}

/// What became of one field.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edit {
    /// Where the field is, for instance `phases[2].waves[0].swaps[1].changes[0].to`.
    pub field: String,
    /// What was done to it.
    pub how: How,
}

/// What was done to a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// Its value is another.
    Changed,
    /// The planner did not write it.
    Added,
    /// The planner wrote it, and it is gone.
    Removed,
}

impl Plan {
    /// The plan with the seal of what it says now; one that it had is replaced.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn sealed(&self) -> Result<Plan, serde_json::Error> {
        // As whoever reads the file will have it: cleaned, and with numbers as JSON keeps them.
        let mut value = read_clean(&serde_json::to_vec(self)?)?;
        let seal = Seal::of(&mut value);
        Ok(Plan { seal: Some(seal), ..self.clone() })
    }
}

impl Seal {
    /// The seal of a plan, of which the seal that it has is taken out.
    fn of(plan: &mut Value) -> Seal {
        take_out(plan);
        let fields = digests::pack(&digests::of(plan));
        Seal { sha256: root(&fields, plan), fields }
    }
}

/// Checks a plan's file against its seal.
///
/// # Errors
/// Why the plan is not what was made. What is no JSON at all has no seal either.
pub fn check_seal(json: &[u8]) -> Result<(), Broken> {
    let mut plan: Value = read_clean(json).map_err(|_| Broken::Missing)?;
    let seal = take_out(&mut plan).ok_or(Broken::Missing)?;
    let edited = |field: &str| Broken::Changed(vec![Edit { field: field.into(), how: How::Changed }]);
    let seal: Seal = serde_json::from_value(seal).map_err(|_| edited(SEAL))?;
    if seal.sha256 == root(&seal.fields, &plan) {
        return Ok(());
    }
    let made = digests::unpack(&seal.fields).ok_or_else(|| edited("seal.fields"))?;
    let edits = compare::compare(&made, &digests::of(&plan));
    Err(if edits.is_empty() { edited(SEAL) } else { Broken::Changed(edits) })
}

fn take_out(plan: &mut Value) -> Option<Value> {
    plan.as_object_mut().and_then(|fields| fields.remove(SEAL))
}

fn root(fields: &str, plan: &Value) -> String {
    let mut text = fields.as_bytes().to_vec();
    text.push(b'\n');
    text.extend(canonical(plan));
    sha256(&text).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Broken {
    /// Whether this field is among those that are different.
    pub fn names(&self, field: &str) -> bool {
        matches!(self, Broken::Changed(edits) if edits.iter().any(|edit| edit.field == field))
    }
}

/// What comes after "the plan …".
impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Broken::Changed(edits) = self else { return f.write_str("has no seal") };
        let named: Vec<String> = edits.iter().take(NAMED).map(Edit::to_string).collect();
        write!(f, "was changed after it was made: {}", named.join(", "))?;
        match edits.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, " and {}", count(more, "more field", "more fields")),
        }
    }
}

impl std::error::Error for Broken {}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.field)?;
        match self.how {
            How::Changed => Ok(()),
            How::Added => f.write_str(" (added)"),
            How::Removed => f.write_str(" (removed)"),
        }
    }
}

#[cfg(test)]
mod tests;
