//! Every parser of something from outside, fed with noise and with samples that were damaged: it never panics, it ends soon,
//! and what it says is one clean line of a length that a person reads. `fuzz/` knocks at the same doors for longer.

mod samples;

use proptest::prelude::*;
use sonoba::fleet::is_unclean;
use sonoba::fuzzing::DOORS;
use std::time::{Duration, Instant};

/// No input of a few kilobytes may take longer, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(5);
/// No error says more. Characters.
const LONGEST: usize = 1_000;

fn knock(name: &str, bytes: &[u8]) -> Result<(), TestCaseError> {
    let (_, door) = DOORS.iter().find(|(n, _)| *n == name).expect("a door");
    let begun = Instant::now();
    if let Err(error) = door(bytes) {
        prop_assert!(!error.is_empty(), "{name}: an error without words");
        prop_assert!(!error.contains(is_unclean), "{name}: {:?}", error.chars().take(200).collect::<String>());
        prop_assert!(error.chars().count() <= LONGEST, "{name}: {} bytes: {:.200}", error.len(), error);
    }
    prop_assert!(begun.elapsed() < SOON, "{name}: took {:?}", begun.elapsed());
    Ok(())
}

/// What is done to a sample.
#[derive(Debug, Clone)]
enum Damage {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Drop(prop::sample::Index, usize),
    Insert(prop::sample::Index, String),
    Repeat(prop::sample::Index, usize, usize),
    /// The n-th number becomes another.
    Number(usize, &'static str),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<prop::sample::Index>;
    let pieces = [
        "\u{1b}[2J",
        "\u{202e}",
        "\\u001b",
        "\0",
        "{",
        "}",
        "[",
        "\"",
        "'",
        "*",
        "&a",
        "- ",
        ": ",
        "\n",
        "#",
        "/../",
        "!!",
    ];
    let numbers =
        ["0", "-1", "18446744073709551615", "18446744073709551616", "1e999", "9223372036854775807", "4294967296"];
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(i, b)| Damage::Flip(i, b)),
        at().prop_map(Damage::Cut),
        (at(), 1..40_usize).prop_map(|(i, n)| Damage::Drop(i, n)),
        (at(), prop::sample::select(pieces.to_vec())).prop_map(|(i, t)| Damage::Insert(i, t.to_owned())),
        (at(), "\\PC{1,6}").prop_map(|(i, t)| Damage::Insert(i, t)),
        (at(), 1..20_usize, 2..300_usize).prop_map(|(i, n, times)| Damage::Repeat(i, n, times)),
        (0..60_usize, prop::sample::select(numbers.to_vec())).prop_map(|(n, t)| Damage::Number(n, t)),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    if bytes.is_empty() {
        return;
    }
    let len = bytes.len();
    match damage {
        Damage::Flip(at, with) => bytes[at.index(len)] ^= with,
        Damage::Cut(at) => bytes.truncate(at.index(len)),
        Damage::Drop(at, n) => drop(bytes.drain(at.index(len)..(at.index(len) + n).min(len))),
        Damage::Insert(at, text) => drop(bytes.splice(at.index(len)..at.index(len), text.bytes())),
        Damage::Repeat(at, n, times) => {
            let from = at.index(len);
            let piece = bytes[from..(from + n).min(len)].repeat(*times);
            bytes.splice(from..from, piece);
        }
        Damage::Number(n, with) => {
            let starts = |i: &usize| bytes[*i].is_ascii_digit() && (*i == 0 || !bytes[*i - 1].is_ascii_digit());
            let starts: Vec<usize> = (0..len).filter(starts).collect();
            let Some(from) = starts.get(n % starts.len().max(1)).copied() else { return };
            let digits = bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
            bytes.splice(from..from + digits, with.bytes());
        }
    }
}

fn damaged(name: &str, damages: &[Damage]) -> Result<(), TestCaseError> {
    for mut sample in samples::of(name) {
        damages.iter().for_each(|d| apply(&mut sample, d));
        knock(name, &sample)?;
    }
    Ok(())
}

macro_rules! doors {
    ($($door:ident),*) => {
        $(mod $door {
            use super::*;
            const NAME: &str = stringify!($door);

            #[test]
            fn the_samples_are_read() {
                let (_, door) = DOORS.iter().find(|(n, _)| *n == NAME).expect("a door");
                for sample in samples::of(NAME) {
                    assert_eq!(door(&sample), Ok(()), "{}", String::from_utf8_lossy(&sample));
                }
            }

            proptest! {
                #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

                #[test]
                fn noise_is_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..400), text in "\\PC{0,200}") {
                    knock(NAME, &bytes)?;
                    knock(NAME, text.as_bytes())?;
                }

                #[test]
                fn a_damaged_sample_is_refused_or_read(damages in prop::collection::vec(damage(), 1..5)) {
                    damaged(NAME, &damages)?;
                }
            }
        })*

        #[test]
        fn no_door_is_left_out() {
            let known = [$(stringify!($door)),*];
            assert_eq!(DOORS.map(|(name, _)| name), known);
            let targets = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
            for name in known {
                assert!(targets.join(format!("{name}.rs")).exists(), "fuzz/ has no target {name}");
            }
        }
    };
}

doors!(
    profile,
    cluster_yml,
    plan,
    journal,
    recording,
    known_hosts,
    control,
    swap_state,
    image,
    version,
    name,
    check,
    jump,
    theme,
    keymap,
    settings
);

/// Deep nesting and references that grow without end: a small file must not cost much.
#[test]
fn small_files_that_would_grow_are_refused_soon() {
    let deep = |open: &str, close: &str, n: usize| format!("{}{}", open.repeat(n), close.repeat(n));
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for i in 1..12 {
        let before = format!("*a{}", i - 1);
        laughs += &format!("a{i}: &a{i} [{}]\n", [before.as_str(); 9].join(", "));
    }
    laughs += "nodes:\n- {address: 10.0.0.1, labels: *a11}\n";
    for text in [
        deep("[", "]", 20_000),
        deep("{\"a\":", "}", 20_000),
        format!("nodes: {}", deep("[", "]", 20_000)),
        laughs,
        format!("a = {}", deep("[", "]", 20_000)),
        "- ".repeat(20_000),
        format!("{} = 1", "a".repeat(5_000)),
        format!("[ssh]\n{} = 1", "a".repeat(5_000)),
        format!("nodes:\n- {{address: 10.0.0.1, {}: 1}}", "a".repeat(5_000)),
        format!("{{\"{}\": 1}}", "a".repeat(5_000)),
        // Written out as escapes, these are eight times as long.
        "\u{1939}".repeat(5_000),
        format!("plan = \"{}\"", "\\u".repeat(9_000)),
    ] {
        for (name, _) in DOORS {
            knock(name, text.as_bytes()).unwrap();
        }
    }
}
