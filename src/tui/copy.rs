//! What can be taken along: the thing under the cursor, and a command line that does what the screen does.

use super::app::{App, Screen};
use super::map::Zoom;
use super::stage::{self, Row};
use super::{events, history, outline};
use crate::fleet::fold_names;

/// The thing under the cursor, as text: a name, an error, a report.
pub fn thing(app: &App) -> Option<String> {
    match app.screen {
        Screen::Topology if !app.map.marked.is_empty() && app.map.zoom == Zoom::Fleet => {
            Some(fold_names(app.map.marked.iter().map(|n| n.as_str())))
        }
        Screen::Topology => app.selected.as_ref().map(ToString::to_string),
        Screen::Stage => {
            let row = stage::here(app)?;
            match row {
                Row::Release(i) => app.releases.get(i).map(|r| r.name.clone()),
                Row::Bump(component) => app.stage.staged.bumps.get(&component).map(ToString::to_string),
                row => Some(app.stage.text(row).to_owned()).filter(|text| !text.is_empty()),
            }
        }
        Screen::Plan => outline::finding(app).map(|f| match f.mend.as_str() {
            "" => f.text.clone(),
            mend => format!("{}; {mend}", f.text),
        }),
        Screen::Confirm => app.plan.as_ref().map(|view| view.plan.cluster.name.to_string()),
        Screen::Run => {
            let view = app.run.as_ref()?;
            let of = view.cursor.as_ref().map(|node| {
                let whys = view.run.swaps_of(node).filter(|s| !s.why.is_empty());
                let whys: Vec<&str> = whys.map(|s| s.why.as_str()).collect();
                if whys.is_empty() { node.to_string() } else { format!("{node}: {}", whys.join("; ")) }
            });
            of.or_else(|| (!view.run.why.is_empty()).then(|| view.run.why.clone()))
        }
        Screen::Report => {
            let view = app.run.as_ref()?;
            Some(crate::journal::report(&view.run, crate::journal::Chain::Ok).to_markdown())
        }
        Screen::Events => events::here(app).map(|line| match &line.node {
            Some(node) => format!("{} {node} {}", line.at.strftime("%H:%M:%S"), line.text),
            None => format!("{} {}", line.at.strftime("%H:%M:%S"), line.text),
        }),
        Screen::History => history::here(app).map(crate::journal::Report::to_markdown),
    }
}

/// A command line that does the same as the screen.
pub fn command_line(app: &App) -> Option<String> {
    let run = || app.run.as_ref().map(|view| view.id.to_string());
    match app.screen {
        Screen::Topology => Some("sonoba".into()),
        Screen::Stage | Screen::Plan | Screen::Confirm => {
            let back = app.plan.as_ref().and_then(|view| view.plan.rollback_of.clone());
            match back.filter(|_| app.screen != Screen::Stage) {
                Some(of) => {
                    let taken = app.plan.iter().flat_map(|view| &view.acknowledged);
                    let flags: String = taken.map(|code| format!(" --acknowledge {code}")).collect();
                    Some(format!("sonoba rollback {of}{flags}"))
                }
                None => Some(plan_line(app)),
            }
        }
        Screen::Run | Screen::Events => run().map(|id| format!("sonoba watch {id}")),
        Screen::Report => run().map(|id| format!("sonoba report {id} --format md")),
        Screen::History => match history::here(app) {
            Some(report) => Some(format!("sonoba report {} --format md", report.run)),
            None => Some("sonoba runs".into()),
        },
    }
}

/// The `sonoba plan` that stages the same.
fn plan_line(app: &App) -> String {
    let staged = &app.stage.staged;
    let mut words = vec!["sonoba plan".to_owned()];
    let release = staged.release.and_then(|i| app.releases.get(i));
    // What the release has and nothing else is said by its name; the rest, and what it lacks, bump by bump.
    let whole = release.filter(|r| r.images.keys().all(|c| staged.bumps.contains_key(c)));
    words.extend(whole.map(|r| format!("--release {}", r.name)));
    for (component, to) in &staged.bumps {
        if whole.and_then(|r| r.images.get(component)) != Some(to) {
            words.push(format!("--bump {component}={to}"));
        }
    }
    let marked = fold_names(app.map.marked.iter().map(|n| n.as_str())).replace(' ', ",");
    let nodes = [marked.as_str(), app.stage.text(Row::Nodes)].into_iter().filter(|text| !text.is_empty());
    let nodes = nodes.collect::<Vec<_>>().join(",");
    let mut flag = |name: &str, value: &str| {
        if !value.is_empty() {
            words.push(format!("{name} '{value}'"));
        }
    };
    flag("--nodes", &nodes);
    flag("--racks", app.stage.text(Row::Racks));
    flag("--role", app.stage.text(Row::Roles));
    app.stage.text(Row::Labels).split([',', ' ']).for_each(|label| flag("--label", label));
    flag("--exclude", app.stage.text(Row::Exclude));
    flag("--first", app.stage.text(Row::First));
    flag("--last", app.stage.text(Row::Last));
    staged.accept.iter().for_each(|code| flag("--accept", code));
    staged.acknowledged.iter().for_each(|code| flag("--acknowledge", code));
    let limits = &staged.limits;
    match &limits.ramp {
        Some(ramp) => words.push(format!("--waves {ramp}")),
        None => words.push(format!("--canary {}", limits.canary)),
    }
    words.push(format!("--max-parallel {}", limits.max_parallel));
    words.push(format!("--max-unavailable {}", limits.max_unavailable));
    words.push(format!("--soak {}s", limits.soak_ms / 1000));
    words.extend(staged.leave_out.then(|| "--exclude-unreachable".to_owned()));
    words.push("-o plan.json".into());
    words.join(" ")
}
