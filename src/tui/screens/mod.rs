//! One file a screen: each paints from the state alone.

pub mod ask;
pub mod clusters;
pub mod confirm;
pub mod events;
pub mod help;
pub mod history;
pub mod palette;
pub mod plan;
pub mod report;
pub mod run;
pub mod stage;
pub mod themes;
pub mod topology;
pub mod trace;
