//! `sonoba doctor`: what is wrong with this setup, line by line.

use super::args::Global;
use super::failure::Failure;
use super::setup::Setup;
use super::{gone, places, runs, say};
use crate::engine;
use crate::fleet::{NodeName, count, fold_names};
use crate::inventory::NodeEntry;
use crate::k8s::ClusterPort;
use crate::plan::CredentialFacts;
use crate::remote::{Fleet, NodeError};
use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;

/// What ends sooner than this is told of.
const SOON: SignedDuration = SignedDuration::from_hours(24);
/// Nodes looked at at once.
const WIDTH: usize = 64;
/// Nodes told of one by one; the rest is counted.
const WORST: usize = 8;

/// Prints one line a check.
#[derive(Default)]
struct Findings {
    bad: usize,
}

impl Findings {
    fn good(&self, text: impl std::fmt::Display) {
        say::out(format!("ok    {text}"));
    }

    fn note(&self, text: impl std::fmt::Display) {
        say::out(format!("note  {text}"));
    }

    fn bad(&mut self, text: impl std::fmt::Display) {
        self.bad += 1;
        say::out(format!("BAD   {text}"));
    }
}

pub(super) async fn run(global: &Global) -> Result<(), Failure> {
    let mut found = Findings::default();
    match places::state_dir(global) {
        Ok(dir) => found.good(format!("run folders: {}", dir.display())),
        Err(failure) => found.bad(failure.text),
    }
    if let Some(setup) = profile(global, &mut found) {
        left_behind(global, &setup, &mut found).await;
        check(&setup, &mut found).await;
    }
    match found.bad {
        0 => Ok(()),
        n => Err(Failure::failed(format!("{} above to fix", count(n, "finding", "findings")))),
    }
}

fn profile(global: &Global, found: &mut Findings) -> Option<Setup> {
    match Setup::load(global) {
        Ok(setup) => {
            found.good(format!("profile: {}, cluster {}", setup.path.display(), setup.profile.name));
            match setup.profile.releases.len() {
                0 => found.note("the profile has no [[release]]: only `plan --bump` can stage something"),
                n => found.good(format!("releases: {n}")),
            }
            Some(setup)
        }
        Err(failure) => {
            found.bad(failure.text);
            None
        }
    }
}

async fn check(setup: &Setup, found: &mut Findings) {
    let entries = match setup.profile.entries() {
        Ok(entries) => {
            found.good(format!(
                "inventory: {} nodes, {} masters",
                entries.len(),
                entries.iter().filter(|e| e.master).count()
            ));
            entries
        }
        Err(error) => return found.bad(error),
    };
    let known_hosts = &setup.profile.ssh.known_hosts;
    match std::fs::metadata(known_hosts) {
        Ok(_) => found.good(format!("known hosts: {}", known_hosts.display())),
        Err(error) => found.bad(format!(
            "known hosts: {}: {error}; collect the keys with ssh-keyscan over a way that you trust",
            known_hosts.display()
        )),
    }
    match setup.cluster().await {
        Ok(cluster) => {
            api(cluster.as_ref(), &entries, found).await;
            ending(&cluster.credentials(), found);
        }
        Err(failure) => found.bad(failure.text),
    }
    match setup.fleet() {
        Ok(fleet) => {
            nodes(fleet.as_ref(), setup, &entries, found).await;
            ending(&fleet.credentials(), found);
        }
        Err(failure) => found.bad(failure.text),
    }
    endpoints(setup, found).await;
    gates(setup, found).await;
}

/// The cluster's newest run: whether it was left behind by its engine, and what it left undone. What a run before it left is
/// older news than that run.
async fn left_behind(global: &Global, setup: &Setup, found: &mut Findings) {
    let newest = match runs::of_cluster(global, &setup.profile.name) {
        Ok(runs) => runs.into_iter().find(engine::RunDir::begun),
        // That there is no state folder is said already.
        Err(_) => return,
    };
    let Some(run) = newest else { return };
    let id = run.id();
    let (folded, chain) = match runs::fold(&run) {
        Ok(read) => read,
        Err(failure) => return found.bad(format!("run {id}: {}", failure.text)),
    };
    if let Err(failure) = runs::refuse_broken(&format!("run {id}"), chain) {
        found.bad(failure.text);
    }
    let report = runs::report_of(&run, &folded, chain).await;
    let notes = gone::notes(&run, &report);
    if notes.is_empty() {
        found.good(format!("latest run: {id}, {}", report.standing()));
    }
    for note in notes {
        found.bad(format!("latest run: {id}: {note}"));
    }
}

/// API servers that answer and that no client inside the cluster is sent to: what an engine leaves that was killed in the middle
/// of one's swap.
async fn endpoints(setup: &Setup, found: &mut Findings) {
    let Ok(ports) = setup.ports().await else { return };
    match engine::missing_endpoints(&setup.profile, &ports).await {
        Err(error) => found.note(format!("Endpoints default/kubernetes cannot be compared: {error}")),
        Ok((_, 0)) => {}
        Ok((missing, compared)) if missing.is_empty() => {
            found.good(format!("Endpoints default/kubernetes: {compared} API servers that sonoba has to keep there are there"));
        }
        Ok((missing, _)) => missing.iter().for_each(|server| {
            found.bad(format!(
                "API server {} ({}) answers and is not in the default/kubernetes Endpoints and EndpointSlices, so no pod \
                 reaches it there; where a run took it out, `sonoba resume RUN` puts it back; else: kubectl -n default edit \
                 endpoints kubernetes",
                server.node, server.address
            ));
        }),
    }
}

