//! Credentials that change, end, and are refused, against a real HTTP server on loopback.

use super::ending::pem;
use crate::k8s::fake::FakeApi;
use crate::k8s::patience::Patience;
use crate::k8s::{ClusterError, ClusterPort, KubeCluster};
use crate::plan::CredentialFacts;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

const PATIENCE: Patience =
    Patience { total: Duration::from_secs(5), request: Duration::from_secs(2), plugin: Duration::from_millis(1_500) };

/// A kubeconfig of its own for the server.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Files {
        Files(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, text: &str) {
        std::fs::write(self.path("new"), text).unwrap();
        std::fs::rename(self.path("new"), self.path(name)).unwrap();
    }

    fn kubeconfig(&self, server: &str, user: &Value) {
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "ann"}}],
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "users": [{"name": "ann", "user": user}],
        });
        self.put("kubeconfig", &text.to_string());
    }

    /// A plugin that answers what stands in the file `answer`, after this.
    fn plugin(&self, first: &str) -> Value {
        let script = format!("#!/bin/sh\necho >> {0}/asked\n{first}\ncat {0}/answer\n", self.0.path().display());
        self.put("plugin", &script);
        std::fs::set_permissions(self.path("plugin"), PermissionsExt::from_mode(0o755)).unwrap();
        json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "./plugin"}})
    }

    fn answer(&self, status: &Value) {
        let answer =
            json!({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status});
        self.put("answer", &answer.to_string());
    }

    fn asked(&self) -> usize {
        std::fs::read_to_string(self.path("asked")).unwrap_or_default().lines().count()
    }

    async fn connect(&self) -> Result<KubeCluster, ClusterError> {
        KubeCluster::connect_with(&self.path("kubeconfig"), None, PATIENCE).await
    }
}

/// Asks until it is answered.
async fn answered(cluster: &KubeCluster) {
    let ask = async {
        while cluster.leader("x").await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ask).await.expect("it is let in again");
}

