//! The number that tells two holders of a cluster's run lock apart, also for a node that cannot ask the cluster.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Which holding of the run lock something belongs to: the Lease's `leaseTransitions`. Each new holder has a higher one than
/// all before it, so a node that has seen a token refuses every lower one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FenceToken(u32);

impl FenceToken {
    /// The highest that a Lease can hold: its field is a signed number of 32 bits.
    pub const MAX: FenceToken = FenceToken(i32::MAX as u32);

    /// The token of this number; one that no Lease can hold is the highest that it can.
    pub fn new(number: u32) -> FenceToken {
        FenceToken(number).min(FenceToken::MAX)
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }

    /// The next higher one.
    #[must_use]
    pub fn next(self) -> FenceToken {
        FenceToken::new(self.0.saturating_add(1))
    }
}

impl fmt::Display for FenceToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_never_leaves_what_a_lease_can_hold() {
        assert!(FenceToken::new(7).next() > FenceToken::new(7));
        assert_eq!(FenceToken::new(u32::MAX), FenceToken::MAX);
        assert_eq!(FenceToken::MAX.next(), FenceToken::MAX);
        assert!(i32::try_from(FenceToken::MAX.get()).is_ok());
    }
}
