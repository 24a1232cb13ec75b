//! Credentials that end, and diagnoses that are right: the real binary on a simulated cluster behind an API server's front with TLS
//! that accepts what the test says.

#[path = "../common/mod.rs"]
mod common;
mod front;

use common::Lab;
use front::{Authority, DAY, Ends, Front, Pair};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

const SIZE: [&str; 6] = ["--nodes", "3", "--racks", "1", "--speed", "15"];

/// A simulated cluster behind a front.
struct Night {
    lab: Lab,
    authority: Authority,
    front: Front,
}

impl Night {
    fn start() -> Night {
        let authority = Authority::new("the cluster's authority");
        let own = authority.sign("127.0.0.1", DAY);
        Night::with(&own, authority, None)
    }

    /// With this certificate of the front's own, and clients' certificates signed by `clients`.
    fn with(own: &Pair, authority: Authority, clients: Option<&Authority>) -> Night {
        let lab = Lab::start(&SIZE);
        let profile = std::fs::read_to_string(lab.path("profile.toml")).unwrap();
        let (_, inner) = profile.split_once("kubeconfig = \"").unwrap();
        let inner = inner.split_once('"').unwrap().0.to_owned();
        std::fs::write(lab.path("profile.toml"), profile.replace(&inner, "kubeconfig")).unwrap();
        let inner: Value = serde_json::from_str(&std::fs::read_to_string(inner).unwrap()).unwrap();
        let text = |pointer: &str| inner.pointer(pointer).unwrap().as_str().unwrap().to_owned();
        let behind = (text("/clusters/0/cluster/server"), text("/users/0/user/token"));
        let front = Front::start(own, clients, behind);
        Night { lab, authority, front }
    }

    /// Writes the kubeconfig, as somebody does who logs in: to another file first.
    fn user(&self, user: Value) {
        self.kubeconfig(json!({"server": format!("https://{}", self.front.address)}), user);
    }

    fn kubeconfig(&self, mut cluster: Value, user: Value) {
        if cluster.get("certificate-authority").is_none() {
            self.write("ca.crt", &self.authority.pem());
            cluster["certificate-authority"] = json!("ca.crt");
        }
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "ann", "user": user}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "ann"}}],
        });
        self.write("kubeconfig", &text.to_string());
    }

    fn write(&self, name: &str, text: &str) {
        let beside = self.lab.path(&format!("{name}.new"));
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(beside, self.lab.path(name)).unwrap();
    }

    /// A credential plugin.
    fn plugin(&self, script: &str) -> Value {
        let path = self.lab.path("plugin.sh");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never", "command": path}})
    }

    /// What `sonoba doctor` says, and its exit code.
    fn doctor(&self) -> (i32, String) {
        let output = self.lab.sonoba(&["doctor"]);
        let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code().unwrap(), told)
    }

    /// What it says is wrong with the API.
    fn diagnosis(&self) -> String {
        let (code, told) = self.doctor();
        assert_eq!(code, 1, "{told}");
        let bad = |line: &&str| line.starts_with("BAD ");
        told.lines().find(bad).unwrap_or_else(|| panic!("nothing bad: {told}")).to_owned()
    }

    fn lets_in(&self) {
        let (code, told) = self.doctor();
        assert_eq!(code, 0, "{told}");
    }
}

/// A plugin's answer that is whatever stands in this file.
fn issues(token_file: &Path) -> String {
    format!(
        r#"printf '{{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{{"token":"%s"}}}}' "$(cat {})""#,
        token_file.display()
    )
}

