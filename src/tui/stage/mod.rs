//! What is being staged: a form, each line of it checked as it is typed, and what the planner says of the whole. Nothing here
//! touches the cluster.

mod draft;
mod read;
#[cfg(test)]
mod tests;

pub use draft::{Draft, draft};
pub use read::build;

use super::acknowledge;
use super::app::App;
use super::command::Command;
use super::msg::Effect;
use crate::fleet::{Cluster, Component, Image};
use crate::journal::Tone;
use crate::plan::{self, Limits, Ramp};
use std::collections::{BTreeMap, BTreeSet};

/// Characters of a field.
const LONGEST: usize = 400;

/// The longest soak that can be staged: a day. Milliseconds.
const LONGEST_SOAK: u64 = 24 * 3_600_000;

/// A line of the form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    /// A release of the profile.
    Release(usize),
    /// What a component goes to.
    Bump(Component),
    /// Only these nodes, beside those that are marked on the map.
    Nodes,
    /// Only these racks.
    Racks,
    /// Only these roles.
    Roles,
    /// Only nodes with these labels.
    Labels,
    /// Never these.
    Exclude,
    /// Whether nodes that are down are left out.
    LeaveOut,
    /// Workers that move before all others.
    First,
    /// Workers that move after all others.
    Last,
    /// The canary, or waves that grow.
    Waves,
    /// Swaps at once.
    MaxParallel,
    /// Nodes of a rack at once.
    MaxUnavailable,
    /// Time to watch after each wave.
    Soak,
}

/// What is staged.
#[derive(Debug, Clone, PartialEq)]
pub struct Staged {
    /// The release that the bumps came from, where they did.
    pub release: Option<usize>,
    /// What each component goes to.
    pub bumps: BTreeMap<Component, Image>,
    /// What was typed into lines of text.
    pub texts: BTreeMap<Row, String>,
    /// How far and how fast.
    pub limits: Limits,
    /// Whether nodes that are down are left out; a plan that has such nodes in scope is refused otherwise.
    pub leave_out: bool,
    /// Findings whose offer is taken.
    pub accept: BTreeSet<String>,
    /// Findings that are taken as they are.
    pub acknowledged: BTreeSet<String>,
}

/// The form.
#[derive(Debug)]
pub struct StageView {
    /// What is staged.
    pub staged: Staged,
    /// The cursor's line.
    pub cursor: usize,
    /// The field that is being typed.
    pub edit: Option<Edit>,
    /// Whether the planner is at work on the plan to read.
    pub planning: bool,
    /// Whether the planner is at work on the draft.
    pub drafting: bool,
    /// What the planner said of the last draft.
    pub draft: Option<(plan::Stage, Draft)>,
    profile: Limits,
}

/// A field that is being typed. What can be read of it counts at once.
#[derive(Debug, PartialEq)]
pub struct Edit {
    /// The line.
    pub row: Row,
    /// What was typed so far.
    pub typed: String,
    /// Why that is none.
    pub wrong: Option<String>,
    before: Staged,
}

impl StageView {
    /// The newest release of the profile, everywhere, within the profile's limits.
    pub fn new(releases: &[plan::Release], limits: Limits) -> StageView {
        let release = releases.len().checked_sub(1);
        let staged = Staged {
            release,
            bumps: release.and_then(|i| releases.get(i)).map(|r| r.images.clone()).unwrap_or_default(),
            texts: BTreeMap::new(),
            limits: limits.clone(),
            leave_out: false,
            accept: BTreeSet::new(),
            acknowledged: BTreeSet::new(),
        };
        let cursor = release.unwrap_or(0);
        StageView { staged, cursor, edit: None, planning: false, drafting: false, draft: None, profile: limits }
    }

    /// What was typed into a line of text.
    pub fn text(&self, row: Row) -> &str {
        self.staged.texts.get(&row).map(String::as_str).unwrap_or_default()
    }

    /// Forgets what was asked of the planner: the cluster is another.
    pub fn forget_draft(&mut self) {
        self.draft = None;
    }
}

