//! The cockpit.
//!
//! A pure core with I/O around it: `app::App` is all that a screen shows, `update` takes one message to the next
//! state and to the effects that it asks for, `draw` paints a state. Only the `driver` owns the terminal: it turns
//! keys, journal records and answers into messages and carries effects out through a [`Backend`].
//!
//! All that a screen says of a run is folded from its journal (law 1): a pause is shown when the journal says so.

mod acknowledge;
mod app;
mod ascii;
mod atlas;
mod backend;
#[doc(hidden)]
pub mod bench;
mod cast;
mod command;
mod copy;
mod decide;
mod draw;
mod driver;
mod events;
mod filter;
mod flow;
mod history;
mod hits;
mod index;
mod kept;
mod keymap;
mod layer;
mod lens;
mod looks;
mod map;
mod mouse;
mod msg;
mod outline;
mod palette;
mod player;
mod proof;
mod replay;
mod safety;
mod screens;
mod sources;
mod stage;
mod tally;
mod terminal;
mod text;
mod theme;
mod tips;
mod update;
mod widgets;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod mouse_tests;
#[cfg(test)]
mod pty_tests;
#[cfg(test)]
mod snapshot_tests;
#[cfg(test)]
mod update_tests;

pub use backend::{Backend, Near, Options, RunHandle};
pub use cast::cast;
pub use driver::{TuiError, play, run};
pub use looks::{Looks, Own};
pub(crate) use replay::wind;
pub use replay::{From as TapeFrom, Tape};
pub use sources::Source;
