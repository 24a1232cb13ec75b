//! One file a screen: each paints from the state alone.

pub mod ask;
pub mod confirm;
pub mod help;
pub mod palette;
pub mod plan;
pub mod report;
pub mod run;
pub mod stage;
pub mod topology;
