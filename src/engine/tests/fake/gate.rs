//! What the operator's own gates answer.

use super::*;
use crate::engine::Asker;

/// What a gate of the operator's does.
#[derive(Clone)]
pub enum GateFault {
    /// It does not hold; why.
    Closed(&'static str),
    /// It never answers.
    Hangs,
}

#[async_trait]
impl Asker for World {
    async fn ask(&self, gate: &OwnGate, _: &Path) -> Result<(), String> {
        let limit = Duration::from_millis(gate.limit_ms);
        let fault = {
            let mut state = self.lock();
            *state.asked.entry(gate.name.to_string()).or_default() += 1;
            state.gates.get(gate.name.as_str()).cloned()
        };
        match fault {
            None => Ok(()),
            Some(GateFault::Closed(why)) => Err(why.into()),
            Some(GateFault::Hangs) => {
                sleep(limit).await;
                Err(format!("no answer within {limit:?}"))
            }
        }
    }
}
