//! The planner, judged from outside: random clusters and bumps, and a checker that was written from the text of the
//! policies and knows nothing of the planner's code.
//!
//! `SONOBA_SEED=N cargo test --test planner` plays one seed again; `SONOBA_PLANS=N` plays more than the default.

mod checker;
mod optimum;
mod random;
mod waves;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Random clusters with bumps, each planned and checked. CI plays 100,000 of them.
const PLANS: u64 = 20_000;
/// Small ones of these are compared with the optimum as well.
const SMALL: u64 = 4_000;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")))
}

/// Plays every seed of `0..count` on all cores; panics with the first that `play` finds wrong.
fn all(count: u64, play: impl Fn(u64) -> Result<(), String> + Sync) {
    if let Some(seed) = number("SONOBA_SEED") {
        play(seed).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        return;
    }
    let next = AtomicU64::new(0);
    let wrong: Mutex<Vec<(u64, String)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= count {
                        return;
                    }
                    if let Err(why) = play(seed) {
                        wrong.lock().unwrap_or_else(PoisonError::into_inner).push((seed, why));
                        return;
                    }
                }
            });
        }
    });
    let mut wrong = wrong.into_inner().unwrap_or_else(PoisonError::into_inner);
    wrong.sort();
    if let Some((seed, why)) = wrong.first() {
        panic!("seed {seed}: {why}\nSONOBA_SEED={seed} cargo test --test planner plays it again");
    }
}

#[test]
fn no_plan_breaks_a_rule_at_any_step() {
    let (refused, hopped, swaps) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let count = number("SONOBA_PLANS").unwrap_or(PLANS);
    all(count, |seed| {
        let case = random::case(seed, false);
        let plan = case.plan();
        checker::check(&case, &plan)?;
        refused.fetch_add(usize::from(plan.refused()), Ordering::Relaxed);
        hopped.fetch_add(usize::from(plan.phases.iter().any(|p| p.hop.is_some())), Ordering::Relaxed);
        swaps.fetch_add(plan.swaps().count(), Ordering::Relaxed);
        Ok(())
    });
    let [refused, hopped, swaps] = [refused, hopped, swaps].map(|n| n.load(Ordering::Relaxed));
    println!("{count} plans: {refused} refused, {hopped} with several hops, {swaps} swaps, none breaks a rule");
    if number("SONOBA_SEED").is_none() && count >= 10_000 {
        let (count, hopped) = (count as usize, hopped);
        assert!(refused < count * 6 / 10, "most are plans that would run: {refused} of {count} are refused");
        assert!(hopped > count / 10, "many have hops: {hopped} of {count}");
    }
}

#[test]
fn small_plans_restart_as_little_as_can_be() {
    let compared = AtomicUsize::new(0);
    all(SMALL, |seed| {
        let case = random::case(seed, true);
        let plan = case.plan();
        // Who starts outside the rules has no optimum within them.
        if plan.refused() || !checker::in_line(&case) {
            return Ok(());
        }
        optimum::compare(&case, &plan)?;
        compared.fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
    let compared = compared.into_inner();
    println!("{compared} small plans have as few restarts as an exhaustive search finds");
    if number("SONOBA_SEED").is_none() {
        assert!(compared > SMALL as usize / 3, "too few were compared: {compared}");
    }
}
