//! An entry held against its own samples: what must be detected is, and what only looks like it is not.

use super::config;
use super::detect::Subject;
use super::entry::{Detect, Entry};
use crate::fleet::clean;
use crate::plan::NodeFacts;
use crate::plan::flags::words;

impl Entry {
    /// Whether its samples say the same as its way to detect.
    ///
    /// # Errors
    /// Names the sample that is wrong.
    pub fn prove(&self) -> Result<(), String> {
        for (name, samples, wanted) in [("hit", &self.hit, true), ("miss", &self.miss, false)] {
            let one_by_one: Vec<&[String]> = match self.detect {
                // A command line is one sample.
                Detect::Flag { .. } | Detect::AbsentFlag(_) | Detect::SameFlags(_) | Detect::Gate { .. } => {
                    if samples.is_empty() { Vec::new() } else { vec![samples] }
                }
                _ => samples.chunks(1).collect(),
            };
            for sample in one_by_one {
                if self.meets(sample) != wanted {
                    let shown: String = clean(&sample.join(" ")).chars().take(60).collect();
                    let how = if wanted { "is not detected" } else { "is detected" };
                    return Err(format!("{name}: {shown:?} {how}"));
                }
            }
        }
        Ok(())
    }

    fn meets(&self, sample: &[String]) -> bool {
        let mut args = vec!["program".to_owned()];
        let mut file = None;
        let mut node = NodeFacts { cgroup: self.only.cgroup, ..NodeFacts::default() };
        node.kernel = self.only.kernel_below.map(|_| "1.0.0".into());
        let text = sample.join(" ");
        match &self.detect {
            Detect::Flag { .. } | Detect::AbsentFlag(_) | Detect::SameFlags(_) | Detect::Gate { .. } => {
                args.extend_from_slice(sample);
            }
            Detect::ConfigApi(_) | Detect::ConfigField { .. } => file = config::read(&text),
            Detect::RuntimeBelow(_) => node.runtime = Some(text),
            Detect::KernelBelow(_) => node.kernel = Some(text),
            Detect::Cgroup(_) => node.cgroup = text.strip_prefix('v').and_then(|v| v.parse().ok()),
            Detect::Always => {}
        }
        self.concerns(&Subject { words: &words(&args), config: file.as_ref(), node: Some(&node) }).is_some()
    }
}
