//! One text for all JSON that means the same: no white space, the keys of every object in order, and whole numbers without a
//! fraction, which some tools write in another way.

use serde_json::{Number, Value};
use sha2::{Digest, Sha256};

/// Up to here every whole number is one of its own as a 64-bit float: 2^53.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// The canonical text of a value.
pub(super) fn canonical(value: &Value) -> Vec<u8> {
    let mut value = value.clone();
    value.sort_all_objects();
    whole_numbers(&mut value);
    value.to_string().into_bytes()
}

/// `1.0` and `1e0` as `1`.
fn whole_numbers(value: &mut Value) {
    match value {
        Value::Array(all) => all.iter_mut().for_each(whole_numbers),
        Value::Object(all) => all.values_mut().for_each(whole_numbers),
        Value::Number(number) if number.is_f64() => {
            let whole = number.as_f64().filter(|n| n.fract() == 0.0 && n.abs() <= EXACT);
            // Within these bounds nothing is cut off.
            if let Some(whole) = whole {
                *number = Number::from(whole as i64);
            }
        }
        _ => {}
    }
}

/// The SHA-256 of a text.
pub(super) fn sha256(text: &[u8]) -> [u8; 32] {
    Sha256::digest(text).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Vec<u8> {
        canonical(&serde_json::from_str(text).unwrap())
    }

    #[test]
    fn white_space_and_the_order_of_keys_mean_nothing_and_all_else_does() {
        let one = read(r#"{"b": [1, {"d": null, "c": "x y"}], "a": true}"#);
        assert_eq!(one, read("{\"a\":true,\n\t\"b\":[1,{\"c\":\"x y\",\"d\":null}]}"));
        assert_eq!(one, br#"{"a":true,"b":[1,{"c":"x y","d":null}]}"#);
        for other in [
            r#"{"b": [1, {"d": null, "c": "xy"}], "a": true}"#,
            r#"{"b": [{"d": null, "c": "x y"}, 1], "a": true}"#,
            r#"{"b": ["1", {"d": null, "c": "x y"}], "a": true}"#,
            r#"{"b": [1, {"c": "x y"}], "a": true}"#,
        ] {
            assert_ne!(one, read(other), "{other}");
        }
    }

    #[test]
    fn a_whole_number_is_one_however_it_is_written() {
        assert_eq!(read("[1.0, 1e3, -0.0, 2]"), b"[1,1000,0,2]");
        assert_eq!(read("[1.5, 18446744073709551615]"), b"[1.5,18446744073709551615]");
        assert_ne!(read("1e300"), read("1e299"));
        assert_ne!(read("1.5"), read("1"));
    }

    proptest! {
        #[test]
        fn a_text_is_never_taken_for_structure(a in ".*", b in ".*") {
            prop_assert_eq!(a == b, canonical(&Value::String(a)) == canonical(&Value::String(b)));
        }
    }
}
