//! What is being staged: a form, each line of it checked as it is typed, and what the planner says of the whole. Nothing here
//! touches the cluster.

use super::app::App;
use super::command::Command;
use super::msg::Effect;
use crate::fleet::{Cluster, Component, Image, Label, NodeName, RackName, RoleName};
use crate::journal::Tone;
use crate::plan::{self, Limits, Plan, Ramp, Scope, Severity};
use jiff::SignedDuration;
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

/// The lines of text, as the command line's flags take them.
const TEXTS: [Row; 7] = [Row::Nodes, Row::Racks, Row::Roles, Row::Labels, Row::Exclude, Row::First, Row::Last];

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

/// What the planner says of what is staged so far.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// What refuses the plan.
    pub errors: Vec<String>,
    /// What must be read before it is applied.
    pub warnings: Vec<String>,
    /// Nodes on which something restarts.
    pub nodes: usize,
    /// Swaps.
    pub swaps: usize,
    /// Restarts of each component.
    pub restarts: BTreeMap<Component, usize>,
    /// How long it takes as a rule, and where all goes slowly. Milliseconds.
    pub takes_ms: (u64, u64),
}

impl Draft {
    /// What there is to say of a plan.
    pub fn of(plan: &Plan) -> Draft {
        let of = |severity| plan.findings.iter().filter(move |f| f.severity == severity).map(|f| f.text.clone());
        let mut restarts = BTreeMap::new();
        for change in plan.swaps().flat_map(|(_, _, swap)| &swap.changes) {
            *restarts.entry(change.component).or_default() += 1;
        }
        Draft {
            errors: of(Severity::Error).collect(),
            warnings: of(Severity::Warning).collect(),
            nodes: plan.swaps().map(|(_, _, s)| &s.node).collect::<BTreeSet<_>>().len(),
            swaps: plan.swaps().count(),
            restarts,
            takes_ms: (plan.estimate.total_ms(), plan.estimate.slow_ms),
        }
    }
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
        read(app);
    }
}

/// Takes characters of the field away: the last one, or all.
pub fn erase(app: &mut App, all: bool) {
    if let Some(edit) = &mut app.stage.edit {
        if all {
            edit.typed.clear();
        }
        edit.typed.pop();
        read(app);
    }
}

