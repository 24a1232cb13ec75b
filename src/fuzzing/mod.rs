//! The doors at which fuzzers knock: every parser of something from outside, as one function from bytes to "read" or one
//! error. Not part of the library's promise; `tests/hostile` and `fuzz/` use it.

use crate::fleet::{ClusterName, Image, NodeName, Version};
use crate::tui::{Looks, Own, Source};
use crate::{cli, engine, inventory, journal, remote};
use std::fmt::Display;
use std::str::FromStr;

/// A small plan, as its file holds it.
pub const PLAN: &str = include_str!("plan.json");

/// Reads some bytes; the error is what a person would be shown.
pub type Door = fn(&[u8]) -> Result<(), String>;

/// Every door, by name.
pub const DOORS: [(&str, Door); 16] = [
    ("profile", profile),
    ("cluster_yml", cluster_yml),
    ("plan", plan),
    ("journal", journal),
    ("recording", recording),
    ("known_hosts", known_hosts),
    ("control", control),
    ("swap_state", swap_state),
    ("image", image),
    ("version", version),
    ("name", name),
    ("check", check),
    ("jump", jump),
    ("theme", theme),
    ("keymap", keymap),
    ("settings", settings),
];

/// A cluster's profile.
pub fn profile(bytes: &[u8]) -> Result<(), String> {
    inventory::check_profile(&text(bytes)).map_err(|e| e.to_string())
}

/// CKE's `cluster.yml`.
pub fn cluster_yml(bytes: &[u8]) -> Result<(), String> {
    inventory::check_cluster_yml(&text(bytes)).map_err(|e| e.to_string())
}

/// A plan's file; one that reads is also written out for people.
pub fn plan(bytes: &[u8]) -> Result<(), String> {
    if let Err(broken) = crate::plan::check_seal(bytes) {
        shown(&broken.to_string());
    }
    let plan = cli::parse_plan(bytes)?;
    shown(&crate::plan::render(&plan));
    Ok(())
}

/// A journal, line by line; one that reads is also folded, and reported on.
pub fn journal(bytes: &[u8]) -> Result<(), String> {
    let plan = cli::parse_plan(PLAN.as_bytes())?;
    let (run, chain) = journal::fold_lines(bytes, plan);
    run.log.iter().for_each(|line| shown(&line.text));
    shown(&journal::report(&run, chain).to_markdown());
    match chain {
        journal::Chain::Ok => Ok(()),
        journal::Chain::Broken { line } => Err(format!("line {line} does not follow from the one before")),
    }
}

/// A recording; one that reads is also played from its beginning to its end, and back.
pub fn recording(bytes: &[u8]) -> Result<(), String> {
    let recording = journal::unpack(bytes, std::path::Path::new("run.sonoba"))?;
    shown(&recording.about.operator);
    crate::tui::wind(recording);
    Ok(())
}

/// A `known_hosts` file.
pub fn known_hosts(bytes: &[u8]) -> Result<(), String> {
    remote::check_known_hosts(&text(bytes))
}

/// A line that came over the control socket.
pub fn control(bytes: &[u8]) -> Result<(), String> {
    engine::check_request(bytes)
}

/// What a node answers when it is asked for a transaction's state.
pub fn swap_state(bytes: &[u8]) -> Result<(), String> {
    let state = remote::script::read_state(&text(bytes))?;
    shown(&state.why);
    // What was read can be written, and reads back the same.
    let again = remote::script::read_state(&remote::script::write_state(&state))?;
    if again == state { Ok(()) } else { Err("the state reads back as another".into()) }
}

/// An image reference.
pub fn image(bytes: &[u8]) -> Result<(), String> {
    let image: Image = read(bytes)?;
    shown(&format!("{} {:?} {:?} {}", image.name(), image.tag(), image.digest(), image.short()));
    Ok(())
}

/// A version.
pub fn version(bytes: &[u8]) -> Result<(), String> {
    let version: Version = read(bytes)?;
    shown(version.as_str());
    Ok(())
}

/// A name.
pub fn name(bytes: &[u8]) -> Result<(), String> {
    let name: NodeName = read(bytes)?;
    shown(name.as_str());
    read::<ClusterName>(bytes).map(drop)
}

/// Something that is asked on a node.
pub fn check(bytes: &[u8]) -> Result<(), String> {
    let check: crate::plan::Check = read(bytes)?;
    shown(&check.to_string());
    Ok(())
}

/// A host to go through.
pub fn jump(bytes: &[u8]) -> Result<(), String> {
    let jump: inventory::Jump = read(bytes)?;
    shown(&jump.to_string());
    Ok(())
}

/// A theme of the operator's own.
pub fn theme(bytes: &[u8]) -> Result<(), String> {
    Looks::new(own(bytes), Own::new()).with_theme(OWN).check()
}

/// A keymap of the operator's own.
pub fn keymap(bytes: &[u8]) -> Result<(), String> {
    let mut looks = Looks::new(Own::new(), own(bytes));
    looks.keymap = OWN.into();
    looks.check()
}

/// The cockpit's `config.toml`.
pub fn settings(bytes: &[u8]) -> Result<(), String> {
    cli::check_settings(&text(bytes))
}

/// The name of a file of the operator's own.
const OWN: &str = "own";

fn own(bytes: &[u8]) -> Own {
    Own::from([(OWN.to_owned(), Source { place: "own.toml".into(), text: text(bytes).into_owned() })])
}

fn read<T: FromStr<Err: Display>>(bytes: &[u8]) -> Result<T, String> {
    text(bytes).parse().map_err(|e: T::Err| e.to_string())
}

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// Fails loudly when what was read could act on a terminal.
fn shown(text: &str) {
    let bad = text.lines().flat_map(str::chars).find(|c| crate::fleet::is_unclean(*c));
    assert!(bad.is_none(), "{bad:?} came through: {text:?}");
}
