use super::*;
use crate::plan::{After, Bound, GateRule, Question, Target};

const FULL: &str = r#"
name = "tokyo0"
kubeconfig = "kube/config"
context = "admin"
[inventory]
rack_label = "example.com/rack"
[[inventory.node]]
name = "rack0-m1"
address = "10.69.0.4"
rack = "rack0"
master = true
[[inventory.node]]
name = "rack1-cs1"
address = "10.69.0.68"
port = 2222
user = "other"
role = "cs"
[ssh]
user = "cke"
identity = "~/.ssh/id_ed25519"
jump = "bastion2"
connect_timeout = "5s"
[[release]]
name = "1.36.2"
kubernetes = "ghcr.io/cybozu/kubernetes:1.36.2.1"
etcd = "ghcr.io/cybozu/etcd:3.6.11.1"
[rollout]
canary = 2
soak = "1m 30s"
[budget]
disturbed_pods = 4
[component.kubelet]
health = "http://127.0.0.1:10248/healthz"
deadline = "20s"
stop_timeout = "5s"
"#;

fn place() -> Place {
    Place { file: "/etc/sonoba/tokyo9.toml".into(), home: Some("/home/me".into()), user: Some("me".into()) }
}

fn read(text: &str) -> Result<Profile, ProfileError> {
    parse(text, &place())
}

/// What is wrong with `FULL` once `from` in it is `to`.
fn wrong(from: &str, to: &str) -> String {
    assert!(FULL.contains(from), "{from}");
    read(&FULL.replacen(from, to, 1)).unwrap_err().to_string()
}

/// `:LINE: ` of the line of `FULL` that begins so.
fn line(start: &str) -> String {
    let at = FULL.lines().position(|l| l.starts_with(start)).unwrap();
    format!(":{}: ", at + 1)
}

#[test]
fn a_full_profile_reads_as_written() {
    let profile = read(FULL).unwrap();
    assert_eq!(profile.name.as_str(), "tokyo0");
    assert_eq!(profile.kubeconfig, Path::new("/etc/sonoba/kube/config"));
    assert_eq!(profile.ssh.identity.as_deref(), Some(Path::new("/home/me/.ssh/id_ed25519")));
    assert_eq!(profile.ssh.known_hosts, Path::new("/home/me/.ssh/known_hosts"));
    assert_eq!(profile.ssh.connect_timeout, Duration::from_secs(5));
    assert_eq!((profile.ssh.port, profile.ssh.max_handshakes), (22, 32));
    assert_eq!(profile.rack_label, ["example.com/rack"]);
    assert_eq!((profile.limits.canary, profile.limits.soak_ms, profile.limits.max_parallel), (2, 90_000, 50));
    assert_eq!((profile.budget.disturbed_pods, profile.budget.failed_swaps), (4, 3));
    let kubelet = profile.settings.of(Component::Kubelet);
    assert_eq!((kubelet.deadline_ms, kubelet.stop_timeout_s), (20_000, 5));
    let etcd = profile.settings.of(Component::Etcd);
    assert_eq!((etcd.stop_timeout(true), etcd.stop_timeout(false)), (1, 10));
    let images = &profile.releases[0].images;
    assert_eq!(images.len(), 6, "five of Kubernetes and etcd; rivers stays");
    assert_eq!(images[&Component::KubeProxy].tag(), Some("1.36.2.1"));
    let entries = profile.entries().unwrap();
    let shown: Vec<_> = entries.iter().map(|e| (e.name.as_str(), e.port, e.user.as_deref(), e.master)).collect();
    assert_eq!(shown, [("rack0-m1", 22, None, true), ("rack1-cs1", 2222, Some("other"), false)]);
}

#[test]
fn defaults_fill_what_is_left_out() {
    let profile = read("[[inventory.node]]\nname = \"n1\"\n").unwrap();
    assert_eq!((profile.name.as_str(), profile.ssh.user.as_str()), ("tokyo9", "me"));
    assert_eq!(profile.kubeconfig, Path::new("/home/me/.kube/config"));
    assert_eq!(profile.entries().unwrap()[0].address, "n1");
    assert_eq!((profile.limits, profile.budget), (Limits::default(), Budget::default()));
    assert_eq!(profile.settings, Settings::default());
    assert_eq!(profile.rack_label, ["topology.kubernetes.io/zone", "cke.cybozu.com/rack"]);
}

