//! The filter: as it is typed, what it finds, or what is wrong with it.

use super::super::app::App;
use super::super::layer::Looks;
use super::super::text::{count, fit};
use crate::fleet::Cluster;
use ratatui::text::{Line, Span};

/// The filter in one line.
pub fn line(app: &App, cluster: &Cluster, looks: &Looks<'_>, width: usize) -> Line<'static> {
    let t = &app.theme;
    let view = &app.map;
    let found = looks.taken();
    let (words, style) = match &view.wrong {
        Some(why) => (format!("✗ {why}"), t.alarm),
        None if view.typed.is_empty() => {
            ("letters of a name, rack=3 role=ss version<1.36 state=failed ready=no label:disk=ssd".into(), t.dim)
        }
        None => (format!("{} of {}", count(found, "node", "nodes"), cluster.nodes.len()), t.text),
    };
    // The end of what is typed stays in sight.
    let room = width.saturating_sub(8) / 2;
    let mut typed = view.typed.clone();
    while super::super::text::width(&typed) > room {
        typed = format!("…{}", typed.chars().skip(2).collect::<String>());
    }
    let mut spans = vec![Span::styled("/", t.key), Span::styled(typed, t.head)];
    if view.typing {
        spans.push(Span::styled("▏", t.key));
    }
    let used: usize = spans.iter().map(Span::width).sum();
    spans.push(Span::styled(fit(&format!("  {words}"), width.saturating_sub(used)), style));
    Line::from(spans)
}
