//! A plan's skeleton: its objects and lists as they are, and in the place of every other value a short digest of it.
//!
//! 24 bits a value are enough to find an edit, since they need not prove that there is none: the SHA-256 of the whole does that.
//! Written as JSON, compressed, and then as Base64: a skeleton repeats itself from node to node.

use super::canonical::{canonical, sha256};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use flate2::Compression;
use flate2::read::{DeflateDecoder, DeflateEncoder};
use serde_json::Value;
use std::io::Read;

/// Bytes of a value's digest.
const DIGEST: usize = 3;
/// No plan's skeleton is longer: a plan's file may have as many bytes, and every value of it takes more of them than its digest.
const LONGEST: u64 = 256 << 20;

/// The skeleton of this value.
pub(super) fn of(value: &Value) -> Value {
    match value {
        Value::Array(all) => all.iter().map(of).collect(),
        Value::Object(all) => all.iter().map(|(key, value)| (key.clone(), of(value))).collect(),
        leaf => Value::String(URL_SAFE_NO_PAD.encode(&sha256(&canonical(leaf))[..DIGEST])),
    }
}

/// A skeleton as the seal holds it.
pub(super) fn pack(skeleton: &Value) -> String {
    let text = canonical(skeleton);
    let mut packed = Vec::new();
    // Reading from memory cannot fail; were it to, the seal would say so when it is checked.
    let _ = DeflateEncoder::new(&text[..], Compression::default()).read_to_end(&mut packed);
    STANDARD_NO_PAD.encode(packed)
}

/// What [`pack`] wrote; `None` where that was damaged.
pub(super) fn unpack(packed: &str) -> Option<Value> {
    let packed = STANDARD_NO_PAD.decode(packed).ok()?;
    let mut text = Vec::new();
    DeflateDecoder::new(&packed[..]).take(LONGEST).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}