#[test]
fn an_error_names_file_line_field_and_what_is_allowed() {
    let unknown = wrong("canary = 2", "canaries = 2");
    let start = format!("/etc/sonoba/tokyo9.toml{}unknown field `canaries`, expected one of", line("canary"));
    assert!(unknown.starts_with(&start), "{unknown}");
    assert!(unknown.contains("`max_unavailable`"), "{unknown}");
    let zero = wrong("canary = 2", "canary = 0");
    assert!(zero.contains(&line("canary")) && zero.contains("nonzero") && zero.contains("`canary = 0`"), "{zero}");
    let time = wrong("\"5s\"\n[[release", "\"5 parsecs\"\n[[release");
    assert!(
        time.contains(&line("connect_timeout"))
            && time.contains("for instance 60s")
            && time.contains("connect_timeout"),
        "{time}"
    );
    let component = wrong("[component.kubelet]", "[component.kublet]");
    assert!(component.contains(&line("[component")) && component.contains("kube-scheduler"), "{component}");
    let image = wrong("etcd = \"ghcr.io/cybozu/etcd:3.6.11.1\"", "etcd = \"GHCR.io/Cybozu/etcd\"");
    assert!(image.contains(&line("etcd")) && image.contains("lower-case"), "{image}");
    let home = wrong("~/.ssh/id", "~root/.ssh/id");
    assert!(home.contains(&line("identity")) && home.contains("one's own home"), "{home}");
    let syntax = wrong("canary = 2", "canary =");
    assert!(syntax.contains(&line("canary")), "{syntax}");
}

#[test]
fn waves_grow_where_the_profile_says_so() {
    let grown = FULL.replace("canary = 2", "waves = [1, \"1/rack\", \"100%\"]");
    let limits = read(&grown).unwrap().limits;
    assert_eq!(limits.ramp.unwrap().to_string(), "1,1/rack,100%");
    let both = wrong("canary = 2", "canary = 2\nwaves = [1]");
    assert!(both.contains(&line("canary")) && both.contains("not both"), "{both}");
    let odd = wrong("canary = 2", "waves = [1, \"50%\"]");
    assert!(odd.contains(&line("canary")) && odd.contains("must be 100%"), "{odd}");
    let hardware = wrong("[inventory]", "[inventory]\nhardware_labels = [\"a b\"]");
    assert!(hardware.contains("not a label's key"), "{hardware}");
}

#[test]
fn what_would_do_harm_is_refused() {
    let twice = wrong("\"rack1-cs1\"", "\"rack0-m1\"");
    assert!(twice.contains(":12: ") && twice.contains("listed twice"), "{twice}");
    let address = wrong("10.69.0.68\"\nport = 2222", "10.69.0.4\"");
    assert!(address.contains("rack1-cs1 has the address of rack0-m1"), "{address}");
    let grace = wrong("deadline = \"20s\"", "deadline = \"35s\"");
    assert!(grace.contains(&line("[component")) && grace.contains("grace period (40 s)"), "{grace}");
    let both = wrong("[inventory]", "[inventory]\ncke = \"cluster.yml\"");
    assert!(both.contains("not both"), "{both}");
    let none = read("[inventory]\n").unwrap_err().to_string();
    assert!(none.contains("no nodes"), "{none}");
    let shell = wrong("\"10.69.0.4\"", "\"-oProxyCommand=reboot\"");
    assert!(shell.contains("not an address"), "{shell}");
    let container = wrong("health = \"http", "container = \"etcd\"\nhealth = \"http");
    assert!(container.contains("same container"), "{container}");
    let fraction = wrong("stop_timeout = \"5s\"", "stop_timeout = \"1500ms\"");
    assert!(fraction.contains("whole seconds"), "{fraction}");
    let release = wrong("[rollout]", "[[release]]\nname = \"1.36.2\"\nrivers = \"r:1.0.0\"\n[rollout]");
    assert!(release.contains("listed twice"), "{release}");
}

const GATES: &str = r#"
[[gate]]
name = "ceph"
after = ["canary", "rack"]
command = ["./ceph-health", "--quiet"]
timeout = "20m"
interval = "5s"
limit = "10s"
[[gate]]
name = "page"
after = ["control-plane"]
http = "https://ceph.example/health"
status = 204
ca = "ca.pem"
header_file = "~/token"
[[gate]]
name = "prom"
prometheus = "https://prom.example"
query = "ceph_health_status"
max = 0
"#;

