//! How the waves of the workers grow.

use crate::fleet::quoted;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Steps that a ramp may have.
const MOST: usize = 32;

/// The sizes of the waves of the workers, one after the other; the first is the canary.
///
/// When nodes are left after the last step, it is repeated; a ramp whose last step is a percentage ends with `100%`, so that
/// none are. Written `1,1/rack,5%,25%,100%` or `1,5,20,100`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<RawStep>", into = "Vec<RampStep>")]
pub struct Ramp(Vec<RampStep>);

/// The size of one wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub enum RampStep {
    /// So many nodes.
    Nodes(usize),
    /// So many nodes of every rack.
    PerRack(usize),
    /// Nodes until so many of a hundred have moved, those of the waves before included.
    Percent(u8),
}

/// A step as it is written in a file: a number, or a text.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum RawStep {
    Number(u64),
    Text(String),
}

/// A text that is not a ramp, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("waves {text} are not valid: {why}; write for instance 1,1/rack,5%,25%,100% or 1,5,20,100")]
pub struct RampError {
    text: String,
    why: &'static str,
}

impl Ramp {
    /// The steps, at least one.
    pub fn steps(&self) -> &[RampStep] {
        &self.0
    }

    /// The step of the wave with this number, from 0.
    pub fn step(&self, wave: usize) -> RampStep {
        // A ramp has at least one step.
        self.0.get(wave).or(self.0.last()).copied().unwrap_or(RampStep::Percent(100))
    }

    fn checked(steps: Vec<RampStep>, text: &str) -> Result<Ramp, RampError> {
        let err = |why| RampError { text: quoted(text), why };
        if steps.is_empty() {
            return Err(err("there is no step"));
        }
        if steps.len() > MOST {
            return Err(err("there are more than 32 steps"));
        }
        let mut so_far = 0;
        for step in &steps {
            if let RampStep::Percent(percent) = step {
                if *percent <= so_far {
                    return Err(err("each percentage counts from the start and must be larger than the one before"));
                }
                so_far = *percent;
            } else if so_far == 100 {
                return Err(err("nothing is left after 100%"));
            }
        }
        match steps.last() {
            Some(RampStep::Percent(percent)) if *percent < 100 => Err(err("the last percentage must be 100%")),
            _ => Ok(Ramp(steps)),
        }
    }
}

impl FromStr for RampStep {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<RampStep, &'static str> {
        let text = text.trim();
        if text.strip_suffix('%').is_some_and(digits) {
            let percent = text.trim_end_matches('%').parse().ok().filter(|p| (1..=100).contains(p));
            return percent.map(RampStep::Percent).ok_or("a percentage goes from 1% to 100%");
        }
        let (number, rack) = text.strip_suffix("/rack").map_or((text, false), |number| (number, true));
        if !digits(number) {
            return Err("a step is a number of nodes, of nodes a rack (1/rack) or a percentage (5%)");
        }
        match number.parse() {
            Ok(0) => Err("a step must be at least 1"),
            Ok(n) if rack => Ok(RampStep::PerRack(n)),
            Ok(n) => Ok(RampStep::Nodes(n)),
            Err(_) => Err("a number in it is too large"),
        }
    }
}

/// `parse` alone would take `+1` too.
fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

impl fmt::Display for RampStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RampStep::Nodes(n) => write!(f, "{n}"),
            RampStep::PerRack(n) => write!(f, "{n}/rack"),
            RampStep::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl FromStr for Ramp {
    type Err = RampError;

    fn from_str(text: &str) -> Result<Ramp, RampError> {
        let steps = text.split(',').map(str::parse).collect::<Result<_, _>>();
        Ramp::checked(steps.map_err(|why| RampError { text: quoted(text), why })?, text)
    }
}

impl fmt::Display for Ramp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps: Vec<String> = self.0.iter().map(RampStep::to_string).collect();
        f.write_str(&steps.join(","))
    }
}

impl From<RampStep> for String {
    fn from(step: RampStep) -> String {
        step.to_string()
    }
}

impl From<Ramp> for Vec<RampStep> {
    fn from(ramp: Ramp) -> Vec<RampStep> {
        ramp.0
    }
}

impl TryFrom<Vec<RawStep>> for Ramp {
    type Error = RampError;

    fn try_from(steps: Vec<RawStep>) -> Result<Ramp, RampError> {
        let words: Vec<String> = steps
            .into_iter()
            .map(|step| match step {
                RawStep::Number(n) => n.to_string(),
                RawStep::Text(text) => text,
            })
            .collect();
        // A comma inside of a word would make two steps of it.
        let text = words.join(",");
        let steps = words.iter().map(|word| word.parse()).collect::<Result<_, _>>();
        Ramp::checked(steps.map_err(|why| RampError { text: quoted(&text), why })?, &text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_from_text_and_from_a_file() {
        for text in ["1", "1,5,20,100", "1,1/rack,5%,25%,100%", "2/rack", "100%", "5%,3"] {
            let ramp: Ramp = text.parse().unwrap();
            assert_eq!(ramp.to_string(), text);
            let json = serde_json::to_string(&ramp).unwrap();
            assert_eq!(serde_json::from_str::<Ramp>(&json).unwrap(), ramp, "{json}");
        }
        #[derive(Deserialize)]
        struct Table {
            waves: Ramp,
        }
        let table: Table = toml::from_str("waves = [1, \"1/rack\", \"5%\", 7]").unwrap();
        assert_eq!(table.waves.to_string(), "1,1/rack,5%,7");
        assert_eq!(" 1 , 2 ".parse::<Ramp>().unwrap().to_string(), "1,2", "spaces do not count");
    }

    #[test]
    fn refuses_what_would_mean_nothing() {
        for bad in [
            "",
            ",",
            "0",
            "0/rack",
            "0%",
            "101%",
            "5%",
            "1,50%",
            "50%,50%,100%",
            "50%,25%,100%",
            "100%,1",
            "-1",
            "+1",
            "1.5",
        ] {
            let error = bad.parse::<Ramp>().unwrap_err().to_string();
            assert!(error.contains("for instance"), "{bad}: {error}");
        }
        assert!("1/row".parse::<Ramp>().is_err() && "99999999999999999999999".parse::<Ramp>().is_err());
        assert!(["1"; 33].join(",").parse::<Ramp>().is_err());
        assert!(serde_json::from_str::<Ramp>("[]").is_err() && serde_json::from_str::<Ramp>("[\"1,2\"]").is_err());
        assert!(serde_json::from_str::<Ramp>("[-1]").is_err() && serde_json::from_str::<Ramp>("[1.5]").is_err());
    }

    #[test]
    fn the_last_step_repeats() {
        let ramp: Ramp = "1,5".parse().unwrap();
        assert_eq!([0, 1, 2, 9].map(|wave| ramp.step(wave)), [1, 5, 5, 5].map(RampStep::Nodes));
    }
}
