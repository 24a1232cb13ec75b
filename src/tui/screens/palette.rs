//! The palette over the screen: what is typed, and what it finds.

use super::super::app::App;
use super::super::hits::Hit;
use super::super::palette::offers;
use super::super::text::{fit, pad, width};
use super::super::widgets::{paint, popup};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

const WIDTH: u16 = 76;
/// Commands shown at once.
const SHOWN: usize = 12;

/// Paints the palette.
pub fn draw(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let t = &app.theme;
    let offers = offers(app);
    let height = u16::try_from(SHOWN + 4).unwrap_or(16).min(area.height);
    let inner = popup(t, frame, area, "Commands", WIDTH, height);
    let columns = usize::from(inner.width);
    let found = format!("{} ", offers.len());
    let field = Line::from(vec![
        Span::styled(": ", t.key),
        Span::styled(app.palette.typed.clone(), t.head),
        Span::styled("▏", t.key),
        Span::styled(
            format!("{}{found}", " ".repeat(columns.saturating_sub(width(&app.palette.typed) + 3 + found.len()))),
            t.dim,
        ),
    ]);
    let mut lines = vec![field];
    let room = usize::from(inner.height).saturating_sub(1);
    let top = (app.palette.cursor + 1).saturating_sub(room);
    for (i, offer) in offers.iter().enumerate().skip(top).take(room) {
        let key = offer.key.clone().unwrap_or_default();
        let about = offer.hindrance.clone().unwrap_or_else(|| offer.command.about().to_owned());
        let y = inner.y + u16::try_from(lines.len()).unwrap_or(0);
        app.hits.put(Rect { y, height: 1, ..inner }, Hit::Row(i));
        let here = i == app.palette.cursor;
        let name = if here {
            t.selected
        } else if offer.hindrance.is_some() {
            t.dim
        } else {
            t.text
        };
        let about_style = if offer.hindrance.is_some() { t.dim } else { t.text };
        lines.push(Line::from(vec![
            Span::raw(if here { "› " } else { "  " }),
            Span::styled(pad(offer.command.name(), 15), name),
            Span::styled(format!(" {} ", pad(&key, 6)), t.key),
            Span::styled(fit(&about, columns.saturating_sub(26)), about_style),
        ]));
    }
    if offers.is_empty() {
        lines.push(Line::styled("  no command has these letters; backspace takes the last away", t.notice));
    }
    paint(frame, inner, lines, "");
}
