//! What each door is meant for.

use sha2::{Digest, Sha256};

/// Samples that a door reads.
pub fn of(door: &str) -> Vec<Vec<u8>> {
    let texts: &[&str] = match door {
        "profile" => &[PROFILE],
        "cluster_yml" => &[CLUSTER_YML],
        "plan" => &[sonoba::fuzzing::PLAN],
        "journal" => return vec![journal(&"0".repeat(64))],
        "recording" => return vec![recording()],
        "known_hosts" => &[KNOWN_HOSTS],
        "control" => {
            &[r#"{"verb":"ping"}"#, r#"{"verb":"pause","by":"satoru@bastion1"}"#, r#"{"verb":"abort","by":""}"#]
        }
        "swap_state" => &[STATE, "sonoba-tx 1\nuptime 12\nfound no\nalive no\n.\n"],
        "image" => &["ghcr.io/cybozu/kubernetes:1.36.2.1", "127.0.0.1:5000/a/b:1", "etcd", "localhost/x:v1.2.3-rc.1"],
        "version" => &["1.36.2", "v1.36.2.1", "1.36.0-rc.1", "3.6.11+x"],
        "name" => &["rack0-cs1", "10.69.0.4", "a"],
        "check" => &["http://127.0.0.1:10248/healthz", "https://{address}:6443/readyz?x=1", "tcp://[::1]:16443"],
        "jump" => &["bastion2", "cke@bastion2:2222", "me@[fd00::1]:22"],
        "theme" => &[include_str!("../../examples/theme.toml"), include_str!("../../themes/dark.toml")],
        "keymap" => &[include_str!("../../examples/keymap.toml"), include_str!("../../keymaps/default.toml")],
        "settings" => &["theme = \"light\"\nkeymap = \"vim\"\nascii = true\nmouse = false\n", ""],
        other => panic!("no samples for {other}"),
    };
    texts.iter().map(|t| t.as_bytes().to_vec()).collect()
}

/// A plan and a journal that follows from it, as one file.
fn recording() -> Vec<u8> {
    let plan = sonoba::fuzzing::PLAN.as_bytes();
    let hash: String = Sha256::digest(plan).iter().map(|b| format!("{b:02x}")).collect();
    let head = r#"{"format":1,"run":"r1","cluster":"tokyo0","operator":"satoru","started":"2026-11-23T22:00:00Z"}"#;
    let zip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut tar = tar::Builder::new(zip);
    let members: [(&str, &[u8]); 3] =
        [("recording.json", head.as_bytes()), ("plan.json", plan), ("journal.jsonl", &journal(&hash))];
    for (name, content) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_cksum();
        tar.append_data(&mut header, name, content).expect("a member");
    }
    tar.into_inner().and_then(|zip| zip.finish()).expect("a recording")
}

/// Records with a chain that holds.
fn journal(first: &str) -> Vec<u8> {
    let events = [
        r#""event":"run-started","run":"r1","cluster":"tokyo0","operator":"satoru","host":"bastion1","version":"0.1.0""#,
        r#""event":"engine-started","pid":4242,"host":"bastion1","resumed":false"#,
        r#""event":"phase-begun","phase":1"#,
        r#""event":"wave-begun","phase":1,"wave":0"#,
        r#""event":"gate-waiting","gate":"nodes ready","why":"w1 is NotReady","ms":60000"#,
        r#""event":"pull-progress","node":"w1","image":"a/b:1","done":1,"total":18446744073709551615"#,
        r#""event":"pull-failed","node":"w1","image":"a/b:1","why":"no such \u001b[2Jimage""#,
        r#""event":"swap-preparing","swap":"s0001","node":"w1""#,
        r#""event":"swap-intended","swap":"s0001","node":"w1","tx":"r1.w1.s0001.1","deadline_ms":25000,"pods":[{"pod":"db/mysql-0","uid":"u1","ready":true,"containers":[{"name":"c","id":"containerd://1","restarts":0}]}]"#,
        r#""event":"swap-step","swap":"s0001","node":"w1","component":"kubelet","step":"stopping","uptime_ms":12"#,
        r#""event":"swap-healthy","swap":"s0001","node":"w1","component":"kubelet","downtime_ms":640"#,
        r#""event":"swap-verdict","swap":"s0001","node":"w1","verdict":"rollback","why":"x""#,
        r#""event":"pods-disturbed","swap":"s0001","node":"w1","pods":[{"pod":"db/mysql-0","kind":{"restarted":"c"}}]"#,
        r#""event":"swap-rolled-back","swap":"s0001","node":"w1","why":"x","pods_checked":30,"pods_undisturbed":29,"ms":900"#,
        r#""event":"swap-committed","swap":"s0001","node":"w1","pods_checked":30,"pods_undisturbed":30,"ms":900"#,
        r#""event":"cluster-seen","ready":1,"total":2,"lost":["w1"],"api":true"#,
        r#""event":"command","verb":"pause","by":"satoru@bastion1 (uid 1000)""#,
        r#""event":"paused","reason":"budget","why":"3 failed""#,
        r#""event":"run-ended","outcome":"failed","why":"x""#,
    ];
    let (mut out, mut prev) = (Vec::new(), first.to_owned());
    for (i, event) in events.iter().enumerate() {
        let line = format!(r#"{{"seq":{},"at":"2026-11-23T22:00:{i:02}Z","prev":"{prev}",{event}}}"#, i + 1);
        prev = Sha256::digest(line.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
    }
    out
}

const PROFILE: &str = r#"
name = "tokyo0"
kubeconfig = "~/.kube/config"
context = "x"
[inventory]
rack_label = "cke.cybozu.com/rack"
[[inventory.node]]
name = "rack0-cs1"
address = "10.69.0.4"
rack = "rack0"
role = "cs"
master = false
[ssh]
user = "cke"
port = 2222
known_hosts = "known_hosts"
jump = "cke@bastion2"
connect_timeout = "10s"
[[release]]
name = "1.36.2"
kubernetes = "ghcr.io/cybozu/kubernetes:1.36.2.1"
etcd = "ghcr.io/cybozu/etcd:3.6.11.1"
[rollout]
canary = 3
max_parallel = 50
soak = "60s"
[budget]
failed_swaps = 3
[component.kubelet]
health = "http://127.0.0.1:10248/healthz"
deadline = "25s"
"#;

const CLUSTER_YML: &str = r#"
name: tokyo0
service_subnet: 10.68.0.0/16
nodes:
  - address: 10.69.0.4
    user: cke
    control_plane: true
    labels: &labels
      topology.kubernetes.io/zone: rack0
      cke.cybozu.com/role: cs
    taints: [{key: x, effect: NoSchedule}]
  - address: 10.69.0.69
    hostname: rack3-ss1
    labels: *labels
options: {kubelet: {boot_taints: []}}
"#;

const STATE: &str = "sonoba-tx 1\nuptime 8123450\nfound yes\nalive yes\nstep 8120010 begun\nstep 8120010 stopping kubelet\n\
                     verdict commit\nend committed\nwhy the deadline passed without a verdict\n.\n";

/// The key that the door asks about stands in it, so that it reads without an error.
const KNOWN_HOSTS: &str = "# a comment\n\n[node1]:2222,node2 ssh-ed25519 \
    AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f x\n*.example.com,!bad.example.com ssh-ed25519 \
    AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n|1|MDEyMzQ1Njc4OTAxMjM0NTY3ODk=|MDEyMzQ1Njc4OTAxMjM0NTY3ODk= \
    ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n";