/// Reads the field; what can be read counts at once.
fn read(app: &mut App) {
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

/// Takes the finding under the plan's cursor: its offer, or as it is; or takes that back. The plan is made anew.
fn accept(app: &mut App) -> Vec<Effect> {
    let Some(finding) = super::outline::finding(app) else { return Vec::new() };
    let (code, offered) = (finding.code.clone(), !finding.offer.is_empty());
    let staged = &mut app.stage.staged;
    let list = if offered { &mut staged.accept } else { &mut staged.acknowledged };
    if !list.remove(&code) {
        list.insert(code);
    }
    make_plan(app)
}

/// Asks the planner for a draft, where what is staged is not what it was asked last.
pub fn draft(app: &mut App) -> Option<Effect> {
    if app.screen != super::app::Screen::Stage || app.stage.drafting || app.stage.planning {
        return None;
    }
    let cluster = app.sight.cluster.clone()?;
    let stage = build(app, &cluster).ok()?;
    if app.stage.draft.as_ref().is_some_and(|(of, _)| *of == stage) {
        return None;
    }
    app.stage.drafting = true;
    Some(Effect::Draft(cluster, Box::new(stage)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::app::Screen;
    use crate::tui::fixtures;
    use crate::tui::msg::Msg;
    use crate::tui::update::update;
    use crossterm::event::{KeyCode, KeyEvent};

    fn opened() -> App {
        let mut app = fixtures::app((80, 24), Default::default());
        keys(&mut app, "s");
        app
    }

    fn keys(app: &mut App, text: &str) -> Vec<Effect> {
        text.chars().flat_map(|c| key(app, KeyCode::Char(c))).collect()
    }

    fn key(app: &mut App, code: KeyCode) -> Vec<Effect> {
        update(app, Msg::Key(KeyEvent::from(code)))
    }

    fn to(app: &mut App, row: Row) {
        app.stage.cursor = rows(app).iter().position(|r| *r == row).unwrap();
    }

    fn staged(app: &App) -> Result<plan::Stage, String> {
        build(app, app.sight.cluster.as_ref().unwrap())
    }

    #[test]
    fn several_bumps_are_staged_and_unstaged() {
        let mut app = opened();
        assert_eq!(staged(&app).unwrap().bumps.len(), 8);
        keys(&mut app, "x");
        assert!(staged(&app).unwrap_err().contains("nothing is staged"));
        assert!(key(&mut app, KeyCode::Char('\u{1}')).is_empty());
        to(&mut app, Row::Bump(Component::Kubelet));
        keys(&mut app, "e1.36.3.1");
        assert_eq!(app.stage.edit.as_ref().unwrap().wrong, None);
        key(&mut app, KeyCode::Enter);
        to(&mut app, Row::Bump(Component::Etcd));
        keys(&mut app, "equay.io/x/etcd:3.6.12");
        key(&mut app, KeyCode::Enter);
        let stage = staged(&app).unwrap();
        let bumps: Vec<String> = stage.bumps.iter().map(|b| format!("{} {}", b.component, b.to)).collect();
        assert_eq!(bumps, ["etcd quay.io/x/etcd:3.6.12", "kubelet ghcr.io/cybozu/kubernetes:1.36.3.1"]);
        assert_eq!(stage.release, None);
        keys(&mut app, " ");
        assert_eq!(staged(&app).unwrap().bumps.len(), 1, "space takes it out again");
    }

    #[test]
    fn a_field_is_checked_as_it_is_typed_and_escape_takes_it_back() {
        let mut app = opened();
        let wrong = |app: &App| app.stage.edit.as_ref().unwrap().wrong.clone().unwrap_or_default();
        to(&mut app, Row::Racks);
        keys(&mut app, "erack9");
        assert!(wrong(&app).contains("no rack \"rack9\""), "{}", wrong(&app));
        key(&mut app, KeyCode::Enter);
        assert!(app.stage.edit.is_some(), "what is wrong cannot be kept");
        key(&mut app, KeyCode::Backspace);
        keys(&mut app, "[1-2]");
        assert_eq!(wrong(&app), "");
        assert_eq!(staged(&app).unwrap().scope.racks.len(), 2, "it counts at once");
        key(&mut app, KeyCode::Esc);
        assert!(staged(&app).unwrap().scope.racks.is_empty());
        assert_eq!(app.screen, Screen::Stage);
        to(&mut app, Row::Waves);
        key(&mut app, KeyCode::Char('e'));
        update(&mut app, Msg::Key(KeyEvent::new(KeyCode::Char('u'), crossterm::event::KeyModifiers::CONTROL)));
        keys(&mut app, "1,1/rack,100%");
        key(&mut app, KeyCode::Enter);
        assert_eq!(staged(&app).unwrap().limits.ramp.unwrap().to_string(), "1,1/rack,100%");
        keys(&mut app, "x");
        assert_eq!(staged(&app).unwrap().limits.ramp, None, "the profile's");
        for (row, typed, why) in [
            (Row::Soak, "soon", "is no time"),
            (Row::MaxParallel, "0", "nothing could ever happen"),
            (Row::Labels, "disk=ssd", "no node has a label disk"),
            (Row::First, "rack0-boot", "only workers can be pinned"),
            (Row::Bump(Component::Kubelet), "1 2", "tag"),
        ] {
            to(&mut app, row);
            begin(&mut app);
            erase(&mut app, true);
            typed.chars().for_each(|c| type_in(&mut app, c));
            assert!(wrong(&app).contains(why), "{typed}: {}", wrong(&app));
            key(&mut app, KeyCode::Esc);
        }
    }

    #[test]
    fn the_planner_is_asked_once_for_each_change_and_its_answer_shown() {
        let mut app = fixtures::app((80, 24), Default::default());
        let effects = keys(&mut app, "s");
        assert!(matches!(effects.as_slice(), [Effect::Draft(..)]), "{effects:?}");
        assert!(keys(&mut app, "jjk").is_empty(), "one at a time, and none without a change");
        let stage = staged(&app).unwrap();
        let plan = fixtures::plan();
        let effects = update(&mut app, Msg::Drafted(Box::new(stage), Draft::of(&plan)));
        assert!(effects.is_empty());
        let draft = &app.stage.draft.as_ref().unwrap().1;
        assert_eq!((draft.nodes, draft.restarts[&Component::Kubelet]), (63, 63));
        to(&mut app, Row::MaxParallel);
        assert!(matches!(keys(&mut app, "+").as_slice(), [Effect::Draft(..)]));
    }
}