/// The operator's own gates, asked once: one that does not hold now is no fault of the setup, but worth knowing.
async fn gates(setup: &Setup, found: &mut Findings) {
    let asker = setup.asker();
    let asked = setup
        .profile
        .settings
        .gates
        .iter()
        .map(|rule| async { (&rule.gate.name, asker.ask(&rule.gate, &std::env::temp_dir()).await) });
    for (name, answer) in futures::future::join_all(asked).await {
        match answer {
            Ok(()) => found.good(format!("gate {name}: it holds")),
            Err(why) => found.note(format!("gate {name} does not hold: {why}")),
        }
    }
}

/// What lets us in and ends soon: a night's run may be longer than it.
fn ending(credentials: &[CredentialFacts], found: &mut Findings) {
    let now = Timestamp::now();
    for CredentialFacts { what, until, mend } in credentials {
        if *until <= now {
            found.bad(format!("{what} has ended at {until:.0}; {mend}"));
        } else if *until <= now + SOON {
            found.note(format!("{what} ends at {until:.0}; {mend}"));
        } else {
            found.good(format!("{what}: good until {until:.0}"));
        }
    }
}

/// The cluster's API, its rights, and whether it and the inventory speak of the same nodes.
async fn api(cluster: &dyn ClusterPort, entries: &[NodeEntry], found: &mut Findings) {
    let views = match cluster.nodes().await {
        Ok(views) => views,
        Err(error) => return found.bad(format!("cluster API: {error}")),
    };
    let ready = views.iter().filter(|v| v.ready).count();
    found.good(format!("cluster API: {ready} of {} nodes Ready", views.len()));
    let there: BTreeSet<&NodeName> = views.iter().map(|v| &v.name).collect();
    let listed: BTreeSet<&NodeName> = entries.iter().map(|e| &e.name).collect();
    let fold = |names: Vec<&&NodeName>| fold_names(names.iter().map(|n| n.as_str()));
    let unknown: Vec<_> = listed.difference(&there).collect();
    if !unknown.is_empty() {
        found.bad(format!(
            "in the inventory, not in the cluster: {}; correct their names, or take them out",
            fold(unknown)
        ));
    }
    let unlisted: Vec<_> = there.difference(&listed).collect();
    if !unlisted.is_empty() {
        found.note(format!("in the cluster, not in the inventory, so left alone: {}", fold(unlisted)));
    }
    if let Some(view) = views.first() {
        match cluster.pods(&view.name).await {
            Ok(pods) => found.good(format!("pods can be read ({} on {})", pods.len(), view.name)),
            Err(error) => found.bad(format!("pods: {error}")),
        }
    }
    match cluster.leader("kube-scheduler").await {
        Ok(Some(leader)) => found.good(format!("leases can be read (kube-scheduler: {leader})")),
        Ok(None) => found.note("the Lease kube-system/kube-scheduler has no holder: is a scheduler running?"),
        Err(error) => found.bad(format!("leases: {error}")),
    }
}

/// Every node over SSH: the host key is known, our key is accepted, Docker answers.
async fn nodes(fleet: &dyn Fleet, setup: &Setup, entries: &[NodeEntry], found: &mut Findings) {
    let containers: Vec<_> = setup.profile.settings.components.values().map(|s| s.container.clone()).collect();
    let looks = futures::stream::iter(entries).map(|entry| {
        let containers = &containers;
        async move {
            match fleet.node(&entry.name) {
                Some(node) => node.look(containers).await.map(|look| look.leftovers.len()),
                None => Err(NodeError::Failed(format!("{}: the inventory has no address for it", entry.name))),
            }
        }
    });
    let looks: Vec<_> = looks.buffered(WIDTH).collect().await;
    let (good, failed): (Vec<_>, Vec<_>) = looks.into_iter().partition(Result::is_ok);
    let text = format!(
        "nodes over SSH: {} of {} answer (host key known, key accepted, Docker answers)",
        good.len(),
        entries.len()
    );
    if failed.is_empty() {
        found.good(text)
    } else {
        found.bad(text)
    }
    let errors: Vec<String> = failed.into_iter().filter_map(|l| l.err()).map(|e| e.to_string()).collect();
    for error in errors.iter().take(WORST) {
        say::out(format!("        {error}"));
    }
    if errors.len() > WORST {
        say::out(format!("        and {} more", errors.len() - WORST));
    }
    let leftovers: usize = good.into_iter().flatten().sum();
    if leftovers > 0 {
        found.note(format!("{leftovers} left-over containers (*.sonoba-next, *.sonoba-prev); sonoba plan names them"));
    }
}
