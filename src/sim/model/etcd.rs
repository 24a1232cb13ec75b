//! The etcd cluster as `etcdctl` in a member's container sees and changes it.
//!
//! Words, exit codes and shapes as etcd 3.6's etcdctl has them (etcdctl/ctlv3/command in etcd's source): 128 for a command
//! that cannot be meant, 1 for one that failed.

use super::World;
use super::container::Health;
use super::draw::digest;
use super::exec::{Ran, SIZE, TAKES};
use super::machine::Refusal;
use crate::fleet::Component;
use crate::sim::scenario::FaultKind;
use serde_json::{Value, json};

/// etcdctl gives up after this when it is not told how long it may take, but for a snapshot. Milliseconds.
const COMMAND_TIMEOUT_MS: i64 = 5_000;
/// A program that does not end by itself.
const FOR_EVER: i64 = i64::MAX / 4;

/// A call of etcdctl, taken apart.
struct Call<'a> {
    words: Vec<&'a str>,
    endpoints: Vec<&'a str>,
    json: bool,
    timeout_ms: Option<i64>,
    whole_cluster: bool,
}

impl<'a> Call<'a> {
    fn read(argv: &'a [String]) -> Call<'a> {
        const SWITCHES: [&str; 4] = ["--cluster", "--hex", "--debug", "--insecure-skip-tls-verify"];
        let mut call =
            Call { words: Vec::new(), endpoints: Vec::new(), json: false, timeout_ms: None, whole_cluster: false };
        let mut all = argv.iter().skip(1).map(String::as_str);
        while let Some(word) = all.next() {
            if !word.starts_with('-') {
                call.words.push(word);
                continue;
            }
            let (flag, value) = match word.split_once('=') {
                Some((flag, value)) => (flag, value),
                None if SWITCHES.contains(&word) => (word, ""),
                None => (word, all.next().unwrap_or_default()),
            };
            match flag {
                "--endpoints" => call.endpoints = value.split(',').collect(),
                "-w" | "--write-out" => call.json = value == "json",
                "--command-timeout" => call.timeout_ms = milliseconds(value),
                "--cluster" => call.whole_cluster = true,
                _ => {}
            }
        }
        if call.endpoints.is_empty() {
            call.endpoints.push("127.0.0.1:2379");
        }
        call
    }
}

/// A duration as Go writes it, as far as a whole number and one unit.
fn milliseconds(text: &str) -> Option<i64> {
    let unit = text.find(|c: char| !c.is_ascii_digit())?;
    let number: i64 = text[..unit].parse().ok()?;
    match &text[unit..] {
        "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        _ => None,
    }
}

fn failed(code: i64, why: &str, takes_ms: i64) -> Ran {
    Ran { code, out: String::new(), err: format!("Error: {why}\n"), takes_ms }
}

impl World {
    /// Runs a program that was made ready in a container; etcdctl sees the whole cluster.
    ///
    /// # Errors
    /// As [`super::Machine::start_exec`].
    pub fn start_exec(&mut self, node: usize, id: &str, now: i64) -> Result<Ran, Refusal> {
        self.on(node, now);
        let argv = self.machines[node].exec(id).filter(|e| e.ran.is_none()).map(|e| e.argv.clone()).unwrap_or_default();
        let in_etcd = self.machines[node].exec_in(id) == Some(Component::Etcd);
        let known = in_etcd && argv.first().is_some_and(|program| program == "etcdctl");
        match known.then(|| self.etcdctl(node, &argv, now)).flatten() {
            Some(ran) => self.machines[node].end_exec(id, ran, now),
            None => self.machines[node].start_exec(id, now),
        }
    }

    /// What etcdctl says; none for what a member does alone.
    fn etcdctl(&mut self, node: usize, argv: &[String], now: i64) -> Option<Ran> {
        let call = Call::read(argv);
        let snapshot = call.words.first() == Some(&"snapshot");
        if self.faults.on(FaultKind::RefusesClients, node, Some(Component::Etcd), now).is_some() {
            // It tries again for ever, and says so on each try; only a timeout ends it.
            let bound = if snapshot { call.timeout_ms } else { call.timeout_ms.or(Some(COMMAND_TIMEOUT_MS)) };
            let mut ran = failed(1, "context deadline exceeded", bound.unwrap_or(FOR_EVER));
            ran.err.insert_str(
                0,
                "{\"level\":\"warn\",\"logger\":\"etcd-client\",\"caller\":\"v3/retry_interceptor.go:65\",\"msg\":\"retrying of unary \
                 invoker failed\",\"attempt\":0,\"error\":\"rpc error: code = DeadlineExceeded desc = latest balancer error: last \
                 connection error: connection error: desc = \\\"transport: authentication handshake failed: remote error: tls: \
                 bad certificate\\\"\"}\n",
            );
            return Some(ran);
        }
        if snapshot {
            return None;
        }
        let late = failed(1, "context deadline exceeded", call.timeout_ms.unwrap_or(COMMAND_TIMEOUT_MS));
        let mut asked = Vec::new();
        let all = if call.whole_cluster {
            (0..self.scenario.masters).map(|m| self.endpoint(m)).collect()
        } else {
            Vec::new()
        };
        let named: Vec<String> = call.endpoints.iter().map(|e| (*e).to_owned()).collect();
        for endpoint in if call.whole_cluster { all } else { named } {
            match self.member_at(node, &endpoint).filter(|m| self.takes_clients(*m, Component::Etcd, now)) {
                Some(member) => asked.push((endpoint, member)),
                None => return Some(late),
            }
        }
        Some(match call.words[..] {
            ["move-leader", target] => self.move_leader(&asked, target, &call, now),
            ["move-leader", ..] => failed(128, "move-leader command needs 1 argument", TAKES),
            ["member", "list"] if !self.quorum(now) => late,
            ["member", "list"] => self.member_list(asked.first().map_or(node, |(_, member)| *member), call.json),
            ["endpoint", "status"] => self.endpoint_status(&asked, call.json, now),
            ["endpoint", "health"] if !self.quorum(now) => failed(1, "unhealthy cluster", TAKES),
            ["endpoint", "health"] => said(
                asked
                    .iter()
                    .map(|(e, _)| format!("{e} is healthy: successfully committed proposal: took = 3.1ms\n"))
                    .collect(),
            ),
            _ => return None,
        })
    }