#[test]
fn gates_read_as_written_with_defaults_for_the_rest() {
    let gates = read(&format!("{FULL}{GATES}")).unwrap().settings.gates;
    let [ceph, page, prom] = gates.as_slice() else { panic!("{gates:?}") };
    assert_eq!((&ceph.after, &prom.after), (&After::workers(), &After::workers()));
    assert_eq!(page.after, BTreeSet::from([After::ControlPlane]));
    let times = |g: &GateRule| (g.gate.timeout_ms, g.gate.interval_ms, g.gate.limit_ms);
    assert_eq!((times(ceph), times(prom)), ((1_200_000, 5_000, 10_000), (600_000, 10_000, 30_000)));
    let argv = ["/etc/sonoba/ceph-health", "--quiet"].map(String::from).to_vec();
    assert_eq!(ceph.gate.question, Question::Command { argv, exit: 0 });
    let url = |text: &str| text.parse().unwrap();
    let (ca, header_file) = (Some("/etc/sonoba/ca.pem".into()), Some("/home/me/token".into()));
    let target = Target { url: url("https://ceph.example/health"), ca, header_file };
    assert_eq!(page.gate.question, Question::Http { target, status: 204 });
    let target = Target { url: url("https://prom.example"), ca: None, header_file: None };
    let (min, max) = (None, Some(Bound::try_from(0.0).unwrap()));
    assert_eq!(prom.gate.question, Question::Prometheus { target, query: "ceph_health_status".into(), min, max });
    assert_eq!(read(FULL).unwrap().limits.gate_timeout_ms, 1_800_000);
}

#[test]
fn a_gate_that_could_not_be_meant_so_is_refused_with_its_line() {
    let wrong = |from: &str, to: &str, at: &str| {
        assert!(GATES.contains(from), "{from}");
        let text = format!("{FULL}{}", GATES.replacen(from, to, 1));
        let error = read(&text).unwrap_err().to_string();
        let named = |(i, line): (usize, &str)| line == at && error.contains(&format!("tokyo9.toml:{}: ", i + 1));
        assert!(text.lines().enumerate().any(named), "{at}: {error}");
        error
    };
    let twice = wrong("\"page\"", "\"ceph\"", "[[gate]]");
    assert!(twice.contains("gate ceph: it is listed twice"), "{twice}");
    let head = wrong("http = \"https://ceph.example/health\"\n", "", "[[gate]]");
    assert!(head.contains("gate page: give one of command, http and prometheus"), "{head}");
    let two = wrong("status = 204", "command = [\"true\"]", "http = \"https://ceph.example/health\"");
    assert!(two.contains("only one of"), "{two}");
    let other = wrong("timeout = \"20m\"", "query = \"up\"", "query = \"up\"");
    assert!(other.contains("query does not go with command"), "{other}");
    let status = wrong("max = 0", "max = 0\nstatus = 200", "status = 200");
    assert!(status.contains("status does not go with prometheus"), "{status}");
    let exit = wrong("status = 204", "exit = 1", "exit = 1");
    assert!(exit.contains("exit does not go with http"), "{exit}");
    let field = wrong("max = 0", "maximum = 0", "maximum = 0");
    assert!(field.contains("unknown field `maximum`"), "{field}");
    let bound = wrong("max = 0", "max = nan", "max = nan");
    assert!(bound.contains("finite"), "{bound}");
    let none = wrong("after = [\"control-plane\"]", "after = []", "after = []");
    assert!(none.contains("names no wave"), "{none}");
    let wave = wrong("\"control-plane\"", "\"masters\"", "after = [\"masters\"]");
    assert!(wave.contains("control-plane"), "{wave}");
    let name = wrong("\"ceph\"", "\"ceph health\"", "name = \"ceph health\"");
    assert!(name.contains("gate name"), "{name}");
    let plain = wrong("https://ceph.example", "http://ceph.example", "[[gate]]");
    assert!(plain.contains("header_file needs an https URL"), "{plain}");
    let secret = wrong(
        "https://ceph.example",
        "https://me:geheim@ceph.example",
        "http = \"https://me:geheim@ceph.example/health\"",
    );
    assert!(secret.contains("user or password"), "{secret}");
    let unbound = wrong("max = 0\n", "", "[[gate]]");
    assert!(unbound.contains("min or max"), "{unbound}");
    let quick = wrong("interval = \"5s\"", "interval = \"50ms\"", "[[gate]]");
    assert!(quick.contains("interval must be 1s or longer"), "{quick}");
    let zero = read(&FULL.replacen("canary = 2", "gate_timeout = \"0s\"", 1)).unwrap_err().to_string();
    assert!(zero.contains("gate_timeout must be longer"), "{zero}");
}

