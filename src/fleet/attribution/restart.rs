//! A container that does not run as it did: the kubelet's doing, or its own.

use super::SwapWindow;
use super::change::changed_containers;
use super::judge::{Case, Weighed};
use super::reach::Probes;
use super::testimony::Told;
use super::window::{clock, word};
use crate::fleet::{Cause, ContainerExit, ContainerProof, DisturbanceKind, PodProof, count};
use jiff::{SignedDuration, Timestamp};

/// Within this time before the swap, a failed liveness probe is the beginning of what ends the container later.
const PROBE_MEMORY: SignedDuration = SignedDuration::from_mins(10);
/// A container that last ended longer ago than this is calm again.
const CRASH_MEMORY: SignedDuration = SignedDuration::from_hours(1);
/// Backing off, a kubelet waits at most this long before it starts a container again.
const LONGEST_BACK_OFF: SignedDuration = SignedDuration::from_mins(5);

/// How the run that is over ended, where that was not known before.
pub(super) fn new_exit<'a>(was: &ContainerProof, is: &'a ContainerProof) -> Option<&'a ContainerExit> {
    is.last_exit.as_ref().filter(|exit| was.last_exit.as_ref() != Some(exit))
}

/// SIGKILL or SIGTERM, as a runtime sends them for a kubelet.
pub(super) fn is_signalled(code: i32) -> bool {
    matches!(code, 137 | 143)
}

/// `exit code 1`, `OOMKilled, exit code 137`.
pub(super) fn ended_how(exit: &ContainerExit) -> String {
    match exit.reason.as_str() {
        "" | "Error" | "Completed" => format!("exit code {}", exit.code),
        reason => format!("{}, exit code {}", word(reason), exit.code),
    }
}

fn restarts_before(was: &ContainerProof) -> String {
    count(usize::try_from(was.restarts).unwrap_or_default(), "restart before the swap", "restarts before the swap")
}

/// What in the container's own record explains that it runs anew: it was not running, or it crashes like this all the time.
pub(super) fn own_record(was: &ContainerProof, is: &ContainerProof, window: &SwapWindow) -> Option<String> {
    if was.started_at.is_none() {
        let why = match (&was.last_exit, was.waiting.as_str()) {
            (Some(exit), "") => ended_how(exit),
            (Some(exit), waiting) => format!("{}, {}", word(waiting), ended_how(exit)),
            (None, "") => return None,
            (None, waiting) => word(waiting),
        };
        return Some(format!("it was not running before the swap: {why}, {}", restarts_before(was)));
    }
    let (last, exit, started) = (was.last_exit.as_ref()?, new_exit(was, is)?, was.started_at?);
    let (from, to) = (last.started_at?, last.finished_at?);
    // From one start to the next: its run and the wait after it.
    let pace = started.duration_since(from);
    let run = exit.finished_at?.duration_since(started);
    let lately = window.before.duration_since(to) <= CRASH_MEMORY;
    // It may run a little longer each time; one that ran for much longer had become calm.
    let as_before = run <= pace.max(to.duration_since(from)) + LONGEST_BACK_OFF;
    let alike = exit.code == last.code && exit.reason == last.reason;
    (was.restarts > 0 && lately && as_before && alike && !is_signalled(exit.code))
        .then(|| format!("crash loop: {}, {}, the last at {}", ended_how(exit), restarts_before(was), clock(to)))
}

