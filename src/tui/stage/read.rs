//! Lines of the form, read as they are typed, and all of them together.

use super::{Edit, LONGEST_SOAK, Row, title};
use crate::fleet::{Cluster, Label, NodeName, RackName, RoleName};
use crate::plan::{self, Scope};
use crate::tui::app::App;
use jiff::SignedDuration;
use std::collections::BTreeSet;

/// The lines of text, as the command line's flags take them.
const TEXTS: [Row; 7] = [Row::Nodes, Row::Racks, Row::Roles, Row::Labels, Row::Exclude, Row::First, Row::Last];

/// Reads the field; what can be read counts at once.
pub fn read(app: &mut App) {
    let Some(Edit { row, typed, .. }) = &app.stage.edit else { return };
    let (row, typed) = (*row, typed.trim().to_owned());
    let wrong = set(app, row, &typed).err();
    if let Some(edit) = &mut app.stage.edit {
        edit.wrong = wrong;
    }
}

fn set(app: &mut App, row: Row, typed: &str) -> Result<(), String> {
    let number = |text: &str| -> Result<usize, String> {
        let n: usize = text.parse().map_err(|_| format!("{text:?} is no number"))?;
        if n == 0 { Err("with 0, nothing could ever happen".into()) } else { Ok(n.min(100_000)) }
    };
    match row {
        Row::Release(_) | Row::LeaveOut => {}
        Row::Bump(component) => {
            let cluster = app.sight.cluster.as_ref().ok_or("the cluster has not been seen")?;
            match typed {
                "" => app.stage.staged.bumps.remove(&component),
                to => {
                    let image = plan::image_for(component, to, cluster)?;
                    app.stage.staged.bumps.insert(component, image)
                }
            };
        }
        Row::Waves => {
            let limits = &mut app.stage.staged.limits;
            match typed.parse::<usize>() {
                Ok(_) => (limits.canary, limits.ramp) = (number(typed)?, None),
                Err(_) => limits.ramp = Some(typed.parse().map_err(|e| format!("{e}"))?),
            }
        }
        Row::MaxParallel => app.stage.staged.limits.max_parallel = number(typed)?,
        Row::MaxUnavailable => app.stage.staged.limits.max_unavailable = number(typed)?,
        Row::Soak => {
            let time: SignedDuration = typed.parse().map_err(|_| format!("{typed:?} is no time: write 90s, or 5m"))?;
            let ms = u64::try_from(time.as_millis()).map_err(|_| "a soak cannot be negative")?;
            app.stage.staged.limits.soak_ms = ms.min(LONGEST_SOAK);
        }
        text => {
            let cluster = app.sight.cluster.clone().ok_or("the cluster has not been seen")?;
            Selection::default().add(text, typed, &cluster)?;
            app.stage.staged.texts.insert(text, typed.to_owned());
            app.stage.staged.texts.retain(|_, text| !text.is_empty());
        }
    }
    Ok(())
}

/// What the lines of text mean.
#[derive(Default)]
struct Selection {
    scope: Scope,
    first: Vec<NodeName>,
    last: Vec<NodeName>,
}

impl Selection {
    fn add(&mut self, row: Row, text: &str, cluster: &Cluster) -> Result<(), String> {
        if text.is_empty() {
            return Ok(());
        }
        let nodes: BTreeSet<&NodeName> = cluster.nodes.keys().collect();
        match row {
            Row::Nodes => self.scope.nodes = plan::select("node", text, &nodes)?,
            Row::Exclude => self.scope.exclude = plan::select("node", text, &nodes)?,
            Row::Racks => {
                let racks: BTreeSet<&RackName> = cluster.nodes.values().map(|n| &n.rack).collect();
                self.scope.racks = plan::select("rack", text, &racks)?;
            }
            Row::Roles => {
                let roles: BTreeSet<&RoleName> = cluster.nodes.values().filter_map(|n| n.role.as_ref()).collect();
                self.scope.roles = plan::select("role", text, &roles)?;
            }
            Row::Labels => {
                for word in text.split([',', ' ']).filter(|word| !word.is_empty()) {
                    let label: Label = word.parse().map_err(|e| format!("{e}"))?;
                    plan::known_label(&label, cluster).map_err(|why| format!("{label}: {why}"))?;
                    self.scope.labels.insert(label);
                }
            }
            Row::First => self.first = plan::pins(text, cluster)?,
            Row::Last => self.last = plan::pins(text, cluster)?,
            _ => {}
        }
        Ok(())
    }
}

/// The stage as it stands, for the planner.
///
/// # Errors
/// What is missing, or which line cannot be read.
pub fn build(app: &App, cluster: &Cluster) -> Result<plan::Stage, String> {
    let staged = &app.stage.staged;
    if staged.bumps.is_empty() {
        return Err("nothing is staged: choose a release, or type a component's version".into());
    }
    let mut selection = Selection::default();
    for row in TEXTS {
        selection.add(row, app.stage.text(row), cluster).map_err(|why| format!("{}: {why}", title(row)))?;
    }
    let Selection { mut scope, first, last } = selection;
    // A node that is marked and gone stays in: the planner says that it is not there.
    let mut nodes: BTreeSet<NodeName> = app.map.marked.clone();
    nodes.extend(scope.nodes);
    scope.nodes = nodes.into_iter().collect();
    if staged.leave_out {
        let out: BTreeSet<NodeName> = scope.exclude.iter().cloned().chain(plan::unfit(cluster, &scope)).collect();
        scope.exclude = out.into_iter().collect();
    }
    Ok(plan::Stage {
        release: staged.release.and_then(|i| app.releases.get(i)).map(|r| r.name.clone()),
        bumps: staged.bumps.iter().map(|(c, to)| plan::Bump { component: *c, to: to.clone() }).collect(),
        scope,
        limits: staged.limits.clone(),
        budget: app.budget.clone(),
        first,
        last,
        way: app.releases.clone(),
        accept: staged.accept.iter().cloned().collect(),
        acknowledged: staged.acknowledged.iter().cloned().collect(),
    })
}
