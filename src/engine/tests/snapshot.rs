//! The snapshot of etcd before its first member moves.

use super::*;

/// How etcdctl is called.
const CTL: &str = "etcdctl --endpoints=http://127.0.0.1:2379";
const WHY: &str = "Error: context deadline exceeded";

/// A plan that moves etcd alone, and the node that its snapshot is taken on.
fn etcd_alone() -> (Plan, Lab, NodeName) {
    let world = world();
    let plan = plan(&world, &[Component::Etcd]);
    let node = plan.phases.iter().find_map(|p| p.snapshot.as_ref()).expect("a snapshot").node.clone();
    assert_ne!(Some(&node), world.lock().etcd_leader.as_ref());
    let lab = Lab::new(world, &plan);
    (plan, lab, node)
}

fn saved(lab: &Lab) -> usize {
    lab.world.lock().nodes.values().flat_map(|n| &n.programs).filter(|p| p.contains("snapshot save")).count()
}

fn names(lab: &Lab) -> Vec<&'static str> {
    let journal = read(&lab.run.journal()).unwrap();
    let name = |e: &Event| match e {
        Event::SnapshotBegun { .. } => Some("begun"),
        Event::SnapshotTaken(_) => Some("taken"),
        Event::SnapshotFailed { .. } => Some("failed"),
        Event::SwapPreparing { .. } => Some("swap"),
        _ => None,
    };
    journal.records.iter().filter_map(|r| name(&r.event)).collect()
}

#[tokio::test(start_paused = true)]
async fn one_is_taken_and_checked_before_the_first_member_moves() {
    let (_, lab, node) = etcd_alone();
    assert_eq!(ended(lab.engine()).await, Outcome::Completed);
    assert_eq!(names(&lab), ["begun", "taken", "swap", "swap", "swap"]);
    let run = lab.fold();
    let path = format!("/var/lib/etcd/sonoba-{}.db", lab.run.id());
    let programs = lab.world.lock().nodes[&node].programs.clone();
    assert_eq!(
        programs,
        [
            "df -P -k /var/lib/etcd".to_owned(),
            format!("{CTL} --dial-timeout=5s --command-timeout=10s endpoint status --write-out=json"),
            format!("{CTL} --dial-timeout=5s --command-timeout=60s snapshot save {path}"),
            format!("etcdutl snapshot status {path} --write-out=json"),
            format!("etcdctl snapshot status {path} --write-out=json"),
        ]
    );
    let report = report(&run, Chain::Ok);
    let told = report.snapshot.as_ref().expect("the report tells of it");
    assert_eq!((&told.node, told.path.as_str(), told.revision, told.keys), (&node, path.as_str(), 12, 15));
    assert_eq!((told.bytes, told.hash.as_str()), (20_480, "00359a97"));
    let page = report.to_markdown();
    assert!(page.contains("## Snapshot of etcd") && page.contains(&path.replace('_', "\\_")), "{page}");
    assert!(run.log.iter().any(|l| l.text.contains("snapshot of etcd") && l.text.contains("revision 12")));
}

#[tokio::test(start_paused = true)]
async fn without_one_no_member_moves_until_a_resume_brings_it() {
    let (_, lab, node) = etcd_alone();
    lab.world.edit(node.as_str(), |n| n.faults.snapshot_fails = Some(WHY));
    let engine = lab.engine();
    let run = lab.until("a pause", |r| matches!(r.state, RunState::Paused(_))).await;
    assert!(run.why.contains(WHY) && run.why.contains(node.as_str()), "{}", run.why);
    assert!(matches!(&run.snapshot, SnapshotState::Failed(why) if why.contains(WHY)));
    // Still broken: paused again, and no member was touched.
    lab.command(Verb::Resume).await;
    lab.until("a second pause", |r| r.pauses.len() == 2 && matches!(r.state, RunState::Paused(_))).await;
    assert!(lab.begun().values().all(|n| *n == 0));
    lab.world.edit(node.as_str(), |n| n.faults.snapshot_fails = None);
    lab.command(Verb::Resume).await;
    assert_eq!(ended(engine).await, Outcome::Completed);
    assert_eq!(names(&lab), ["begun", "failed", "begun", "failed", "begun", "taken", "swap", "swap", "swap"]);
    // Each try has its own file.
    assert!(lab.fold().snapshot.taken().unwrap().path.ends_with(".3.db"));
}

