//! Notes by pod. Whoever may write events in one namespace can neither fill the memory nor push out what is known of another's.

use super::note::{About, Note};
use crate::fleet::PodEvent;
use jiff::{SignedDuration, Timestamp};
use std::collections::{HashMap, VecDeque};

/// Notes of one pod: as many as a kubelet writes in an hour about one that is in trouble (its client allows 25, and one more
/// every five minutes, for each object).
const PER_POD: usize = 40;
/// Notes in all: some 25 MiB.
const IN_ALL: usize = 50_000;
/// An API server forgets them after this time by default (`--event-ttl`).
const KEPT: SignedDuration = SignedDuration::from_hours(1);
/// How often what is too old is looked for.
const SWEPT: SignedDuration = SignedDuration::from_secs(60);
/// Pods whose place is remembered.
const PLACES: usize = 200_000;

#[derive(Default)]
pub(super) struct Index {
    spaces: HashMap<String, Space>,
    total: usize,
    swept: Option<Timestamp>,
    /// `namespace/name` by UID, of the pods that were listed: an event in another namespace says nothing about them.
    places: HashMap<String, String>,
}

/// The notes of one namespace.
#[derive(Default)]
struct Space {
    by_pod: HashMap<String, Vec<Note>>,
    /// The pod of every note, the oldest first.
    order: VecDeque<String>,
}

/// A pod in its namespace. UIDs have no colon.
fn key(about: &About) -> String {
    match about {
        About::Pod { uid, .. } => uid.clone(),
        About::Deleted { name } => deleted(name),
    }
}

fn deleted(name: &str) -> String {
    format!("deleted:{name}")
}

impl Index {
    pub fn add(&mut self, note: Note, now: Timestamp) {
        if now.duration_since(note.last) > KEPT {
            return;
        }
        if self.swept.is_none_or(|at| now.duration_since(at) > SWEPT) {
            self.sweep(now);
        }
        let key = key(&note.about);
        let space = self.spaces.entry(note.namespace.clone()).or_default();
        let notes = space.by_pod.entry(key.clone()).or_default();
        if let Some(known) = notes.iter_mut().find(|n| n.name == note.name) {
            *known = note;
            return;
        }
        notes.push(note);
        if notes.len() > PER_POD {
            // Its place in the order is the new one's.
            notes.remove(0);
            return;
        }
        space.order.push_back(key);
        self.total += 1;
        if self.total > IN_ALL {
            self.push_out();
        }
    }

    /// Forgets the oldest note of the namespace that has the most.
    fn push_out(&mut self) {
        let Some(space) = self.spaces.values_mut().max_by_key(|s| s.order.len()) else { return };
        let Some(key) = space.order.pop_front() else { return };
        self.total -= 1;
        if let Some(notes) = space.by_pod.get_mut(&key) {
            if !notes.is_empty() {
                notes.remove(0);
            }
            if notes.is_empty() {
                space.by_pod.remove(&key);
            }
        }
    }

    fn sweep(&mut self, now: Timestamp) {
        self.swept = Some(now);
        self.spaces.retain(|_, space| {
            let by_pod = &mut space.by_pod;
            by_pod.retain(|_, notes| {
                notes.retain(|n| now.duration_since(n.last) <= KEPT);
                !notes.is_empty()
            });
            let mut left: HashMap<&str, usize> =
                by_pod.iter().map(|(key, notes)| (key.as_str(), notes.len())).collect();
            // From the newest: of each pod the newest are left.
            let kept: VecDeque<String> = space
                .order
                .iter()
                .rev()
                .filter(|key| {
                    left.get_mut(key.as_str()).is_some_and(|n| n.checked_sub(1).map(|less| *n = less).is_some())
                })
                .cloned()
                .collect();
            space.order = kept.into_iter().rev().collect();
            !space.order.is_empty()
        });
        self.total = self.spaces.values().map(|s| s.order.len()).sum();
    }

    /// Remembers where a pod is.
    pub fn place(&mut self, uid: &str, place: &str) {
        if self.places.len() >= PLACES && !self.places.contains_key(uid) {
            self.places.clear();
        }
        self.places.insert(uid.to_owned(), place.to_owned());
    }