/// The lines of the form, in order.
pub fn rows(app: &App) -> Vec<Row> {
    let releases = (0..app.releases.len()).map(Row::Release);
    let bumps = Component::ALL.into_iter().map(Row::Bump);
    let scope = [Row::Nodes, Row::Racks, Row::Roles, Row::Labels, Row::Exclude, Row::LeaveOut];
    let order = [Row::Waves, Row::MaxParallel, Row::MaxUnavailable, Row::Soak, Row::First, Row::Last];
    releases.chain(bumps).chain(scope).chain(order).collect()
}

/// The line under the cursor.
pub fn here(app: &App) -> Option<Row> {
    rows(app).get(app.stage.cursor).copied()
}

/// Does a command of the form's; none when it is none.
pub fn command(app: &mut App, command: Command) -> Option<Vec<Effect>> {
    match command {
        Command::More => adjust(app, 1),
        Command::Less => adjust(app, -1),
        Command::Choose => choose(app),
        Command::Unstage => unstage(app),
        Command::Edit => begin(app),
        Command::KeepField => {
            if app.stage.edit.as_ref().is_some_and(|edit| edit.wrong.is_none()) {
                app.stage.edit = None;
            }
        }
        Command::LeaveField => {
            if let Some(edit) = app.stage.edit.take() {
                app.stage.staged = edit.before;
            }
        }
        Command::MakePlan => return Some(make_plan(app)),
        Command::Accept => return Some(accept(app)),
        _ => return None,
    }
    Some(Vec::new())
}

/// Stages the release or component under the cursor, or turns a yes into a no.
fn choose(app: &mut App) {
    match here(app) {
        Some(Row::Release(i)) => stage_release(app, i),
        Some(Row::Bump(component)) => {
            if app.stage.staged.bumps.remove(&component).is_some() {
                return;
            }
            let release = app.stage.staged.release.and_then(|i| app.releases.get(i));
            match release.and_then(|r| r.images.get(&component)).cloned() {
                Some(image) => {
                    app.stage.staged.bumps.insert(component, image);
                }
                None => begin(app),
            }
        }
        Some(Row::LeaveOut) => app.stage.staged.leave_out = !app.stage.staged.leave_out,
        Some(_) => begin(app),
        None => {}
    }
}

fn stage_release(app: &mut App, i: usize) {
    if let Some(release) = app.releases.get(i) {
        app.stage.staged.release = Some(i);
        app.stage.staged.bumps = release.images.clone();
    }
}

/// Takes the line under the cursor back to nothing, a limit to the profile's.
fn unstage(app: &mut App) {
    let (profile, row) = (app.stage.profile.clone(), here(app));
    let staged = &mut app.stage.staged;
    match row {
        Some(Row::Release(_)) => (staged.release, staged.bumps) = (None, BTreeMap::new()),
        Some(Row::Bump(component)) => {
            staged.bumps.remove(&component);
        }
        Some(Row::LeaveOut) => staged.leave_out = false,
        Some(Row::Waves) => (staged.limits.canary, staged.limits.ramp) = (profile.canary, profile.ramp),
        Some(Row::MaxParallel) => staged.limits.max_parallel = profile.max_parallel,
        Some(Row::MaxUnavailable) => staged.limits.max_unavailable = profile.max_unavailable,
        Some(Row::Soak) => staged.limits.soak_ms = profile.soak_ms,
        Some(row) => {
            staged.texts.remove(&row);
        }
        None => {}
    }
}

fn begin(app: &mut App) {
    let Some(row) = here(app) else { return };
    let staged = &app.stage.staged;
    let limits = &staged.limits;
    let typed = match row {
        Row::Release(_) | Row::LeaveOut => {
            return app.say(Tone::Notice, "space chooses here; there is nothing to type");
        }
        Row::Bump(component) => staged.bumps.get(&component).map(|image| field_of(app, component, image)),
        Row::Waves => Some(limits.ramp.as_ref().map_or(limits.canary.to_string(), Ramp::to_string)),
        Row::MaxParallel => Some(limits.max_parallel.to_string()),
        Row::MaxUnavailable => Some(limits.max_unavailable.to_string()),
        Row::Soak => Some(format!("{}s", limits.soak_ms / 1000)),
        text => Some(app.stage.text(text).to_owned()),
    };
    let before = staged.clone();
    app.stage.edit = Some(Edit { row, typed: typed.unwrap_or_default(), wrong: None, before });
}

