//! In which order workers are taken, so that the first ones tell most about the rest.

use super::select::Chosen;
use crate::fleet::{RackName, RoleName};
use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

/// A rack's workers that move, and how many of them may be down at once.
pub(super) struct Rack<'a, 'c> {
    pub(super) rack: &'a RackName,
    pub(super) room: usize,
    pub(super) workers: VecDeque<&'c Chosen<'a>>,
}

/// Workers of one rack that are alike.
struct Alike<'a, 'c> {
    rack: usize,
    kind: usize,
    workers: VecDeque<&'c Chosen<'a>>,
}

/// What sets workers apart: the role, and the combination of the labels that tell of hardware.
type Kind<'a> = (Option<&'a RoleName>, Vec<Option<&'a str>>);

fn kind<'a>(worker: &Chosen<'a>, hardware: &[String]) -> Kind<'a> {
    (worker.node.role.as_ref(), hardware.iter().map(|key| worker.node.label(key)).collect())
}

/// Takes up to `wanted` canaries out of the racks, after those in `taken`: each time a worker that stands for most that has
/// no canary yet (a rack, a role, a hardware), then one of what has fewest; rarer kinds first, so that a small canary meets
/// them too.
pub(super) fn canaries<'a, 'c>(
    racks: &mut [Rack<'a, 'c>],
    taken: &[&'c Chosen<'a>],
    wanted: usize,
    hardware: &[String],
) -> Vec<&'c Chosen<'a>> {
    let mut kinds: BTreeMap<Kind<'_>, usize> = BTreeMap::new();
    let everybody = racks.iter().flat_map(|r| &r.workers).chain(taken);
    for worker in everybody {
        *kinds.entry(kind(worker, hardware)).or_default() += 1;
    }
    let of_kind: Vec<usize> = kinds.values().copied().collect();
    let number: BTreeMap<&Kind<'_>, usize> = kinds.keys().enumerate().map(|(i, kind)| (kind, i)).collect();
    let (roles, hardwares) = (index(kinds.keys().map(|k| &k.0)), index(kinds.keys().map(|k| &k.1)));
    // Alike workers of a rack are interchangeable: only the first of each lot is ever compared.
    let mut lots: Vec<Alike<'_, '_>> = Vec::new();
    for (r, rack) in racks.iter_mut().enumerate() {
        let mut here: BTreeMap<usize, VecDeque<&Chosen<'_>>> = BTreeMap::new();
        for worker in rack.workers.drain(..) {
            here.entry(number[&kind(worker, hardware)]).or_default().push_back(worker);
        }
        lots.extend(here.into_iter().map(|(kind, workers)| Alike { rack: r, kind, workers }));
    }
    let (mut in_rack, mut in_role, mut in_hardware) =
        (vec![0_usize; racks.len()], vec![0_usize; roles.len()], vec![0_usize; hardwares.len()]);
    for worker in taken {
        let kind = number[&kind(worker, hardware)];
        in_role[roles[kind]] += 1;
        in_hardware[hardwares[kind]] += 1;
        if let Some(rack) = racks.iter().position(|r| *r.rack == worker.node.rack) {
            in_rack[rack] += 1;
        }
    }
    let mut canaries = Vec::new();
    while canaries.len() < wanted {
        let key = |lot: &Alike<'_, '_>| {
            let counts = (in_rack[lot.rack], in_role[roles[lot.kind]], in_hardware[hardwares[lot.kind]]);
            let new = [counts.0, counts.1, counts.2].iter().filter(|n| **n == 0).count();
            (Reverse(new), counts, of_kind[lot.kind], lot.rack)
        };
        let left = lots.iter().enumerate().filter(|(_, lot)| !lot.workers.is_empty());
        let Some((best, _)) = left.min_by_key(|(_, lot)| key(lot)) else { break };
        let lot = &mut lots[best];
        canaries.extend(lot.workers.pop_front());
        in_rack[lot.rack] += 1;
        in_role[roles[lot.kind]] += 1;
        in_hardware[hardwares[lot.kind]] += 1;
    }
    for lot in lots {
        racks[lot.rack].workers.extend(lot.workers);
    }
    for rack in racks {
        rack.workers.make_contiguous().sort_by_cached_key(|c| crate::fleet::natural(c.node.name.as_str()));
    }
    canaries
}

/// Which of the different `items` each item is.
fn index<T: Ord>(items: impl Iterator<Item = T> + Clone) -> Vec<usize> {
    let mut numbers: BTreeMap<T, usize> = BTreeMap::new();
    for item in items.clone() {
        let next = numbers.len();
        numbers.entry(item).or_insert(next);
    }
    items.map(|item| numbers[&item]).collect()
}

/// Everybody who is left: one of each rack in turn.
pub(super) fn in_turn<'a, 'c>(racks: &mut [Rack<'a, 'c>]) -> VecDeque<&'c Chosen<'a>> {
    let mut turn = VecDeque::new();
    loop {
        let before = turn.len();
        turn.extend(racks.iter_mut().filter_map(|rack| rack.workers.pop_front()));
        if turn.len() == before {
            return turn;
        }
    }
}