impl Case<'_> {
    /// The container that speaks the most against the swap, and what it says.
    pub(super) fn restarted(&self, new: &PodProof) -> (DisturbanceKind, Weighed) {
        let all = changed_containers(self.old, new).map(|(was, is)| (was, self.container(new, was, is)));
        let worst = all.max_by_key(|(_, weighed)| match weighed.cause {
            Cause::Swap => 2,
            Cause::Unknown => 1,
            Cause::Others => 0,
        });
        match worst {
            Some((was, weighed)) => (DisturbanceKind::Restarted(was.name.clone()), weighed),
            None => (DisturbanceKind::Restarted(String::new()), Weighed::unknown(String::new())),
        }
    }

    fn container(&self, new: &PodProof, was: &ContainerProof, is: Option<&ContainerProof>) -> Weighed {
        let window = self.window;
        let Some(is) = is else {
            return self.open("the API does not list the container any more".to_owned());
        };
        let exit = new_exit(was, is);
        let restarted = is.started_at.filter(|at| was.started_at != Some(*at));
        let at = exit.and_then(|e| e.finished_at).or(restarted);
        let how = exit.map_or_else(|| "how it ended is not known".to_owned(), ended_how);
        let ended = match at {
            Some(at) => format!("{how} at {}", window.place(at)),
            None => how.clone(),
        };
        if at.is_some_and(|at| window.is_before(at)) {
            return Weighed::others(ended);
        }
        if let Some(told) = self.told_to_end(new, was) {
            return told;
        }
        let first_sync = at.is_some_and(|at| window.is_of_first_sync(at, self.old.grace_s));
        if let Some(at) = self.seen.at("SandboxChanged").filter(|at| !window.is_before(*at)) {
            let because = format!("its kubelet made the pod's sandbox anew at {}", window.place(at));
            return if self.reach.ends && first_sync { Weighed::swap(because) } else { Weighed::others(because) };
        }
        let many = self.together.many_restarted().filter(|_| self.reach.ends);
        if exit.is_some_and(|e| e.reason == "OOMKilled") {
            let crowd = first_sync && self.together.many_out_of_memory();
            return match crowd && self.reach.ends {
                true => Weighed::unknown(format!("{ended}; memory ran out in other pods too")),
                false => Weighed::others(ended),
            };
        }
        if let Some(because) = own_record(was, is, window) {
            return match &many {
                Some(many) if first_sync => Weighed::unknown(format!("{because}, but {many}")),
                _ => Weighed::others(because),
            };
        }
        if let Some(probe) = self.liveness() {
            return match &many {
                Some(many) if first_sync && probe.cause == Cause::Others => {
                    Weighed::unknown(format!("{}, but {many}", probe.because))
                }
                _ => self.beside_others(probe),
            };
        }
        match many {
            Some(many) if first_sync => Weighed::swap(format!("{ended}; {many}")),
            _ => {
                let weighed = self.by_exit(exit, at, ended);
                // A kubelet that ends a container does so by a signal, and says so in an event. Where an API server or etcd is
                // swapped, exiting by itself is just what a container may do for it.
                let by_itself = self.seen.asked && exit.is_some_and(|e| !is_signalled(e.code));
                if by_itself && self.reach.ends { self.beside_others(weighed) } else { weighed }
            }
        }
    }

    /// A container that restarts by itself, as few others of its node do, is no sign against the swap where containers restart everywhere.
    fn beside_others(&self, weighed: Weighed) -> Weighed {
        let few = self.together.many_restarted().is_none();
        if weighed.cause == Cause::Others || !few || !self.window.restarts_are_usual() {
            return weighed;
        }
        let elsewhere = self.window.restarts_elsewhere;
        Weighed::others(format!("{}; {elsewhere} pods on untouched nodes restarted within 10 min too", weighed.because))
    }

    /// What the kubelet said when it told the container to end.
    pub(super) fn told_to_end(&self, new: &PodProof, was: &ContainerProof) -> Option<Weighed> {
        let (seen, window, name) = (&self.seen, self.window, was.name.as_str());
        if let Some(at) = seen.told_within(window, name, Told::Resize) {
            return Some(Weighed::others(format!(
                "resized in place through the API: restarted at {}",
                window.place(at)
            )));
        }
        // With a kubelet in the swap it was judged before: it is the swap's.
        if let Some(at) = seen.told_within(window, name, Told::Definition) {
            return Some(Weighed::others(format!(
                "its definition was changed through the API: Killing event at {}",
                window.place(at)
            )));
        }
        if seen.told_within(window, name, Told::Probe).is_some() {
            return self.liveness().map(|probe| self.beside_others(probe));
        }
        if let Some(at) = seen.told_within(window, name, Told::Stopping).filter(|_| new.deleting.is_none()) {
            let because = format!("its kubelet told it to end at {}", window.place(at));
            return Some(match self.reach.ends && window.is_of_first_sync(at, self.old.grace_s) {
                true => Weighed::unknown(because),
                false => Weighed::others(because),
            });
        }
        let at = seen.told_before(window, name, self.old.grace_s)?;
        Some(Weighed::others(format!("its kubelet told it to end at {}", window.place(at))))
    }

    /// What failed liveness and startup probes say: those that fail since before the swap are not its doing.
    pub(super) fn liveness(&self) -> Option<Weighed> {
        const KINDS: [&str; 2] = ["Liveness", "Startup"];
        if let Some(at) = self.seen.failed_before(self.window, &KINDS, PROBE_MEMORY, None) {
            return Some(Weighed::others(format!("its liveness probe failed at {}", self.window.place(at))));
        }
        let failed = self.seen.failed_within(self.window, &KINDS);
        let killed = || {
            let of = |c: &ContainerProof| self.seen.told_within(self.window, &c.name, Told::Probe);
            self.old.containers.iter().find_map(of)
        };
        let at = failed.or_else(killed)?;
        let because = format!("its liveness probe failed at {}", self.window.place(at));
        if !self.window.is_of_first_sync(at, 0) {
            return Some(Weighed::others(because));
        }
        Some(if self.reach.probes == Probes::OnNode { Weighed::swap(because) } else { Weighed::unknown(because) })
    }

    /// Nothing explains it but how and when it ended.
    fn by_exit(&self, exit: Option<&ContainerExit>, at: Option<Timestamp>, ended: String) -> Weighed {
        let longest = u32::try_from(self.old.longest_end_s()).unwrap_or(u32::MAX);
        if at.is_some_and(|at| !self.window.is_of_first_sync(at, longest)) {
            return Weighed::others(ended);
        }
        // A kubelet ends a container that fails its probe with a signal, and says so in an event, which may be late or lost.
        let signalled = exit.is_none_or(|e| is_signalled(e.code));
        let probes = match self.reach.probes {
            Probes::Hardly => !self.seen.asked,
            Probes::ByApi | Probes::OnNode => true,
        };
        if self.reach.ends || self.reach.exits || (signalled && probes) {
            return Weighed::unknown(ended);
        }
        Weighed::others(format!("{ended}; a swap of {} ends no container", self.window.what()))
    }
}
