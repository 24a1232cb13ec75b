//! A Prometheus query, held against bounds.

use super::http::get;
use crate::plan::{Bound, Target};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// `/api/v1/query`'s answer: <https://prometheus.io/docs/prometheus/latest/querying/api/>.
#[derive(Deserialize)]
struct Reply {
    status: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Vec<String>,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "resultType")]
    kind: String,
    result: serde_json::Value,
}

#[derive(Deserialize)]
struct Sample {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    /// Not there for a histogram.
    value: Option<(serde_json::Value, String)>,
}

/// Asks a query once.
///
/// # Errors
/// When a sample of its answer is out of bounds, there is none, or there is no whole answer within `limit`.
pub(super) async fn ask(
    target: &Target,
    query: &str,
    bounds: (Option<Bound>, Option<Bound>),
    limit: Duration,
) -> Result<(), String> {
    let base = target.url.uri().path().trim_end_matches('/');
    let encoded = form_urlencoded::Serializer::new(String::new()).append_pair("query", query).finish();
    let reply = get(target, &format!("{base}/api/v1/query?{encoded}"), limit).await?;
    judge(reply.status, &reply.body, bounds)
}

fn judge(status: u16, body: &[u8], bounds: (Option<Bound>, Option<Bound>)) -> Result<(), String> {
    let Ok(reply) = serde_json::from_slice::<Reply>(body) else {
        return Err(format!("it answers {status}, and not as Prometheus does"));
    };
    if reply.status != "success" || !(200..300).contains(&status) {
        return Err(format!("it answers {status}: {}", reply.error));
    }
    // A part of the answer is missing: perhaps the part that matters.
    if let Some(warning) = reply.warnings.first() {
        return Err(format!("it warns: {warning}"));
    }
    let Some(Data { kind, result }) = reply.data else { return Err("it answers nothing".into()) };
    let odd = |e: serde_json::Error| format!("its {kind} cannot be read: {e}");
    let samples: Vec<(String, f64)> = match kind.as_str() {
        "scalar" => {
            let (_, value): (serde_json::Value, String) = serde_json::from_value(result).map_err(odd)?;
            vec![("it".into(), number(&value)?)]
        }
        "vector" => {
            let samples: Vec<Sample> = serde_json::from_value(result).map_err(odd)?;
            let sample = |s: &Sample| match &s.value {
                Some((_, value)) => Ok((name(&s.metric), number(value)?)),
                None => Err(format!("{} is no number", name(&s.metric))),
            };
            samples.iter().map(sample).collect::<Result<_, String>>()?
        }
        kind => return Err(format!("the query gives a {kind}; it must be an instant vector or a scalar")),
    };
    if samples.is_empty() {
        return Err("there is no sample".into());
    }
    let broken = |value: f64| match bounds {
        // NaN is within no bounds.
        _ if value.is_nan() => Some("which says nothing".to_owned()),
        (Some(min), _) if value < min.get() => Some(format!("less than {min}")),
        (_, Some(max)) if value > max.get() => Some(format!("more than {max}")),
        _ => None,
    };
    let all = samples.len();
    let mut out = samples.into_iter().filter_map(|(name, value)| Some((name, value, broken(value)?)));
    let Some((name, value, why)) = out.next() else { return Ok(()) };
    let more = match out.count() {
        0 => String::new(),
        more => format!(" ({} of {all} samples are out of bounds)", more + 1),
    };
    Err(format!("{name} is {value}, {why}{more}"))
}

fn number(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| "a value in its answer is no number".into())
}