#[test]
fn a_copy_means_the_same_elsewhere() {
    let profile = read(FULL).unwrap();
    let elsewhere = Place { file: "/run/x/profile.toml".into(), home: Some("/root".into()), user: None };
    let copy = parse(&profile.to_toml(), &elsewhere).unwrap();
    assert_eq!(Profile { document: profile.document.clone(), ..copy }, profile);
    let gates = read(&format!("{FULL}{GATES}")).unwrap();
    let copy = parse(&gates.to_toml(), &elsewhere).unwrap();
    assert_eq!(Profile { document: gates.document.clone(), ..copy }, gates);
    let cke = read("[inventory]\ncke = \"../cluster.yml\"\n").unwrap();
    let copy = parse(&cke.to_toml(), &elsewhere).unwrap();
    assert_eq!(Profile { document: cke.document.clone(), ..copy }, cke);
}

#[test]
fn files_are_read_from_where_the_profile_stands() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("osaka1.toml");
    std::fs::write(&file, "[inventory]\ncke = \"cluster.yml\"\n[ssh]\nuser = \"cke\"\nport = 2200\n").unwrap();
    let profile = Profile::load(&file).unwrap();
    let missing = profile.entries().unwrap_err().to_string();
    assert!(missing.contains("cluster.yml: cannot be read"), "{missing}");
    std::fs::write(dir.path().join("cluster.yml"), "nodes: [{address: 10.0.0.1, control_plane: true}]").unwrap();
    let entries = profile.entries().unwrap();
    assert_eq!((entries[0].name.as_str(), entries[0].port, entries[0].master), ("10.0.0.1", 2200, true));
    assert!(
        Profile::load(&dir.path().join("none.toml")).unwrap_err().to_string().contains("none.toml: cannot be read")
    );
    assert!(Profile::load(dir.path()).is_err(), "a folder is no profile");
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "(\\[inventory\\]\n)?(\\PC|\n|=|\"|\\[){0,200}", at in 0_usize..1_300, put in "\\PC{0,4}") {
        // Free text seldom gets far; a valid profile with a few characters changed gets everywhere.
        let full = format!("{FULL}{GATES}");
        let at = at.min(full.len());
        let changed = format!("{}{put}{}", &full[..at], &full[(at + put.len()).min(full.len())..]);
        for text in [text, changed] {
            if let Err(error) = read(&text) {
                proptest::prop_assert!(!error.to_string().chars().any(char::is_control));
            }
        }
    }
}

#[test]
fn the_snapshot_of_etcd_can_be_changed_and_switched_off() {
    let with = |text: &str| read(&FULL.replace("[budget]", &format!("[etcd]\n{text}\n[budget]")));
    assert_eq!(read(FULL).unwrap().settings.etcd, crate::plan::EtcdSettings::default());
    let off = with("snapshot = false").unwrap();
    assert!(!off.settings.etcd.snapshot);
    let own = with("snapshot_dir = \"/backup\"\netcdctl = [\"/opt/etcdctl\", \"--debug\"]").unwrap();
    assert_eq!(own.settings.etcd.snapshot_dir.as_ref().map(crate::plan::InnerPath::as_str), Some("/backup"));
    assert_eq!(Vec::from(own.settings.etcd.etcdctl.clone()), ["/opt/etcdctl", "--debug"]);
    assert_eq!(parse(&own.to_toml(), &place()).unwrap().settings, own.settings);
    for (bad, why) in
        [("snapshot_dir = \"backup\"", "absolute"), ("etcdctl = []", "etcdctl"), ("snapshots = true", "snapshot")]
    {
        let error = with(bad).unwrap_err().to_string();
        assert!(error.contains(":31: ") && error.contains(why), "{error}");
    }
}

#[test]
fn where_clients_knock_and_how_long_they_have_to_leave_can_be_said() {
    let with = |table: &str| read(&format!("{FULL}\n{table}"));
    let etcd = with("[component.etcd]\nclient = \"tls://127.0.0.1:2379\"\nstop_timeout = \"20s\"").unwrap();
    let etcd = etcd.settings.of(Component::Etcd);
    assert_eq!(etcd.client.as_ref().map(ToString::to_string).as_deref(), Some("tls://127.0.0.1:2379"));
    assert_eq!(
        (etcd.stop_timeout(true), etcd.stop_timeout(false)),
        (20, 20),
        "the operator's word counts in every case"
    );
    let api = with("[component.kube-apiserver]\nleave = \"500ms\"").unwrap();
    assert_eq!(api.settings.of(Component::KubeApiserver).leave_ms, 500);
    for (bad, why) in [
        ("[component.etcd]\nleave = \"1s\"", "kube-apiserver alone"),
        ("[component.kube-apiserver]\nleave = \"2m\"", "not be longer than 60s"),
        ("[component.etcd]\nclient = \"tls://127.0.0.1:2379/x\"", "take no path"),
    ] {
        let error = with(bad).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}
