//! Staging, the plan, and its confirmation: before anything moves.

use super::*;

/// The planner answers what it was asked.
fn drafted(app: &mut App, plan: &crate::plan::Plan) {
    let stage = crate::tui::stage::build(app, app.sight.cluster.as_ref().unwrap()).unwrap();
    update(app, Msg::Drafted(Box::new(stage), crate::tui::stage::Draft::of(plan)));
}

#[test]
fn stage() {
    at_each_size("stage", |size| {
        let mut app = plain(size);
        press(&mut app, "s");
        drafted(&mut app, &fixtures::plan());
        app
    });
    at_each_size("stage-refused", |size| {
        let mut app = plain(size);
        press(&mut app, " mjsGkkke9");
        drafted(&mut app, &fixtures::refused());
        app
    });
    at_each_size("stage-wrong", |size| {
        let mut app = plain(size);
        press(&mut app, "sjjjjjjjjjjerack9");
        app
    });
}

#[test]
fn stage_with_nodes_that_are_down() {
    at_each_size("stage-down", |size| {
        let mut app = plain(size);
        let mut cluster = fixtures::cluster();
        for down in ["rack3-cs4", "rack5-ss9"] {
            cluster.nodes.get_mut(&fixtures::name(down)).unwrap().ready = false;
        }
        update(&mut app, Msg::Observed(Ok(Box::new(cluster))));
        press(&mut app, "sG+");
        app
    });
}

#[test]
fn plan() {
    at_each_size("plan", |size| {
        let mut app = planned(size, fixtures::plan());
        press(&mut app, "Gljjl");
        press(&mut app, "j");
        app
    });
}

#[test]
fn plan_with_changed_arguments() {
    let mut plan = fixtures::plan();
    let node = fixtures::name("rack0-boot");
    let args = ["kubelet", "--log_dir", "/var/log", "--v=2"].map(str::to_owned).to_vec();
    let kubelet = crate::fleet::Component::Kubelet;
    plan.cluster.nodes.get_mut(&node).unwrap().components.get_mut(&kubelet).unwrap().args = args;
    let drop = crate::plan::ArgEdit::Drop { flag: "--log-dir".parse().unwrap() };
    for swap in plan.phases.iter_mut().flat_map(|p| &mut p.waves).flat_map(|w| &mut w.swaps).filter(|s| s.node == node)
    {
        swap.changes.iter_mut().filter(|c| c.component == kubelet).for_each(|c| c.args = vec![drop.clone()]);
    }
    let mut finding = plan.findings[0].clone();
    finding.code = "kube-apiserver-strict-ip-cidr".into();
    finding.text = "new or changed objects may no longer hold IPs with leading zeros".into();
    finding.link = "https://github.com/kubernetes/kubernetes/pull/137053".into();
    finding.nodes.clear();
    plan.notes = vec![finding];
    let known = crate::plan::catalogue::Known { first: "1.29".into(), last: "1.36".into() };
    plan.coverage =
        Some(crate::plan::catalogue::Coverage { gates: known.clone(), flags: known, outside: vec!["1.37".into()] });
    let mut app = planned((120, 36), plan);
    shows("plan-notes-120x36", picture(&app));
    press(&mut app, "ffjjjjjjj");
    while !picture(&app).contains("arguments of kubelet") {
        assert!(app.plan.as_ref().unwrap().cursor < 200);
        press(&mut app, "j");
        let view = app.plan.as_ref().unwrap();
        if matches!(crate::tui::outline::rows(view).get(view.cursor), Some(crate::tui::outline::Row::Wave(..))) {
            update(&mut app, Msg::Key(KeyEvent::from(KeyCode::Enter)));
        }
    }
    shows("plan-arguments-120x36", picture(&app));
}

#[test]
fn plan_refused() {
    at_each_size("plan-refused", |size| {
        let mut app = planned(size, fixtures::refused());
        press(&mut app, "a");
        app
    });
}

#[test]
fn plan_with_a_gate_of_ones_own() {
    at_each_size("plan-gate", |size| {
        let mut plan = fixtures::plan();
        for wave in &mut plan.phases[6].waves {
            wave.gates.insert(1, own_gate());
        }
        let mut app = planned(size, plan);
        press(&mut app, "Glj");
        app
    });
}

#[test]
fn confirm() {
    at_each_size("confirm", |size| {
        let mut app = planned(size, fixtures::plan());
        press(&mut app, "atokyo1");
        update(&mut app, Msg::Key(KeyEvent::from(KeyCode::Enter)));
        app
    });
}
