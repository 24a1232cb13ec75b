//! What `sonoba plan` prints, whole: the text that an operator agrees to.

mod common;

use common::Lab;

/// The preview of a release on a simulated cluster, without what no two runs share, and how the command ended.
fn preview(sim: &[&str], plan: &[&str]) -> String {
    let lab = Lab::start(&[&["--speed", "20"], sim].concat());
    let out = lab.sonoba(&[&["plan", "--release", "1.36.2"], plan].concat());
    let (text, said) = (String::from_utf8(out.stdout).unwrap(), String::from_utf8(out.stderr).unwrap());
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line:?}");
    }
    format!("{text}--- exit {}\n{said}", out.status.code().unwrap())
}

/// Checks a preview against the one that was looked at.
fn same(name: &str, text: &str) {
    let mut lines: Vec<&str> = text.lines().collect();
    let (at, state) = lines[1].split_once(" on state ").expect("the second line says when, and on which state");
    assert!(at.starts_with("planned at 2") && at.ends_with('Z') && state.len() > 12, "{}", lines[1]);
    lines[1] = "planned at TIME on state STATE; nothing has been touched";
    insta::with_settings!({omit_expression => true}, { insta::assert_snapshot!(name, lines.join("\n")) });
}

#[test]
fn one_minor_of_the_demo() {
    same("one_minor", &preview(&[], &["--compare"]));
}

#[test]
fn three_minors_over_300_nodes() {
    same("three_minors", &preview(&["--scenario", "three-minors"], &["--waves", "1,1/rack,25%,100%"]));
}

#[test]
fn an_error_refuses_and_says_what_mends_it() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = dir.path().join("no-image.toml");
    let faults =
        "nodes = 12\nracks = 3\n[[fault]]\nkind = \"no-image\"\n[[fault]]\nkind = \"low-disk\"\nnode = \"rack0-cs1\"\n";
    std::fs::write(&scenario, faults).unwrap();
    let text = preview(&["--scenario", scenario.to_str().unwrap()], &[]);
    assert!(text.contains("--- exit 3\n"), "{text}");
    same("refused", &text);
}