    /// What is known of a pod within the last hour. What was seen more than once stands there twice: at its first time, with
    /// the count 1, and at its last.
    pub fn of(&self, uid: &str, now: Timestamp) -> Vec<PodEvent> {
        let place = self.places.get(uid).and_then(|place| place.split_once('/'));
        let mut found = Vec::new();
        for (namespace, space) in &self.spaces {
            if place.is_some_and(|(of, _)| of != namespace) {
                continue;
            }
            let notes = space.by_pod.get(uid).map(Vec::as_slice).unwrap_or_default();
            let said = notes.iter().find_map(|n| match &n.about {
                About::Pod { name, .. } => Some(name.as_str()),
                About::Deleted { .. } => None,
            });
            let name = place.map(|(_, name)| name).or(said);
            let gone = name.and_then(|name| space.by_pod.get(&deleted(name))).map(Vec::as_slice).unwrap_or_default();
            let own = |n: &&Note| match (&n.about, place) {
                (About::Pod { name, .. }, Some((_, known))) => name == known,
                _ => true,
            };
            let fresh = |n: &&Note| now.duration_since(n.last) <= KEPT;
            found.extend(notes.iter().chain(gone).filter(own).filter(fresh).flat_map(|n| sights(n, uid)));
        }
        found
    }

    #[cfg(test)]
    fn sizes(&self) -> (usize, usize, usize) {
        let notes = self.spaces.values().flat_map(|s| s.by_pod.values()).map(Vec::len).sum();
        (self.total, notes, self.spaces.values().map(|s| s.order.len()).sum())
    }
}

fn sights(note: &Note, uid: &str) -> Vec<PodEvent> {
    let at = |at, count| PodEvent {
        uid: uid.to_owned(),
        reason: note.reason.clone(),
        message: note.message.clone(),
        source: note.source.clone(),
        at,
        count,
    };
    let mut all = Vec::new();
    if note.first < note.last {
        all.push(at(note.first, 1));
    }
    all.push(at(note.last, note.count));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-29T12:00:00Z".parse().unwrap()
    }

    fn note(namespace: &str, uid: &str, name: &str, age: i64) -> Note {
        let at = now() - SignedDuration::from_secs(age);
        Note {
            namespace: namespace.into(),
            name: name.into(),
            about: About::Pod { uid: uid.into(), name: "p".into() },
            reason: "Killing".into(),
            message: name.into(),
            source: "kubelet".into(),
            first: at,
            last: at,
            count: 1,
        }
    }

    #[test]
    fn a_flood_in_one_namespace_pushes_out_nothing_of_another() {
        let mut index = Index::default();
        index.add(note("db", "victim", "true", 600), now());
        for i in 0..IN_ALL * 2 {
            index.add(note("evil", &format!("u{i}"), "e", 1), now());
        }
        for i in 0..10_000 {
            index.add(note("evil", "one", &format!("e{i}"), 1), now());
        }
        assert_eq!(index.of("victim", now()).len(), 1);
        assert_eq!(index.of("one", now()).len(), PER_POD);
        let (total, notes, order) = index.sizes();
        assert_eq!((total, notes, order), (IN_ALL, IN_ALL, IN_ALL));
    }

    #[test]
    fn what_is_older_than_an_hour_is_forgotten() {
        let mut index = Index::default();
        index.add(note("a", "u", "old", 3_601), now());
        index.add(note("a", "u", "new", 3_599), now());
        assert_eq!(index.of("u", now()).len(), 1);
        let later = now() + SignedDuration::from_secs(120);
        assert_eq!(index.of("u", later), []);
        index.add(note("b", "v", "x", -100), later);
        assert_eq!(index.sizes(), (1, 1, 1), "swept");
    }

    #[test]
    fn a_later_sight_takes_the_place_of_the_first() {
        let mut index = Index::default();
        index.add(note("a", "u", "e", 60), now());
        index.add(Note { last: now(), count: 5, ..note("a", "u", "e", 60) }, now());
        let seen: Vec<_> = index.of("u", now()).iter().map(|e| (e.at, e.count)).collect();
        assert_eq!(seen, [(now() - SignedDuration::from_secs(60), 1), (now(), 5)]);
        assert_eq!(index.sizes(), (1, 1, 1));
    }

    #[test]
    fn an_event_of_another_namespace_or_pod_says_nothing_about_a_listed_one() {
        let mut index = Index::default();
        index.place("u", "db/p");
        index.add(note("evil", "u", "forged", 1), now());
        index.add(Note { about: About::Pod { uid: "u".into(), name: "q".into() }, ..note("db", "u", "odd", 1) }, now());
        assert_eq!(index.of("u", now()), []);
        index.add(note("db", "u", "true", 1), now());
        index.add(Note { about: About::Deleted { name: "p".into() }, ..note("db", "", "gone", 1) }, now());
        index.add(Note { about: About::Deleted { name: "p".into() }, ..note("evil", "", "gone", 1) }, now());
        let said: Vec<_> = index.of("u", now()).into_iter().map(|e| (e.uid, e.message)).collect();
        assert_eq!(said, [("u".to_owned(), "true".to_owned()), ("u".to_owned(), "gone".to_owned())]);
    }
}
