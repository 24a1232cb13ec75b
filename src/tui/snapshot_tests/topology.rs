//! The cluster's map: near and far, its layers and filters.

use super::*;

#[test]
fn topology() {
    at_each_size("topology", plain);
}

#[test]
fn topology_with_broken_nodes() {
    at_each_size("topology-broken", |size| {
        let mut app = plain(size);
        let mut cluster = fixtures::cluster();
        let mut node = |n: &str| {
            cluster.nodes.get_mut(&fixtures::name(n)).map(|n| (n.ready, n.reachable) = (false, Some(n.master)))
        };
        node("rack3-cs4");
        node("rack2-boot");
        update(&mut app, Msg::Observed(Ok(Box::new(cluster))));
        press(&mut app, "jjjjjjlll");
        app
    });
}

#[test]
fn topology_in_a_run() {
    at_each_size("topology-run", |size| {
        let mut app = midway(size);
        app.screen = Screen::Topology;
        app.selected = Some(fixtures::name("rack2-cs2"));
        app
    });
}

#[test]
fn topology_of_a_rack() {
    at_each_size("topology-rack", |size| {
        let mut app = midway(size);
        app.screen = Screen::Topology;
        app.selected = Some(fixtures::name("rack2-cs2"));
        update(&mut app, Msg::Key(KeyEvent::from(KeyCode::Enter)));
        app
    });
}

#[test]
fn topology_of_a_node() {
    at_each_size("topology-node", |size| {
        let mut app = midway(size);
        app.screen = Screen::Topology;
        app.selected = Some(fixtures::name("rack2-cs2"));
        update(&mut app, Msg::Key(KeyEvent::from(KeyCode::Enter)));
        let effects = update(&mut app, Msg::Key(KeyEvent::from(KeyCode::Enter)));
        assert_eq!(effects, [crate::tui::msg::Effect::Near(fixtures::name("rack2-cs2"))]);
        let pod = |i: usize| crate::fleet::PodProof {
            pod: format!("app-mysql/moco-{i}"),
            uid: i.to_string(),
            ended: i == 2,
            ready: i == 0,
            ready_since: None,
            containers: vec![crate::fleet::ContainerProof {
                name: "mysqld".into(),
                id: "containerd://1".into(),
                restarts: i as i32,
                started_at: Some(fixtures::start()),
                ..Default::default()
            }],
            ..Default::default()
        };
        let condition = |kind: &str, holds, reason: &str| crate::fleet::Condition {
            kind: kind.into(),
            holds,
            reason: reason.into(),
            message: String::new(),
            since: Some(fixtures::start()),
        };
        let conditions = vec![
            condition("Ready", Some(true), "KubeletReady"),
            condition("DiskPressure", Some(true), "KubeletHasDiskPressure"),
            condition("PIDPressure", None, "NodeStatusUnknown"),
        ];
        let near = crate::tui::backend::Near { conditions, pods: (0..3).map(pod).collect() };
        update(&mut app, Msg::Near(fixtures::name("rack2-cs2"), Ok(near)));
        app
    });
}

#[test]
fn topology_with_a_filter_and_marks() {
    at_each_size("topology-filter", |size| {
        let mut app = midway(size);
        app.screen = Screen::Topology;
        app.selected = Some(fixtures::name("rack2-cs2"));
        press(&mut app, "/rack=2,3 version<1.36");
        update(&mut app, Msg::Key(KeyEvent::from(KeyCode::Enter)));
        press(&mut app, "n v");
        app
    });
    let mut app = midway((80, 24));
    app.screen = Screen::Topology;
    press(&mut app, "/rack=2 state=sad");
    shows("topology-filter-wrong-80x24", picture(&app));
}

#[test]
fn layers() {
    let mut pictures = String::new();
    for key in ["2", "3", "4", "5"] {
        let mut app = midway((80, 24));
        app.screen = Screen::Topology;
        press(&mut app, key);
        pictures += &picture(&app);
    }
    shows("layers-80x24", pictures);
}
