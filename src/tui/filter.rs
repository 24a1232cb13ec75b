//! Which nodes are meant: a few letters of their names, and terms such as `rack=3 role=ss version<1.36 state=failed`. Pure.

use super::lens::Mark;
use crate::fleet::{Component, Image, Node};
use std::cmp::Ordering;

/// Characters of a filter; more than any screen shows.
pub const LONGEST: usize = 200;

/// What a filter asks of a node. Every term must hold; none at all takes every node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    terms: Vec<Term>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Term {
    /// These letters in this order, in the name; capitals do not matter.
    Letters(String),
    /// One of these, or (when `not`) none of these.
    OneOf { field: Field, not: bool, values: Vec<String> },
    /// The component's version against so many numbers.
    Version { component: Component, sign: Sign, numbers: Vec<u32> },
    /// The node's state.
    State { not: bool, marks: Vec<Mark> },
    /// A yes or no.
    Flag { field: Flag, want: bool },
    /// A label with this key, and with this value where one is given.
    Label { not: bool, key: String, value: Option<String> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Name,
    Rack,
    Role,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flag {
    Master,
    Ready,
    Ssh,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    Is,
    IsNot,
    Below,
    AtMost,
    Above,
    AtLeast,
}

/// The signs as they are written, the longer ones first.
const SIGNS: [(&str, Sign); 6] = [
    ("!=", Sign::IsNot),
    ("<=", Sign::AtMost),
    (">=", Sign::AtLeast),
    ("=", Sign::Is),
    ("<", Sign::Below),
    (">", Sign::Above),
];

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// The term that is not one, why, and what would be.
    pub fn parse(text: &str) -> Result<Filter, String> {
        let terms = text.split_whitespace().map(term).collect::<Result<_, _>>()?;
        Ok(Filter { terms })
    }

    /// Whether it takes every node.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether the node is meant; its mark is asked for only where a term needs it.
    pub fn takes(&self, node: &Node, mark: impl Fn() -> Mark) -> bool {
        self.terms.iter().all(|term| term.holds(node, &mark))
    }
}

impl Term {
    fn holds(&self, node: &Node, mark: &impl Fn() -> Mark) -> bool {
        match self {
            Term::Letters(letters) => in_order(letters, node.name.as_str()),
            Term::OneOf { field, not, values } => values.iter().any(|v| field.is(node, v)) != *not,
            Term::Version { component, sign, numbers } => {
                let version = node.components.get(component).and_then(|running| Image::version(&running.image));
                version.is_some_and(|v| sign.holds(against(&[v.major, v.minor, v.patch], numbers)))
            }
            Term::State { not, marks } => marks.contains(&mark()) != *not,
            Term::Flag { field, want } => {
                *want
                    == match field {
                        Flag::Master => node.master,
                        Flag::Ready => node.ready,
                        Flag::Ssh => node.reachable == Some(true),
                    }
            }
            Term::Label { not, key, value } => {
                let has = node.label(key);
                let holds = match value {
                    Some(value) => has == Some(value.as_str()),
                    None => has.is_some(),
                };
                holds != *not
            }
        }
    }
}

impl Field {
    fn is(self, node: &Node, value: &str) -> bool {
        match self {
            Field::Name => node.name.as_str() == value,
            // `3` is `rack3` too.
            Field::Rack => {
                let rack = node.rack.as_str();
                let number = |c: char| c.is_ascii_digit();
                rack == value
                    || value.chars().all(number) && rack.strip_suffix(value).is_some_and(|rest| !rest.ends_with(number))
            }
            Field::Role => node.role.as_ref().is_some_and(|role| role.as_str() == value),
        }
    }
}

impl Sign {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Sign::Is => order.is_eq(),
            Sign::IsNot => order.is_ne(),
            Sign::Below => order.is_lt(),
            Sign::AtMost => order.is_le(),
            Sign::Above => order.is_gt(),
            Sign::AtLeast => order.is_ge(),
        }
    }
}

/// A version against as many numbers as were given: 1.36.2 is equal to 1.36.
fn against(version: &[u32; 3], numbers: &[u32]) -> Ordering {
    version[..numbers.len().min(3)].cmp(numbers)
}

/// Whether all letters stand in `text` in this order; no allocation, for it is asked of thousands of names a key.
fn in_order(letters: &str, text: &str) -> bool {
    let mut text = text.bytes();
    letters.bytes().all(|letter| text.any(|byte| byte.eq_ignore_ascii_case(&letter)))
}

