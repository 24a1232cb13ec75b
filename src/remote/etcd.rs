//! What an etcd member says of itself, in its metrics and its health.

use super::port::Answer;
use crate::plan::EtcdFacts;

/// What is known of a member from its `/metrics` and its `/health`.
pub(super) fn facts(metrics: Option<&Answer>, health: Option<&Answer>) -> EtcdFacts {
    let number = |name| {
        let value = metrics?.gauge(name)?;
        // Beyond 2^53 a gauge is no longer exact, and no database is so large.
        (0.0..9e15).contains(&value).then_some(value as u64)
    };
    EtcdFacts {
        db_size: number("etcd_mvcc_db_total_size_in_bytes"),
        quota: number("etcd_server_quota_backend_bytes"),
        applied: number("etcd_server_proposals_applied_total"),
        alarms: health.map(alarms).unwrap_or_default(),
    }
}

/// Alarms, as `/health` gives them for its reason: `ALARM NOSPACE`.
/// <https://github.com/etcd-io/etcd/blob/main/server/etcdserver/api/etcdhttp/health.go>
fn alarms(health: &Answer) -> Vec<String> {
    let health: serde_json::Value = serde_json::from_slice(&health.body).unwrap_or_default();
    let reason = health["reason"].as_str().unwrap_or("");
    let mut words = reason.split(|c: char| !c.is_ascii_alphanumeric());
    let mut alarms = Vec::new();
    while let Some(word) = words.next() {
        if word == "ALARM" {
            alarms.extend(words.next().filter(|w| !w.is_empty()).map(str::to_owned));
        }
    }
    alarms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &str) -> Answer {
        Answer { status: 200, body: body.as_bytes().to_vec() }
    }

    #[test]
    fn a_member_is_read_as_etcd_writes_it() {
        let metrics = answer(
            "# TYPE etcd_server_quota_backend_bytes gauge\netcd_server_quota_backend_bytes 2.147483648e+09\n\
             etcd_mvcc_db_total_size_in_bytes 6.5536e+04\netcd_server_proposals_applied_total 1234\n",
        );
        let health = answer(r#"{"health":"false","reason":"ALARM NOSPACE"}"#);
        let wanted = EtcdFacts {
            db_size: Some(65_536),
            quota: Some(2 << 30),
            applied: Some(1_234),
            alarms: vec!["NOSPACE".into()],
        };
        assert_eq!(facts(Some(&metrics), Some(&health)), wanted);
        let well = answer(r#"{"health":"true","reason":""}"#);
        assert_eq!(facts(None, Some(&well)), EtcdFacts::default());
        let noise = answer("etcd_mvcc_db_total_size_in_bytes -1\netcd_server_quota_backend_bytes NaN\n");
        assert_eq!(facts(Some(&noise), Some(&noise)), EtcdFacts::default());
    }
}