fn name(metric: &BTreeMap<String, String>) -> String {
    let labels: Vec<String> =
        metric.iter().filter(|(k, _)| *k != "__name__").map(|(k, v)| format!("{k}={v:?}")).collect();
    let name = metric.get("__name__").map_or("", String::as_str);
    match (name, labels.is_empty()) {
        ("", true) => "it".into(),
        (name, true) => name.into(),
        (name, false) => format!("{name}{{{}}}", labels.join(",")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(body: &str, min: Option<f64>, max: Option<f64>) -> Result<(), String> {
        let bound = |b: Option<f64>| b.map(|b| Bound::try_from(b).unwrap());
        judge(200, body.as_bytes(), (bound(min), bound(max)))
    }

    fn vector(values: &[&str]) -> String {
        let samples: Vec<serde_json::Value> = values
            .iter()
            .enumerate()
            .map(|(i, v)| serde_json::json!({"metric": {"__name__": "up", "i": i.to_string()}, "value": [1.5, v]}))
            .collect();
        serde_json::json!({"status": "success", "data": {"resultType": "vector", "result": samples}}).to_string()
    }

    #[test]
    fn every_sample_must_lie_within_the_bounds() {
        assert_eq!(judged(&vector(&["0", "-1", "0.5"]), None, Some(0.5)), Ok(()));
        assert_eq!(judged(&vector(&["1", "2"]), Some(1.0), Some(2.0)), Ok(()));
        assert_eq!(judged(&vector(&["0", "1"]), None, Some(0.0)).unwrap_err(), "up{i=\"1\"} is 1, more than 0");
        let two = judged(&vector(&["0", "5", "1"]), Some(1.0), Some(2.0)).unwrap_err();
        assert_eq!(two, "up{i=\"0\"} is 0, less than 1 (2 of 3 samples are out of bounds)");
        assert!(judged(&vector(&["NaN"]), Some(0.0), None).unwrap_err().contains("NaN"));
        assert!(judged(&vector(&["+Inf"]), None, Some(9.0)).unwrap_err().contains("more than 9"));
        assert_eq!(judged(&vector(&["+Inf"]), Some(9.0), None), Ok(()));
        assert_eq!(judged(&vector(&[]), Some(9.0), None).unwrap_err(), "there is no sample");
    }

    #[test]
    fn a_scalar_is_one_sample_and_nothing_else_is_any() {
        let of = |kind: &str, result: serde_json::Value| {
            serde_json::json!({"status": "success", "data": {"resultType": kind, "result": result}}).to_string()
        };
        assert_eq!(judged(&of("scalar", serde_json::json!([1, "3"])), None, Some(3.0)), Ok(()));
        assert_eq!(
            judged(&of("scalar", serde_json::json!([1, "4"])), None, Some(3.0)).unwrap_err(),
            "it is 4, more than 3"
        );
        assert!(judged(&of("matrix", serde_json::json!([])), None, Some(3.0)).unwrap_err().contains("instant vector"));
        assert!(judged(&of("scalar", serde_json::json!({})), None, Some(3.0)).unwrap_err().contains("cannot be read"));
        assert!(judged(&of("scalar", serde_json::json!([1, "x"])), None, Some(3.0)).unwrap_err().contains("no number"));
        let histogram = of("vector", serde_json::json!([{"metric": {}, "histogram": [1, {}]}]));
        assert!(judged(&histogram, None, Some(3.0)).unwrap_err().contains("no number"));
    }

    #[test]
    fn an_answer_that_is_none_or_not_whole_does_not_hold() {
        for body in ["", "<html>", "{}", "[]", "{\"status\":\"success\"}"] {
            assert!(judged(body, None, Some(1.0)).is_err(), "{body}");
        }
        let error = r#"{"status":"error","errorType":"bad_data","error":"parse error at char 3"}"#;
        let bounds = (None, Some(Bound::try_from(1.0).unwrap()));
        assert_eq!(judge(400, error.as_bytes(), bounds).unwrap_err(), "it answers 400: parse error at char 3");
        let mut partial: serde_json::Value = serde_json::from_str(&vector(&["0"])).unwrap();
        partial["warnings"] = serde_json::json!(["store away"]);
        assert_eq!(judged(&partial.to_string(), None, Some(1.0)).unwrap_err(), "it warns: store away");
    }
}