#[tokio::test(start_paused = true)]
async fn a_new_engine_takes_no_second_one_but_for_one_that_was_not_finished() {
    let (_, lab, node) = etcd_alone();
    lab.world.edit(node.as_str(), |n| n.faults.snapshot_takes = Duration::from_secs(20));
    let first = lab.engine();
    lab.until("a begun snapshot", |r| r.snapshot == SnapshotState::Taking).await;
    first.abort();
    let _ = first.await;
    let second = lab.engine();
    lab.until("a swap", |r| r.in_flight().next().is_some()).await;
    let before = saved(&lab);
    second.abort();
    let _ = second.await;
    assert_eq!(ended(lab.engine()).await, Outcome::Completed);
    assert_eq!((saved(&lab), names(&lab)[..3].to_vec()), (before, vec!["begun", "begun", "taken"]));
}

#[tokio::test(start_paused = true)]
async fn an_abort_does_not_wait_for_one() {
    let (_, lab, node) = etcd_alone();
    lab.world.edit(node.as_str(), |n| n.faults.snapshot_takes = Duration::from_secs(500));
    let engine = lab.engine();
    lab.until("a begun snapshot", |r| r.snapshot == SnapshotState::Taking).await;
    let now = Instant::now();
    lab.command(Verb::Abort).await;
    assert_eq!(ended(engine).await, Outcome::Aborted);
    assert!(now.elapsed() < Duration::from_secs(60), "{:?}", now.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_volume_without_room_is_not_filled() {
    let (_, lab, node) = etcd_alone();
    // etcd's database has 1 MB.
    lab.world.edit(node.as_str(), |n| n.faults.etcd_room = 1_500_000);
    let engine = lab.engine();
    let run = lab.until("a pause", |r| matches!(r.state, RunState::Paused(_))).await;
    assert!(run.why.contains("too little"), "{}", run.why);
    assert_eq!(saved(&lab), 0);
    lab.world.edit(node.as_str(), |n| n.faults.etcd_room = 2_500_000);
    lab.command(Verb::Resume).await;
    assert_eq!(ended(engine).await, Outcome::Completed);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_away_for_a_moment_is_waited_for() {
    let (_, lab, node) = etcd_alone();
    lab.world.edit(node.as_str(), |n| n.faults.snapshot_takes = Duration::from_secs(5));
    let engine = lab.engine();
    lab.until("a begun snapshot", |r| r.snapshot == SnapshotState::Taking).await;
    sleep(Duration::from_secs(2)).await;
    lab.world.edit(node.as_str(), |n| n.faults.cut_until = Some(Instant::now() + Duration::from_secs(8)));
    assert_eq!(ended(engine).await, Outcome::Completed);
    assert!(lab.fold().pauses.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_etcd_that_takes_no_certificate_keeps_nobody_waiting() {
    let (_, lab, node) = etcd_alone();
    lab.world.edit(node.as_str(), |n| n.faults.etcd_refuses = true);
    let begun = Instant::now();
    let _engine = lab.engine();
    let run = lab.until("a pause", |r| matches!(r.state, RunState::Paused(_))).await;
    assert!(run.why.contains("did not get through to etcd at 127.0.0.1:2379 within 10 s"), "{}", run.why);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(saved(&lab), 0, "nothing was begun that could be left behind");
}

#[tokio::test(start_paused = true)]
async fn what_an_abort_leaves_behind_is_said() {
    let (_, lab, node) = etcd_alone();
    lab.world.edit(node.as_str(), |n| n.faults.snapshot_takes = Duration::from_secs(500));
    let engine = lab.engine();
    lab.until("a begun save", |r| r.snapshot == SnapshotState::Taking).await;
    lab.command(Verb::Abort).await;
    assert_eq!(ended(engine).await, Outcome::Aborted);
    assert!(lab.fold().log.iter().any(|l| l.text.contains("etcdctl may still be saving")));
}