/// An image as a field shows it: its tag, where the component runs an image of that name.
fn field_of(app: &App, component: Component, image: &Image) -> String {
    let runs = |cluster: &Cluster| plan::image_for(component, image.short(), cluster).is_ok_and(|same| same == *image);
    match &app.sight.cluster {
        Some(cluster) if runs(cluster) => image.short().to_owned(),
        _ => image.to_string(),
    }
}

/// Types a character into the field.
pub fn type_in(app: &mut App, c: char) {
    if let Some(edit) = app.stage.edit.as_mut().filter(|edit| edit.typed.chars().count() < LONGEST) {
        edit.typed.push(c);
        read::read(app);
    }
}

/// Takes characters of the field away: the last one, or all.
pub fn erase(app: &mut App, all: bool) {
    if let Some(edit) = &mut app.stage.edit {
        if all {
            edit.typed.clear();
        }
        edit.typed.pop();
        read::read(app);
    }
}

/// Changes the number under the cursor.
fn adjust(app: &mut App, by: isize) {
    let row = here(app);
    let staged = &mut app.stage.staged;
    let limits = &mut staged.limits;
    let count = |n: usize| n.saturating_add_signed(by).clamp(1, 10_000);
    match row {
        Some(Row::Waves) if limits.ramp.is_none() => limits.canary = count(limits.canary),
        Some(Row::MaxParallel) => limits.max_parallel = count(limits.max_parallel),
        Some(Row::MaxUnavailable) => limits.max_unavailable = count(limits.max_unavailable),
        Some(Row::LeaveOut) => staged.leave_out = by > 0,
        Some(Row::Soak) => {
            let step = if limits.soak_ms < 60_000 || (by < 0 && limits.soak_ms == 60_000) { 5_000 } else { 30_000 };
            let ms = if by < 0 { limits.soak_ms.saturating_sub(step) } else { limits.soak_ms.saturating_add(step) };
            limits.soak_ms = ms.min(LONGEST_SOAK);
        }
        _ => app.say(Tone::Notice, "choose a number with the arrows first; e edits a text, space chooses"),
    }
}

/// A line's name.
pub fn title(row: Row) -> &'static str {
    match row {
        Row::Release(_) => "release",
        Row::Bump(component) => component.as_str(),
        Row::Nodes => "nodes",
        Row::Racks => "racks",
        Row::Roles => "roles",
        Row::Labels => "labels",
        Row::Exclude => "exclude",
        Row::LeaveOut => "leave out",
        Row::First => "first",
        Row::Last => "last",
        Row::Waves => "canary, waves",
        Row::MaxParallel => "max parallel",
        Row::MaxUnavailable => "max unavailable",
        Row::Soak => "soak",
    }
}

fn make_plan(app: &mut App) -> Vec<Effect> {
    // The release under the cursor is the one that is meant.
    if let Some(Row::Release(i)) =
        here(app).filter(|row| *row != Row::Release(app.stage.staged.release.unwrap_or(usize::MAX)))
        && app.screen == super::app::Screen::Stage
    {
        stage_release(app, i);
    }
    let Some(cluster) = app.sight.cluster.clone() else { return Vec::new() };
    match build(app, &cluster) {
        Ok(stage) => {
            app.stage.edit = None;
            app.stage.planning = true;
            vec![Effect::Plan(cluster, Box::new(stage))]
        }
        Err(why) => {
            app.say(Tone::Notice, why);
            Vec::new()
        }
    }
}

/// Takes the finding under the plan's cursor: its offer, or as it is; or takes that back. The plan is made anew, unless it is a
/// rollback's.
fn accept(app: &mut App) -> Vec<Effect> {
    if acknowledge::applies(app) {
        acknowledge::toggle(app);
        return Vec::new();
    }
    let Some(finding) = super::outline::finding(app) else { return Vec::new() };
    let (code, offered) = (finding.code.clone(), !finding.offer.is_empty());
    let staged = &mut app.stage.staged;
    let list = if offered { &mut staged.accept } else { &mut staged.acknowledged };
    if !list.remove(&code) {
        list.insert(code);
    }
    make_plan(app)
}
