//! Decisions about single nodes and gates of a run: what can be asked now, of which node, and what it would do, in words.
//! Whether it can be done is the journal's rule, the same that the engine goes by.

use super::app::{App, AskView, Over, Question};
use super::command::Command;
use super::screens::run::stops;
use super::text::{count, fit};
use crate::fleet::{NodeName, fold_names};
use crate::journal::{Run, RunState, SwapState, Verb};
use std::rc::Rc;

/// Of a swap's reason, a question shows this much. Columns.
const WHY: usize = 160;

/// The question that a command asks, where it is one of these.
pub fn question(command: Command) -> Option<Question> {
    match command {
        Command::Retry => Some(Question::Retry),
        Command::Skip => Some(Question::Skip),
        Command::RollBack => Some(Question::RollBack),
        Command::Override => Some(Question::Override),
        _ => None,
    }
}

/// Whether the question is one of these.
pub fn asks(asked: Question) -> bool {
    matches!(asked, Question::Retry | Question::Skip | Question::RollBack | Question::Override)
}

/// Why it cannot be asked now, in words.
pub fn hindrance(app: &App, question: Question) -> Option<String> {
    subject(app, question).err()
}

/// Opens the question.
pub fn open(app: &mut App, command: Command) {
    if let Some(question) = question(command)
        && let Ok(ask) = subject(app, question)
    {
        app.ask = ask;
        app.over = Some(Over::Ask(question));
    }
}

/// What the question is about, as things are now.
fn subject(app: &App, question: Question) -> Result<AskView, String> {
    let view = app.run.as_ref().ok_or("there is no run")?;
    let run = &view.run;
    match run.state {
        RunState::Ended(_) => return Err("the run is over".into()),
        RunState::Aborting => return Err("the run is being aborted".into()),
        _ => {}
    }
    let mut ask = AskView::default();
    let node = || {
        let stops = all_stops(app, run);
        match (view.cursor.as_ref().filter(|n| stops.contains(n)), stops.as_slice()) {
            (Some(node), _) => Ok(node.clone()),
            // The only one there is needs no choosing; the question names it.
            (None, [only]) => Ok(only.clone()),
            (None, []) => Err("no node is in flight or in trouble".to_owned()),
            (None, _) => Err("choose a node with the arrows first".to_owned()),
        }
    };
    match question {
        Question::Retry => {
            let chosen: Vec<NodeName> =
                node().into_iter().filter(|n| run.to_retry(std::slice::from_ref(n)).is_ok()).collect();
            run.to_retry(&chosen)?;
            ask.nodes = chosen;
        }
        Question::Skip => {
            ask.nodes = vec![node()?];
            run.to_skip(&ask.nodes)?;
        }
        Question::RollBack => {
            ask.nodes = vec![node()?];
            run.to_roll_back(&ask.nodes)?;
        }
        Question::Override => {
            ask.gate = run.gate.as_ref().map(|g| g.name.clone()).ok_or("no gate is waited for")?;
            run.to_override(&ask.gate)?;
        }
        Question::Detach | Question::EndDemo | Question::Abort => {}
    }
    Ok(ask)
}

/// The nodes that the cursor can stand on; asked for by every key of the footer.
fn all_stops(app: &App, run: &Run) -> Rc<Vec<NodeName>> {
    app.stops.of(run, || stops(app, run))
}

/// The command that a yes means.
///
/// # Errors
/// In words, when the reason that was typed is none.
pub fn answer(app: &App, question: Question) -> Result<Verb, String> {
    let AskView { nodes, gate, typed, .. } = &app.ask;
    let (nodes, why) = (nodes.clone(), typed.clone());
    let verb = match question {
        Question::Skip => Verb::Skip { nodes, why },
        Question::RollBack => Verb::RollBack { nodes },
        Question::Override => Verb::Override { gate: gate.clone(), why },
        _ => Verb::Retry { nodes },
    };
    verb.checked()
}

/// What a yes would do, in words.
pub fn words(app: &App, question: Question) -> String {
    let Some(run) = app.run.as_ref().map(|view| &view.run) else { return String::new() };
    let stands = matches!(run.state, RunState::Paused(_) | RunState::Pausing);
    let when = if stands { "once you resume the run" } else { "as soon as what is in flight is through" };
    let nodes = &app.ask.nodes;
    let names = fold_names(nodes.iter().map(NodeName::as_str));
    match question {
        Question::Retry => {
            let found = run.to_retry(nodes).unwrap_or_default();
            match found.len() {
                0 => "The gate that the run waits for is asked again at once.".to_owned(),
                n => format!(
                    "{} of {} will be tried again, {when}; the wave's gates are asked again after it. What failed before \
                     stays counted.",
                    count(n, "swap", "swaps"),
                    run.names(&found)
                ),
            }
        }
        Question::Skip => format!(
            "{names} stays as it is: {}. The run does not touch it any more and can complete without it; the report names \
             it, with your reason.",
            standing(run, nodes)
        ),
        Question::RollBack => format!(
            "{names} goes back to the old version now: {}. The rest of the run goes on as before; the node can be tried \
             again later.",
            standing(run, nodes)
        ),
        Question::Override => {
            let waits = run.gate.as_ref().map(|g| fit(&g.why, WHY)).unwrap_or_default();
            format!(
                "The run goes on past gate {} although it does not hold: {waits}. It is passed over for this wave only; the \
                 report says so, with your reason.",
                app.ask.gate
            )
        }
        Question::Detach | Question::EndDemo | Question::Abort => String::new(),
    }
}

/// How the nodes stand now: the last of their swaps that is not simply new.
fn standing(run: &Run, nodes: &[NodeName]) -> String {
    let swaps = nodes.iter().flat_map(|n| run.swaps_of(n)).filter(|s| s.state != SwapState::Committed);
    let mut said: Vec<String> = swaps
        .map(|s| match s.why.as_str() {
            "" => super::widgets::flight::word(s),
            why => format!("{} ({})", super::widgets::flight::word(s), fit(why, WHY)),
        })
        .collect();
    said.dedup();
    said.join(", ")
}

/// Puts the cursor on a node, where it can stand there.
pub fn select(app: &mut App, node: NodeName) {
    let can = app.run.as_ref().is_some_and(|view| stops(app, &view.run).contains(&node));
    if let Some(view) = app.run.as_mut().filter(|_| can) {
        view.cursor = Some(node.clone());
    }
    app.selected = Some(node);
}

/// Moves the cursor over the nodes in flight and in trouble; `false` when there is none to stand on.
pub fn walk(app: &mut App, by: isize) -> bool {
    let Some(stops) = app.run.as_ref().map(|view| stops(app, &view.run)) else { return false };
    let Some(view) = app.run.as_mut() else { return false };
    let at = stops.iter().position(|n| Some(n) == view.cursor.as_ref());
    let to = match at {
        Some(at) => at.saturating_add_signed(by).min(stops.len().saturating_sub(1)),
        None if by < 0 => stops.len().saturating_sub(1),
        None => 0,
    };
    view.cursor = stops.get(to).cloned();
    view.cursor.is_some()
}