    fn endpoint(&self, member: usize) -> String {
        format!("https://{}:2379", self.machines[member].spec.address)
    }

    /// The member at an endpoint, as seen from a node.
    fn member_at(&self, node: usize, endpoint: &str) -> Option<usize> {
        let place = endpoint.strip_prefix("https://").or(endpoint.strip_prefix("http://")).unwrap_or(endpoint);
        let host = place.strip_suffix(":2379")?;
        match host {
            "127.0.0.1" | "localhost" => Some(node),
            host => (0..self.scenario.masters).find(|m| self.machines[*m].spec.address.to_string() == host),
        }
    }

    /// The member's own number.
    pub fn etcd_member_id(&self, member: usize) -> u64 {
        u64::from_str_radix(&digest(&["etcd member", self.machines[member].spec.name.as_str()])[..16], 16).unwrap_or(1)
    }

    fn header(&self, member: usize) -> Value {
        let cluster = u64::from_str_radix(&digest(&["etcd cluster", self.scenario.name.as_str()])[..16], 16);
        json!({
            "cluster_id": cluster.unwrap_or(1), "member_id": self.etcd_member_id(member),
            "raft_term": 2 + self.etcd_leader().transitions,
        })
    }

    fn member_list(&self, asked: usize, as_json: bool) -> Ran {
        let members = 0..self.scenario.masters;
        if as_json {
            let members: Vec<Value> = members
                .map(|m| {
                    let address = self.machines[m].spec.address;
                    json!({
                        "ID": self.etcd_member_id(m), "name": address.to_string(),
                        "peerURLs": [format!("https://{address}:2380")], "clientURLs": [self.endpoint(m)],
                    })
                })
                .collect();
            return said(format!("{}\n", json!({"header": self.header(asked), "members": members})));
        }
        said(
            members
                .map(|m| {
                    let (id, address) = (self.etcd_member_id(m), self.machines[m].spec.address);
                    format!("{id:x}, started, {address}, https://{address}:2380, {}, false\n", self.endpoint(m))
                })
                .collect(),
        )
    }

    fn endpoint_status(&self, asked: &[(String, usize)], as_json: bool, now: i64) -> Ran {
        let leader = self.etcd_leader().holder;
        let mut all = Vec::new();
        let mut text = String::new();
        for (endpoint, member) in asked {
            let version = match self.machines[*member].health(Component::Etcd, now) {
                Health::Well(version) => version,
                _ => String::new(),
            };
            let (committed, applied) = self.etcd_log(*member, now);
            let term = 2 + self.etcd_leader().transitions;
            let mut header = self.header(*member);
            header["revision"] = json!(applied);
            all.push(json!({"Endpoint": endpoint, "Status": {
                "header": header, "version": version, "dbSize": SIZE.0, "leader": self.etcd_member_id(leader),
                "raftIndex": committed, "raftTerm": term, "raftAppliedIndex": applied, "dbSizeInUse": SIZE.0,
            }}));
            text += &format!(
                "{endpoint}, {:x}, {version}, {} MB, {}, false, {term}, {committed}, {applied}, \n",
                self.etcd_member_id(*member),
                SIZE.0 >> 20,
                *member == leader,
            );
        }
        said(if as_json { format!("{}\n", json!(all)) } else { text })
    }

    fn move_leader(&mut self, asked: &[(String, usize)], target: &str, call: &Call<'_>, now: i64) -> Ran {
        let Ok(target_id) = u64::from_str_radix(target, 16) else {
            let why = format!("strconv.ParseUint: parsing {:?}: invalid syntax", crate::fleet::clean(target));
            return failed(128, &why, TAKES);
        };
        let leader = self.etcd_leader().holder;
        if !asked.iter().any(|(_, member)| *member == leader) {
            let given: Vec<&str> = asked.iter().map(|(endpoint, _)| endpoint.as_str()).collect();
            return failed(128, &format!("no leader endpoint given at [{}]", given.join(" ")), TAKES);
        }
        let Some(next) = (0..self.scenario.masters).find(|m| self.etcd_member_id(*m) == target_id) else {
            return failed(1, "etcdserver: bad leader transferee", TAKES);
        };
        self.on(next, now);
        let well = matches!(self.machines[next].health(Component::Etcd, now), Health::Well(_));
        let (committed, applied) = self.etcd_log(next, now);
        if !well || applied < committed {
            let patience = call.timeout_ms.unwrap_or(COMMAND_TIMEOUT_MS);
            return failed(1, "etcdserver: request timed out", patience);
        }
        self.lead_etcd(next, now);
        said(format!("Leadership transferred from {:x} to {target_id:x}\n", self.etcd_member_id(leader)))
    }
}

fn said(out: String) -> Ran {
    Ran { out, ..Ran::default() }
}
