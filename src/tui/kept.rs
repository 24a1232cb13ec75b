//! What follows from a run alone, worked out once for every picture between two events.

use crate::fleet::RunId;
use crate::journal::Run;
use std::cell::RefCell;
use std::rc::Rc;

/// Something of a run after so many events.
#[derive(Debug)]
pub struct Kept<T>(RefCell<Option<(Key, Rc<T>)>>);

type Key = (Option<RunId>, u64);

impl<T> Default for Kept<T> {
    fn default() -> Kept<T> {
        Kept(RefCell::new(None))
    }
}

impl<T> Kept<T> {
    /// What is kept of the run as it is; made anew when the run has gone on, or is another.
    pub fn of(&self, run: &Run, make: impl FnOnce() -> T) -> Rc<T> {
        let key = (run.id.clone(), run.events);
        if let Some((_, found)) = self.0.borrow().as_ref().filter(|(of, _)| *of == key) {
            return Rc::clone(found);
        }
        let made = Rc::new(make());
        *self.0.borrow_mut() = Some((key, Rc::clone(&made)));
        made
    }
}
