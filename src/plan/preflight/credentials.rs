//! What lets us in and ends before the run does.

use crate::plan::findings::Findings;
use crate::plan::{Estimate, Facts, Severity};
use jiff::{SignedDuration, Timestamp};

/// The times of a run are estimates, and a run may be paused: an end this close behind the estimate is told of too.
const MARGIN: SignedDuration = SignedDuration::from_mins(10);

/// Finds what ends before the long end of the estimate.
pub(in crate::plan) fn check(facts: &Facts, estimate: &Estimate, now: Timestamp, findings: &mut Findings) {
    let run = SignedDuration::from_millis(i64::try_from(estimate.slow_ms).unwrap_or(i64::MAX));
    let over = now.checked_add(run.saturating_add(MARGIN)).unwrap_or(Timestamp::MAX);
    for credential in facts.credentials.iter().filter(|c| c.until < over) {
        let (what, until) = (&credential.what, credential.until);
        let text = if until <= now {
            format!("{what} has ended at {until:.0}")
        } else {
            format!(
                "{what} ends at {until:.0}, and the run may go on until {over:.0}: then nothing goes on until it is renewed"
            )
        };
        findings.add(Severity::Warning, "credentials-end", text, &credential.mend);
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::samples::{cluster, stage};
    use crate::plan::{CredentialFacts, Facts, Plan, Settings, Severity, make_with};
    use jiff::{SignedDuration, Timestamp};

    fn planned(ends_after: SignedDuration) -> Plan {
        let until = Timestamp::UNIX_EPOCH + ends_after;
        let credential = CredentialFacts { what: "the token".into(), until, mend: "renew it".into() };
        let facts = Facts { credentials: vec![credential], ..Facts::default() };
        make_with(&cluster(3, 3, 3), &facts, &stage(), &Settings::default(), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn what_ends_before_the_long_end_of_the_estimate_is_a_warning_with_what_when_and_what_to_do() {
        let run = planned(SignedDuration::from_hours(1_000)).estimate.slow_ms;
        let run = SignedDuration::from_millis(i64::try_from(run).unwrap());
        let found = |ends_after| planned(ends_after).findings.into_iter().find(|f| f.code == "credentials-end");
        let soon = found(run - SignedDuration::from_secs(1)).unwrap();
        assert_eq!((soon.severity, soon.mend.as_str()), (Severity::Warning, "renew it"));
        assert!(soon.text.starts_with("the token ends at 1970-01-01T"), "{}", soon.text);
        assert!(found(SignedDuration::from_secs(-5)).unwrap().text.contains("has ended at 1969-12-31T23:59:55Z"));
        assert!(found(run + SignedDuration::from_mins(9)).is_some(), "an estimate is no promise");
        assert_eq!(found(run + SignedDuration::from_mins(11)), None);
    }
}