async fn refused(cluster: &KubeCluster) -> String {
    match cluster.leader("x").await {
        Err(ClusterError::Credentials(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_refused_token_is_a_matter_of_credentials_until_the_kubeconfig_has_a_new_one() {
    let (api, files) = (FakeApi::start().await, Files::new());
    files.kubeconfig(&api.server(), &json!({"token": "first"}));
    api.expect("first");
    let cluster = files.connect().await.unwrap();
    answered(&cluster).await;
    api.expect("second");
    let why = refused(&cluster).await;
    assert!(why.contains("credentials refused") && why.contains("401") && why.contains("kubeconfig"), "{why}");
    assert!(!why.contains("first"), "{why}");
    // Half of a new one is none, and what there was stays.
    files.put("kubeconfig", "apiVersion: v1\nusers:\n- name: ann\n  user: {token: second");
    assert!(refused(&cluster).await.contains("credentials refused"));
    files.kubeconfig(&api.server(), &json!({"token": "second"}));
    answered(&cluster).await;
}

#[tokio::test]
async fn a_token_file_is_read_again_when_it_changes_before_the_old_token_is_refused() {
    let (api, files) = (FakeApi::start().await, Files::new());
    files.put("token", "first\n");
    files.kubeconfig(&api.server(), &json!({"tokenFile": "token"}));
    let cluster = files.connect().await.unwrap();
    files.put("token", "second\n");
    let taken_up = async {
        while api.count("Bearer second") == 0 {
            let _ = cluster.leader("x").await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), taken_up).await.expect("the new token is sent");
}

#[tokio::test]
async fn a_run_stays_with_its_server_and_its_context_whatever_becomes_current() {
    let (api, other, files) = (FakeApi::start().await, FakeApi::start().await, Files::new());
    files.kubeconfig(&api.server(), &json!({"token": "first"}));
    api.expect("first");
    let cluster = files.connect().await.unwrap();
    answered(&cluster).await;
    files.kubeconfig(&other.server(), &json!({"token": "second"}));
    api.expect("second");
    let why = cluster.renew_credentials().await.unwrap_err();
    let named = matches!(&why, ClusterError::Credentials(why) if why.contains("names another API server now"));
    assert!(named, "{why}");
    assert!(refused(&cluster).await.contains("names another API server now"));
    assert_eq!(other.count(""), 0, "nobody asked the other one");
    files.kubeconfig(&api.server(), &json!({"token": "second"}));
    answered(&cluster).await;
}

#[tokio::test]
async fn a_plugin_is_asked_again_before_what_it_issued_ends_and_not_for_each_request() {
    let (api, files) = (FakeApi::start().await, Files::new());
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(30);
    files.answer(&json!({"token": "first\n", "expirationTimestamp": soon.to_string()}));
    files.kubeconfig(&api.server(), &files.plugin(""));
    let cluster = files.connect().await.unwrap();
    assert_eq!(files.asked(), 1);
    files.answer(&json!({"token": "second"}));
    let renewed = async {
        while api.count("Bearer second") == 0 {
            answered(&cluster).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), renewed).await.expect("the plugin is asked again");
    for _ in 0..5 {
        answered(&cluster).await;
    }
    assert_eq!(files.asked(), 2);
    assert_eq!(cluster.credentials(), [], "what a plugin renews ends nothing");
}

#[tokio::test]
async fn a_plugin_that_hangs_fails_or_talks_nonsense_is_named_without_its_words() {
    let (api, files) = (FakeApi::start().await, Files::new());
    let token = json!({"token": "s3cret"});
    for (first, answer, why) in [
        ("sleep 1000", &token, "did not end within 1.5 s and was killed"),
        ("echo s3cret >&2; exit 3", &token, "failed (exit status: 3)"),
        ("echo s3cret: [; exit 0", &token, "answered no ExecCredential"),
        ("yes s3cret", &token, "does not end to talk"),
        ("", &json!({}), "issued neither a token nor a certificate"),
        ("", &json!({"clientCertificateData": "x"}), "a certificate without its key"),
        ("", &json!({"token": "a", "expirationTimestamp": "soon"}), "not a time"),
    ] {
        files.answer(answer);
        files.kubeconfig(&api.server(), &files.plugin(first));
        let error = files.connect().await.err().unwrap();
        assert!(matches!(&error, ClusterError::Credentials(text) if text.contains(why)), "{first}: {error}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
    let mut always = files.plugin("");
    always["exec"]["interactiveMode"] = json!("Always");
    files.kubeconfig(&api.server(), &always);
    assert!(files.connect().await.err().unwrap().to_string().contains("runs go on unattended"));
    // What it leaves running does not hold us up, and lives.
    files.answer(&token);
    files.kubeconfig(&api.server(), &files.plugin("sleep 1000 & echo $! > \"$(dirname \"$0\")/left\""));
    files.connect().await.unwrap();
    let left: i32 = std::fs::read_to_string(files.path("left")).unwrap().trim().parse().unwrap();
    let left = rustix::process::Pid::from_raw(left).unwrap();
    rustix::process::kill_process(left, rustix::process::Signal::KILL).expect("it lives");
}

#[tokio::test]
async fn what_ends_is_told_with_its_place_and_what_renews_it() {
    let (api, files) = (FakeApi::start().await, Files::new());
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["ann".into()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2041, 2, 3);
    let certificate = pem("CERTIFICATE", params.self_signed(&key).unwrap().der());
    let key = pem("PRIVATE KEY", &key.serialize_der());
    let ends = |cluster: &KubeCluster| -> Vec<(String, String)> {
        cluster.credentials().into_iter().map(|CredentialFacts { what, until, .. }| (what, until.to_string())).collect()
    };
    let shown = |name: &str| files.path(name).display().to_string();
    files.put("a.crt", &certificate);
    files.put("a.key", &key);
    files.kubeconfig(&api.server(), &json!({"client-certificate": "a.crt", "client-key": "a.key"}));
    let what = format!("the client certificate of user \"ann\" in {}", shown("a.crt"));
    assert_eq!(ends(&files.connect().await.unwrap()), [(what, "2041-02-03T00:00:00Z".to_owned())]);
    let inline = json!({
        "client-certificate-data": STANDARD.encode(&certificate), "client-key-data": STANDARD.encode(&key),
    });
    files.kubeconfig(&api.server(), &inline);
    let what = format!("the client certificate of user \"ann\" in kubeconfig {}", shown("kubeconfig"));
    assert_eq!(ends(&files.connect().await.unwrap()), [(what, "2041-02-03T00:00:00Z".to_owned())]);
}

#[tokio::test]
async fn nodes_that_a_watch_still_tells_of_are_not_believed_while_credentials_are_refused() {
    let (api, files) = (FakeApi::start().await, Files::new());
    api.put("/api/v1/nodes", json!({"kind": "Node", "apiVersion": "v1", "metadata": {"name": "a"}}));
    files.kubeconfig(&api.server(), &json!({"token": "first"}));
    api.expect("first");
    let cluster = files.connect().await.unwrap();
    assert_eq!(cluster.nodes().await.unwrap().len(), 1);
    // The watch was begun before, and goes on.
    api.expect("second");
    refused(&cluster).await;
    let told = cluster.nodes().await;
    assert!(matches!(&told, Err(ClusterError::Credentials(_))), "{told:?}");
    files.kubeconfig(&api.server(), &json!({"token": "second"}));
    answered(&cluster).await;
    assert_eq!(cluster.nodes().await.unwrap().len(), 1);
}
