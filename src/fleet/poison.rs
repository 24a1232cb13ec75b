//! Samples with hostile text in every field that takes any text.

use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeSet;

/// What a hostile node, API server or file would have a terminal do, or a reader believe.
pub(crate) fn hostile() -> impl Strategy<Value = String> {
    let pieces = [
        "\u{1b}[2J",
        "\u{1b}]0;owned\u{7}",
        "\u{1b}P1$r\u{1b}\\",
        "\u{9b}31m",
        "\u{9d}52;c;eA==\u{9c}",
        "\u{202e}gnp.exe",
        "\u{2066}\u{2069}",
        "\u{2028}",
        "\u{2029}",
        "\r",
        "\n",
        "\t",
        "\u{8}\u{8}",
        "\u{7f}",
        "\u{85}",
        "\u{200b}",
        "\u{200d}",
        "\u{e0041}",
        "\u{feff}",
        "\0",
        "その場",
        "é",
        "healthy",
        " ",
        "\"",
        "\\",
        "{}",
        "%s",
        "$(reboot)",
        "`id`",
        "|",
        "# x",
        "[a](http://x)",
        "<b>",
        "\u{61c}",
        "\u{3164}",
        "\u{fff9}",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 1..8).prop_map(|all| all.concat())
}

/// A sample, and the fields in it whose types take any text, whatever they are called.
pub(crate) struct Sample {
    value: Value,
    open: Vec<String>,
}

impl Sample {
    pub(crate) fn of<T: Serialize + DeserializeOwned>(sample: &T) -> Sample {
        let value = serde_json::to_value(sample).unwrap();
        let mut places = BTreeSet::new();
        find(&value, "", &mut places);
        let takes = |place: &String| {
            let mut tried = value.clone();
            fill(&mut tried, "", place, "\u{1b} \u{202e}");
            T::deserialize(&tried).is_ok()
        };
        let open = places.into_iter().filter(takes).collect();
        Sample { value, open }
    }

    /// The sample with `text` in each of them. Read without cleaning.
    pub(crate) fn with<T: DeserializeOwned>(&self, text: &str) -> T {
        let mut value = self.value.clone();
        self.open.iter().for_each(|place| fill(&mut value, "", place, text));
        T::deserialize(&value).unwrap()
    }
}

/// The same at once.
pub(crate) fn poisoned<T: Serialize + DeserializeOwned>(sample: &T, text: &str) -> T {
    Sample::of(sample).with(text)
}

/// The names under which texts stand, each with the name above it.
fn find(value: &Value, at: &str, places: &mut BTreeSet<String>) {
    match value {
        Value::String(_) => drop(places.insert(at.to_owned())),
        Value::Array(all) => all.iter().for_each(|v| find(v, at, places)),
        Value::Object(all) => all.iter().for_each(|(key, v)| find(v, &below(at, key), places)),
        _ => {}
    }
}

fn fill(value: &mut Value, at: &str, place: &str, text: &str) {
    match value {
        Value::String(old) if at == place => *old = text.to_owned(),
        Value::Array(all) => all.iter_mut().for_each(|v| fill(v, at, place, text)),
        Value::Object(all) => all.iter_mut().for_each(|(key, v)| fill(v, &below(at, key), place, text)),
        _ => {}
    }
}

fn below(at: &str, key: &str) -> String {
    format!("{}.{key}", at.rsplit('.').next().unwrap_or_default())
}
