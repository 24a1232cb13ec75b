//! Gates of the operator's own: what is asked, how often, and how long the run waits for a good answer.

use super::WaveKind;
use crate::fleet::{GateName, clean, quoted};
use hyper::Uri;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

/// A condition of the operator's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnGate {
    /// Its name, unique among the operator's gates.
    pub name: GateName,
    /// What is asked.
    pub question: Question,
    /// The run pauses by itself when the gate has not held for so long. Milliseconds.
    pub timeout_ms: u64,
    /// From one question's answer to the next question. Milliseconds.
    pub interval_ms: u64,
    /// How long one answer may take. Milliseconds.
    pub limit_ms: u64,
}

/// What a gate asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Question {
    /// A command is run beside the engine, without a shell; it must end with this code.
    Command {
        /// The program and its arguments.
        argv: Vec<String>,
        /// The exit code that means that the gate holds.
        exit: u8,
    },
    /// A page is asked for; redirects are not followed.
    Http {
        /// Where.
        target: Target,
        /// The status that means that the gate holds.
        status: u16,
    },
    /// A Prometheus query: every sample of its answer must lie within the bounds, and there must be one.
    Prometheus {
        /// The server.
        target: Target,
        /// The query: an instant vector or a scalar.
        query: String,
        /// No sample may be less.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min: Option<Bound>,
        /// No sample may be more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max: Option<Bound>,
    },
}

/// Where a gate asks over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The place.
    pub url: HttpUrl,
    /// A file with the certificates to trust instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// A private file with the value of the Authorization header. It is read when the gate is asked: what it holds is
    /// nowhere else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header_file: Option<PathBuf>,
}

/// An `http` or `https` URL, without a user or password in it: plan and journal are no place for a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HttpUrl(Uri);

impl HttpUrl {
    /// The URL in its parts. Scheme and host are there.
    pub fn uri(&self) -> &Uri {
        &self.0
    }

    /// Whether it is asked over TLS.
    pub fn secure(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }
}

impl std::str::FromStr for HttpUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<HttpUrl, String> {
        let shown = quoted(text);
        let err =
            |why: &str| format!("{shown} is no URL to ask: {why}; write for instance https://ceph.example/health");
        // Not shown: what stands there may be a password.
        if text.contains('@') {
            return Err("a URL with a user or password in it would be in plan and journal; give a header_file".into());
        }
        let uri: Uri = text.parse().map_err(|_| err("it cannot be read"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(err("it must begin with http:// or https://"));
        }
        if uri.host().is_none_or(str::is_empty) {
            return Err(err("it has no host"));
        }
        if text.contains('#') {
            return Err(err("a fragment is never sent"));
        }
        Ok(HttpUrl(uri))
    }
}

impl TryFrom<String> for HttpUrl {
    type Error = String;

    fn try_from(text: String) -> Result<HttpUrl, String> {
        text.parse()
    }
}

