//! For benchmarks: frames and filters at the size of a real site, without a terminal.

use super::app::App;
use super::backend::Options;
use super::draw::draw;
use super::filter::Filter;
use super::layer::Looks;
use super::msg::{Begun, Msg};
use super::update::update;
use crate::fleet::RunId;
use crate::journal::Record;
use crate::plan::{Budget, Limits, Plan};
use jiff::Timestamp;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use std::sync::Arc;

/// A cockpit on a terminal that is only memory.
pub struct Cockpit {
    app: App,
    terminal: Terminal<TestBackend>,
}

impl Cockpit {
    /// The run's screen after so many records.
    pub fn on_a_run(plan: &Plan, id: RunId, records: Vec<Record>, (columns, rows): (u16, u16)) -> Cockpit {
        let now = records.last().map_or(Timestamp::UNIX_EPOCH, |r| r.at);
        let mut app = App::new(Options::default(), Vec::new(), (Limits::default(), Budget::default()), now);
        update(&mut app, Msg::Resize(columns, rows));
        update(&mut app, Msg::Observed(Ok(Box::new(plan.cluster.clone()))));
        update(&mut app, Msg::Attached(Some(Begun { id: id.clone(), plan: Arc::new(plan.clone()) })));
        update(&mut app, Msg::Records(id, records));
        let terminal = match Terminal::new(TestBackend::new(columns, rows)) {
            Ok(terminal) => terminal,
            Err(never) => match never {},
        };
        Cockpit { app, terminal }
    }

    /// Paints one frame, as the terminal would get it.
    pub fn frame(&mut self) {
        let app = &self.app;
        match self.terminal.draw(|frame| draw(app, frame)) {
            Ok(_) => {}
            Err(never) => match never {},
        }
    }

    /// How many nodes a filter takes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn filter(&mut self, text: &str) -> Result<usize, String> {
        self.app.map.filter = Filter::parse(text)?;
        let cluster = self.app.sight.cluster.as_ref().ok_or("no cluster")?;
        Ok(Looks::without_legend(&self.app, cluster).taken())
    }
}
