//! A component's configuration file, read for what is named in it. Values stay here: they may be secret.

use serde_json::Value;

/// The file's content; none when it is neither YAML nor JSON.
pub(super) fn read(text: &str) -> Option<Value> {
    // The parser's message would quote the file.
    serde_saphyr::from_str(text).ok()
}

/// What stands at a path, through lists as well. Nothing where it says null.
pub(super) fn at<'a>(value: &'a Value, path: &[String]) -> Vec<&'a Value> {
    let mut found = vec![value];
    for key in path {
        found = found.into_iter().flat_map(through).filter_map(|v| v.get(key)).collect();
    }
    found.into_iter().flat_map(through).filter(|v| !v.is_null()).collect()
}

fn through(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().flat_map(through).collect(),
        other => vec![other],
    }
}

/// A value as it is written in an entry; none for what is not a single value.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::Bool(b) => Some(b.to_string()),
        Value::Number(n) => Some(n.to_string()),
        Value::String(s) => Some(s.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_go_through_lists() {
        let file = "a: {b: [{c: 1}, {c: yes}, {d: [x, z]}], n: null}\n";
        let value = read(file).unwrap();
        let found = |path: &str| -> Vec<String> {
            let path: Vec<String> = path.split('.').map(str::to_owned).collect();
            at(&value, &path).into_iter().filter_map(text).collect()
        };
        assert_eq!(found("a.b.c"), ["1", "true"]);
        assert_eq!(found("a.b.d"), ["x", "z"]);
        assert_eq!(found("a.n").len() + found("a.b.c.e").len() + found("b").len(), 0);
        assert_eq!(at(&read("{\"a\": {\"b\": false}}").unwrap(), &["a".into()]).len(), 1, "JSON too");
        assert!(read("a: [").is_none());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(\\PC|\n| |: |- ){0,200}") {
            if let Some(value) = read(&text) {
                at(&value, &["a".into(), "b".into()]);
            }
        }
    }
}