#[test]
fn an_end_of_line_after_a_token_is_passed_over_and_one_inside_is_named() {
    let night = Night::start();
    night.front.accept(&["s3cret"]);
    let token_file = night.lab.path("token");
    let inline = |token: &str| night.user(json!({"token": token}));
    let file = |token: &str| {
        std::fs::write(&token_file, token).unwrap();
        night.user(json!({"tokenFile": "token"}));
    };
    let plugin = |token: &str| {
        let token = token.replace('\n', "\\n");
        let status = format!(r#"{{"token":"{token}"}}"#);
        let script = format!(
            "cat <<'END'\n{{\"kind\":\"ExecCredential\",\"apiVersion\":\"client.authentication.k8s.io/v1\",\"status\":{status}}}\nEND"
        );
        night.user(night.plugin(&script));
    };
    type Put<'a> = &'a dyn Fn(&str);
    let ways: [(&str, Put<'_>); 3] =
        [("token of user", &inline), ("token file", &file), ("credential plugin", &plugin)];
    for (named, put) in ways {
        put("s3cret\n");
        night.lets_in();
        put("s3c\nret");
        let told = night.diagnosis();
        let right = told.contains("an end of line inside, after 3 characters") && told.contains(named);
        assert!(right && !told.contains("s3c") && told.contains("kubeconfig"), "{told}");
    }
}

#[test]
fn nothing_else_in_a_kubeconfig_breaks_sonoba_down_either() {
    let night = Night::start();
    night.front.accept(&["s3cret"]);
    for (user, named) in [
        (json!({"token": "s3cret", "as": "a\nb"}), "`as`"),
        (json!({"token": "s3cret", "as-uid": "a\u{1}b"}), "`as-uid`"),
        (json!({"token": "s3cret", "as-groups": ["a\u{1}b"]}), "`as-groups`"),
        (json!({"token": "s3cret", "as-user-extra": {"a b": ["x\ny"]}}), "`as-user-extra`"),
        (json!({"tokenFile": "/dev/zero"}), "is not a regular file"),
        (json!({"client-certificate": "/dev/zero", "client-key": "/dev/zero"}), "is not a regular file"),
    ] {
        night.user(user);
        let told = night.diagnosis();
        assert!(told.contains(named), "{told}");
    }
    for server in ["127.0.0.1:6443", "unix:///run/x.sock", "/x", "https://127.0.0.1:1\n"] {
        night.kubeconfig(json!({"server": server}), json!({"token": "s3cret"}));
        let told = night.diagnosis();
        assert!(told.contains("kubeconfig"), "{server:?}: {told}");
    }
    night.user(json!({"username": "a\nb", "password": "c\nd"}));
    assert!(night.diagnosis().contains("credentials refused"));
}

#[test]
fn a_plugin_that_hangs_is_killed_and_named() {
    let night = Night::start();
    let pids = night.lab.path("pids");
    // The one that was started, and one that it starts.
    night.user(night.plugin(&format!("echo $$ >> {0}; sleep 1000 & echo $! >> {0}; wait", pids.display())));
    let told = night.diagnosis();
    assert!(told.contains("credential plugin") && told.contains("did not end within 20 s and was killed"), "{told}");
    let pids = std::fs::read_to_string(pids).unwrap();
    assert!(pids.lines().count() >= 2, "{pids}");
    for pid in pids.lines() {
        let until = Instant::now() + Duration::from_secs(10);
        // A process that nobody has waited for yet is as good as gone.
        let state = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        while !state().is_empty() && !state().contains(") Z ") {
            assert!(Instant::now() < until, "{pid} lives: {}", state());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn credentials_that_end_in_a_run_are_named_and_renewed_ones_taken_up() {
    let night = Night::start();
    let config = |token: &str| night.user(json!({"token": token}));
    night.front.accept(&["first"]);
    config("first");
    let profile = std::fs::read_to_string(night.lab.path("profile.toml")).unwrap();
    night.write("profile.toml", &profile.replace("[rollout]", "[rollout]\ngate_timeout = \"2s\""));
    night.lab.begin();
    night.lab.wait("begun", |r| r["swaps"]["committed"].as_u64() > Some(0));
    // The night's hour: what was good is not any more.
    night.front.accept(&["second"]);
    let report = night.lab.wait("paused", |r| r["outcome"] == "paused");
    let why = report["pauses"].as_array().unwrap().last().unwrap()["why"].as_str().unwrap().to_owned();
    assert!(why.contains("credentials refused") && !why.contains("does not answer"), "{why}");
    let error = night.lab.fails(1, &["resume"]);
    assert!(error.contains("credentials refused") && error.contains("kubeconfig"), "{error}");
    assert!(error.contains("stays paused"), "{error}");
    assert_eq!(night.lab.report()["outcome"], "paused");
    config("second");
    night.lab.done(&["resume"]);
    let report = night.lab.wait("completed", |r| r["outcome"] == "completed");
    assert_eq!((&report["swaps"]["failed"], &report["swaps"]["rolled_back"]), (&0.into(), &0.into()), "{report:#}");
}

#[test]
fn a_plugin_is_asked_again_when_what_it_issued_is_refused() {
    let night = Night::start();
    night.front.accept(&["first"]);
    let token = night.lab.path("issued");
    std::fs::write(&token, "first").unwrap();
    night.user(night.plugin(&issues(&token)));
    night.lab.begin();
    night.lab.wait("begun", |r| r["swaps"]["committed"].as_u64() > Some(0));
    std::fs::write(&token, "second").unwrap();
    let before = night.front.refused();
    night.front.accept(&["second"]);
    let report = night.lab.wait("completed", |r| r["outcome"] == "completed");
    assert!(night.front.refused() > before, "the old token was refused");
    assert_eq!(report["pauses"].as_array().unwrap().len(), 0, "{report:#}");
}

#[test]
fn what_a_file_holds_is_taken_up_when_it_is_renewed() {
    let authority = Authority::new("the cluster's authority");
    let own = authority.sign("127.0.0.1", DAY);
    let clients = Authority::new("the clients' authority");
    let night = Night::with(&own, authority, Some(&clients));
    let put = |pair: &Pair| {
        night.write("client.key", &pair.key);
        night.write("client.crt", &pair.certificate);
    };
    put(&clients.sign("ann", Ends::Ago(Duration::from_secs(60))));
    night.user(json!({"client-certificate": "client.crt", "client-key": "client.key"}));
    let told = night.diagnosis();
    assert!(told.contains("credentials refused") && told.contains("it has expired"), "{told}");
    put(&clients.sign("ann", DAY));
    night.lets_in();
    put(&Authority::new("somebody else").sign("ann", DAY));
    let told = night.diagnosis();
    assert!(told.contains("credentials refused") && told.contains("client's certificate"), "{told}");
}

#[test]
fn an_untrusted_certificate_is_named_at_once_and_as_such() {
    let authority = || Authority::new("the cluster's authority");
    let stranger = Authority::new("a stranger");
    type Sign = fn(&Authority, &Authority) -> Pair;
    let cases: [(Sign, &str, &str); 3] = [
        (|_, stranger| stranger.sign("127.0.0.1", DAY), "its issuer is unknown", "certificate-authority"),
        (|own, _| own.sign("127.0.0.1", Ends::Ago(Duration::from_secs(60))), "it has expired", "renew it"),
        (|own, _| own.sign("api.example", DAY), "it is for another name", "tls-server-name"),
    ];
    for (sign, why, mend) in cases {
        let authority = authority();
        let own = sign(&authority, &stranger);
        let night = Night::with(&own, authority, None);
        night.front.accept(&["s3cret"]);
        night.user(json!({"token": "s3cret"}));
        let begun = Instant::now();
        let told = night.diagnosis();
        let took = begun.elapsed();
        assert!(told.contains("the API server's certificate is not trusted") && told.contains(why), "{told}");
        assert!(told.contains(mend) && !told.contains("does not answer"), "{told}");
        // The first question's own limit is 10 s: it did not take a second one, nor that long.
        assert!(took < Duration::from_secs(8), "{took:?}");
        let error = night.lab.fails(1, &["plan", "--release", "1.36.2"]);
        assert!(error.contains("the API server's certificate is not trusted"), "{error}");
    }
}

#[test]
fn a_credential_that_ends_before_the_run_does_is_found_when_it_is_planned() {
    use base64::Engine;
    let night = Night::start();
    let jwt = |seconds: i64| {
        let exp = jiff::Timestamp::now().as_second() + seconds;
        let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(format!(r#"{{"exp":{exp}}}"#));
        format!("eyJhbGciOiJSUzI1NiJ9.{claims}.c2lnbmF0dXJl")
    };
    let found = |token: &str| {
        night.front.accept(&[token]);
        night.user(json!({"token": token}));
        let output = night.lab.sonoba(&["plan", "--release", "1.36.2", "--json"]);
        let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
        let findings = plan.pointer("/findings").or(plan.pointer("/plan/findings")).unwrap().as_array().unwrap();
        findings.iter().find(|f| f["code"] == "credentials-end").cloned()
    };
    // The estimate is of a real cluster's minutes.
    let short = found(&jwt(20)).expect("it ends before the estimate");
    let text = short["text"].as_str().unwrap();
    assert!(text.contains("the token of user \"ann\"") && text.contains("ends at"), "{short}");
    assert!(short["mend"].as_str().unwrap().contains("kubeconfig"), "{short}");
    assert_eq!(found(&jwt(30 * 86_400)), None);
    night.front.accept(&["opaque"]);
    assert_eq!(found("opaque"), None);
    let soon = jwt(20);
    night.front.accept(&[&soon]);
    night.user(json!({"token": soon}));
    let (_, told) = night.doctor();
    assert!(told.contains("note  the token of user \"ann\"") && told.contains("ends"), "{told}");
}