impl From<HttpUrl> for String {
    fn from(url: HttpUrl) -> String {
        url.0.to_string()
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A finite number.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Bound(f64);

/// Without NaN, equality is what it should be.
impl Eq for Bound {}

impl Bound {
    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Bound {
    type Error = String;

    fn try_from(number: f64) -> Result<Bound, String> {
        if number.is_finite() { Ok(Bound(number)) } else { Err(format!("{number} is no bound: write a finite number")) }
    }
}

impl From<Bound> for f64 {
    fn from(bound: Bound) -> f64 {
        bound.0
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which waves a gate follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum After {
    /// Every swap of the control plane.
    ControlPlane,
    /// The canary.
    Canary,
    /// Every later wave of workers, be it a rack or spread over racks.
    Rack,
}

impl After {
    /// Every wave of workers: where a gate stands unless it is told otherwise.
    pub fn workers() -> BTreeSet<After> {
        BTreeSet::from([After::Canary, After::Rack])
    }

    /// The word for a kind of wave.
    pub fn of(kind: WaveKind) -> After {
        match kind {
            WaveKind::ControlPlane => After::ControlPlane,
            WaveKind::Canary => After::Canary,
            WaveKind::Rack | WaveKind::Spread => After::Rack,
        }
    }
}

/// A gate with its places, as the profile states it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateRule {
    /// The waves that it follows.
    pub after: BTreeSet<After>,
    /// The gate.
    pub gate: OwnGate,
}

impl OwnGate {
    /// Whether it can be asked at all.
    ///
    /// # Errors
    /// In words: what is wrong.
    pub fn check(&self) -> Result<(), String> {
        // The one gate of ours whose name could be an operator's: the journal would not tell them apart.
        if self.name.as_str() == "soak" {
            return Err("the name soak is taken; give the gate another".into());
        }
        if self.interval_ms < 1_000 {
            return Err("interval must be 1s or longer".into());
        }
        if self.limit_ms == 0 || self.limit_ms > self.timeout_ms {
            return Err("limit must be longer than 0s, and not longer than timeout".into());
        }
        self.question.check()
    }
}

impl Question {
    fn check(&self) -> Result<(), String> {
        match self {
            Question::Command { argv, .. } => {
                if argv.first().is_none_or(String::is_empty) || argv.iter().any(|a| a.contains('\0')) {
                    return Err("command must name a program: write for instance [\"ceph-health\", \"--quiet\"]".into());
                }
                Ok(())
            }
            Question::Http { target, status } => {
                if !(100..=599).contains(status) {
                    return Err("status must be from 100 to 599".into());
                }
                target.check()
            }
            Question::Prometheus { target, query, min, max } => {
                if query.trim().is_empty() {
                    return Err("query must not be empty".into());
                }
                if target.url.uri().query().is_some() {
                    return Err("the URL of Prometheus takes no query of its own".into());
                }
                match (min, max) {
                    (None, None) => Err("give min or max, or both: without a bound every answer would do".into()),
                    (Some(min), Some(max)) if min.get() > max.get() => Err("min is more than max".into()),
                    _ => target.check(),
                }
            }
        }
    }

    /// What is asked, in words for people; cleaned.
    pub fn words(&self) -> String {
        let words = match self {
            Question::Command { argv, exit } => {
                let exit = if *exit == 0 { String::new() } else { format!(" ends with {exit}") };
                format!("`{}`{exit}", argv.join(" "))
            }
            Question::Http { target, status: 200 } => target.url.to_string(),
            Question::Http { target, status } => format!("{} answers {status}", target.url),
            Question::Prometheus { target, query, min, max } => {
                let bounds = match (min, max) {
                    (Some(min), Some(max)) => format!("from {min} to {max}"),
                    (Some(min), None) => format!("at least {min}"),
                    (None, Some(max)) => format!("at most {max}"),
                    (None, None) => "anything".into(),
                };
                format!("{query} is {bounds} ({})", target.url)
            }
        };
        clean(&words)
    }
}

impl Target {
    fn check(&self) -> Result<(), String> {
        if self.url.secure() {
            return Ok(());
        }
        if self.header_file.is_some() {
            return Err("header_file needs an https URL: it would be sent for anybody to read".into());
        }
        if self.ca.is_some() { Err("ca needs an https URL".into()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(question: Question) -> OwnGate {
        let name = "ceph".parse().unwrap();
        OwnGate { name, question, timeout_ms: 600_000, interval_ms: 10_000, limit_ms: 30_000 }
    }

    fn target(url: &str) -> Target {
        Target { url: url.parse().unwrap(), ca: None, header_file: None }
    }

    #[test]
    fn a_url_is_http_has_a_host_and_no_secret() {
        for good in ["http://a", "https://a:8443/x?y=z", "http://[::1]:9090/", "https://10.0.0.1/h"] {
            let url: HttpUrl = good.parse().unwrap();
            assert_eq!(String::from(url.clone()).parse(), Ok(url), "{good}");
        }
        for bad in [
            "",
            "a",
            "/x",
            "ftp://a/",
            "file:///etc/passwd",
            "http://",
            "http://a b/",
            "http://a/\u{1b}[2J",
            "http://a/#x",
        ] {
            let error = bad.parse::<HttpUrl>().unwrap_err();
            assert!(!error.chars().any(char::is_control), "{error}");
        }
        let error = "https://me:geheim@a/".parse::<HttpUrl>().unwrap_err();
        assert!(error.contains("header_file") && !error.contains("geheim"), "{error}");
    }

    #[test]
    fn what_could_never_be_asked_is_said() {
        let wrong = |edit: fn(&mut OwnGate)| {
            let mut gate = gate(Question::Command { argv: vec!["true".into()], exit: 0 });
            assert_eq!(gate.check(), Ok(()));
            edit(&mut gate);
            gate.check().unwrap_err()
        };
        assert!(wrong(|g| g.name = "soak".parse().unwrap()).contains("taken"));
        assert!(wrong(|g| g.interval_ms = 999).contains("interval"));
        assert!(wrong(|g| g.limit_ms = 0).contains("limit"));
        assert!(wrong(|g| g.limit_ms = 600_001).contains("limit"));
        assert!(wrong(|g| g.question = Question::Command { argv: vec![], exit: 0 }).contains("program"));
        assert!(wrong(|g| g.question = Question::Http { target: target("http://a"), status: 99 }).contains("status"));
        assert!(
            wrong(|g| {
                let mut target = target("http://a");
                target.header_file = Some("/x".into());
                g.question = Question::Http { target, status: 200 };
            })
            .contains("https")
        );
        let bound = |n: f64| Some(Bound::try_from(n).unwrap());
        let asks = |min, max| Question::Prometheus { target: target("http://p"), query: "up".into(), min, max };
        assert!(gate(asks(None, None)).check().unwrap_err().contains("bound"));
        assert!(gate(asks(bound(2.0), bound(1.0))).check().unwrap_err().contains("more than"));
        assert_eq!(gate(asks(bound(1.0), bound(1.0))).check(), Ok(()));
        assert!(Bound::try_from(f64::NAN).is_err() && Bound::try_from(f64::INFINITY).is_err());
    }

    #[test]
    fn it_reads_back_as_it_is_written_and_says_what_it_asks() {
        let bound = |n: f64| Some(Bound::try_from(n).unwrap());
        let questions = [
            (Question::Command { argv: vec!["a".into(), "b\u{1b}".into()], exit: 3 }, "`a b` ends with 3"),
            (Question::Http { target: target("https://a/h"), status: 204 }, "https://a/h answers 204"),
            (
                Question::Prometheus {
                    target: target("http://p:9090"),
                    query: "up".into(),
                    min: bound(1.0),
                    max: None,
                },
                "up is at least 1 (http://p:9090/)",
            ),
        ];
        for (question, words) in questions {
            assert_eq!(question.words(), words);
            let gate = gate(question);
            let text = serde_json::to_string(&gate).unwrap();
            assert_eq!(serde_json::from_str::<OwnGate>(&text).unwrap(), gate, "{text}");
        }
    }
}
