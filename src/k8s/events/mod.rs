//! What the API records about pods: a watched copy of its events, bounded whatever others write there.
//!
//! `watch` follows the API, `note` turns an event into what is kept, `index` keeps it.

mod index;
mod note;
mod watch;

pub(super) use watch::EventWatch;
