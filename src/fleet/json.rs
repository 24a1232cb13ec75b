//! JSON from and to files, in which no text can act on a terminal: whatever field it stands in, now or in a later format.

use super::text::clean;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Error, Value};

/// Reads JSON of which every text is cleaned. Names are not touched: their own types refuse what is not clean.
///
/// # Errors
/// When it is not JSON, or not what is asked for.
pub fn read_clean<T: DeserializeOwned>(json: &[u8]) -> Result<T, Error> {
    // Read as it is first: that error names the line.
    let read = serde_json::from_slice(json)?;
    if plain(json) {
        return Ok(read);
    }
    let mut value = serde_json::from_slice(json)?;
    clean_texts(&mut value);
    serde_json::from_value(value)
}

/// Writes JSON in one line, of which every text is cleaned. Also returns what now stands there.
///
/// # Errors
/// When `value` cannot be written as JSON, or not be read from it.
pub fn write_clean<T: Serialize + DeserializeOwned>(value: T) -> Result<(T, Vec<u8>), Error> {
    let json = serde_json::to_vec(&value)?;
    if plain(&json) {
        return Ok((value, json));
    }
    let value: T = read_clean(&json)?;
    let json = serde_json::to_vec(&value)?;
    Ok((value, json))
}

/// Whether nothing in it can be unclean: no escape but that of a quotation mark, and nothing beyond printable ASCII. This is
/// nearly every line of a journal, which need not be read twice then.
fn plain(json: &[u8]) -> bool {
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if bytes.next() == Some(&b'"') => {}
            // Blanks between tokens; within a text JSON does not allow them.
            b' '..=b'[' | b']'..=b'~' | b'\n' | b'\r' | b'\t' => {}
            _ => return false,
        }
    }
    true
}

fn clean_texts(value: &mut Value) {
    match value {
        Value::String(text) => *text = clean(text),
        Value::Array(all) => all.iter_mut().for_each(clean_texts),
        Value::Object(all) => all.values_mut().for_each(clean_texts),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn texts_are_cleaned_wherever_they_stand() {
        let json = br#"{"a": ["x\u001b[2Jy", {"b": "\u202ez \"q\" \\"}], "c": 1.5}"#;
        let read: Value = read_clean(json).unwrap();
        assert_eq!(read, serde_json::json!({"a": ["x[2Jy", {"b": "z \"q\" \\"}], "c": 1.5}));
        let error = read_clean::<Value>(b"{\n\"a\": }").unwrap_err();
        assert_eq!(error.line(), 2);
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_clean_and_what_was_clean_stays(
            map in proptest::collection::btree_map("[a-z]{1,4}", proptest::prelude::any::<String>(), 0..4),
        ) {
            let (written, json) = write_clean(map.clone()).unwrap();
            let text = String::from_utf8(json.clone()).unwrap();
            proptest::prop_assert!(!text.chars().any(super::super::is_unclean), "{text:?}");
            let cleaned: BTreeMap<String, String> = map.iter().map(|(k, v)| (k.clone(), clean(v))).collect();
            proptest::prop_assert_eq!(&serde_json::from_slice::<BTreeMap<String, String>>(&json).unwrap(), &cleaned);
            proptest::prop_assert_eq!(&written, &cleaned);
            let raw = serde_json::to_vec(&map).unwrap();
            proptest::prop_assert_eq!(read_clean::<BTreeMap<String, String>>(&raw).unwrap(), cleaned);
        }
    }
}