fn term(text: &str) -> Result<Term, String> {
    let split = SIGNS
        .iter()
        .filter_map(|(written, sign)| Some((text.find(written)?, *written, *sign)))
        .min_by_key(|(at, written, _)| (*at, std::cmp::Reverse(written.len())));
    let Some((at, written, sign)) = split else {
        return match text.strip_prefix("label:") {
            Some("") => Err("label: needs a key, for instance label:disk=ssd".into()),
            Some(key) => Ok(Term::Label { not: false, key: key.into(), value: None }),
            None => Ok(Term::Letters(text.into())),
        };
    };
    let (key, value) = (&text[..at], &text[at + written.len()..]);
    if value.is_empty() && !key.starts_with("label:") {
        return Err(format!("{text} needs a value: {}", example(key)));
    }
    if let Some(key) = key.strip_prefix("label:").filter(|key| !key.is_empty()) {
        let not = equal(key, sign)?;
        return Ok(Term::Label { not, key: key.into(), value: Some(value.into()) });
    }
    let values = || value.split(',').filter(|v| !v.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let one_of = |field| Ok(Term::OneOf { field, not: equal(key, sign)?, values: values() });
    match key {
        "name" | "node" => one_of(Field::Name),
        "rack" => one_of(Field::Rack),
        "role" => one_of(Field::Role),
        "state" => {
            let marks = values().iter().map(|word| state(word)).collect::<Result<_, _>>()?;
            Ok(Term::State { not: equal(key, sign)?, marks })
        }
        "master" => flag(Flag::Master, key, sign, value),
        "ready" => flag(Flag::Ready, key, sign, value),
        "ssh" => flag(Flag::Ssh, key, sign, value),
        "version" => Ok(Term::Version { component: Component::Kubelet, sign, numbers: numbers(value)? }),
        other => match other.parse() {
            Ok(component) => Ok(Term::Version { component, sign, numbers: numbers(value)? }),
            Err(_) => Err(format!(
                "{other:?} is no term: name, rack, role, state, ready, master, ssh, version, label:KEY or a component"
            )),
        },
    }
}

/// Whether the sign is `!=`; what is in no order takes `=` beside it only.
fn equal(key: &str, sign: Sign) -> Result<bool, String> {
    match sign {
        Sign::Is => Ok(false),
        Sign::IsNot => Ok(true),
        _ => Err(format!("{key} is in no order: use = or !=")),
    }
}

fn flag(field: Flag, key: &str, sign: Sign, value: &str) -> Result<Term, String> {
    let not = equal(key, sign)?;
    match value {
        "yes" | "true" => Ok(Term::Flag { field, want: !not }),
        "no" | "false" => Ok(Term::Flag { field, want: not }),
        _ => Err(format!("{key}={value}: yes or no?")),
    }
}

fn numbers(value: &str) -> Result<Vec<u32>, String> {
    let value = value.strip_prefix('v').unwrap_or(value);
    let numbers: Result<Vec<u32>, _> = value.split('.').map(str::parse).collect();
    match numbers {
        Ok(numbers) if numbers.len() <= 3 => Ok(numbers),
        _ => Err(format!("{value:?} is no version: write 1.36 or 1.36.2")),
    }
}

/// The state that a word means: the legend's, with `-` for its spaces.
fn state(word: &str) -> Result<Mark, String> {
    // `not-ready` is NotReady too.
    let letters = |word: &str| word.replace([' ', '-'], "").to_ascii_lowercase();
    let known = |mark: &&Mark| letters(mark.word()) == letters(word);
    Mark::ALL.iter().find(known).copied().ok_or_else(|| {
        let all: Vec<String> = Mark::ALL.iter().map(|mark| mark.word().replace(' ', "-")).collect();
        format!("state={word}? The states are: {}", all.join(", "))
    })
}

fn example(key: &str) -> &'static str {
    match key {
        "rack" => "rack=3",
        "role" => "role=ss",
        "state" => "state=failed",
        "ready" | "master" | "ssh" => "yes or no",
        _ => "for instance version<1.36",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixtures;

    fn found(text: &str) -> Vec<String> {
        let filter = Filter::parse(text).unwrap();
        let cluster = fixtures::cluster();
        let taken = cluster.nodes.values().filter(|n| filter.takes(n, || Mark::Old));
        taken.map(|n| n.name.to_string()).collect()
    }

    #[test]
    fn every_term_narrows() {
        assert_eq!(found("").len(), 63);
        assert_eq!(found("rack=3").len(), 10);
        assert_eq!(found("rack=rack3,4 role=ss").len(), 6);
        assert_eq!(found("rack=3 role!=ss").len(), 7);
        assert_eq!(found("master=yes"), ["rack0-boot", "rack1-boot", "rack2-boot"]);
        assert_eq!(found("r5ss9"), ["rack5-ss9"]);
        assert_eq!(found("R5 SS9"), ["rack5-ss9"]);
        assert_eq!(found("name=rack5-ss9,rack0-cs1"), ["rack0-cs1", "rack5-ss9"]);
        assert_eq!(found("version<1.36").len(), 63);
        assert_eq!(found("version=1.35 version<=1.35.6 version>1.35.5 etcd>=3.6").len(), 3);
        assert_eq!(found("version!=v1.35").len(), 0);
        assert_eq!(found("state=old").len(), 63);
        assert_eq!(found("state!=old,failed ready=yes").len(), 0);
        assert_eq!(found("ready!=yes").len(), 0);
        assert_eq!(found("label:disk").len(), 0);
        assert_eq!(found("label:disk!=ssd ssh=yes").len(), 63);
    }

    #[test]
    fn what_is_no_term_is_said() {
        for (text, words) in [
            ("rack=", "needs a value: rack=3"),
            ("rack<3", "rack is in no order"),
            ("version=x", "is no version"),
            ("version=1.2.3.4", "is no version"),
            ("state=sad", "state=sad? The states are: old, swapping"),
            ("ready=perhaps", "yes or no?"),
            ("colour=red", "\"colour\" is no term"),
            ("label:", "label: needs a key"),
            ("=3", "\"\" is no term"),
        ] {
            let why = Filter::parse(text).unwrap_err();
            assert!(why.contains(words), "{text}: {why}");
        }
        assert!(Filter::parse("state=no-ssh,rolled-back,not-ready,partly-new,not-seen").is_ok());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_filter_or_an_error(text in "\\PC{0,60}", more in "(rack|role|state|version|label:|<|=|!|,|1\\.3| ){0,12}") {
            for text in [text, more] {
                if let Ok(filter) = Filter::parse(&text) {
                    fixtures::cluster().nodes.values().for_each(|n| { filter.takes(n, || Mark::New); });
                }
            }
        }
    }
}
