//! Seeded randomness: values drawn around a median, identifiers that look like real ones.

use crate::sim::scenario::Span;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sha2::{Digest, Sha256};

/// A source of its own for one subject, so that one more draw here does not change the draws elsewhere.
pub(crate) fn source(seed: u64, subject: &str) -> StdRng {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(subject.as_bytes());
    StdRng::from_seed(hash.finalize().into())
}

/// A value around the span's median (log-normal, its tails cut so that no draw is absurd).
pub(crate) fn draw(rng: &mut StdRng, span: Span) -> f64 {
    let (a, b): (f64, f64) = (rng.random(), rng.random());
    let z = (-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos();
    span.median * (span.spread * z.clamp(-2.5, 2.5)).exp()
}

/// The same in whole milliseconds.
pub(crate) fn draw_ms(rng: &mut StdRng, span: Span) -> i64 {
    draw(rng, span).round() as i64
}

/// 64 hexadecimal digits that stand for `parts`.
pub(crate) fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

/// A UUID that stands for `parts`.
pub(crate) fn uuid(parts: &[&str]) -> String {
    let h = digest(parts);
    format!("{}-{}-4{}-a{}-{}", &h[..8], &h[8..12], &h[13..16], &h[17..20], &h[20..32])
}
