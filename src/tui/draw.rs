//! Paints a state: header, the screen, footer, and what lies over them.

use super::app::{App, Over, Screen};
use super::{ascii, screens, text, widgets};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;

/// The smallest terminal on which everything has its place.
const SMALLEST: (u16, u16) = (80, 24);

/// Paints `app`.
pub fn draw(app: &App, frame: &mut Frame<'_>) {
    let area = frame.area();
    frame.buffer_mut().set_style(area, app.theme.background);
    paint_all(app, frame, area);
    if app.options.looks.ascii {
        ascii::flatten(frame.buffer_mut());
    }
}

fn paint_all(app: &App, frame: &mut Frame<'_>, area: Rect) {
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        return too_small(app, frame, area);
    }
    app.hits.clear();
    let Places { head, body, tape, foot } = places(app, area);
    widgets::header::draw(app, frame, head);
    match app.screen {
        Screen::Topology => screens::topology::draw(app, frame, body),
        Screen::Stage => screens::stage::draw(app, frame, body),
        Screen::Plan => screens::plan::draw(app, frame, body),
        Screen::Confirm => screens::confirm::draw(app, frame, body),
        Screen::Run => screens::run::draw(app, frame, body),
        Screen::Report => screens::report::draw(app, frame, body),
        Screen::Events => screens::events::draw(app, frame, body),
        Screen::History => screens::history::draw(app, frame, body),
    }
    if let Some(player) = &app.player {
        widgets::scrub::draw(app, player, frame, tape);
    }
    widgets::footer::draw(app, frame, foot);
    if app.over.is_some() {
        app.hits.cover();
    }
    match app.over {
        Some(Over::Help(top)) => screens::help::draw(app, frame, body, top),
        Some(Over::Trace(back)) => screens::trace::draw(app, frame, body, back),
        Some(Over::Clusters(cursor)) => screens::clusters::draw(app, frame, body, cursor),
        Some(Over::Themes(cursor)) => screens::themes::draw(app, frame, body, cursor),
        Some(Over::Palette) => screens::palette::draw(app, frame, body),
        Some(Over::Ask(question)) => screens::ask::draw(app, frame, body, question),
        None => {}
    }
}

struct Places {
    head: Rect,
    body: Rect,
    tape: Rect,
    foot: Rect,
}

fn places(app: &App, area: Rect) -> Places {
    let tape = Constraint::Length(app.player.is_some().into());
    let [head, body, tape, foot] =
        Layout::vertical([Constraint::Length(3), Constraint::Min(0), tape, Constraint::Length(2)]).areas(area);
    // One column of air on both sides.
    let body = Rect { x: body.x + 1, width: body.width.saturating_sub(2), ..body };
    Places { head, body, tape, foot }
}

/// Where the screen itself stands on the terminal.
pub fn body(app: &App) -> Rect {
    places(app, Rect::new(0, 0, app.size.0, app.size.1)).body
}

/// A run is not harmed by a small window: say so, and say what is needed.
fn too_small(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let mut words = vec![format!(
        "sonoba needs {} columns and {} rows; this terminal has {} by {}. Make it larger, or its letters smaller.",
        SMALLEST.0, SMALLEST.1, area.width, area.height
    )];
    if let Some(view) = &app.run {
        let done = view.run.count(|s| s == crate::journal::SwapState::Committed);
        words.push(format!("The run is {}: {done} of {} swaps.", widgets::state_word(&view.run), view.run.swaps.len()));
    }
    words.push("q leaves.".into());
    let lines = words.iter().flat_map(|w| text::wrap(w, area.width.into())).map(Line::from).collect();
    widgets::paint(frame, area, lines, "");
}
